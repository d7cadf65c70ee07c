{{- define "hks.name" -}}
{{- if contains "hks" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-hks" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "hks.selector" -}}
app.kubernetes.io/name: hks
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Not app.kubernetes.io/managed-by=hks: that label is for what hks deploys. */ -}}
{{- define "hks.labels" -}}
{{ include "hks.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "hks.account" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}{{ else if .Values.serviceAccount.create }}{{ include "hks.name" . }}{{ else }}{{ fail "serviceAccount.name must be set when serviceAccount.create is false" }}{{ end }}
{{- end }}

{{- /* Not empty if another pod stands by. */ -}}
{{- define "hks.stands-by" -}}
{{- if gt (int .Values.replicas) 1 }}true{{ end }}
{{- end }}

{{- define "hks.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* What is spoken at the endpoint: the name of its port, by which some ingress controllers and Gateways go. */ -}}
{{- define "hks.scheme" -}}
{{ ternary "https" "http" (not (empty .Values.tlsSecret)) }}
{{- end }}

{{- /* The Secret with the key that seals records. */ -}}
{{- define "hks.seal" -}}
{{ .Values.sealKeySecret | default (printf "%s-seal" (include "hks.name" .)) }}
{{- end }}

{{- /* The configuration as the daemon reads it: what a pod's own file system and network decide is set here. */ -}}
{{- define "hks.config" -}}
{{- $fixed := dict "listen" "0.0.0.0:8080" "probes" "0.0.0.0:8081" "dataDir" "/var/lib/hks" "sealKey" "/etc/hks-seal/key" -}}
{{- if include "hks.stands-by" . }}{{ $_ := set $fixed "leaderElection" (dict "lease" (include "hks.name" .) "namespace" .Release.Namespace) }}{{ end }}
{{- if .Values.tlsSecret }}{{ $_ := set $fixed "tls" (dict "certificate" "/etc/hks-tls/tls.crt" "key" "/etc/hks-tls/tls.key") }}{{ end }}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $fixed) }}
{{- end }}

{{- /* Binds the account of hks to a role. Arguments: root, namespace, name, kind, role */ -}}
{{- define "hks.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels: {{- include "hks.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: {{ include "hks.account" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}
