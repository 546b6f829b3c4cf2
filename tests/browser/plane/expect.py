"""Makes expected.json: what plane.js must answer, computed by NumPy from vectors and METHOD's formulas.

    python expect.py > expected.json

Components and norms are computed from the vectors as the README defines them; similarities are not
computed from those, but from the vectors themselves: fused, normalised, multiplied.
"""

import json

import numpy as np

DIM, IMAGES = 24, 30
random = np.random.default_rng(20240904)


def unit(x):
    return x / np.linalg.norm(x)


def raw(length):
    return (unit(random.normal(size=DIM)) * length).astype(np.float32).astype(np.float64)


def fuse(x, m, alpha):
    if x is None or m is None:
        return unit(m if x is None else x)
    return unit((1 - alpha) * x + alpha * m)


def score(case, image, texts, alpha, beta):
    """s, s_img, s_txt and each caption's similarity at f32 weights."""
    a, b = float(np.float32(alpha)), float(np.float32(beta))
    s_img = fuse(case["v"], case["m"], a) @ unit(image)
    slots = [case["v"]] * len(texts) if case["t"] is None else case["t"]
    each = [fuse(x, case["m"], a) @ unit(t) for x, t in zip(slots, texts)]
    if not each:
        return s_img, s_img, None, []
    return (1 - b) * s_img + b * np.mean(each), s_img, np.mean(each), each


def component(x, m, y):
    return {"reference": 0.0 if x is None else float(x @ unit(y)), "modifier": 0.0 if m is None else float(m @ unit(y))}


def norm(x, m):
    product = lambda p, q: 0.0 if p is None or q is None else float(p @ q)
    return {"reference": product(x, x), "cross": product(x, m), "modifier": product(m, m)}


def order(case, gallery, alpha, beta):
    scored = [(float(np.float32(score(case, *one[1:], alpha, beta)[0])), one[0]) for one in gallery]
    return [id for _, id in sorted(scored, key=lambda one: (-one[0], one[1]))]


def expected(name, case, gallery, points):
    slots = lambda texts: zip([case["v"]] * len(texts) if case["t"] is None else case["t"], texts)
    candidates = [
        {"image": id, "components": {"image": component(case["v"], case["m"], v), "captions": [component(x, case["m"], t) for x, t in slots(texts)]}}
        for id, v, texts in gallery
    ]
    norms = {"image": norm(case["v"], case["m"]), "captions": [norm(t, case["m"]) for t in case["t"] or []]}
    at = []
    for alpha, beta in points:
        parts = [score(case, v, texts, alpha, beta) for _, v, texts in gallery]
        at.append({"alpha": alpha, "beta": beta, "order": order(case, gallery, alpha, beta),
                   "similarity": [p[0] for p in parts], "s_img": [p[1] for p in parts], "s_txt": [p[2] for p in parts], "captions": [p[3] for p in parts]})
    grid = [i / 20 for i in range(21)]
    firsts = [order(case, gallery, alpha, beta)[0] for beta in grid for alpha in grid]
    return {"name": name, "norms": norms, "candidates": candidates, "at": at, "firsts": firsts}


def gallery():
    made = [(f"{random.integers(2**63):032x}", raw(random.uniform(3, 12)), [raw(random.uniform(3, 12)) for _ in range(i % 4)]) for i in range(IMAGES)]
    # two images of the same vectors: only their ids tell them apart
    twin = made[7]
    return made + [("f" * 32, *twin[1:]), ("0" * 32, *twin[1:])]


def main():
    points = [(0.6, 0.2), (0.95, 0.1), (0.0, 0.0), (1.0, 1.0), (0.33, 0.77), (0.5, 0.5)]
    v, m, t = raw(10), raw(7), [raw(6), raw(9)]
    cases = [
        ("picture and words", {"v": v, "m": m, "t": None}),
        ("against the reference's own captions", {"v": v, "m": m, "t": t}),
        ("picture alone", {"v": v, "m": None, "t": None}),
        ("words alone", {"v": None, "m": m, "t": None}),
    ]
    print(json.dumps([expected(name, case, gallery(), points) for name, case in cases]))


main()
