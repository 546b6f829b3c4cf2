"""Whether objects that name each other find each other: labels, ports, accounts, volumes, secrets."""

from .tree import WORKLOADS, matches, named

# NATS's pods, which its chart makes: what stands for them here.
NATS = {"app.kubernetes.io/name": "nats"}
NATS_PORTS = {4222, 6222, 7777, 8222}


def selectors(tree):
    """That a workload's selector meets its own pods, and every other selector meets some."""
    for name, item, overlay in tree.each():
        pods = [labels for labels, _ in pods_of(tree, overlay)]
        kind, spec = item["kind"], item.get("spec", {})
        if kind in WORKLOADS:
            template = spec["template"]
            if not matches(spec["selector"], template["metadata"]["labels"]):
                yield f"{name}: its selector does not meet the labels of its own pods"
            for spread in template["spec"].get("topologySpreadConstraints", []):
                if not matches(spread["labelSelector"], template["metadata"]["labels"]):
                    yield f"{name}: topologySpreadConstraints count other pods than its own"
        elif kind in ("Service", "PodDisruptionBudget", "PodMonitor"):
            if not any(matches(spec["selector"], labels) for labels in pods):
                yield f"{name}: its selector meets no pod"


def policies(tree):
    """That a NetworkPolicy is about pods that there are, and about ports that they listen on."""
    for name, item, overlay in tree.each("NetworkPolicy"):
        spec, pods = item["spec"], pods_of(tree, overlay) + [(NATS, NATS_PORTS)]
        about = ports_of(spec["podSelector"], pods)
        if about is None:
            yield f"{name}: its podSelector meets no pod"
            continue
        for rule in spec.get("ingress", []):
            yield from unheard(name, rule, about)
        for rule in spec.get("egress", []):
            for peer in rule.get("to", []):
                if set(peer) == {"podSelector"}:
                    yield from unheard(name, rule, ports_of(peer["podSelector"], pods))
        for rule in spec.get("ingress", []):
            for peer in rule.get("from", []):
                if set(peer) == {"podSelector"} and ports_of(peer["podSelector"], pods) is None:
                    yield f"{name}: lets in pods that there are none of: {peer['podSelector']}"
    for overlay, items in tree.overlays.items():
        closed = [item for item in items if item["kind"] == "NetworkPolicy" and item["spec"]["podSelector"] == {}
                  and set(item["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
                  and "ingress" not in item["spec"] and "egress" not in item["spec"]]
        if not closed:
            yield f"{overlay}: no NetworkPolicy denies what the others do not allow"


def ports_of(selector, pods):
    """The ports of all pods that a selector meets; none if it meets none."""
    found = [ports for labels, ports in pods if matches(selector, labels)]
    return set().union(*found) if found else None


def unheard(name, rule, listening):
    if listening is None:
        yield f"{name}: lets out to pods that there are none of"
        return
    for port in rule.get("ports", []):
        if port["port"] not in listening:
            yield f"{name}: port {port['port']} is none that those pods listen on ({sorted(listening)})"


def ports(tree):
    """That Services, probes, monitors and the programs' own addresses mean the containers' ports."""
    for name, container, _ in tree.containers():
        own = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port is not None and port not in own and port not in own.values():
                yield f"{name}: {probe} asks the port {port}, which the container does not have"
        for entry in container.get("env", []):
            if entry["name"] in ("WEIMOCIR_OPERATIONS", "WEIMOCIR_LISTEN"):
                number = int(entry["value"].rsplit(":", 1)[1])
                if number not in own.values():
                    yield f"{name}: {entry['name']} is {entry['value']}, but its ports are {sorted(own.values())}"
    for name, item, overlay in tree.each("Service"):
        for port in item["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod, template in templates(tree, overlay):
                meant = matches(item["spec"]["selector"], template["metadata"]["labels"])
                if meant and target not in offered(template):
                    yield f"{name}: {pod} has no port {target}"
    for name, item, overlay in tree.each("PodMonitor"):
        there = set().union(*(offered(template) for _, template in templates(tree, overlay)))
        for endpoint in item["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] not in there:
                yield f"{name}: no pod has a port {endpoint['port']}"


def references(tree):
    """That whatever is named is there: in the same overlay, made by make-secrets, or told of in deploy/README.md if a
    person makes it."""
    for name, template, overlay in tree.pods():
        spec = template["spec"]
        wanted = {("ServiceAccount", spec.get("serviceAccountName", "default"))}
        mounts = set()
        for container in spec.get("initContainers", []) + spec["containers"]:
            mounts |= {mount["name"] for mount in container.get("volumeMounts", [])}
            wanted |= set(of_environment(container))
        claims = item_claims(tree, overlay, name)
        volumes = {volume["name"] for volume in spec.get("volumes", [])} | claims
        for volume in spec.get("volumes", []):
            wanted |= set(of_volume(volume))
        for missing in sorted(mounts - volumes):
            yield f"{name} mounts a volume {missing} that it does not have"
        for unused in sorted(volumes - mounts):
            yield f"{name} has a volume {unused} that no container mounts"
        yield from (f"{name} {line}" for line in absent(tree, overlay, wanted))
    for name, item, overlay in tree.each("StatefulSet"):
        wanted = {("Service", item["spec"]["serviceName"])}
        yield from (f"{name} {line}" for line in absent(tree, overlay, wanted))
    for name, item, overlay in tree.each("ScaledObject"):
        target = item["spec"]["scaleTargetRef"]
        wanted = {(target.get("kind", "Deployment"), target["name"])}
        yield from (f"{name} {line}" for line in absent(tree, overlay, wanted))


def item_claims(tree, overlay, name):
    for item in tree.overlays[overlay]:
        if named(overlay, item) == name:
            return {claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])}
    return set()


def of_environment(container):
    for source in container.get("envFrom", []):
        for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if field in source:
                yield kind, source[field]["name"]
    for entry in container.get("env", []):
        for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            if field in entry.get("valueFrom", {}):
                yield kind, entry["valueFrom"][field]["name"], entry["valueFrom"][field]["key"]


def of_volume(volume):
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"]
    if "secret" in volume:
        yield "Secret", volume["secret"]["secretName"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def absent(tree, overlay, wanted):
    guide = tree.text("deploy/README.md")
    items = [*tree.overlays[overlay], *tree.keys.objects]
    there = {(item["kind"], item["metadata"]["name"]): item for item in items}
    for kind, name, *key in sorted(wanted):
        if (kind, name) not in there:
            if kind != "Secret":
                yield f"needs the {kind} {name}, which is not there"
            elif name not in guide:
                yield f"needs the Secret {name}, which deploy/README.md does not tell how to make, and make-secrets does not make"
        elif key and key[0] not in there[kind, name].get("data", {}):
            yield f"needs {key[0]} of the {kind} {name}, which has no such key"


def scaling(tree):
    """That nothing but KEDA counts the replicas of what KEDA scales."""
    for name, item, overlay in tree.each("ScaledObject"):
        for other in tree.overlays[overlay]:
            same = other["kind"] == "Deployment" and other["metadata"]["name"] == item["spec"]["scaleTargetRef"]["name"]
            if same and "replicas" in other["spec"]:
                yield f"{name}: {other['metadata']['name']} says how many replicas it has, and would undo the scaling"


def templates(tree, overlay):
    workloads = [item for item in tree.overlays[overlay] if item["kind"] in WORKLOADS]
    return [(named(overlay, item), item["spec"]["template"]) for item in workloads]


def pods_of(tree, overlay):
    """The labels of each workload's pods, and the numbers of the ports that they listen on."""
    return [
        (template["metadata"]["labels"], {port["containerPort"] for port in container_ports(template)})
        for _, template in templates(tree, overlay)
    ]


def offered(template):
    """Names and numbers of a pod's ports."""
    all_ports = container_ports(template)
    return {port.get("name") for port in all_ports} | {port["containerPort"] for port in all_ports}


def container_ports(template):
    return [port for container in template["spec"]["containers"] for port in container.get("ports", [])]
