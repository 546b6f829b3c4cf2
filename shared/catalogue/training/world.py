"""What the catalogue wrote: pictures, attributes, texts, and which values each text rules out."""

import json
from pathlib import Path

import numpy as np
import torch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SIDE = 64


class TrainingSet:
    """A training set of `weimocir-catalogue training-set`, with pictures mapped from disk."""

    def __init__(self, directory: Path):
        self.pictures = np.load(directory / "pictures.npy", mmap_mode="r")
        self.attributes = torch.from_numpy(np.load(directory / "attributes.npy").astype(np.int64))
        self.masks = np.load(directory / "masks.npy")
        self.texts = (directory / "texts.txt").read_text().splitlines()
        self.world = json.loads((directory / "world.json").read_text())
        self.sizes = [facet["size"] for facet in self.world["facets"]]
        self.names = [facet["name"] for facet in self.world["facets"]]
        self.kinds = self.world["texts"]
        self.texts_each = sum(self.kinds.values())

    def __len__(self) -> int:
        return len(self.pictures)

    def pixels(self, rows: np.ndarray) -> torch.Tensor:
        """Normalised pixels, shape (rows, 3, 64, 64)."""
        return normalised(self.pictures[rows])

    def one_hot(self) -> torch.Tensor:
        """The values that each picture shows, shape (pictures, values), 0 or 1."""
        parts = [
            torch.nn.functional.one_hot(self.attributes[:, facet], size)
            for facet, size in enumerate(self.sizes)
        ]
        return torch.cat(parts, dim=1).float()

    def ruled_out(self, rows: np.ndarray, slots: np.ndarray) -> torch.Tensor:
        """The values that the chosen texts contradict, shape (rows, values), 0 or 1."""
        masks = self.masks[rows, slots]
        bits = np.arange(sum(self.sizes), dtype=np.uint64)
        return torch.from_numpy(((masks[:, None] >> bits) & 1).astype(np.float32))

    def families(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Rows of `count` families, each a garment and its mutations."""
        size = self.world["family"]
        first = random.choice(len(self) // size, count, replace=False) * size
        return np.sort((first[:, None] + np.arange(size)).ravel())


def normalised(pictures: np.ndarray) -> torch.Tensor:
    """Bytes of shape (n, 64, 64, 3) to normalised pixels of shape (n, 3, 64, 64)."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
