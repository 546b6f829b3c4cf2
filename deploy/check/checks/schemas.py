"""Whether every object has the shape that Kubernetes, KEDA, Prometheus' operator and Compose ask for."""

import json

import jsonschema
import kubernetes_validate
import promql_parser

from .tree import named

# The oldest Kubernetes that all overlays run on, because of image volumes, and the newest that is known.
VERSIONS = ("1.35", "1.37")
OWN = ("ScaledObject", "PodMonitor", "PrometheusRule")
# What KEDA's nats-jetstream scaler reads. Its CRD takes any text here, and KEDA passes over what it does not know.
TRIGGER = {
    "natsServerMonitoringEndpoint", "account", "stream", "consumer", "lagThreshold", "activationLagThreshold",
    "useHttps",
}


def kubernetes(tree):
    """As `kubernetes-validate --strict`, with an error where it has no schema and only warns."""
    slicing = tree.yaml("deploy/kubernetes/time-slicing.yaml")
    alone = [(named("time-slicing.yaml", slicing), slicing, None)]
    alone += [(named("make-secrets", item), item, None) for item in tree.keys.objects]
    for name, item, _ in [*tree.each(), *alone]:
        if item["kind"] in OWN:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(part) for part in error.path)
                yield f"{name} does not fit Kubernetes {version}: {place}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError:
                yield f"{name}: Kubernetes {version} has no {item['apiVersion']} {item['kind']}"


def custom_resources(tree):
    schemas = {kind: schema(tree, kind.lower()) for kind in OWN}
    for name, item, _ in tree.each(*OWN):
        yield from (f"{name} {line}" for line in misfits(schemas[item["kind"]], item))
    for name, item, _ in tree.each("ScaledObject"):
        for trigger in item["spec"].get("triggers", []):
            yield from (f"{name}: {line}" for line in trigger_problems(trigger))


def trigger_problems(trigger):
    if trigger.get("type") != "nats-jetstream":
        return
    metadata = trigger["metadata"]
    for key in metadata.keys() - TRIGGER:
        yield f"the scaler nats-jetstream does not know {key}"
    for key in {"natsServerMonitoringEndpoint", "account", "stream", "consumer"} - metadata.keys():
        yield f"the scaler nats-jetstream needs {key}"
    for key in {"lagThreshold", "activationLagThreshold"} & metadata.keys():
        if not metadata[key].isdigit():
            yield f"{key} is {metadata[key]!r}, not a whole number"


def expressions(tree):
    """That Prometheus can read what the alerts ask."""
    for name, item, _ in tree.each("PrometheusRule"):
        for group in item["spec"]["groups"]:
            for rule in group["rules"]:
                try:
                    promql_parser.parse(rule["expr"])
                except ValueError as error:
                    yield f"{name}: {rule.get('alert', rule.get('record'))} is no PromQL: {error}"


def compose(tree):
    against = schema(tree, "compose")
    for file in ("compose.yaml", "compose.gpu.yaml"):
        yield from (f"{file} {line}" for line in misfits(against, tree.yaml(f"deploy/{file}")))


def schema(tree, name):
    return json.loads(tree.text(f"deploy/check/schemas/{name}.json"))


def misfits(against, item):
    kind = jsonschema.validators.validator_for(against, jsonschema.Draft7Validator)
    for error in kind(against).iter_errors(item):
        yield f"does not fit its schema: {error.json_path}: {error.message}"
