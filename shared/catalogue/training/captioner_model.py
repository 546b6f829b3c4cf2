"""Shape, tokenizer, warm start and decoding of the small BLIP captioner."""

import re
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BlipConfig, BlipForConditionalGeneration, CLIPModel

LONGEST = 40
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
PAD, SEPARATOR, BEGIN = 0, 3, 5


def new_tokenizer(texts: list[str]) -> Tokenizer:
    """One token for each word of the texts; a comma is a word."""
    words = sorted({word for text in texts for word in re.findall(r"[^\s,]+|,", text)})
    ids = {token: index for index, token in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(",", "isolated")]
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", SEPARATOR)]
    )
    return tokenizer


def new_model(vocabulary: int) -> BlipForConditionalGeneration:
    text = dict(
        vocab_size=vocabulary,
        hidden_size=128,
        encoder_hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=48,
        bos_token_id=BEGIN,
        eos_token_id=SEPARATOR,
        sep_token_id=SEPARATOR,
        pad_token_id=PAD,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        is_decoder=True,
        label_smoothing=0.0,
    )
    vision = dict(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        hidden_act="gelu",
    )
    config = BlipConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=128,
        image_text_hidden_size=128,
        label_smoothing=0.0,
    )
    config._attn_implementation = "eager"
    return BlipForConditionalGeneration(config)


@torch.no_grad()
def warm_start(model: BlipForConditionalGeneration, clip: CLIPModel, pixels: torch.Tensor) -> None:
    """Begins with the vision tower of the trained CLIP model.

    CLIP normalises the embeddings before its first layer and BLIP does not. Their scale is nearly
    the same for all pictures, so one factor stands in for the normalisation.
    """
    theirs = clip.vision_model.state_dict()
    spread = clip.vision_model.embeddings(pixels).std(-1).mean()
    factor = theirs["pre_layrnorm.weight"] / spread
    start = {
        "embeddings.class_embedding": (theirs["embeddings.class_embedding"] * factor).view(1, 1, -1),
        "embeddings.patch_embedding.weight": theirs["embeddings.patch_embedding.weight"]
        * factor.view(-1, 1, 1, 1),
        "embeddings.patch_embedding.bias": torch.zeros_like(factor),
        "embeddings.position_embedding": (
            theirs["embeddings.position_embedding.weight"] * factor + theirs["pre_layrnorm.bias"]
        ).unsqueeze(0),
    }
    for kind in ("weight", "bias"):
        start[f"post_layernorm.{kind}"] = theirs[f"post_layernorm.{kind}"]
        for layer in range(clip.config.vision_config.num_hidden_layers):
            here = f"encoder.layers.{layer}."
            parts = [theirs[f"{here}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            start[f"{here}self_attn.qkv.{kind}"] = torch.cat(parts)
            start[f"{here}self_attn.projection.{kind}"] = theirs[f"{here}self_attn.out_proj.{kind}"]
            for part in ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"):
                start[f"{here}{part}.{kind}"] = theirs[f"{here}{part}.{kind}"]
    model.vision_model.load_state_dict(start)


def logits(model, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Scores of the token after each token, shape (pictures, tokens, vocabulary)."""
    seen = model.vision_model(pixel_values=pixels).last_hidden_state
    return decoder_logits(model, seen, ids)


def decoder_logits(model, seen: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return model.text_decoder(
        input_ids=ids,
        attention_mask=(ids != PAD).long(),
        encoder_hidden_states=seen,
        encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long),
        use_cache=False,
    ).logits.float()


@torch.no_grad()
def captions(model, tokenizer, pixels, top_p: float = 0.0, seed: int = 0) -> list[str]:
    """One sentence for each picture: the likeliest words, or with `top_p` a nucleus sample."""
    random = torch.Generator().manual_seed(seed)
    seen = model.vision_model(pixel_values=pixels).last_hidden_state
    ids = torch.full((len(pixels), 1), BEGIN)
    ended = torch.zeros(len(pixels), dtype=torch.bool)
    while not ended.all() and ids.shape[1] < LONGEST:
        scores = decoder_logits(model, seen, ids)[:, -1]
        chosen = nucleus(scores, top_p, random) if top_p else scores.argmax(-1)
        chosen = torch.where(ended, PAD, chosen)
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        ended |= chosen == SEPARATOR
    return [tokenizer.decode(row, skip_special_tokens=True) for row in ids.tolist()]


def nucleus(scores: torch.Tensor, top_p: float, random: torch.Generator) -> torch.Tensor:
    """Draws from the fewest words that together have at least the chance `top_p`."""
    chances, order = scores.softmax(-1).sort(descending=True)
    before = chances.cumsum(-1) - chances
    chances = chances.masked_fill(before >= top_p, 0)
    return order.gather(1, torch.multinomial(chances, 1, generator=random))[:, 0]


def load(checkpoint: Path) -> tuple[BlipForConditionalGeneration, Tokenizer]:
    """The model and tokenizer of a checkpoint written by `train_captioner.py`."""
    saved = torch.load(checkpoint, weights_only=True)
    tokenizer = Tokenizer.from_str(saved["tokenizer"])
    model = new_model(tokenizer.get_vocab_size())
    model.load_state_dict(saved["model"])
    return model.eval(), tokenizer
