#!/usr/bin/env python3
"""Shows that each check sees a mistake: plants one in a copy of `deploy`, and demands that the check tells of it.

A check without a mistake here is an error too, and so is a mistake whose place is not found any more.
"""

import concurrent.futures
import pathlib
import shutil
import sys
import tempfile

from check import problems
from checks.catalogue import CHECKS
from checks.tree import Tree
from mistakes import MISTAKES

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What the checks read and no mistake is planted in.
SOURCES = ("services", "shared", "Cargo.toml")
# What keys are made by and of.
KEYS = ("nats/nats.conf", "nats/make-keys", "kubernetes/make-secrets")


def copy(folder):
    root = pathlib.Path(folder)
    shutil.copytree(ROOT / "deploy", root / "deploy", ignore=shutil.ignore_patterns("__pycache__", "secrets"))
    shutil.copytree(ROOT / ".ci", root / ".ci")
    for name in SOURCES:
        (root / name).symlink_to(ROOT / name)
    return root


def unseen(root, mistake, good):
    """Why a mistake does not count as seen; none if it was."""
    file = root / "deploy" / mistake.file
    sound = file.read_text(encoding="utf-8")
    if mistake.old not in sound:
        return f"{mistake.file} does not say {mistake.old!r} any more: plant the mistake elsewhere"
    file.write_text(sound.replace(mistake.old, mistake.new, 1), encoding="utf-8")
    tree = Tree(root, rendered_with(mistake.file))
    if not mistake.file.startswith("kubernetes/"):
        tree.overlays = good.overlays
    if not mistake.file.startswith(KEYS):
        tree.keys = good.keys
    try:
        told = problems(tree, CHECKS[mistake.check])
    finally:
        file.write_text(sound, encoding="utf-8")
    if any(mistake.told in line for line in told):
        return None
    return f"{mistake.file}: nobody told {mistake.told!r} of {mistake.new!r}, but: {told}"


def rendered_with(file):
    """An overlay that a file of `kubernetes` is part of; one, because rendering takes the most time."""
    only_there = ("overlays/gpu", "weights-claim")
    return ("gpu",) if any(part in file for part in only_there) else ("cluster",)


def unseen_of(mistakes):
    """Those of some mistakes that were not seen, with the reason, in a copy of their own."""
    with tempfile.TemporaryDirectory() as folder:
        root = copy(folder)
        good = Tree(root)
        found = [(mistake, unseen(root, mistake, good)) for mistake in mistakes]
    return [f"{mistake.check}: {reason}" for mistake, reason in found if reason]


def main():
    untried = CHECKS.keys() - {mistake.check for mistake in MISTAKES}
    failed = [f"{name}: no mistake shows that this check sees any" for name in sorted(untried)]
    # because: most of the time goes by while kubectl renders
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for lines in pool.map(unseen_of, (MISTAKES[first::4] for first in range(4))):
            failed += lines
    for line in failed:
        print(line, file=sys.stderr)
    if failed:
        print(f"check-deploy: {len(failed)} of {len(MISTAKES)} mistakes or checks failed", file=sys.stderr)
        return 1
    print(f"check-deploy: all of {len(MISTAKES)} planted mistakes were seen")
    return 0


if __name__ == "__main__":
    sys.exit(main())
