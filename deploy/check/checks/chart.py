"""nats.conf as NATS's Helm chart writes it from its values: its files/config, as far as our values reach. Says
nothing about whether it is right."""

import json
import re

# What each overlay's NATS is installed with, as deploy/README.md says.
FILES = {
    "laptop": ("values.yaml", "values-laptop.yaml"),
    "gpu": ("values.yaml", "values-laptop.yaml", "values-credentials.yaml"),
    "cluster": ("values.yaml", "values-credentials.yaml"),
}


def values(tree, overlay):
    found = {}
    for file in FILES[overlay]:
        found = merged(found, tree.yaml(f"deploy/nats/{file}"))
    return found


def merged(under, over):
    """As Helm and the chart merge maps; a list is taken whole."""
    both = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            both[key] = merged(under[key], over[key])
    return both


def configuration(values, namespace):
    given = values["config"]
    conf = {"server_name": "<< $SERVER_NAME >>", "port": 4222, "http_port": given["monitor"]["port"]}
    conf |= tls(given.get("nats", {}))
    store = given["jetstream"]["fileStore"]
    size = store["pvc"]["size"].removesuffix("i") + "B"
    jetstream = {"store_dir": store["dir"], "max_memory_store": 0, "max_file_store": f"<< {size} >>"}
    conf["jetstream"] = merged(jetstream, given["jetstream"].get("merge", {}))
    if given["cluster"]["enabled"]:
        conf["cluster"] = cluster(values["fullnameOverride"], given["cluster"], namespace)
    return merged(conf, given.get("merge", {}))


def cluster(name, given, namespace):
    domain = f"{name}-headless"
    urls = given.get("routeURLs", {})
    if urls.get("useFQDN"):
        domain += f".{namespace}.svc.{urls['k8sClusterDomain']}"
    scheme = "tls" if given.get("tls", {}).get("enabled") else "nats"
    routes = [f"{scheme}://{name}-{number}.{domain}:6222" for number in range(given["replicas"])]
    conf = {"name": name, "port": 6222, "no_advertise": True, "routes": routes}
    return merged(conf | tls(given), given.get("merge", {}))


def tls(given):
    given = given.get("tls", {})
    if not given.get("enabled"):
        return {}
    files = {"cert_file": f"{given['dir']}/{given['cert']}", "key_file": f"{given['dir']}/{given['key']}"}
    return {"tls": merged(files, given.get("merge", {}))}


def text(configuration):
    """JSON, but for what the chart unquotes and includes."""
    told = json.dumps(configuration, indent=2, sort_keys=True)
    told = re.sub(r'".*\$include": "(.*)",?', r"include \1;", told)
    return re.sub(r'"<<\s+(.*)\s+>>"', r"\1", told)


def mounted(values):
    """The folder and the Secret of each mount that TLS brings."""
    given = values["config"]
    parts = [given.get("nats", {})] + [given["cluster"]] * given["cluster"]["enabled"]
    return {part["tls"]["dir"]: part["tls"]["secretName"] for part in parts if part.get("tls", {}).get("enabled")}
