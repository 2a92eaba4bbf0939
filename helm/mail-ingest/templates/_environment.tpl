{{/* What is no secret, for the ConfigMap. */}}
{{- define "mail-ingest.settings" -}}
{{- $store := .Values.store -}}
{{- $settings := dict
  "INGEST_HOME" "/tmp/mail-ingest"
  "INGEST_STORE" $store.url
  "INGEST_S3_ENDPOINT" $store.endpoint
  "INGEST_S3_REGION" $store.region
  "INGEST_S3_PATH_STYLE" $store.pathStyle
  "INGEST_S3_SSE" $store.sse
  "INGEST_S3_SSE_KMS_KEY_ID" $store.sseKmsKeyId
-}}
{{- range $name, $value := merge $settings .Values.settings }}
{{- with include "mail-ingest.text" $value }}
{{ $name }}: {{ quote . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The variables of a component, each secret only where it is used. (list root component concurrency) */}}
{{- define "mail-ingest.environment" -}}
{{- $root := first . -}}
{{- $values := $root.Values -}}
{{- $component := index . 1 -}}
{{- if $values.valkey.enabled }}
- name: VALKEY_PASSWORD
  valueFrom: {{ include "mail-ingest.valkey.password" $root }}
- name: INGEST_REDIS_URL
  value: redis://:$(VALKEY_PASSWORD)@{{ include "mail-ingest.fullname" $root }}-valkey:6379/0
{{- else }}
- name: INGEST_REDIS_URL
  valueFrom: {{ include "mail-ingest.url" (list $root $values.redis "redis-url") }}
{{- end }}
{{- if ne $component "beat" }}
{{- if or $values.events.url $values.events.existingSecret.name }}
- name: INGEST_EVENTS_URL
  valueFrom: {{ include "mail-ingest.url" (list $root $values.events "events-url") }}
{{- end }}
{{- with $values.store.existingSecret }}
{{- if .name }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .accessKeyIdKey | quote }}}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .secretAccessKeyKey | quote }}}}
{{- end }}
{{- end }}
{{- end }}
{{- if and (include "mail-ingest.signsIn" $component) $values.keys.existingSecret.name }}
- name: INGEST_KEYS_FILE
  value: /run/secrets/mail-ingest/keys
{{- end }}
{{- with index . 2 }}
- name: INGEST_CONCURRENCY
  value: {{ include "mail-ingest.text" . | quote }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether a component opens mailboxes, and so needs their passwords; empty: it doesn't. */}}
{{- define "mail-ingest.signsIn" -}}
{{- if has . (list "poll" "doctor") }}true{{ end -}}
{{- end -}}

{{/* Where a URL is read from. (list root where key-in-our-secret) */}}
{{- define "mail-ingest.url" -}}
{{- $root := first . -}}
{{- $where := index . 1 -}}
{{- if $where.existingSecret.name -}}
{secretKeyRef: {name: {{ $where.existingSecret.name | quote }}, key: {{ $where.existingSecret.key | quote }}}}
{{- else -}}
{secretKeyRef: {name: {{ include "mail-ingest.fullname" $root }}, key: {{ index . 2 }}}}
{{- end -}}
{{- end -}}

{{- define "mail-ingest.valkey.password" -}}
{{- $secret := .Values.valkey.existingSecret -}}
{{- $ours := printf "%s-valkey" (include "mail-ingest.fullname" .) -}}
{secretKeyRef: {name: {{ $secret.name | default $ours | quote }}, key: {{ ternary $secret.key "password" (not (empty $secret.name)) | quote }}}}
{{- end -}}
