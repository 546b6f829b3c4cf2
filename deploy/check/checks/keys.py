"""Whether keys fit: those that are made, those that NATS lets in, and those that pods are given."""

import os
import pathlib
import re
import subprocess
import tempfile
from urllib.parse import urlsplit

from . import chart
from .programs import Sources, program_of
from .tree import NAMESPACE

SECRET = "weimocir-nats-"
# The variables that name files of a Secret.
FILES = ("WEIMOCIR_NATS_CA", "WEIMOCIR_NATS_CERT", "WEIMOCIR_NATS_KEY", "WEIMOCIR_NATS_NKEY")
INBOX = "WEIMOCIR_NATS_INBOX"


def roles(tree):
    """That make-keys, nats.conf and what make-secrets hands to the servers speak of the same roles."""
    conf = tree.text("deploy/nats/nats.conf")
    made = tree.keys.roles()
    let_in = {name.lower() for name in re.findall(r"\bnkey: \$([A-Z]+)_NKEY\b", conf)}
    for role in sorted(made - let_in):
        yield f"nats.conf lets in nobody as {role}, for whom make-keys makes a key"
    for role in sorted(let_in - made):
        yield f"nats.conf lets in {role}, for whom make-keys makes no key"
    handed = tree.keys.secrets[f"{SECRET}server"]["accounts.conf"].decode()
    for role in sorted(let_in & made):
        if not re.search(rf"^{role.upper()}_NKEY: U[A-Z2-7]{{55}}$", handed, re.MULTILINE):
            yield f"accounts.conf of make-secrets does not say the public key of {role}"
        if f"nkey: ${role.upper()}_NKEY" not in handed:
            yield f"accounts.conf of make-secrets does not let in {role}"
        inbox = environment_of(tree, role).get(INBOX)
        if role != "admin" and f'"{inbox}.>"' not in conf:
            yield f"{role}.env says {INBOX}={inbox}, which nats.conf lets nobody read"


def environment(tree):
    """That the programs know the variables that make-keys writes for them."""
    sources = Sources(tree)
    for role in sorted(tree.keys.roles()):
        program = role if (tree.root / "services" / role).is_dir() else "cli"
        for name in environment_of(tree, role):
            if not sources.knows_variable(program, name):
                yield f"{role}.env: {program} reads no variable {name}"


def environment_of(tree, role):
    return dict(line.split("=", 1) for line in tree.keys.files[f"{role}.env"].splitlines())


def pods(tree):
    """That each program finds its own role's key, where it is told to look, and no other's."""
    for name, template, overlay in tree.pods():
        secrets = {volume["name"]: volume["secret"]["secretName"] for volume in template["spec"].get("volumes", [])
                   if volume.get("secret", {}).get("secretName", "").startswith(SECRET)}
        for container in template["spec"]["containers"]:
            mounts = {mount["mountPath"]: secrets[mount["name"]] for mount in container.get("volumeMounts", [])
                      if mount["name"] in secrets}
            told = settings(tree, overlay, container)
            yield from (f"{name}: {line}" for line in unfit(tree, program_of(container["image"]), mounts, told))


def settings(tree, overlay, container):
    """The values of a container's variables, but for those of a single key."""
    wanted = {source["configMapRef"]["name"] for source in container.get("envFrom", []) if "configMapRef" in source}
    found = {}
    for item in tree.overlays[overlay]:
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] in wanted:
            found |= item["data"]
    return found | {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}


def unfit(tree, program, mounts, told):
    safe = told["WEIMOCIR_NATS"].startswith("tls://")
    if safe != bool(mounts):
        yield f"it is told {told['WEIMOCIR_NATS']}, and given {'a' if mounts else 'no'} key"
    if not mounts:
        return
    if set(mounts.values()) != {SECRET + program}:
        yield f"{program} is given the key of another: {', '.join(sorted(mounts.values()))}"
    there = {f"{path}/{key}" for path, secret in mounts.items() for key in tree.keys.secrets.get(secret, {})}
    for variable in FILES:
        if told.get(variable) not in there:
            yield f"{variable} is {told.get(variable)}, which is none of {', '.join(sorted(there))}"
    inbox = told.get(INBOX)
    if inbox != environment_of(tree, program)[INBOX]:
        yield f"{INBOX} is {inbox}, not the one of {program}"


def certificates(tree):
    """That the servers' certificate is for the names that they are reached by, and each is for what it is used for."""
    hosts = {urlsplit(environment_of(tree, "admin")["WEIMOCIR_NATS"]).hostname}
    for _, item, _ in tree.each("ConfigMap"):
        hosts |= {urlsplit(item["data"][key]).hostname for key in ("WEIMOCIR_NATS",) if key in item["data"]}
    for overlay in chart.FILES:
        conf = chart.configuration(chart.values(tree, overlay), NAMESPACE)
        cluster = conf.get("cluster", {})
        hosts |= {urlsplit(route).hostname for route in cluster.get("routes", []) if "tls" in cluster}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for secret, files in tree.keys.secrets.items():
            write(folder / secret, files)
            purposes = ("sslclient", "sslserver") if secret == f"{SECRET}server" else ("sslclient",)
            for purpose in purposes:
                command = ["verify", "-CAfile", "ca.pem", "-purpose", purpose, "cert.pem"]
                if openssl(folder / secret, command) != "cert.pem: OK":
                    yield f"the certificate of {secret} is not good for {purpose}"
        for host in sorted(hosts):
            command = ["x509", "-in", "cert.pem", "-noout", "-checkhost", host]
            if "does match" not in openssl(folder / f"{SECRET}server", command):
                yield f"the servers' certificate is not for {host}"


def openssl(folder, arguments):
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def servers(tree):
    """That nats-server takes what the chart makes of the values, and that it lets in nobody without a key."""
    for overlay in chart.FILES:
        values = chart.values(tree, overlay)
        conf = chart.configuration(values, NAMESPACE)
        name = f"NATS of {overlay}"
        with tempfile.TemporaryDirectory() as folder:
            yield from (f"{name}: {line}" for line in refused(tree, values, conf, pathlib.Path(folder)))
        if "values-credentials.yaml" not in chart.FILES[overlay]:
            continue
        if "$include" not in conf or "accounts" in conf:
            yield f"{name}: its accounts are not those of make-secrets: config.merge.$include"
        if not conf.get("tls", {}).get("verify"):
            yield f"{name}: clients need no certificate: config.nats.tls.merge.verify"
        if "cluster" in conf and not conf["cluster"].get("tls", {}).get("verify_cert_and_check_known_urls"):
            yield f"{name}: whoever has a certificate may join as a server: config.cluster.tls"
        for part in (conf, conf.get("cluster")):
            if part is not None and part.get("tls", {}).get("min_version") != "1.3":
                yield f"{name}: TLS may be older than 1.3: min_version"


def refused(tree, values, conf, folder):
    for path, secret in chart.mounted(values).items():
        if secret not in tree.keys.secrets:
            yield f"needs the Secret {secret}, which make-secrets does not make"
        write(folder / path.lstrip("/"), tree.keys.secrets.get(secret, {}))
    file = folder / "etc/nats-config/nats.conf"
    write(file.parent, {file.name: re.sub(r'"(?=/(etc|data)\b)', f'"{folder}', chart.text(conf)).encode()})
    command = [os.environ["WEIMOCIR_NATS_SERVER"], "--config", str(file), "-t"]
    environment = os.environ | {"SERVER_NAME": "nats-0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        yield f"nats-server does not take its configuration: {done.stderr.strip().replace(str(folder), '')}"


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def scaled(tree):
    """That KEDA looks at an account which there is."""
    conf = tree.text("deploy/nats/nats.conf")
    accounts = set(re.findall(r"^  (\w+) \{\n    jetstream: enabled$", conf, re.MULTILINE))
    for name, item, _ in tree.each("ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            if trigger["metadata"].get("account") not in accounts:
                yield f"{name}: nats.conf has no account {trigger['metadata'].get('account')}: {', '.join(accounts)}"
