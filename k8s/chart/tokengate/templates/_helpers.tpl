{{- define "tokengate.labels" -}}
app.kubernetes.io/name: tokengate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tokengate.etcdLabels" -}}
app.kubernetes.io/name: tokengate-etcd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* What the restricted Pod Security standard asks of a pod and of a container. */ -}}
{{- define "tokengate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tokengate.containerSecurity" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- /* The values that a schema cannot check. */ -}}
{{- define "tokengate.check" -}}
{{- $stores := 0 }}
{{- if .Values.store.badger.enabled }}{{ $stores = add1 $stores }}{{ end }}
{{- if .Values.store.etcd.endpoints }}{{ $stores = add1 $stores }}{{ end }}
{{- if .Values.etcd.install }}{{ $stores = add1 $stores }}{{ end }}
{{- if ne (int $stores) 1 }}
{{- fail "Say where the tokens are: set exactly one of store.etcd.endpoints, etcd.install and store.badger.enabled." }}
{{- end }}
{{- if and .Values.store.badger.enabled (or .Values.autoscaling.enabled (gt (int (.Values.replicas | default 1)) 1)) }}
{{- fail "store.badger can be open in one pod only: use etcd, or neither set replicas nor enable autoscaling." }}
{{- end }}
{{- if and .Values.etcd.install (ne (empty .Values.etcd.tlsSecretName) (empty .Values.store.etcd.tlsSecretName)) }}
{{- fail "etcd.tlsSecretName and store.etcd.tlsSecretName need certificates of one authority: set both, or neither to have the chart make them." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas." }}
{{- end }}
{{- if and .Values.service.tlsSecretName (not (hasPrefix "https://" .Values.config.publicURL)) }}
{{- fail "With service.tlsSecretName, port 80 redirects to https: config.publicURL must begin with https://." }}
{{- end }}
{{- if ne .Values.service.type "ClusterIP" }}
{{- if and .Values.ingress.enabled (not .Values.config.clientAddress) }}
{{- fail "Connections come from the Ingress controller: set service.type to ClusterIP, or set config.clientAddress, such as {trustedHops: 1}." }}
{{- end }}
{{- $outside := false }}
{{- range .Values.networkPolicy.clients }}{{ if .ipBlock }}{{ $outside = true }}{{ end }}{{ end }}
{{- if and .Values.networkPolicy.enabled (not $outside) }}
{{- fail (printf "Clients reach a %s from outside of the cluster: name their addresses in networkPolicy.clients, such as {ipBlock: {cidr: 10.0.0.0/8}}." .Values.service.type) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tokengate.etcdEndpoints" -}}
{{- if .Values.etcd.install }}
{{- range $i := until 3 }}
- https://{{ $.Release.Name }}-etcd-{{ $i }}.{{ $.Release.Name }}-etcd:2379
{{- end }}
{{- else }}
{{- toYaml .Values.store.etcd.endpoints }}
{{- end }}
{{- end }}

{{- define "tokengate.etcdClientSecret" -}}
{{- with .Values.store.etcd.tlsSecretName }}{{ . }}{{ else }}{{ if .Values.etcd.install }}{{ .Release.Name }}-etcd-client{{ end }}{{ end }}
{{- end }}

{{- /* tokengate's configuration: what the chart needs, and config over it. */ -}}
{{- define "tokengate.config" -}}
{{- $listen := dict
  "grpc" "unix:///run/tokengate/authz.sock"
  "http" "unix:///run/tokengate/http.sock"
  "admin" "unix:///run/tokengate-admin/admin.sock"
  "metrics" "tcp://0.0.0.0:9464" }}
{{- $store := dict "badger" (dict "dir" "/var/lib/tokengate") }}
{{- if not .Values.store.badger.enabled }}
{{- $etcd := dict "endpoints" (include "tokengate.etcdEndpoints" . | fromYamlArray) "prefix" .Values.store.etcd.prefix }}
{{- if include "tokengate.etcdClientSecret" . }}
{{- $_ := set $etcd "tls" (dict "ca" "/etc/tokengate-etcd/ca.crt" "cert" "/etc/tokengate-etcd/tls.crt" "key" "/etc/tokengate-etcd/tls.key") }}
{{- end }}
{{- with .Values.store.etcd.user }}
{{- $_ := set $etcd "user" . }}
{{- $_ := set $etcd "passwordFile" "/etc/tokengate-etcd-password/password" }}
{{- end }}
{{- $store = dict "etcd" $etcd }}
{{- end }}
{{- if not .Values.store.badger.enabled }}
{{- $_ := set $listen "replicas" (dict
  "grpc" "tcp://0.0.0.0:9001"
  "http" "tcp://0.0.0.0:9002"
  "host" (printf "%s-replicas" .Release.Name)
  "tls" (dict "certificate" "/etc/tokengate-replicas/tls.crt" "key" "/etc/tokengate-replicas/tls.key" "ca" "/etc/tokengate-replicas/ca.crt")) }}
{{- end }}
{{- $config := dict "listen" $listen "store" $store }}
{{- if not (hasKey .Values.config "clientAddress") }}
{{- $_ := set $config "clientAddress" (eq .Values.service.type "ClusterIP" | ternary (dict "trustedHops" 1) (dict "source" true)) }}
{{- end }}
{{- if .Values.store.badger.enabled }}
{{- /* Nobody else answers while the one tokengate restarts. */}}
{{- $_ := set $config "envoy" (dict "bypass" true) }}
{{- end }}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) }}
{{- end }}

{{- /* The part of the configuration that running pods cannot take over. */ -}}
{{- define "tokengate.restartChecksum" -}}
{{- $config := include "tokengate.config" . | fromYaml }}
{{- $tokens := pick ($config.tokens | default dict) "queryParameter" }}
{{- set (pick $config "publicURL" "listen" "store" "upstream" "clientAddress" "directory" "envoy") "tokens" $tokens | toJson | sha256sum }}
{{- end }}
