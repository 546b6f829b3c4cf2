"""The files under check: read, rendered and handed out. Finds nothing wrong itself but what cannot be read."""

import base64
import concurrent.futures
import functools
import json
import pathlib
import subprocess
import sys
import tempfile

import yaml

# because: libyaml reads ten times as fast, and no package lacks it where these checks run
Loader = yaml.CSafeLoader
OVERLAYS = ("laptop", "gpu", "cluster")
NAMESPACE = "weimocir"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


class Broken(Exception):
    """Something that cannot be read at all; its text says what and why."""


class Tree:
    """One copy of the project, rendered when it is first asked for."""

    def __init__(self, root, names=OVERLAYS):
        self.root = pathlib.Path(root)
        self.names = names
        self.deploy = self.root / "deploy"

    def text(self, path):
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except OSError as error:
            raise Broken(f"{path} cannot be read: {error.strerror}") from error

    def yaml(self, path):
        try:
            return yaml.load(self.text(path), Loader=Loader)
        except yaml.YAMLError as error:
            raise Broken(f"{path} is no YAML: {error}") from error

    @functools.cached_property
    def overlays(self):
        """Each overlay's name with its rendered objects."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return dict(zip(self.names, pool.map(self._render, self.names), strict=True))

    def _render(self, overlay):
        command = ["kubectl", "kustomize", str(self.deploy / "kubernetes/overlays" / overlay)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Broken(f"the overlay {overlay} cannot be rendered: {done.stderr.strip()}")
        return [item for item in yaml.load_all(done.stdout, Loader=Loader) if item]

    @functools.cached_property
    def keys(self):
        """What make-secrets makes, in a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(self.deploy / "kubernetes/make-secrets"), "--out", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Broken(f"make-secrets failed: {done.stderr.strip()}")
            files = {file.name: file.read_text(encoding="utf-8") for file in pathlib.Path(folder).iterdir()}
        return Keys(files, json.loads(done.stdout)["items"])

    def each(self, *kinds):
        """Every rendered object of these kinds with the name to tell people, and its overlay."""
        for overlay, items in self.overlays.items():
            for item in items:
                if not kinds or item["kind"] in kinds:
                    yield named(overlay, item), item, overlay

    def pods(self):
        """The same for workloads, with the template of their pods."""
        for name, item, overlay in self.each(*WORKLOADS):
            yield name, item["spec"]["template"], overlay

    def containers(self):
        """The same with each container, those of the start included."""
        for name, template, overlay in self.pods():
            spec = template["spec"]
            for container in spec.get("initContainers", []) + spec["containers"]:
                yield f"{name}, container {container['name']}", container, overlay


class Keys:
    """The files that make-keys made, by name, and the Secrets that make-secrets printed."""

    def __init__(self, files, objects):
        self.files = files
        self.objects = objects
        self.secrets = {
            item["metadata"]["name"]: {key: base64.b64decode(data) for key, data in item["data"].items()}
            for item in objects
        }

    def roles(self):
        return {name.removesuffix(".nk") for name in self.files if name.endswith(".nk")}


def named(overlay, item):
    return f"{overlay}: {item['kind']} {item['metadata']['name']}"


def matches(selector, labels):
    """Whether labels meet a selector's `matchLabels`, or a plain selector, and its expressions."""
    plain = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
    expressions = selector.get("matchExpressions", [])
    return all(labels.get(k) == v for k, v in plain.items()) and all(
        meets(expression, labels) for expression in expressions
    )


def meets(expression, labels):
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise Broken(f"a selector has the operator {other}, which does not exist")
