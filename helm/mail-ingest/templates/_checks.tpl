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
{{- if and $values.authorities.existingConfigMap.name $values.authorities.existingSecret.name -}}
{{- $wrong = append $wrong "authorities.existingConfigMap.name and authorities.existingSecret.name are set: keep one of them" -}}
{{- end -}}
{{- $wrong = concat $wrong (include "mail-ingest.checks.mailboxes" $values.mailboxes | fromJsonArray) -}}
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

{{/* `helm upgrade --reuse-values` takes the old version's defaults, too: the values that it did not
     have are missing then. Whatever is rendered first says so. */}}
{{- define "mail-ingest.checks.reused" -}}
{{- range list "authorities" "extraManifests" "mailboxes" -}}
{{- if not (hasKey $.Values .) -}}
{{- printf "\n\nThere is no value %s: upgrade with --reset-then-reuse-values, not with --reuse-values\n" . | fail -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is wrong with the mailboxes: sentences, as JSON. None repeats a password. */}}
{{- define "mail-ingest.checks.mailboxes" -}}
{{- $wrong := list -}}
{{- $given := compact (list
  (ternary "mailboxes.declared" "" (not (empty .declared)))
  (ternary "mailboxes.existingConfigMap.name" "" (not (empty .existingConfigMap.name)))
  (ternary "mailboxes.existingSecret.name" "" (not (empty .existingSecret.name)))) -}}
{{- if gt (len $given) 1 -}}
{{- $wrong = append $wrong (printf "%s are set: keep one of them" (join " and " $given)) -}}
{{- end -}}
{{- if and $given (not .enabled) -}}
{{- $wrong = append $wrong (printf "%s is set, but mailboxes.enabled is false" (join " and " $given)) -}}
{{- end -}}
{{- $names := dict -}}
{{- range .declared }}
{{- $passwords := compact (list (ternary "1" "" (hasKey . "password")) (ternary "1" "" (hasKey . "passwordFrom"))) -}}
{{- if ne (len $passwords) 1 -}}
{{- $wrong = append $wrong (printf "mailboxes.declared: %q needs one of password and passwordFrom" .name) -}}
{{- else if and (hasKey . "password") (not (regexMatch "^(env:.+|file:/.+)$" .password)) -}}
{{- $wrong = append $wrong (printf "mailboxes.declared: the password of %q is not env:NAME or file:/PATH" .name) -}}
{{- end -}}
{{- if not (regexMatch "^pop3s?://[^:/]+@[^@/]+$" .address) -}}
{{- $wrong = append $wrong (printf "mailboxes.declared: the address of %q is not pop3s://USER@HOST or pop3://USER@HOST, without a password" .name) -}}
{{- end -}}
{{- if hasKey $names (lower .name) -}}
{{- $wrong = append $wrong (printf "mailboxes.declared: %q stands there twice" .name) -}}
{{- end -}}
{{- $_ := set $names (lower .name) true -}}
{{- end -}}
{{- $wrong | toJson -}}
{{- end -}}
