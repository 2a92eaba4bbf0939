{{/* Restricted as the Pod Security Standards mean it, for every container of ours. */}}
{{- define "mail-ingest.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "mail-ingest.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- range $name, $id := .Values.podSecurity }}
{{- if not (kindIs "invalid" $id) }}
{{ $name }}: {{ include "mail-ingest.text" $id }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What is the same in all pods, whatever image they run. (list root component) */}}
{{- define "mail-ingest.placement" -}}
{{- $root := first . -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "mail-ingest.serviceAccountName" $root }}
automountServiceAccountToken: false
# A Service of the namespace that is called "ingest" would set variables that look like settings.
enableServiceLinks: false
securityContext:
  {{- include "mail-ingest.podSecurity" $root | trim | nindent 2 }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A change of what pods read only at their start replaces them. What changes in existing Secrets is
     not seen. */}}
{{- define "mail-ingest.checksums" -}}
checksum/settings: {{ include "mail-ingest.settings" . | sha256sum }}
checksum/urls: {{ printf "%s %s" .Values.redis.url .Values.events.url | sha256sum }}
{{- end -}}

{{/* Labels and annotations of a pod. (list root component) */}}
{{- define "mail-ingest.podMetadata" -}}
{{- $root := first . -}}
labels:
  {{- merge (include "mail-ingest.labels" . | fromYaml) $root.Values.podLabels | toYaml | nindent 2 }}
{{- $checksums := ternary dict (include "mail-ingest.checksums" $root | fromYaml) (eq (index . 1) "valkey") }}
{{- with merge $checksums $root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How the pods of a Deployment are spread. (list root component) */}}
{{- define "mail-ingest.spread" -}}
{{- $ours := dict
  "labelSelector" (dict "matchLabels" (include "mail-ingest.selector" . | fromYaml))
  "matchLabelKeys" (list "pod-template-hash")
-}}
{{- range (first .).Values.topologySpreadConstraints }}
- {{ merge (dict) . $ours | toYaml | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{/* One container that runs ingest. (list root component arguments concurrency resources) */}}
{{- define "mail-ingest.container" -}}
{{- $root := first . -}}
{{- $values := $root.Values -}}
{{- $component := index . 1 -}}
name: {{ $component }}
image: {{ include "mail-ingest.image" (list $values.image $root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: {{ index . 2 | toJson }}
envFrom:
  - configMapRef: {name: {{ include "mail-ingest.fullname" $root }}}
env:
  {{- include "mail-ingest.environment" (list $root $component (index . 3)) | trim | nindent 2 }}
securityContext:
  {{- include "mail-ingest.containerSecurity" $root | nindent 2 }}
resources:
  {{- toYaml (index . 4) | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if eq $component "apply" }}
  - {name: mailboxes, mountPath: /etc/mail-ingest/declared, readOnly: true}
  {{- end }}
  {{- if include "mail-ingest.authorities" $root }}
  - {name: ca, mountPath: /etc/mail-ingest/authorities, readOnly: true}
  {{- end }}
  {{- if include "mail-ingest.signsIn" (list $root $component) }}
  {{- if $values.keys.existingSecret.name }}
  - {name: keys, mountPath: /run/secrets/mail-ingest, readOnly: true}
  {{- end }}
  {{- range include "mail-ingest.passwordSecrets" $root | fromJsonArray }}
  - {name: {{ printf "mailbox-%s" (sha256sum . | trunc 8) }}, mountPath: {{ printf "/run/secrets/mailboxes/%s" . | quote }}, readOnly: true}
  {{- end }}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The volumes of that container. (list root component) */}}
{{- define "mail-ingest.volumes" -}}
{{- $root := first . -}}
{{- $values := $root.Values -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if eq (index . 1) "apply" }}
- name: mailboxes
  {{- include "mail-ingest.declaration" $root | nindent 2 }}
{{- end }}
{{- with include "mail-ingest.authorities" $root }}
- name: ca
  {{- nindent 2 . }}
{{- end }}
{{- if include "mail-ingest.signsIn" . }}
{{- with $values.keys.existingSecret }}
{{- if .name }}
- name: keys
  secret:
    secretName: {{ .name | quote }}
    defaultMode: 0440
    items: [{key: {{ .key | quote }}, path: keys}]
{{- end }}
{{- end }}
{{- range include "mail-ingest.passwordSecrets" $root | fromJsonArray }}
- name: {{ printf "mailbox-%s" (sha256sum . | trunc 8) }}
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
