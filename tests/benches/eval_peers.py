"""The published way of a sweep, beside which `bench-eval` measures: one pass per alpha, an argsort per beta.

    eval_peers.py FOLDER THREADS ALPHA...      a line of JSON for each alpha and text reference:
        {"alpha", "text_reference", "seconds", "r10": [percent at each beta]}

FOLDER holds features.safetensors ([N,d], [N,R,d], [Q,d]) and queries.json: {"references", "targets", "subsets"}
by place in the gallery. As in the published code, each pass composes the query for the image and for every
caption, multiplies, weighs, sorts all images, removes the reference, and reads recall off the sorted labels.
Places stand for the names that the published code compares, which is faster than what it does.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

folder, threads, alphas = Path(sys.argv[1]), int(sys.argv[2]), [float(alpha) for alpha in sys.argv[3:]]
torch.set_num_threads(threads)
features = load_file(folder / "features.safetensors")
queries = json.loads((folder / "queries.json").read_text())
reference, target = torch.tensor(queries["references"]), torch.tensor(queries["targets"])
subsets = torch.tensor(queries["subsets"])
v, t, m = features["image"], features["captions"], features["modifier"]
CAPTIONS, BETAS = t.shape[1], [n / 20 for n in range(21)]


def compose(x, alpha):
    return F.normalize((1 - alpha) * x + alpha * m, dim=-1)


def recalls(distances):
    order = torch.argsort(distances, dim=-1)
    kept = order != reference[:, None]
    order = order[kept].reshape(len(order), -1)
    labels = order == target[:, None]
    within = (order[..., None] == subsets[:, None, :]).sum(-1).bool()
    group = labels[within].reshape(len(order), -1)
    found = {k: labels[:, :k].sum().item() for k in (1, 5, 10, 50)}
    found |= {f"s{k}": group[:, :k].sum().item() for k in (1, 2, 3)}
    return {k: 100 * n / len(order) for k, n in found.items()}


@torch.no_grad()
def one_pass(alpha, text_reference):
    image_distances = 1 - compose(v[reference], alpha) @ F.normalize(v, dim=-1).T
    text_distances = []
    for r in range(CAPTIONS):
        x = v[reference] if text_reference == "image" else t[reference, r]
        text_distances.append(1 - compose(x, alpha) @ F.normalize(t[:, r], dim=-1).T)
    text_distances = torch.mean(torch.stack(text_distances), dim=0)
    return [recalls(beta * text_distances + (1 - beta) * image_distances) for beta in BETAS]


for alpha in alphas:
    for text_reference in ("image", "caption"):
        start = time.perf_counter()
        found = one_pass(alpha, text_reference)
        seconds = time.perf_counter() - start
        line = dict(alpha=alpha, text_reference=text_reference, seconds=seconds, r10=[at[10] for at in found])
        print(json.dumps(line), flush=True)
