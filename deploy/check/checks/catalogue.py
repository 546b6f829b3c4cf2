"""All checks by the name that they are told of under, in the order in which they run."""

from . import hardening, linters, nats, programs, schemas, wiring

CHECKS = {
    "kubernetes": schemas.kubernetes,
    "custom resources": schemas.custom_resources,
    "expressions": schemas.expressions,
    "compose schema": schemas.compose,
    "dockerfiles": linters.dockerfiles,
    "scripts": linters.scripts,
    "variables in manifests": programs.manifests,
    "variables in compose": programs.compose,
    "variables in images": programs.images,
    "names that are watched": programs.names,
    "drain": programs.drain,
    "selectors": wiring.selectors,
    "network policies": wiring.policies,
    "ports": wiring.ports,
    "references": wiring.references,
    "scaling": wiring.scaling,
    "pods": hardening.pods,
    "containers": hardening.containers,
    "probes": hardening.probes,
    "budgets": hardening.budgets,
    "compose services": hardening.compose,
    "compose builds": hardening.built,
    "nats values": nats.values,
    "nats addresses": nats.addresses,
    "nats in compose": nats.compose,
    "nats versions": nats.versions,
    "nats reached": nats.network,
}
