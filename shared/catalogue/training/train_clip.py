"""Trains the small CLIP model on single pictures and texts about them, never on composed queries."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import clip_model
from optim import Optimizer
from world import TrainingSet

# Raw features are fused at query time, so both towers are asked for about this norm.
NORM = 10.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="output of training-set")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=1e9, help="end the schedule by then")
    parser.add_argument("--families", type=int, default=16, help="families of four in a batch")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Trainer:
    def __init__(self, options: argparse.Namespace):
        torch.manual_seed(options.seed)
        self.options = options
        self.random = np.random.default_rng(options.seed)
        self.data = TrainingSet(options.data)
        self.shown = self.data.one_hot()
        self.tokenizer = clip_model.train_tokenizer(self.data.texts[:: max(1, len(self.data) // 2000)])
        self.tokens, self.lengths = self.tokenize()
        self.model = clip_model.new_model(self.tokenizer.get_vocab_size())
        clip_model.initialise(self.model, self.data.pixels(np.arange(0, len(self.data), 60)))
        values = sum(self.data.sizes)
        # Both heads help while training and are left out of the exported model.
        self.picture_head = torch.nn.Linear(clip_model.WIDTH, values)
        self.text_head = torch.nn.Linear(clip_model.WIDTH, values)
        inner = [p for n, p in self.model.named_parameters() if ".layers." in n and p.ndim == 2]
        heads = [*self.picture_head.parameters(), *self.text_head.parameters()]
        self.optimizer = Optimizer([*self.model.parameters(), *heads], [(inner, 1.0)])
        self.averages: dict[str, float] = {}

    def tokenize(self) -> tuple[np.ndarray, np.ndarray]:
        end = self.tokenizer.token_to_id(clip_model.END)
        tokens = np.full((len(self.data.texts), clip_model.CONTEXT), end, np.int16)
        lengths = np.zeros(len(self.data.texts), np.int64)
        for start in range(0, len(tokens), 20_000):
            batch = self.tokenizer.encode_batch(self.data.texts[start : start + 20_000])
            for row, encoding in enumerate(batch, start):
                ids = encoding.ids[: clip_model.CONTEXT]
                tokens[row, : len(ids)] = ids
                lengths[row] = len(encoding.ids)
        print(f"vocabulary {self.tokenizer.get_vocab_size()}, longest text {lengths.max()} tokens")
        return tokens, lengths

    def run(self) -> None:
        print(f"parameters {sum(p.numel() for p in self.model.parameters())}", flush=True)
        start, progress = time.time(), 0.0
        while progress < 1:
            steps = self.optimizer.steps
            self.optimizer.step(self.loss(), progress)
            with torch.no_grad():
                self.model.logit_scale.clamp_(max=np.log(100))
            minutes = (time.time() - start) / 60
            progress = max((steps + 1) / self.options.steps, minutes / self.options.minutes)
            if (steps + 1) % 100 == 0 or progress >= 1:
                self.report(steps + 1, minutes)
        print(f"done: {self.optimizer.steps} steps in {minutes:.1f} minutes")

    def loss(self) -> torch.Tensor:
        data = self.data
        rows = data.families(self.options.families, self.random)
        slots = self.random.integers(data.texts_each, size=len(rows))
        texts = rows * data.texts_each + slots
        longest = min(self.lengths[texts].max(), clip_model.CONTEXT)
        ids = torch.from_numpy(self.tokens[texts, :longest].astype(np.int64))
        ruled_out = data.ruled_out(rows, slots)
        with torch.autocast("cpu", torch.bfloat16):
            seen, image = clip_model.image_features(self.model, data.pixels(rows))
            read, text = clip_model.text_features(self.model, ids)
        image, text = image.float(), text.float()
        losses = {
            "contrast": self.contrast(image, text, self.shown[rows], ruled_out),
            "picture": self.picture_loss(self.picture_head(seen.float()), data.attributes[rows]),
            "text": 2 * F.binary_cross_entropy_with_logits(self.text_head(read.float()), ruled_out),
            "norm": 0.1 * (norm_loss(image) + norm_loss(text)),
        }
        for name, value in losses.items():
            before = self.averages.get(name, value.item())
            self.averages[name] = 0.95 * before + 0.05 * value.item()
        return sum(losses.values())

    def contrast(self, image, text, shown, ruled_out) -> torch.Tensor:
        """Cross-entropy both ways; a text matches every picture that it does not contradict."""
        scores = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        scores = scores * self.model.logit_scale.exp()
        matches = (shown @ ruled_out.T == 0).float()
        return (spread_over(scores, matches) + spread_over(scores.T, matches.T)) / 2

    def picture_loss(self, logits, attributes) -> torch.Tensor:
        parts = logits.split(self.data.sizes, dim=1)
        losses = [F.cross_entropy(part, attributes[:, i]) for i, part in enumerate(parts)]
        return sum(losses) / len(losses)

    def report(self, steps: int, minutes: float) -> None:
        averages = " ".join(f"{name} {value:.3f}" for name, value in self.averages.items())
        print(f"{minutes:5.1f} min step {steps} {averages} | {self.accuracies()}", flush=True)
        saved = {"model": self.model.state_dict(), "tokenizer": self.tokenizer.to_str()}
        torch.save(saved, self.options.out)

    @torch.no_grad()
    def accuracies(self) -> str:
        """How often the head names each attribute of 256 pictures right, in percent."""
        rows = np.arange(256)
        pooled, _ = clip_model.image_features(self.model, self.data.pixels(rows))
        parts = self.picture_head(pooled).split(self.data.sizes, dim=1)
        right = [
            (part.argmax(1) == self.data.attributes[rows, facet]).float().mean().item()
            for facet, part in enumerate(parts)
        ]
        return " ".join(f"{name} {100 * part:.0f}" for name, part in zip(self.data.names, right))


def spread_over(scores: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against a target spread evenly over the matches of each row."""
    return -(scores.log_softmax(1) * matches).sum(1).div(matches.sum(1)).mean()


def norm_loss(features: torch.Tensor) -> torch.Tensor:
    return (features.norm(dim=-1) / NORM - 1).square().mean()


if __name__ == "__main__":
    torch.set_num_threads(1)
    Trainer(arguments()).run()
