"""Shape, tokenizer and initialisation of the small CLIP model."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers
from transformers import CLIPConfig, CLIPModel

CONTEXT = 48
PATCH = 8
WIDTH = 128
START, END = "<|startoftext|>", "<|endoftext|>"
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def new_model(vocabulary: int) -> CLIPModel:
    """A model with Hugging Face's random weights; the last two tokens are start and end."""
    shape = dict(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_attention_heads=4,
        hidden_act="quick_gelu",
        projection_dim=128,
    )
    text = dict(
        **shape,
        num_hidden_layers=3,
        vocab_size=vocabulary,
        max_position_embeddings=CONTEXT,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    vision = dict(**shape, num_hidden_layers=4, image_size=64, patch_size=PATCH)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    # On a CPU, the backward pass of the fused attention takes longer than all the rest.
    config._attn_implementation = "eager"
    return CLIPModel(config)


def train_tokenizer(texts: list[str], merges: int = 320) -> Tokenizer:
    """A byte-level BPE in CLIP's layout: bytes, bytes that end a word, merges, start, end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    draft = bare_tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + merges,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        min_frequency=2,
        show_progress=False,
    )
    draft.train_from_iterator(texts, trainer)
    learned = json.loads(draft.to_str())["model"]["merges"]
    learned = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learned]

    tokens = alphabet + [letter + "</w>" for letter in alphabet]
    tokens += ["".join(pair) for pair in learned]
    tokens = list(dict.fromkeys(tokens)) + [START, END]
    ids = {token: index for index, token in enumerate(tokens)}
    bpe = models.BPE(
        vocab=ids,
        merges=learned,
        unk_token=END,
        end_of_word_suffix="</w>",
        continuing_subword_prefix="",
    )
    tokenizer = bare_tokenizer(bpe)
    tokenizer.add_special_tokens([START, END])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        pair=f"{START} $A {END} {START} $B {END}",
        special_tokens=[(START, ids[START]), (END, ids[END])],
    )
    return tokenizer


def bare_tokenizer(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids, padded with the end token, shape (texts, longest), at most 48 wide."""
    ids = [encoding.ids[:CONTEXT] for encoding in tokenizer.encode_batch(texts)]
    end = tokenizer.token_to_id(END)
    padded = np.full((len(ids), max(map(len, ids))), end, np.int64)
    for row, tokens in zip(padded, ids):
        row[: len(tokens)] = tokens
    return torch.from_numpy(padded)


def image_features(model: CLIPModel, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled output of the vision tower and the raw projected features."""
    pooled = model.vision_model(pixel_values=pixels).pooler_output
    return pooled, model.visual_projection(pooled)


def text_features(model: CLIPModel, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for texts. Attention looks back only, so padding after the end does not matter."""
    pooled = model.text_model(input_ids=ids).pooler_output
    return pooled, model.text_projection(pooled)


@torch.no_grad()
def initialise(model: CLIPModel, pixels: torch.Tensor) -> None:
    """Patches enter whitened, positions as sines: the plateau at the start gets much shorter."""
    patches = torch.nn.functional.unfold(pixels, PATCH, stride=PATCH)
    patches = patches.transpose(1, 2).reshape(-1, 3 * PATCH * PATCH)
    patches = patches[torch.randperm(len(patches))[:20_000]]
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    variances, directions = variances[-WIDTH:], directions[:, -WIDTH:]
    whitening = (directions / (variances + 0.02).sqrt()).T
    rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
    kernel = rotation @ whitening

    embeddings = model.vision_model.embeddings
    embeddings.patch_embedding.weight.copy_(kernel.reshape(WIDTH, 3, PATCH, PATCH))
    positions = embeddings.position_embedding.weight
    positions[0] = 0
    positions[1:] = 0.8 * sine_positions() - kernel @ mean
    embeddings.class_embedding.normal_(0, 0.5)
    model.text_model.embeddings.token_embedding.weight.normal_(0, 0.1)


def sine_positions() -> torch.Tensor:
    """Sines and cosines of row and column, shape (patches, width)."""
    side = 64 // PATCH
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    quarter = WIDTH // 4
    frequencies = 12 / side / 50 ** (torch.arange(quarter) / quarter)
    waves = [
        wave(place.reshape(-1, 1) * frequencies)
        for place in (rows, columns)
        for wave in (torch.sin, torch.cos)
    ]
    return torch.cat(waves, dim=1)


def load(checkpoint: Path) -> tuple[CLIPModel, Tokenizer]:
    """The model and tokenizer of a checkpoint written by `train_clip.py`."""
    saved = torch.load(checkpoint, weights_only=True)
    tokenizer = Tokenizer.from_str(saved["tokenizer"])
    model = new_model(tokenizer.get_vocab_size())
    model.load_state_dict(saved["model"])
    return model.eval(), tokenizer
