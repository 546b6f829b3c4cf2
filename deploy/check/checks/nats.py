"""Whether NATS is set up as the programs and KEDA count on: the chart's values and Compose's configuration."""

import re

from .tree import NAMESPACE, matches


def values(tree):
    content = tree.yaml("deploy/nats/values.yaml")
    config = content["config"]
    if config["jetstream"].get("merge", {}).get("sync_interval") != "always":
        yield "nats/values.yaml: config.jetstream.merge.sync_interval is not always: what is acknowledged could be lost"
    if not config["jetstream"]["enabled"] or not config["jetstream"]["fileStore"]["enabled"]:
        yield "nats/values.yaml: JetStream keeps no files"
    if not config["monitor"]["enabled"]:
        yield "nats/values.yaml: config.monitor is off, and KEDA would see no queue"
    limit = re.search(r'MAX_PAYLOAD: &str = "(\w+)"', tree.text("services/cli/src/nats_server.rs"))[1]
    if config.get("merge", {}).get("max_payload") != f"<< {limit} >>":
        yield f"nats/values.yaml: max_payload is not {limit}, as `weimocir up` has it"
    copies = config["cluster"]["replicas"] if config["cluster"]["enabled"] else 1
    for wanted in re.findall(r"--nats-replicas (\d)", tree.text("deploy/README.md")):
        if int(wanted) > copies:
            yield f"deploy/README.md wants {wanted} copies of each stream, and there are {copies} servers"


def addresses(tree):
    """That the addresses in manifests are those of the services which the chart makes."""
    content = tree.yaml("deploy/nats/values.yaml")
    name = content.get("fullnameOverride", "nats")
    clients = [f"{scheme}://{name}.{NAMESPACE}.svc.cluster.local:4222" for scheme in ("nats", "tls")]
    monitor = f"{name}-headless.{NAMESPACE}.svc.cluster.local:{content['config']['monitor']['port']}"
    for told, item, _ in tree.each("ConfigMap"):
        if item["data"].get("WEIMOCIR_NATS", clients[0]) not in clients:
            yield f"{told}: WEIMOCIR_NATS is not {' or '.join(clients)}"
    for told, item, _ in tree.each("ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            if trigger["metadata"].get("natsServerMonitoringEndpoint") != monitor:
                yield f"{told}: natsServerMonitoringEndpoint is not {monitor}"


def compose(tree):
    content = tree.yaml("deploy/compose.yaml")["configs"]["nats"]["content"]
    limit = re.search(r'MAX_PAYLOAD: &str = "(\w+)"', tree.text("services/cli/src/nats_server.rs"))[1]
    for line in ("sync_interval: always", f"max_payload: {limit}", "http: 8222"):
        if not re.search(rf"^\s*{re.escape(line)}$", content, re.MULTILINE):
            yield f"compose.yaml: NATS's configuration does not say {line}"


def versions(tree):
    """One version of NATS everywhere, and none before 2.11."""
    image = tree.yaml("deploy/compose.yaml")["services"]["nats"]["image"]
    version = re.search(r":(\d+)\.(\d+)\.(\d+)", image)
    if not version or tuple(map(int, version.groups())) < (2, 11, 0):
        yield f"compose.yaml: {image} is not NATS 2.11 or newer, by an exact version"
    chart = re.search(r"nats/nats --version (\S+)", tree.text("deploy/nats/values.yaml"))
    if not chart or version and chart[1] != ".".join(version.groups()):
        yield "nats/values.yaml and compose.yaml name different versions of NATS"


def network(tree):
    """That every program is let out to NATS."""
    for overlay, items in tree.overlays.items():
        allowed = [item["spec"]["podSelector"] for item in items if item["kind"] == "NetworkPolicy"
                   and any(port["port"] == 4222 for rule in item["spec"].get("egress", []) for port in rule["ports"])]
        for name, template, own in tree.pods():
            labels = template["metadata"]["labels"]
            if own == overlay and not any(matches(selector, labels) for selector in allowed):
                yield f"{name}: no NetworkPolicy lets it out to NATS"
