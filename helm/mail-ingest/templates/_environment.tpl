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
{{- if eq $component "beat" }}
- name: INGEST_BEAT_PORT
  value: "9308"
{{- else }}
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
{{- if and (include "mail-ingest.signsIn" (list $root $component)) $values.keys.existingSecret.name }}
- name: INGEST_KEYS_FILE
  value: /run/secrets/mail-ingest/keys
{{- end }}
{{- if include "mail-ingest.authorities" $root }}
{{- $variables := dict "store" (list "AWS_CA_BUNDLE") "all" (list "AWS_CA_BUNDLE" "SSL_CERT_FILE") "none" list }}
{{- range get $variables $values.authorities.trustedFor }}
- name: {{ . }}
  value: /etc/mail-ingest/authorities/ca.crt
{{- end }}
{{- end }}
{{- with index . 2 }}
- name: INGEST_CONCURRENCY
  value: {{ include "mail-ingest.text" . | quote }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether a component opens mailboxes, and so needs their passwords; empty: it doesn't.
     (list root component) */}}
{{- define "mail-ingest.signsIn" -}}
{{- $signingIn := list "poll" "doctor" (ternary "apply" "" (first .).Values.mailboxes.test) -}}
{{- if has (index . 1) $signingIn }}true{{ end -}}
{{- end -}}

{{/* The Secrets with passwords of mailboxes, each once, as JSON. */}}
{{- define "mail-ingest.passwordSecrets" -}}
{{- $secrets := .Values.passwords.existingSecrets -}}
{{- range .Values.mailboxes.declared }}
{{- with .passwordFrom }}
{{- $secrets = append $secrets .secret -}}
{{- end }}
{{- end }}
{{- $secrets | uniq | toJson -}}
{{- end -}}

{{/* The volume source with the authorities; empty: there are none. */}}
{{- define "mail-ingest.authorities" -}}
{{- $values := .Values.authorities -}}
{{- if $values.existingConfigMap.name -}}
configMap:
  name: {{ $values.existingConfigMap.name | quote }}
  items: [{key: {{ $values.existingConfigMap.key | quote }}, path: ca.crt}]
{{- else if $values.existingSecret.name -}}
secret:
  secretName: {{ $values.existingSecret.name | quote }}
  defaultMode: 0440
  items: [{key: {{ $values.existingSecret.key | quote }}, path: ca.crt}]
{{- end -}}
{{- end -}}

{{/* The volume source with the file that declares mailboxes. */}}
{{- define "mail-ingest.declaration" -}}
{{- $values := .Values.mailboxes -}}
{{- $ours := printf "%s-mailboxes" (include "mail-ingest.fullname" .) -}}
{{- if $values.existingSecret.name -}}
secret:
  secretName: {{ $values.existingSecret.name | quote }}
  defaultMode: 0440
  items: [{key: {{ $values.existingSecret.key | quote }}, path: mailboxes}]
{{- else -}}
{{- $from := $values.existingConfigMap -}}
configMap:
  name: {{ $from.name | default $ours | quote }}
  items: [{key: {{ ternary $from.key "mailboxes.json" (not (empty $from.name)) | quote }}, path: mailboxes}]
{{- end -}}
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
