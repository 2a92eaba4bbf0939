{{/* The name that all objects begin with: 40 characters at most, so that the longest name made of it
     (a StatefulSet's pod with the hash of its revision) fits into a label. What had to be cut
     carries a hash of the whole, so that two long names stay two. */}}
{{- define "mail-ingest.fullname" -}}
{{- include "mail-ingest.checks.reused" . -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- $name := .Values.fullnameOverride | default $whole | replace "." "-" -}}
{{- if gt (len $name) 40 -}}
{{- printf "%s-%s" ($name | trunc 31 | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{- define "mail-ingest.serviceAccountName" -}}
{{- $made := ternary (include "mail-ingest.fullname" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $made -}}
{{- end -}}

{{/* What never changes of an object: a Deployment's selector. (list root component) */}}
{{- define "mail-ingest.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ $root.Values.nameOverride | default $root.Chart.Name | trunc 63 | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "mail-ingest.labels" -}}
{{- $root := first . -}}
{{ include "mail-ingest.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{/* (list image default-tag) */}}
{{- define "mail-ingest.image" -}}
{{- $image := first . -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* A number or text as text: numbers of a values file are floats, which print as 4.29e+09. */}}
{{- define "mail-ingest.text" -}}
{{- $whole := and (kindIs "float64" .) (eq (float64 (int64 .)) .) -}}
{{- if $whole }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
