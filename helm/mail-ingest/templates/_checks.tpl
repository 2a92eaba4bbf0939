{{/* What the schema can't say, or can't say in words. */}}
{{- define "mail-ingest.checks" -}}
{{- $values := .Values -}}
{{- $wrong := list -}}
{{- if not $values.image.repository -}}
{{- $wrong = append $wrong "image.repository is empty: build deploy/Dockerfile, push the image, and say where it is" -}}
{{- end -}}
{{- if not $values.store.url -}}
{{- $wrong = append $wrong "store.url is empty: say where mail is kept, as s3://bucket/prefix" -}}
{{- end -}}
{{- $redis := compact (list
  (ternary "redis.url" "" (not (empty $values.redis.url)))
  (ternary "redis.existingSecret.name" "" (not (empty $values.redis.existingSecret.name)))
  (ternary "valkey.enabled" "" $values.valkey.enabled)) -}}
{{- if eq (len $redis) 0 -}}
{{- $wrong = append $wrong "there is no Redis: set redis.existingSecret.name or redis.url, or valkey.enabled to try things out" -}}
{{- else if gt (len $redis) 1 -}}
{{- $wrong = append $wrong (printf "%s are set, but there is one Redis: keep one of them" (join " and " $redis)) -}}
{{- end -}}
{{- if and $values.events.url $values.events.existingSecret.name -}}
{{- $wrong = append $wrong "events.url and events.existingSecret.name are set: keep one of them" -}}
{{- end -}}
{{- if and $values.store.sseKmsKeyId (ne $values.store.sse "aws:kms") -}}
{{- $wrong = append $wrong "store.sseKmsKeyId is set, but store.sse is not aws:kms" -}}
{{- end -}}
{{- if and (eq $values.autoscaling.engine "keda") (not $values.autoscaling.keda.serverAddress) -}}
{{- $wrong = append $wrong "autoscaling.engine is keda, which needs autoscaling.keda.serverAddress" -}}
{{- end -}}
{{- range $lane := list "poll" "relay" -}}
{{- $scaled := (get $values.workers $lane).autoscaling -}}
{{- if gt (int $scaled.minReplicas) (int $scaled.maxReplicas) -}}
{{- $wrong = append $wrong (printf "workers.%s.autoscaling.minReplicas is more than its maxReplicas" $lane) -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- printf "\n\nThese values don't fit:\n  - %s\n" (join "\n  - " $wrong) | fail -}}
{{- end -}}
{{- end -}}
