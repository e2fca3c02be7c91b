{{- define "gonghai.labels" -}}
app.kubernetes.io/name: gonghai
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .process }}
{{- end }}

{{- define "gonghai.metadata" -}}
name: {{ .root.Release.Name }}-{{ .process }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "gonghai.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "gonghai.services" -}}
identity dedupe customers leads orders approvals notify telephony
{{- end }}

{{- /* What every process is told. Secrets come as files, their paths in NAME_FILE. */ -}}
{{- define "gonghai.env" -}}
{{- $root := .root }}
{{- range $name := keys $root.Values.databases | sortAlpha }}
- name: DATABASE_URL{{ if ne $name "main" }}_{{ upper $name }}{{ end }}_FILE
  value: /run/gonghai/stores/database-{{ $name }}
{{- end }}
- {name: AMQP_URL_FILE, value: /run/gonghai/stores/amqp}
- {name: AMQP_QUEUE_TYPE, value: {{ $root.Values.queues.type | quote }}}
- {name: TEMPORAL_ADDRESS, value: {{ $root.Values.temporal.address | quote }}}
- {name: TEMPORAL_NAMESPACE, value: {{ $root.Values.temporal.namespace | quote }}}
{{- range $service := splitList " " (include "gonghai.services" $root) }}
- name: {{ upper $service }}_ADDRESS
  value: dns:///{{ $root.Release.Name }}-{{ $service }}.{{ $root.Release.Namespace }}.svc:7000
{{- end }}
- {name: TRUSTED_KEYS_FILE, value: /run/gonghai/trusted/trusted-keys.json}
{{- if .signs }}
- {name: SIGNING_KEYS_FILE, value: /run/gonghai/keys/signing-keys.json}
{{- end }}
{{- if $root.Values.tls.internalSecret }}
- {name: INTERNAL_TLS_CERTIFICATE, value: /run/gonghai/tls/tls.crt}
- {name: INTERNAL_TLS_KEY, value: /run/gonghai/tls/tls.key}
- {name: INTERNAL_TLS_CA, value: /run/gonghai/tls/ca.crt}
{{- end }}
- {name: BIND_ADDRESS, value: 0.0.0.0}
- {name: PORT, value: {{ .port | quote }}}
- {name: METRICS_ADDRESS, value: 0.0.0.0}
- {name: METRICS_PORT, value: "9000"}
{{- if $root.Values.recordings.claim }}
- {name: RECORDINGS_URL, value: /recordings}
{{- end }}
{{- range $name, $value := $root.Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range $name, $_ := $root.Values.secretEnv }}
- {name: {{ $name }}_FILE, value: /run/gonghai/own/{{ $name }}}
{{- end }}
{{- end }}

{{- define "gonghai.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: stores, mountPath: /run/gonghai/stores, readOnly: true}
- {name: trusted, mountPath: /run/gonghai/trusted, readOnly: true}
{{- if .signs }}
- {name: keys, mountPath: /run/gonghai/keys, readOnly: true}
{{- end }}
{{- if .root.Values.tls.internalSecret }}
- {name: tls, mountPath: /run/gonghai/tls, readOnly: true}
{{- end }}
{{- if .root.Values.secretEnv }}
- {name: own, mountPath: /run/gonghai/own, readOnly: true}
{{- end }}
{{- if and .root.Values.recordings.claim (has .process (list "telephony" "pbx")) }}
- {name: recordings, mountPath: /recordings}
{{- end }}
{{- end }}

{{- define "gonghai.volumes" -}}
{{- $root := .root }}
- name: tmp
  emptyDir: {}
- name: stores
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $at := $root.Values.databases }}
      - secret: {name: {{ $at.secret }}, items: [{key: {{ $at.key }}, path: database-{{ $name }}}]}
      {{- end }}
      - secret: {name: {{ $root.Values.amqp.secret }}, items: [{key: {{ $root.Values.amqp.key }}, path: amqp}]}
- name: trusted
  configMap: {name: {{ $root.Values.keys.trusted }}}
{{- if .signs }}
- name: keys
  secret: {secretName: {{ $root.Values.keys.secretPrefix }}{{ .signs }}, defaultMode: 0440}
{{- end }}
{{- if $root.Values.tls.internalSecret }}
- name: tls
  secret: {secretName: {{ $root.Values.tls.internalSecret }}, defaultMode: 0440}
{{- end }}
{{- if $root.Values.secretEnv }}
- name: own
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $at := $root.Values.secretEnv }}
      - secret: {name: {{ $at.secret }}, items: [{key: {{ $at.key }}, path: {{ $name }}}]}
      {{- end }}
{{- end }}
{{- if and $root.Values.recordings.claim (has .process (list "telephony" "pbx")) }}
- name: recordings
  persistentVolumeClaim: {claimName: {{ $root.Values.recordings.claim }}}
{{- end }}
{{- end }}

{{- /* Nobody is root, nothing is written but /tmp and what is mounted, and no process talks to Kubernetes. */ -}}
{{- define "gonghai.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  {{- with .groups }}
  supplementalGroups: {{ toJson . }}
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "gonghai.container" -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
