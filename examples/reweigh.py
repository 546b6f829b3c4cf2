"""Weigh an explained answer anew: other α and β, without another search.

    weimocir search --json --explain --reference cat.jpg "is on a sofa" > answer.json
    python examples/reweigh.py answer.json 0.5 0.3

The candidates come in another order; what was not among them cannot be found this way.
"""

import json
import sys
from itertools import repeat


def cosine(c, n, a):
    """An image's or a caption's similarity, from its components and the query's norms."""
    length = (1 - a) ** 2 * n["reference"] + 2 * a * (1 - a) * n["cross"] + a * a * n["modifier"]
    return ((1 - a) * c["reference"] + a * c["modifier"]) / length**0.5


def score(components, norms, a, b):
    slots = zip(components["captions"], norms["captions"] or repeat(norms["image"]))
    s_img, s_txt = cosine(components["image"], norms["image"], a), [cosine(c, n, a) for c, n in slots]
    return (1 - b) * s_img + b * sum(s_txt) / len(s_txt) if s_txt else s_img


def main(path: str, alpha: float, beta: float) -> None:
    with open(path) as file:
        answer = json.load(file)
    norms = answer["norms"]
    scored = [(score(c["components"], norms, alpha, beta), c["image"], c["source"]) for c in answer["candidates"]]
    for similarity, image, source in sorted(scored, key=lambda one: (-one[0], one[1])):
        print(f"{similarity:.9f}  {image}  {source}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
