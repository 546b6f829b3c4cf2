"""What hadolint and shellcheck say."""

import re
import subprocess


def dockerfiles(tree):
    files = sorted((tree.deploy / "images").glob("*.Dockerfile"))
    yield from lines(tree, ["hadolint", "--no-color", "--failure-threshold", "style"], files)
    for file in files:
        yield from (f"{file.name}: {problem}" for problem in stages(file.read_text(encoding="utf-8")))


def stages(text):
    """That each base image has a version that does not move, and that the file ends as another user than root."""
    names = set()
    for image, _, name in re.findall(r"^FROM (\S+)( AS (\S+))?", text, re.MULTILINE):
        ours = image in names or image == "scratch" or image.startswith("$")
        if not ours and not re.search(r":\d+\.\d+|@sha256:", image):
            yield f"{image} moves: name an exact version or a digest"
        names.add(name)
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        yield "the program would run as root: set USER to numbers, as runAsNonRoot asks for"


def scripts(tree):
    files = [file for file in sorted(tree.deploy.rglob("*")) if is_script(file)]
    yield from lines(tree, ["shellcheck", "--color=never", "--format=gcc"], [*files, tree.root / ".ci/run"])


def is_script(file):
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return re.match(rb"#!/(usr/bin/env |bin/)(ba)?sh", opened.readline()) is not None


def lines(tree, command, files):
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        yield line.replace(f"{tree.root}/", "")
    if done.returncode != 0 and not done.stdout + done.stderr:
        yield f"{command[0]} failed with {done.returncode}"
