"""Trains the small BLIP captioner on full captions, from the vision tower of the CLIP model."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import captioner_model
import clip_model
from captioner_model import BEGIN, PAD, SEPARATOR
from optim import Optimizer
from world import TrainingSet

BATCH = 64
HELD_BACK = 256


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="output of training-set")
    parser.add_argument("--clip", type=Path, required=True, help="checkpoint of train_clip.py")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--minutes", type=float, default=1e9, help="end the schedule by then")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Trainer:
    def __init__(self, options: argparse.Namespace):
        torch.manual_seed(options.seed)
        self.options = options
        self.random = np.random.default_rng(options.seed)
        self.data = TrainingSet(options.data)
        texts = self.data.texts
        full = self.data.kinds["full"]
        captions = [t for i, t in enumerate(texts) if i % self.data.texts_each < full]
        self.tokenizer = captioner_model.new_tokenizer(captions)
        self.model = captioner_model.new_model(self.tokenizer.get_vocab_size())
        clip, _ = clip_model.load(options.clip)
        captioner_model.warm_start(self.model, clip, self.data.pixels(np.arange(64)))
        vision, decoder = self.model.vision_model, self.model.text_decoder
        seeing = [p for n, p in vision.named_parameters() if ".layers." in n and p.ndim == 2]
        saying = [p for n, p in decoder.named_parameters() if ".layer." in n and p.ndim == 2]
        # The tower can see already and only adapts.
        matrices = [(seeing, 0.3), (saying, 1.0)]
        self.optimizer = Optimizer(self.model.parameters(), matrices)
        self.average = None

    def run(self) -> None:
        print(
            f"parameters {sum(p.numel() for p in self.model.parameters())}, "
            f"vocabulary {self.tokenizer.get_vocab_size()}",
            flush=True,
        )
        start, progress = time.time(), 0.0
        while progress < 1:
            loss = self.loss()
            self.optimizer.step(loss, progress)
            before = self.average or loss.item()
            self.average = 0.95 * before + 0.05 * loss.item()
            steps, minutes = self.optimizer.steps, (time.time() - start) / 60
            progress = max(steps / self.options.steps, minutes / self.options.minutes)
            if steps % 100 == 0 or progress >= 1:
                self.report(steps, minutes)
        print(f"done: {steps} steps in {minutes:.1f} minutes")

    def loss(self) -> torch.Tensor:
        data = self.data
        rows = np.sort(HELD_BACK + self.random.choice(len(data) - HELD_BACK, BATCH, replace=False))
        ids = self.captions(rows, self.random.integers(data.kinds["full"], size=BATCH))
        with torch.autocast("cpu", torch.bfloat16):
            scores = captioner_model.logits(self.model, data.pixels(rows), ids[:, :-1])
        return F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)

    def captions(self, rows: np.ndarray, slots: np.ndarray) -> torch.Tensor:
        """Token ids between [DEC] and [SEP], padded, shape (rows, longest)."""
        texts = [self.data.texts[i] for i in rows * self.data.texts_each + slots]
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        ids = [torch.tensor([BEGIN, *encoding.ids, SEPARATOR]) for encoding in encoded]
        return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)

    def report(self, steps: int, minutes: float) -> None:
        pixels = self.data.pixels(np.arange(3))
        said = " | ".join(captioner_model.captions(self.model, self.tokenizer, pixels))
        print(f"{minutes:5.1f} min step {steps} loss {self.average:.3f} {said}", flush=True)
        saved = {"model": self.model.state_dict(), "tokenizer": self.tokenizer.to_str()}
        torch.save(saved, self.options.out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Trainer(arguments()).run()
