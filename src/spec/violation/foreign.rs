//! Words of other languages: what people know from Kubernetes, compose and Helm, and how it is said here.

/// Keys that hks.yaml does not have, and what is written instead. A word that has one word for it here stands among the synonyms.
const KEYS: &[(&[&str], &str)] = &[
    (&["livenessProbe"], "it is `probes: {liveness: {path: /live}}` here"),
    (&["readinessProbe"], "it is `probes: {readiness: {path: /ready}}` here"),
    (&["startupProbe"], "it is `probes: {startup: {path: /ready}}` here"),
    (&["httpGet"], "write `path` and the name of the `port` in its place, such as `{path: /health, port: http}`"),
    (&["tcpSocket"], "write `tcp: true` and the name of the `port` in its place"),
    (&["initialDelaySeconds"], "it is `initialDelay: 10s` here"),
    (&["periodSeconds", "interval"], "it is `period: 10s` here"),
    (&["timeoutSeconds"], "it is `timeout: 5s` here"),
    (&["retries"], "it is `failureThreshold` here"),
    (&["start_period", "startPeriod"], "it is `probes: {startup: …}` here"),
    (&["terminationGracePeriodSeconds", "stop_grace_period"], "it is `shutdown: {gracePeriod: 30s}` here"),
    (&["containerPort", "targetPort", "servicePort", "expose", "published"], "name each port: `ports: {http: 8080}`"),
    (
        &["imagePullSecrets", "imagePullSecret"],
        "declare the registry with its `secret` under `registries`, and name it in `image`",
    ),
    (&["imagePullPolicy", "pull_policy"], "leave it out: a version or digest is pulled once and stays what it is"),
    (
        &["envFrom", "env_file", "secretEnv", "secretRef", "configMapRef"],
        "name each one under `env`, such as `KEY: ${secrets.NAME.KEY}`",
    ),
    (&["valueFrom", "secretKeyRef", "configMapKeyRef"], "write `${secrets.NAME.KEY}` as the value"),
    (&["configMap", "configMaps", "configs", "config"], "files of an app stand under its `files`"),
    (&["securityContext"], "it is `security` here"),
    (&["cap_add"], "it is `security: {capabilities: [CHOWN]}` here"),
    (&["user"], "it is `security: {runAsUser: 1000}` here"),
    (&["initContainers"], "what runs after a deployment is a job: `jobs: {migrate: {app: web, run: postDeploy}}`"),
    (
        &["containers", "spec", "template", "selector"],
        "this is no manifest of Kubernetes: the keys of an app stand right below its name",
    ),
    (
        &["nodeSelector", "tolerations", "affinity", "serviceAccountName", "priorityClassName", "placement"],
        "leave it out: where and as whom pods run is the platform's to say",
    ),
    (&["restart", "restartPolicy"], "leave it out: apps are always restarted; what ends by itself is a job"),
    (
        &["container_name", "networks", "network_mode", "links"],
        "leave it out: apps reach each other by `${apps.NAME.host}`",
    ),
    (&["build", "dockerfile", "context"], "build and push it elsewhere, and name the result under `image`"),
    (
        &["mem_limit", "memory", "cpus", "cpu", "limits", "requests"],
        "it is `resources: {limits: {cpu: 500m, memory: 256Mi}}` here",
    ),
    (&["namespace"], "leave it out: the project is not chosen in the file"),
    (&["ingressClassName", "ingressClass"], "leave it out: the platform knows its class"),
    (&["persistentVolumeClaim", "storageClassName"], "it is `volumes: {data: {mount: /data, size: 5Gi}}` here"),
    (&["values", "chart", "release"], "this is no chart of Helm: write apps and databases themselves"),
    (&["helm"], "charts are not deployed by hks.yaml; write apps and databases themselves"),
];

/// How it is said here what another language calls `key`.
pub(super) fn said(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(words, _)| words.contains(&key)).map(|(_, help)| *help)
}
