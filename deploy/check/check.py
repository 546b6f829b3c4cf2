#!/usr/bin/env python3
"""Checks everything in `deploy` offline and tells what is wrong: exit code 1 if anything is.

The tools of tools.txt must be on PATH and PYTHONPATH, and WEIMOCIR_NATS_SERVER name a nats-server: `make check-deploy`
does that. openssl makes keys to look at.
"""

import pathlib
import sys

from checks.catalogue import CHECKS
from checks.tree import Broken, Tree


def problems(tree, check):
    """What a check tells; if it cannot go on, what it told until then and why."""
    told = []
    try:
        for problem in check(tree):
            told.append(problem)
    except Broken as error:
        told.append(str(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # because: checks take for granted the shapes that the schemas ask for
        told.append(f"could not be checked, because something has another shape than the schemas say: {error!r}")
    return told


def main():
    tree = Tree(pathlib.Path(__file__).resolve().parents[2])
    wrong = 0
    for name, check in CHECKS.items():
        for problem in problems(tree, check):
            wrong += 1
            print(f"{name}: {problem}", file=sys.stderr)
    objects = sum(len(items) for items in tree.overlays.values()) if not wrong else 0
    if wrong:
        print(f"check-deploy: {wrong} wrong", file=sys.stderr)
        return 1
    print(f"check-deploy: {len(CHECKS)} checks, {objects} objects in {len(tree.overlays)} overlays, nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
