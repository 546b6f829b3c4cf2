"""Whether the programs know what they are told: variables, arguments, streams and consumers. All names are read
from their sources."""

import functools
import re
import shlex

from .tree import Broken

# What a program's libraries read.
LIBRARIES = {"RUST_BACKTRACE", "TOKIO_WORKER_THREADS", "RAYON_NUM_THREADS"}
IMAGE = re.compile(r"(?:.*/)?weimocir-(cli|caption|encode|store|query|gateway)(?:-cuda)?(?::.*)?$")

# What clap is told of an argument, and the field that it is.
ARGUMENT = re.compile(
    r"#\[arg\((.*?)\)\]\s*(?://[^\n]*\s*)*(?:pub(?:\([a-z]+\))? )?(\w+):", re.DOTALL
)


class Sources:
    """The text of each program's crates, its own and those of `shared` that it is made of."""

    def __init__(self, tree):
        self.tree = tree

    @functools.lru_cache
    def crates(self, folder):
        """The folder of a crate and of all that it depends on in this workspace."""
        manifest = self.tree.text(f"{folder}/Cargo.toml").split("[dev-dependencies]")[0]
        found = {folder}
        for name in re.findall(r"^weimocir-([a-z]+)[ .]", manifest, re.MULTILINE):
            parent = "shared" if (self.tree.root / "shared" / name).is_dir() else "services"
            found |= self.crates(f"{parent}/{name}")
        return frozenset(found)

    @functools.lru_cache
    def text(self, program):
        files = []
        for crate in sorted(self.crates(f"services/{program}")):
            files += sorted((self.tree.root / crate / "src").rglob("*.rs"))
        return "\n".join(file.read_text(encoding="utf-8").split("#[cfg(test)]\nmod tests {")[0] for file in files)

    def knows_variable(self, program, name):
        return name in LIBRARIES or f'"{name}"' in self.text(program)

    @functools.lru_cache
    def flags(self, program):
        """Every `--flag` of clap's arguments, by the name that is given or that of the field."""
        found = {"--help", "--version"}
        for body, field in ARGUMENT.findall(self.text(program)):
            given = re.search(r'\blong\s*=\s*"([^"]+)"', body)
            if given:
                found.add(f"--{given[1]}")
            elif re.search(r"\blong\b", body):
                found.add(f"--{field.replace('_', '-')}")
        return frozenset(found)


def manifests(tree):
    sources = Sources(tree)
    for name, container, overlay in tree.containers():
        program = program_of(container["image"])
        if program is None:
            yield f"{name}: the image {container['image']} is none of those that deploy/images builds"
            continue
        for variable in variables(tree, overlay, container):
            if not sources.knows_variable(program, variable):
                yield f"{name}: {program} reads no variable {variable}"
        yield from unknown_flags(sources, name, program, container.get("args", []))


def program_of(image):
    found = IMAGE.match(image)
    return found and found[1]


def variables(tree, overlay, container):
    for entry in container.get("env", []):
        yield entry["name"]
    for source in container.get("envFrom", []):
        wanted = source.get("configMapRef", {}).get("name")
        for item in tree.overlays[overlay]:
            if item["kind"] == "ConfigMap" and item["metadata"]["name"] == wanted:
                yield from item["data"]


def unknown_flags(sources, name, program, arguments):
    for argument in arguments:
        flag = argument.split("=")[0]
        if flag.startswith("--") and flag not in sources.flags(program):
            yield f"{name}: {program} has no argument {flag}"


def compose(tree):
    sources = Sources(tree)
    for file in ("compose.yaml", "compose.gpu.yaml"):
        for service, content in tree.yaml(f"deploy/{file}")["services"].items():
            program = program_of(content["image"])
            if program is None:
                continue
            for variable in content.get("environment", {}):
                if not sources.knows_variable(program, variable):
                    yield f"{file}: {service}: {program} reads no variable {variable}"
            yield from unknown_flags(sources, f"{file}: {service}", program, content.get("command", []))


def images(tree):
    """The same for what the Dockerfiles set and run."""
    sources = Sources(tree)
    for file in sorted((tree.deploy / "images").glob("*.Dockerfile")):
        text = file.read_text(encoding="utf-8").replace("\\\n", " ")
        for stage in re.split(r"^(?=FROM )", text, flags=re.MULTILINE):
            entry = re.search(r'^ENTRYPOINT \["/usr/local/bin/weimocir(?:-(\w+))?"\]', stage, re.MULTILINE)
            for variable in re.findall(r"\b(WEIMOCIR_\w+)=", stage) if entry else []:
                if not sources.knows_variable(entry[1] or "cli", variable):
                    yield f"{file.name}: {entry[1] or 'cli'} reads no variable {variable}"
            for call in re.findall(r"\bweimocir (embed|caption) ([^>&\n]*)", stage):
                yield from unknown_flags(sources, file.name, "cli", shlex.split(call[1]))


def names(tree):
    """Streams, consumers and metrics that KEDA and Prometheus are asked to watch, against names.rs and metrics.rs of
    shared/wire."""
    source = tree.text("shared/wire/src/names.rs")
    streams = set(re.findall(r'_STREAM: &str = "([^"]+)"', source))
    durables = set(re.findall(r'_DURABLE: &str = "([^"]+)"', source))
    if not streams or not durables:
        raise Broken("shared/wire/src/names.rs names no streams or consumers any more: teach this check where they are")
    for name, item, _ in tree.each("ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            metadata = trigger["metadata"]
            if metadata.get("stream") not in streams:
                yield f"{name}: there is no stream {metadata.get('stream')}: {', '.join(sorted(streams))}"
            if metadata.get("consumer") not in durables:
                yield f"{name}: there is no consumer {metadata.get('consumer')}: {', '.join(sorted(durables))}"
    measured = set(re.findall(r'"(weimocir_\w+)"', tree.text("shared/wire/src/metrics.rs")))
    for name, item, _ in tree.each("PrometheusRule"):
        for metric in set(re.findall(r"\bweimocir_\w+", str(item["spec"]))):
            if re.sub(r"_(bucket|sum|count)$", "", metric) not in measured:
                yield f"{name}: no program measures {metric}"
        for stream in set(re.findall(r"\bWEIMOCIR_[A-Z_]+", str(item["spec"]))) - streams:
            yield f"{name}: there is no stream {stream}: {', '.join(sorted(streams))}"


def drain(tree):
    """That a pod and a service of Compose are given longer than their program takes to finish."""
    source = tree.text("shared/runtime/src/shutdown.rs")
    found = re.search(r"const DRAIN: Duration = Duration::from_secs\((\d+)\)", source)
    if not found:
        raise Broken("shared/runtime/src/shutdown.rs has no DRAIN any more: teach this check how long a drain takes")
    for name, template, _ in tree.pods():
        grace = template["spec"].get("terminationGracePeriodSeconds", 30)
        if grace <= int(found[1]):
            yield f"{name} is killed after {grace} s, and may need {found[1]} s: terminationGracePeriodSeconds"
    for service, content in tree.yaml("deploy/compose.yaml")["services"].items():
        grace = int(content.get("stop_grace_period", "10s").removesuffix("s"))
        if grace <= int(found[1]):
            yield f"compose.yaml: {service} is killed after {grace} s, and may need {found[1]} s: stop_grace_period"
