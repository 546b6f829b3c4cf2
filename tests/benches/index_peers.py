"""The searches beside which `bench-index` measures: the published way, FAISS and usearch.

    index_peers.py FOLDER DIM      prints {"ready": VERSIONS}, then answers each line of JSON with one:

    {"do": "load", "peer": P, "rows": N}    builds over the first N rows     {"seconds", "bytes_per_image"}
    {"do": "time", "peer": P, "threads", "k", "batch", "first", "seconds"}   {"ms": [one for each call]}
    {"do": "answers", "peer": P, "k"}       all queries, on two threads      {"ids": [[best first]]}
    {"do": "drop", "peer": P}                                                {}

FOLDER holds raw little-endian f32: rows.f32 = [N(v); mean_r N(t_r)] by image, captions-{0,1,2}.f32 =
N(t_r), queries.f32 = [(1-beta) q; beta q], composed.f32 = q, beta.f32. Peers are:

    flat             FAISS IndexFlatIP over the rows: exact
    flat-halves      the same memory searched as two halves, a thread each: FAISS does not share a lone query out
    sq8              FAISS IndexScalarQuantizer, 8 bits
    hnsw-64, -256    one FAISS IndexHNSWFlat, M 32, efConstruction 200, searched with efSearch 64 and 256
    published        as the published code scores and sorts, by torch: products of q with the images and with
                     each caption, the mean of those, the weighted sum, a full argsort
    usearch-exact    usearch.index.search(exact=True) over the memory of flat
    usearch-hnsw     usearch.index.Index of f32, connectivity 32, expansion 200 and 64
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import torch
import usearch
from usearch.index import Index, MetricKind, search

CAPTIONS = 3
MOST_CALLS = 8
loaded = {}
pool = ThreadPoolExecutor(2)


class Gallery:
    def __init__(self, folder, dim):
        self.folder, self.dim = folder, dim
        self.rows = np.memmap(folder / "rows.f32", np.float32, "r").reshape(-1, 2 * dim)
        self.queries = np.fromfile(folder / "queries.f32", np.float32).reshape(-1, 2 * dim)
        self.composed = np.fromfile(folder / "composed.f32", np.float32).reshape(-1, dim)
        self.beta = np.fromfile(folder / "beta.f32", np.float32)


class Flat:
    def __init__(self, gallery, rows):
        self.gallery, self.index = gallery, faiss.IndexFlatIP(2 * gallery.dim)
        self.index.add(gallery.rows[:rows])
        self.bytes = 8.0 * gallery.dim

    def search(self, which, k, threads):
        faiss.omp_set_num_threads(threads)
        return self.index.search(self.gallery.queries[which], k)[1]

    def held(self):
        """The index's own memory, so that two peers more cost none."""
        return faiss.rev_swig_ptr(self.index.get_xb(), self.index.ntotal * self.index.d).reshape(-1, self.index.d)


class FlatHalves:
    def __init__(self, gallery, rows):
        self.gallery, held = gallery, loaded["flat"].held()
        self.parts = [(0, held[: rows // 2]), (rows // 2, held[rows // 2 :])]
        self.bytes = 8.0 * gallery.dim

    def search(self, which, k, threads):
        queries = self.gallery.queries[which]

        def half(part):
            # because: the number of threads is set for each calling thread
            faiss.omp_set_num_threads(1)
            first, rows = part
            scores, ids = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
            return scores, ids + first

        found = pool.map(half, self.parts) if threads > 1 else map(half, self.parts)
        scores, ids = (np.concatenate(both, axis=1) for both in zip(*found))
        return np.take_along_axis(ids, np.argsort(-scores, axis=1)[:, :k], axis=1)


class Quantized:
    def __init__(self, gallery, rows):
        self.gallery = gallery
        self.index = faiss.IndexScalarQuantizer(
            2 * gallery.dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        self.index.train(np.ascontiguousarray(gallery.rows[: min(rows, 100_000)]))
        self.index.add(gallery.rows[:rows])
        self.bytes = 2.0 * gallery.dim

    def search(self, which, k, threads):
        faiss.omp_set_num_threads(threads)
        return self.index.search(self.gallery.queries[which], k)[1]


class Graph:
    """One graph for both peers: they differ in efSearch alone."""

    def __init__(self, gallery, rows, breadth):
        self.gallery, self.breadth = gallery, breadth
        other = next((peer for name, peer in loaded.items() if name.startswith("hnsw-")), None)
        if other:
            self.index, self.bytes = other.index, other.bytes
            return
        faiss.omp_set_num_threads(2)
        self.index = faiss.IndexHNSWFlat(2 * gallery.dim, 32, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 200
        self.index.add(gallery.rows[:rows])
        links = 4 * self.index.hnsw.neighbors.size() + 8 * self.index.hnsw.offsets.size()
        self.bytes = 8.0 * gallery.dim + links / rows

    def search(self, which, k, threads):
        faiss.omp_set_num_threads(threads)
        options = faiss.SearchParametersHNSW(efSearch=self.breadth)
        return self.index.search(self.gallery.queries[which], k, params=options)[1]


class Published:
    def __init__(self, gallery, rows):
        self.composed, self.beta = torch.from_numpy(gallery.composed), torch.from_numpy(gallery.beta)
        self.images = torch.from_numpy(gallery.rows[:rows, : gallery.dim].copy())
        self.captions = [
            torch.from_numpy(
                np.fromfile(gallery.folder / f"captions-{r}.f32", np.float32, rows * gallery.dim).reshape(rows, -1)
            )
            for r in range(CAPTIONS)
        ]
        self.bytes = 4.0 * gallery.dim * (1 + CAPTIONS)

    def search(self, which, k, threads):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            q, beta = self.composed[which], self.beta[which, None]
            texts = torch.stack([q @ caption.T for caption in self.captions]).mean(0)
            scores = (1 - beta) * (q @ self.images.T) + beta * texts
            return torch.argsort(scores, dim=-1, descending=True)[:, :k].numpy()


class UsearchExact:
    def __init__(self, gallery, rows):
        self.gallery, self.rows = gallery, loaded["flat"].held()[:rows]
        self.bytes = 8.0 * gallery.dim

    def search(self, which, k, threads):
        found = search(self.rows, self.gallery.queries[which], k, MetricKind.IP, exact=True, threads=threads)
        return found.keys.reshape(-1, k)


class UsearchGraph:
    def __init__(self, gallery, rows):
        self.gallery = gallery
        self.index = Index(
            ndim=2 * gallery.dim, metric=MetricKind.IP, dtype="f32",
            connectivity=32, expansion_add=200, expansion_search=64,
        )
        self.index.add(np.arange(rows), np.ascontiguousarray(gallery.rows[:rows]), threads=2)
        self.bytes = self.index.memory_usage / rows

    def search(self, which, k, threads):
        return self.index.search(self.gallery.queries[which], k, threads=threads).keys.reshape(-1, k)


PEERS = {
    "flat": Flat,
    "flat-halves": FlatHalves,
    "sq8": Quantized,
    "hnsw-64": lambda *given: Graph(*given, 64),
    "hnsw-256": lambda *given: Graph(*given, 256),
    "published": Published,
    "usearch-exact": UsearchExact,
    "usearch-hnsw": UsearchGraph,
}


def load(gallery, asked):
    start = time.perf_counter()
    peer = loaded[asked["peer"]] = PEERS[asked["peer"]](gallery, asked["rows"])
    return dict(seconds=time.perf_counter() - start, bytes_per_image=peer.bytes)


def clock(gallery, asked):
    peer, batch, count = loaded[asked["peer"]], asked["batch"], len(gallery.queries)
    times, begin, first = [], time.perf_counter(), asked["first"]
    while not times or (len(times) < MOST_CALLS and time.perf_counter() - begin < asked["seconds"]):
        which = np.arange(first, first + batch) % count
        start = time.perf_counter()
        peer.search(which, asked["k"], asked["threads"])
        times.append(1e3 * (time.perf_counter() - start))
        first += batch
    return dict(ms=times)


def answers(gallery, asked):
    peer, count = loaded[asked["peer"]], len(gallery.queries)
    parts = np.array_split(np.arange(count), -(-count // 32))
    return dict(ids=np.concatenate([peer.search(part, asked["k"], 2) for part in parts]).tolist())


def drop(gallery, asked):
    del loaded[asked["peer"]]
    return {}


def main(folder, dim):
    gallery = Gallery(Path(folder), int(dim))
    versions = dict(faiss=faiss.__version__, usearch=usearch.__version__, torch=torch.__version__)
    print(json.dumps(dict(ready=versions)), flush=True)
    acts = dict(load=load, time=clock, answers=answers, drop=drop)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(acts[asked["do"]](gallery, asked)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
