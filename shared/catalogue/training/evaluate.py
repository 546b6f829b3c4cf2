"""Composed retrieval with the exported models: α and β chosen on validation, figures on test.

Fusion takes the raw features. The reference is left out of the ranking. Every gallery image has
three different captions of the exported captioner: one of the likeliest words, then nucleus samples.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from transformers import BlipForConditionalGeneration, CLIPModel

import captioner_model
import clip_model
import wording
from world import SIDE, normalised

ALPHAS = [round(0.05 * step, 2) for step in range(21)]
BETAS = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0]
CUTS = (1, 5, 10)
CAPTIONS = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of the exported models")
    parser.add_argument("--world", type=Path, required=True, help="world.json of a training set")
    parser.add_argument("--validation", type=Path, required=True, help="rendered gallery")
    parser.add_argument("--test", type=Path, required=True, help="rendered gallery")
    return parser.parse_args()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def batches(items, size: int = 200):
    return (items[start : start + size] for start in range(0, len(items), size))


class Models:
    def __init__(self, folder: Path):
        self.clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()
        self.clip_tokens = Tokenizer.from_file(str(folder / "clip" / "tokenizer.json"))
        captioner = folder / "captioner"
        self.captioner = BlipForConditionalGeneration.from_pretrained(captioner, dtype=torch.float32)
        self.captioner.eval()
        self.words = Tokenizer.from_file(str(captioner / "tokenizer.json"))

    @torch.no_grad()
    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([clip_model.image_features(self.clip, b)[1] for b in batches(pixels)])

    @torch.no_grad()
    def texts(self, texts: list[str]) -> torch.Tensor:
        ids = (clip_model.encode(self.clip_tokens, batch) for batch in batches(texts))
        return torch.cat([clip_model.text_features(self.clip, i)[1] for i in ids])

    def say(self, pixels: torch.Tensor, **sampling) -> list[str]:
        said = []
        for batch in batches(pixels):
            said += captioner_model.captions(self.captioner, self.words, batch, **sampling)
        return said

    def captions(self, pixels: torch.Tensor) -> list[list[str]]:
        """Different sentences for each picture, the likeliest first."""
        said = [[sentence] for sentence in self.say(pixels)]
        for seed in range(20):
            rows = [row for row, sentences in enumerate(said) if len(sentences) < CAPTIONS]
            if not rows:
                break
            for row, sentence in zip(rows, self.say(pixels[rows], top_p=0.9, seed=seed)):
                if sentence not in said[row]:
                    said[row].append(sentence)
        return [(sentences * CAPTIONS)[:CAPTIONS] for sentences in said]


class Gallery:
    """A rendered gallery, encoded: everything that the scores of any α and β are made of."""

    def __init__(self, folder: Path, models: Models):
        attributes = lines(folder / "attributes.jsonl")
        self.attributes = [wording.truth(line) for line in attributes]
        place = {line["image"]: row for row, line in enumerate(attributes)}
        triplets = lines(folder / "triplets.jsonl")
        self.references = torch.tensor([place[t["reference"]] for t in triplets])
        self.targets = torch.tensor([place[t["target"]] for t in triplets])
        pixels = torch.cat([pixels_of(folder / line["image"]) for line in attributes])
        self.captions = models.captions(pixels)
        images = models.images(pixels)
        modifiers = models.texts([t["modifier"] for t in triplets])
        by_slot = [models.texts(list(slot)) for slot in zip(*self.captions)]
        self.norms = tuple(x.norm(dim=1).mean().item() for x in (images, modifiers, by_slot[0]))
        self.reference, self.modifier = images[self.references], modifiers
        self.images = F.normalize(images, dim=1)
        self.mean_caption = torch.stack([F.normalize(slot, dim=1) for slot in by_slot]).mean(0)

    def recalls(self, alpha: float, beta: float) -> list[float]:
        """Recall at 1, 5 and 10 in percent."""
        query = F.normalize((1 - alpha) * self.reference + alpha * self.modifier, dim=1)
        scores = (1 - beta) * query @ self.images.T + beta * query @ self.mean_caption.T
        rows = torch.arange(len(query))
        scores[rows, self.references] = -torch.inf
        rank = (scores > scores[rows, self.targets][:, None]).sum(1)
        return [100 * (rank < cut).float().mean().item() for cut in CUTS]

    def best(self) -> tuple[float, float]:
        """The weights with the highest sum of recalls at 1 and 10."""
        plane = [(alpha, beta) for alpha in ALPHAS for beta in BETAS]
        return max(plane, key=lambda weights: sum(self.recalls(*weights)[::2]))

    def caption_accuracy(self, reader: wording.Reader, slot: int) -> str:
        read = [reader.read(captions[slot]) for captions in self.captions]
        right = {
            name: np.mean([said[name] == shown[name] for said, shown in zip(read, self.attributes)])
            for name in read[0]
        }
        every = np.mean([said == shown for said, shown in zip(read, self.attributes)])
        parts = " ".join(f"{name} {100 * part:.1f}" for name, part in right.items())
        return f"{parts} | all at once {100 * every:.1f}"


def pixels_of(path: Path) -> torch.Tensor:
    picture = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return normalised(np.asarray(picture)[None].copy())


def check_reader(reader: wording.Reader, folder: Path) -> None:
    """True captions must be read back without a mistake, or the accuracies mean nothing."""
    shown = [wording.truth(line) for line in lines(folder / "attributes.jsonl")]
    for attributes, line in zip(shown, lines(folder / "captions.jsonl")):
        for caption in line["captions"]:
            assert reader.read(caption) == attributes, (caption, reader.read(caption), attributes)


def table(gallery: Gallery) -> None:
    print("R@1/R@5/R@10 by α (rows) and β (columns)")
    print("  α  " + "".join(f"{beta:>17}" for beta in BETAS))
    for alpha in ALPHAS:
        cells = ("/".join(f"{r:.1f}" for r in gallery.recalls(alpha, beta)) for beta in BETAS)
        print(f"{alpha:4.2f} " + "".join(f"{cell:>17}" for cell in cells))


def main() -> None:
    options = arguments()
    reader = wording.Reader(json.loads(options.world.read_text())["words"])
    check_reader(reader, options.validation)
    models = Models(options.models)
    validation = Gallery(options.validation, models)
    table(validation)
    alpha, beta = validation.best()
    print(f"chosen on validation: α {alpha}, β {beta}, {validation.recalls(alpha, beta)}")
    test = Gallery(options.test, models)
    print("norms of images %.1f, modifiers %.1f, captions %.1f" % test.norms)
    for name, a, b in (
        ("composed", alpha, beta),
        ("composed, no captions", alpha, 0.0),
        ("image only", 0.0, beta),
        ("image only, no captions", 0.0, 0.0),
        ("text only", 1.0, beta),
        ("text only, no captions", 1.0, 0.0),
    ):
        cells = " / ".join(f"{recall:.1f}" for recall in test.recalls(a, b))
        print(f"test, {len(test.targets)} triplets in {len(test.images)}: {name:24} {cells}")
    for slot in range(CAPTIONS):
        print(f"caption {slot}: {test.caption_accuracy(reader, slot)}")
    for captions in test.captions[:5]:
        print(captions)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
