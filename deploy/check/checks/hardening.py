"""Whether pods and services may do no more than they need: Kubernetes' restricted profile, read-only disks,
bounded memory, probes, a disruption budget."""

from .tree import WORKLOADS, matches


def pods(tree):
    for name, template, _ in tree.pods():
        spec = template["spec"]
        security = spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True:
            yield f"{name} may run as root: securityContext.runAsNonRoot"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name} may make any system call: securityContext.seccompProfile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name} gets a token of Kubernetes that it does not need: automountServiceAccountToken"
        for volume in spec.get("volumes", []):
            if "hostPath" in volume:
                yield f"{name} sees the node's disk: {volume['name']}"
        if not spec.get("topologySpreadConstraints"):
            yield f"{name} may have all its pods on one node: topologySpreadConstraints"
    for name, item, _ in tree.each("Namespace"):
        if item["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name} does not enforce the restricted profile"


def containers(tree):
    for name, container, _ in tree.containers():
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may gain rights: allowPrivilegeEscalation"
        if security.get("readOnlyRootFilesystem") is not True:
            yield f"{name} may write on its image's disk: readOnlyRootFilesystem"
        if security.get("capabilities", {}).get("drop") != ["ALL"] or "add" in security.get("capabilities", {}):
            yield f"{name} has capabilities: capabilities.drop"
        resources = container.get("resources", {})
        for kind in ("cpu", "memory"):
            if kind not in resources.get("requests", {}):
                yield f"{name} requests no {kind}"
        if "memory" not in resources.get("limits", {}):
            yield f"{name} has no limit on memory"


def probes(tree):
    for name, template, _ in tree.pods():
        for container in template["spec"]["containers"]:
            for probe, path in (("startupProbe", "/live"), ("readinessProbe", "/ready"), ("livenessProbe", "/live")):
                if container.get(probe, {}).get("httpGet", {}).get("path") != path:
                    yield f"{name}: its {probe} does not ask {path}"


def budgets(tree):
    for name, item, overlay in tree.each(*WORKLOADS):
        labels = item["spec"]["template"]["metadata"]["labels"]
        items = tree.overlays[overlay]
        budgets_there = [other["spec"]["selector"] for other in items if other["kind"] == "PodDisruptionBudget"]
        if not any(matches(selector, labels) for selector in budgets_there):
            yield f"{name}: no PodDisruptionBudget keeps some of its pods while nodes are emptied"


def compose(tree):
    content = tree.yaml("deploy/compose.yaml")
    for name, service in content["services"].items():
        if service.get("read_only") is not True:
            yield f"compose.yaml: {name} may write on its image's disk: read_only"
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
            yield f"compose.yaml: {name} has capabilities: cap_drop"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"compose.yaml: {name} may gain rights: security_opt"
        if "test" not in service.get("healthcheck", {}):
            yield f"compose.yaml: {name} has no healthcheck"
        if "memory" not in service.get("deploy", {}).get("resources", {}).get("limits", {}):
            yield f"compose.yaml: {name} has no limit on memory"
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"compose.yaml: {name} listens beyond this machine: {port}"
        yield from (f"compose.yaml: {name} {line}" for line in dangling(content, service))


def dangling(content, service):
    """What a service names and the file does not have."""
    for other in service.get("depends_on", {}):
        if other not in content["services"]:
            yield f"waits for {other}, which is not there"
    for network in service.get("networks", []):
        if network not in content.get("networks", {}):
            yield f"needs the network {network}, which is not there"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if not source.startswith((".", "/")) and source not in content.get("volumes", {}):
            yield f"needs the volume {source}, which is not there"
    for config in service.get("configs", []):
        if config["source"] not in content.get("configs", {}):
            yield f"needs the config {config['source']}, which is not there"


def built(tree):
    """That what Compose builds are stages of the Dockerfiles."""
    base = tree.yaml("deploy/compose.yaml")["services"]
    for file in ("compose.yaml", "compose.gpu.yaml"):
        for name, service in tree.yaml(f"deploy/{file}")["services"].items():
            if "build" not in service:
                continue
            build = {**base.get(name, {}).get("build", {}), **service["build"]}
            if f" AS {build['target']}\n" not in tree.text(build["dockerfile"]):
                yield f"{file}: {name}: {build['dockerfile']} has no stage {build['target']}"
