"""Compares `weimocir embed` and `weimocir caption` with what make.py expects.

    python check.py --weimocir PROGRAM DIR

Features: the largest absolute difference is at most 1e-4 of the expected vector's norm, and the
cosine at least 0.99999. The first caption of each picture is the expected sentence.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import sys

LARGEST_DIFFERENCE = 1e-4
LEAST_COSINE = 0.99999


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout)


def compare(found, expected):
    """The largest difference as a share of the norm, and the least cosine, over all vectors."""
    if [len(row) for row in found] != [len(row) for row in expected]:
        raise RuntimeError(f"{len(found)} vectors found, {len(expected)} expected, or of another length")
    difference, cosine = 0.0, 1.0
    for ours, theirs in zip(found, expected):
        norm, own = math.hypot(*theirs), math.hypot(*ours)
        difference = max(difference, max(abs(a - b) for a, b in zip(ours, theirs)) / norm)
        cosine = min(cosine, sum(a * b for a, b in zip(ours, theirs)) / (norm * own))
    return difference, cosine


def check_encoder(program, model, expected, pictures):
    inputs = [part for picture in pictures for part in ("--image", picture)]
    inputs += [part for text in expected["texts"] for part in ("--text", text)]
    found = run(program, "embed", "--json", "--model", model, *inputs)
    passed, texts = True, []
    for kind in ("image", "text"):
        difference, cosine = compare(found[f"{kind}s"], expected[f"{kind}_features"])
        passed &= difference <= LARGEST_DIFFERENCE and cosine >= LEAST_COSINE
        texts.append(f"{kind}s {difference:.1e} {cosine:.7f}")
    return passed, "   ".join(texts)


def words(sentence):
    """Without the spaces around punctuation, which is set as people write it, not as tokens come."""
    return re.sub(r"\s*([^\w\s])\s*", r"\1", sentence)


def check_captioner(program, model, expected, pictures):
    wanted = expected["sentences"]
    batch = run(program, "caption", "--json", "--model", model, "-r", "1", *pictures)
    alone = [run(program, "caption", "--json", "--model", model, "-r", "1", picture) for picture in pictures]
    together = [image["captions"][0] for image in batch["images"]]
    apart = [answer["images"][0]["captions"][0] for answer in alone]
    equal = [sum(words(a) == words(b) for a, b in zip(found, wanted)) for found in (together, apart)]
    return equal == [len(wanted)] * 2, f"{equal[0]} and {equal[1]} of {len(wanted)} sentences, together and alone"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weimocir", required=True)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    pictures = sorted((arguments.folder / "pictures").iterdir())
    cases = sorted(arguments.folder.glob("*/expected.json"))
    failed = 0
    for case in cases:
        expected = json.loads(case.read_text())
        check = {"encoder": check_encoder, "captioner": check_captioner}[expected["role"]]
        model = case.parent / expected["model"]
        try:
            passed, text = check(arguments.weimocir, model.resolve(), expected, pictures)
        except (RuntimeError, KeyError, json.JSONDecodeError) as error:
            passed, text = False, str(error)
        failed += not passed
        print(f"{'ok  ' if passed else 'FAIL'}  {case.parent.name:32} {text}", flush=True)
    print(f"{len(cases) - failed} of {len(cases)} checkpoints equal the original (largest difference over norm, least cosine)")
    sys.exit(1 if failed or not cases else 0)


if __name__ == "__main__":
    main()
