"""The mistakes that the self-test plants, one at a time."""

import typing


class Mistake(typing.NamedTuple):
    check: str
    """Below `deploy`."""
    file: str
    old: str
    new: str
    """What the check must say, among other things."""
    told: str


BASE = "kubernetes/base"
PARTS = "kubernetes/components"

MISTAKES = [
    Mistake("kubernetes", f"{BASE}/query.yaml", "periodSeconds: 5", "periodSecond: 5", "periodSecond"),
    Mistake("kubernetes", f"{BASE}/store.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: a minute", "terminationGracePeriodSeconds"),
    Mistake("kubernetes", f"{BASE}/gateway.yaml", "kind: Service\n", "kind: Servise\n", "no v1 Servise"),
    Mistake("kubernetes", "kubernetes/time-slicing.yaml", "\ndata:", "\ndates:", "dates"),
    Mistake("kubernetes", "kubernetes/overlays/gpu/kustomization.yaml", "components/gpu", "components/gpus", "cannot be rendered"),
    Mistake("custom resources", f"{PARTS}/autoscaling/caption.yaml", "maxReplicaCount", "maxReplicas", "maxReplicas"),
    Mistake("custom resources", f"{PARTS}/autoscaling/encode.yaml", 'lagThreshold: "2000"', "lagThreshold: 2000", "lagThreshold"),
    Mistake("custom resources", f"{PARTS}/autoscaling/encode.yaml", "lagThreshold:", "lagThresold:", "does not know lagThresold"),
    Mistake("custom resources", f"{PARTS}/autoscaling/account.yaml", "parameter: account", "parameter: accounts", "needs account"),
    Mistake("custom resources", f"{PARTS}/monitoring/alerts.yaml", "for: 5m", "for: five minutes", "five minutes"),
    Mistake("custom resources", f"{PARTS}/monitoring/pods.yaml", "podMetricsEndpoints", "endpoints", "endpoints"),
    Mistake("custom resources", f"{PARTS}/autoscaling/account.yaml", "secretTargetRef", "secretRef", "secretRef"),
    Mistake("expressions", f"{PARTS}/monitoring/alerts.yaml", "sum(rate(weimocir", "sum(rate((weimocir", "WeimocirSearchesArePartial is no PromQL"),
    Mistake("compose schema", "compose.yaml", "stop_grace_period: 60s", "stop_grace: 60s", "stop_grace"),
    Mistake("compose schema", "compose.gpu.yaml", "capabilities: [gpu]", "capability: [gpu]", "capability"),
    Mistake("dockerfiles", "images/cpu.Dockerfile", "RUN mkdir -p /empty", "RUN cd /tmp && mkdir -p /empty", "DL3003"),
    Mistake("dockerfiles", "images/cpu.Dockerfile", "debian:13.4-slim", "debian:stable-slim", "debian:stable-slim moves"),
    Mistake("dockerfiles", "images/cuda.Dockerfile", "USER 65532:65532", "USER root", "as root"),
    Mistake("scripts", "images/ready", '"$address"', "$address", "SC2086"),
    Mistake("variables in manifests", f"{BASE}/store.yaml", "WEIMOCIR_STORE_DATA", "WEIMOCIR_STORE_DIR", "store reads no variable WEIMOCIR_STORE_DIR"),
    Mistake("variables in manifests", f"{BASE}/kustomization.yaml", "WEIMOCIR_LOG=", "WEIMOCIR_LOGS=", "reads no variable WEIMOCIR_LOGS"),
    # What another program reads is no excuse.
    Mistake("variables in manifests", f"{BASE}/query.yaml", "WEIMOCIR_OPERATIONS", "WEIMOCIR_STORE_SHARDS", "query reads no variable"),
    Mistake("variables in manifests", f"{PARTS}/weights-claim/encode.yaml", "--text", "--words", "cli has no argument --words"),
    Mistake("variables in manifests", f"{BASE}/encode.yaml", "weimocir-encode:0.1.0", "weimocir-encoder:0.1.0", "none of those"),
    Mistake("variables in compose", "compose.yaml", "WEIMOCIR_LISTEN", "WEIMOCIR_LISTENS", "gateway reads no variable WEIMOCIR_LISTENS"),
    Mistake("variables in compose", "compose.gpu.yaml", "WEIMOCIR_CAPTION_PRECISION", "WEIMOCIR_PRECISION", "caption reads no variable"),
    Mistake("variables in images", "images/cpu.Dockerfile", "ENV WEIMOCIR_STORE_DATA=", "ENV WEIMOCIR_DATA=", "store reads no variable WEIMOCIR_DATA"),
    Mistake("variables in images", "images/weights.Dockerfile", "--text ready", "--word ready", "cli has no argument --word"),
    Mistake("names that are watched", f"{PARTS}/autoscaling/caption.yaml", "consumer: caption", "consumer: captions", "no consumer captions"),
    Mistake("names that are watched", f"{PARTS}/autoscaling/encode.yaml", "stream: WEIMOCIR_CAPTIONS", "stream: WEIMOCIR_CAPTION", "no stream WEIMOCIR_CAPTION:"),
    Mistake("names that are watched", f"{PARTS}/monitoring/alerts.yaml", "WEIMOCIR_DEAD", "WEIMOCIR_DEATH", "no stream WEIMOCIR_DEATH"),
    Mistake("names that are watched", f"{PARTS}/monitoring/alerts.yaml", "weimocir_partial_searches_total", "weimocir_partial_total", "measures weimocir_partial_total"),
    Mistake("drain", f"{BASE}/encode.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 20", "is killed after 20 s"),
    Mistake("drain", "compose.yaml", "  stop_grace_period: 60s", "  stop_grace_period: 10s", "is killed after 10 s"),
    Mistake("selectors", f"{BASE}/gateway.yaml", "  selector: *labels", "  selector: {app: gateway}", "meets no pod"),
    Mistake("selectors", f"{BASE}/store.yaml", "    matchLabels: *labels\n  template", "    matchLabels: {app.kubernetes.io/name: weimocir-stores}\n  template", "labels of its own pods"),
    Mistake("selectors", f"{PARTS}/monitoring/pods.yaml", "part-of: weimocir", "part-of: weimocirs", "meets no pod"),
    Mistake("selectors", "kubernetes/overlays/cluster/kustomization.yaml", "app.kubernetes.io/part-of: weimocir\n", "app.kubernetes.io/name: weimocir\n", "other pods than its own"),
    Mistake("network policies", f"{BASE}/network.yaml", "port: 8080", "port: 8081", "port 8081 is none"),
    Mistake("network policies", f"{BASE}/network.yaml", "app.kubernetes.io/name: weimocir-gateway", "app.kubernetes.io/name: gateway", "meets no pod"),
    Mistake("network policies", f"{BASE}/network.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]", "denies what the others"),
    Mistake("network policies", f"{PARTS}/weights-claim/network.yaml", "values: [weimocir-encode, weimocir-caption]", "values: [encode]", "meets no pod"),
    Mistake("ports", f"{BASE}/query.yaml", "path: /ready\n              port: operations", "path: /ready\n              port: operation", "asks the port operation,"),
    Mistake("ports", f"{BASE}/query.yaml", "0.0.0.0:9090", "0.0.0.0:9091", "its ports are [9090]"),
    Mistake("ports", f"{BASE}/gateway.yaml", "targetPort: http", "targetPort: web", "has no port web"),
    Mistake("ports", f"{PARTS}/monitoring/pods.yaml", "port: operations", "port: metrics", "has a port metrics"),
    Mistake("references", f"{BASE}/caption.yaml", "key: WEIMOCIR_CAPTIONER", "key: CAPTIONER", "needs CAPTIONER of the ConfigMap"),
    Mistake("references", f"{BASE}/account.yaml", "name: weimocir", "name: weimocirs", "needs the ServiceAccount weimocir"),
    Mistake("references", f"{PARTS}/credentials/kustomization.yaml", "secretName: weimocir-nats-store", "secretName: weimocir-nats-stores", "does not tell how to make"),
    Mistake("references", f"{PARTS}/weights-claim/encode.yaml", "claimName: weimocir-weights", "claimName: weights", "needs the PersistentVolumeClaim weights"),
    Mistake("references", f"{BASE}/store.yaml", "serviceName: store", "serviceName: stores", "needs the Service stores"),
    Mistake("references", f"{BASE}/query.yaml", "- name: tmp\n              mountPath", "- name: temp\n              mountPath", "mounts a volume temp"),
    Mistake("references", f"{PARTS}/autoscaling/encode.yaml", "scaleTargetRef:\n    name: encode", "scaleTargetRef:\n    name: encoder", "needs the Deployment encoder"),
    Mistake("references", f"{PARTS}/autoscaling/account.yaml", "name: nats-account", "name: account", "needs the TriggerAuthentication nats-account"),
    Mistake("references", f"{PARTS}/autoscaling/account.yaml", "name: weimocir-nats-server", "name: weimocir-nats-accounts", "does not tell how to make"),
    Mistake("scaling", f"{PARTS}/autoscaling/kustomization.yaml", "name: encode|caption", "name: encode", "would undo the scaling"),
    Mistake("pods", f"{BASE}/caption.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    Mistake("pods", f"{BASE}/caption.yaml", "type: RuntimeDefault", "type: Unconfined", "any system call"),
    Mistake("pods", f"{BASE}/namespace.yaml", "enforce: restricted", "enforce: baseline", "restricted profile"),
    Mistake("pods", f"{BASE}/query.yaml", "emptyDir:\n            sizeLimit: 64Mi", "hostPath:\n            path: /tmp", "sees the node's disk"),
    Mistake("containers", f"{BASE}/store.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "may write on its image's disk"),
    Mistake("containers", f"{BASE}/store.yaml", "drop: [ALL]", "drop: [NET_RAW]", "has capabilities"),
    Mistake("containers", f"{PARTS}/weights-claim/encode.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "may gain rights"),
    Mistake("containers", f"{BASE}/gateway.yaml", "limits:\n              memory: 512Mi", "limits: {}", "no limit on memory"),
    Mistake("probes", f"{BASE}/encode.yaml", "path: /ready", "path: /live", "does not ask /ready"),
    Mistake("budgets", f"{BASE}/query.yaml", "app.kubernetes.io/component: query\nspec:\n  maxUnavailable", "app.kubernetes.io/component: queries\nspec:\n  maxUnavailable", "no PodDisruptionBudget"),
    Mistake("compose services", "compose.yaml", "read_only: true", "read_only: false", "may write"),
    Mistake("compose services", "compose.yaml", '"127.0.0.1:4222:4222"', '"4222:4222"', "beyond this machine"),
    Mistake("compose services", "compose.yaml", '["models:/models"]', '["model:/models"]', "needs the volume model,"),
    Mistake("compose services", "compose.yaml", "depends_on:\n    nats:", "depends_on:\n    broker:", "waits for broker"),
    Mistake("compose builds", "compose.yaml", "target: gateway", "target: gateways", "has no stage gateways"),
    Mistake("nats values", "nats/values.yaml", "sync_interval: always", "sync_interval: 2m", "sync_interval is not always"),
    Mistake("nats values", "nats/values.yaml", "replicas: 3", "replicas: 1", "wants 3 copies"),
    Mistake("nats values", "nats/values.yaml", "<< 8MB >>", "<< 1MB >>", "max_payload is not 8MB"),
    Mistake("nats addresses", f"{PARTS}/autoscaling/encode.yaml", "nats-headless", "nats", "natsServerMonitoringEndpoint is not"),
    Mistake("nats addresses", "nats/values.yaml", "fullnameOverride: nats", "fullnameOverride: broker", "WEIMOCIR_NATS is not"),
    Mistake("nats in compose", "compose.yaml", "sync_interval: always", "sync_interval: 2m", "does not say sync_interval: always"),
    Mistake("nats versions", "compose.yaml", "nats:2.14.6-alpine", "nats:alpine", "by an exact version"),
    Mistake("nats versions", "nats/values.yaml", "--version 2.14.6", "--version 2.12.4", "different versions"),
    Mistake("nats reached", f"{BASE}/network.yaml", "port: 4222}\n---", "port: 4223}\n---", "lets it out to NATS"),
]
