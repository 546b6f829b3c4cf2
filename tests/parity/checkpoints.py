"""Random checkpoints of small and real configurations, in every file format, with what the original
implementation computes from them.

The models are Hugging Face's. A checkpoint in Salesforce's layout holds the weights of such a model
under Salesforce's names, and its expected values are that model's with the settings that
Salesforce's code has.
"""

import importlib.util
import json
import pathlib

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from PIL import Image
from safetensors.torch import save_file
from tokenizers import processors
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOCABULARY = ROOT / "shared/models/vocabularies/bert-base-uncased.txt"

spec = importlib.util.spec_from_file_location("fixtures", ROOT / "shared/models/tests/fixtures/make.py")
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)

TEXTS = fixtures.TEXTS + ["word " * 90 + "end"]
# Features of different inputs that are nearer than this would hide mistakes.
DIFFERENT = 0.95
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


# ---------------------------------------------------------------- pictures


def pictures(folder, seed):
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"wide": (230, 90), "tall": (70, 200), "square": (64, 64), "small": (11, 9)}
    for number, (name, size) in enumerate(sizes.items()):
        fixtures.scene(*size, seed=seed + number).save(folder / f"{name}.png")
    fixtures.soft(90, 71).save(folder / "soft.png")
    return sorted(folder.iterdir())


def opened(paths):
    return [Image.open(path).convert("RGB") for path in paths]


def published_pixels(images, side):
    """Padded with black to an aspect ratio of at most 1.25, shortest side to `side`, centre."""
    rows = []
    for image in images:
        width, height = image.size
        if max(width, height) / min(width, height) >= 1.25:
            scaled = max(width, height) / 1.25
            left = max(int((scaled - width) / 2), 0)
            top = max(int((scaled - height) / 2), 0)
            padded = Image.new("RGB", (width + 2 * left, height + 2 * top))
            padded.paste(image, (left, top))
            image = padded
        width, height = image.size
        short = min(width, height)
        image = image.resize((int(side * width / short), int(side * height / short)), Image.Resampling.BICUBIC)
        left, top = (round((length - side) / 2) for length in image.size)
        image = image.crop((left, top, left + side, top + side))
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        pixels = pixels.view(side, side, 3).permute(2, 0, 1).float() / 255
        rows.append((pixels - MEAN) / STD)
    return torch.stack(rows)


# ---------------------------------------------------------------- models


def clip(seed, activation="gelu", legacy_end=False, text={}, vision={}, dim=24):
    tokenizer, start, end = fixtures.clip_tokenizer(specials_first=not legacy_end)
    vocabulary = tokenizer.get_vocab_size()
    shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, hidden_act=activation)
    text = {
        **shape, "vocab_size": vocabulary, "max_position_embeddings": 24,
        "bos_token_id": start, "eos_token_id": 2 if legacy_end else end, "pad_token_id": end, **text,
    }
    vision = {**shape, "hidden_size": 48, "image_size": 32, "patch_size": 8, **vision}
    model = randomise(CLIPModel(CLIPConfig(projection_dim=dim, text_config=text, vision_config=vision)), seed)
    side = vision["image_size"]
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    return model, tokenizer, processor


def randomise(model, seed):
    """As the fixtures', with more of the input and less of what is the same for every input."""
    model = fixtures.randomise(model, seed)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "class_embedding" in name or "position_embedding" in name:
            parameter.data *= 0.3
        elif "patch_embedding.weight" in name:
            parameter.data *= 3
        elif any(part in name for part in ("q_proj.weight", "k_proj.weight", "query.weight", "key.weight")):
            parameter.data *= 2
        elif "qkv.weight" in name:
            parameter.data *= 1.5
    return model


def blip_config(tokenizer, text, vision, dim):
    shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    text = {
        **shape, "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 96,
        "bos_token_id": tokenizer.token_to_id("[DEC]"), "sep_token_id": tokenizer.token_to_id("[SEP]"),
        "pad_token_id": tokenizer.token_to_id("[PAD]"), "eos_token_id": 2, **text,
    }
    vision = {**shape, "hidden_size": 48, "image_size": 32, "patch_size": 8, **vision}
    return BlipConfig(image_text_hidden_size=dim, text_config=text, vision_config=vision)


def blip_retrieval(seed, text={}, vision={}, dim=24):
    tokenizer = fixtures.bert_tokenizer()
    start, end = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", end), ("[CLS]", start))
    config = blip_config(tokenizer, text, vision, dim)
    model = randomise(BlipForImageTextRetrieval(config), seed)
    side = config.vision_config.image_size
    return model, tokenizer, BlipImageProcessorPil(size={"height": side, "width": side})


def blip_captioner(seed, text={}, vision={}):
    tokenizer = fixtures.bert_tokenizer()
    config = blip_config(tokenizer, text, vision, 24)
    model = randomise(BlipForConditionalGeneration(config), seed)
    vary_sentences(model)
    side = config.vision_config.image_size
    return model, tokenizer, BlipImageProcessorPil(size={"height": side, "width": side})


def vary_sentences(model):
    """So that sentences differ from picture to picture and along their length, and end."""
    decoder = model.text_decoder
    decoder.bert.embeddings.position_embeddings.weight.data *= 2
    for layer in decoder.bert.encoder.layer:
        layer.crossattention.self.query.weight.data *= 4
        layer.crossattention.output.dense.weight.data *= 0.7
        layer.attention.output.dense.weight.data *= 0.3
    decoder.cls.predictions.bias.data[model.config.text_config.sep_token_id] = 5.0
    model.tie_weights()


def as_stored(model, dtype):
    """What follows is computed with the weights as they are stored."""
    model.load_state_dict({name: tensor.to(dtype).float() for name, tensor in model.state_dict().items()})
    return {name: tensor.detach().to(dtype).clone() for name, tensor in model.state_dict().items()}


# ---------------------------------------------------------------- file formats


def untied(tensors):
    """Without the second name of a tied tensor, which safetensors files do not repeat."""
    return {name: tensor.contiguous() for name, tensor in tensors.items() if "predictions.decoder." not in name}


def with_buffers(tensors):
    """Files of older versions of transformers hold the position numbers too."""
    numbered = dict(tensors)
    for name, tensor in tensors.items():
        stem, embedding, rest = name.partition("position_embedding")
        if embedding and rest in (".weight", "s.weight"):
            numbered[f"{stem}position_ids"] = torch.arange(tensor.shape[0]).expand(1, -1)
    return numbered


def save_safetensors(tensors, folder):
    save_file(untied(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def save_safetensors_shards(tensors, folder):
    save_shards(untied(tensors), folder, "model{suffix}.safetensors", save_file)


def save_bin(tensors, folder):
    torch.save(with_buffers(tensors), folder / "pytorch_model.bin")


def save_bin_stream(tensors, folder):
    torch.save(with_buffers(tensors), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def save_bin_shards(tensors, folder):
    save_shards(with_buffers(tensors), folder, "pytorch_model{suffix}.bin", torch.save)


def save_bin_views(tensors, folder):
    """Every tensor is a view: transposed, or in the middle of a storage that it shares."""
    views = {}
    for name, tensor in tensors.items():
        if tensor.dim() == 2:
            views[name] = tensor.t().contiguous().t()
        else:
            storage = torch.cat([torch.zeros(3, dtype=tensor.dtype), tensor.flatten(), torch.ones(2, dtype=tensor.dtype)])
            views[name] = storage[3 : 3 + tensor.numel()].view(tensor.shape)
    torch.save(views, folder / "pytorch_model.bin")


def save_shards(tensors, folder, pattern, save):
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    split = split_torch_state_dict_into_shards(tensors, filename_pattern=pattern, max_shard_size=size // 2)
    assert split.is_sharded
    for file, names in split.filename_to_tensors.items():
        save({name: tensors[name] for name in names}, folder / file)
    index = dict(metadata=split.metadata, weight_map=split.tensor_to_filename)
    (folder / f"{pattern.format(suffix='')}.index.json").write_text(json.dumps(index))


FORMATS = {
    "safetensors": save_safetensors,
    "safetensors_shards": save_safetensors_shards,
    "bin": save_bin,
    "bin_stream": save_bin_stream,
    "bin_shards": save_bin_shards,
    "bin_views": save_bin_views,
}


def salesforce_name(name):
    if not name.startswith("vision_model."):
        return name
    name = name.removeprefix("vision_model.")
    for ours, theirs in {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding": "pos_embed",
        "embeddings.patch_embedding": "patch_embed.proj",
        "encoder.layers": "blocks",
        "layer_norm": "norm",
        "self_attn.projection": "attn.proj",
        "self_attn": "attn",
        "post_layernorm": "norm",
    }.items():
        name = name.replace(ours, theirs)
    return f"visual_encoder.{name}"


def save_salesforce(tensors, path, pretraining):
    """As the training code saves: the weights under "model", the momentum encoders and queues that
    the features do not need, and the state of the training."""
    named = {salesforce_name(name): tensor for name, tensor in tensors.items()}
    for name, tensor in list(named.items()):
        part, _, rest = name.partition(".")
        if part in ("visual_encoder", "vision_proj", "text_proj", "text_encoder") and "norm" in rest:
            named[f"{part}_m.{rest}"] = tensor
    text = next(name for name in tensors if name.endswith("embeddings.position_embeddings.weight"))
    named[text.replace("position_embeddings.weight", "position_ids")] = torch.arange(tensors[text].shape[0]).expand(1, -1)
    named["temp"] = torch.tensor(0.07)
    named["image_queue"] = torch.zeros(4, 3)
    named["text_queue"] = torch.zeros(4, 3)
    if pretraining:
        named["ptr_queue"] = torch.zeros(1, dtype=torch.int64)
        named["text_decoder.cls.predictions.bias"] = torch.zeros(3)
    else:
        named["idx_queue"] = torch.full((1, 3), -100)
        named["ptr_queue"] = torch.zeros(1, dtype=torch.int64)
    state = {"model": named, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "config": {"vit": "base"}, "epoch": 5}
    torch.save(state, path)


# ---------------------------------------------------------------- expected values


def check_different(features, what):
    unit = torch.nn.functional.normalize(features, dim=-1)
    cosines = unit @ unit.t() - torch.eye(len(unit))
    assert cosines.max() < DIFFERENT, f"{what}: features of different inputs are alike, {cosines.max():.3f}"


def features(images, texts, what):
    assert images.isfinite().all() and texts.isfinite().all(), what
    check_different(images, f"{what}, pictures")
    check_different(texts, f"{what}, texts")
    return dict(image_features=images.tolist(), text_features=texts.tolist())


@torch.no_grad()
def clip_features(model, tokenizer, processor, paths, what):
    pixels = processor(opened(paths), return_tensors="pt")["pixel_values"]
    ids, mask = batch(tokenizer, model.config.text_config.max_position_embeddings)
    images = model.get_image_features(pixel_values=pixels).pooler_output
    texts = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    return features(images, texts, what)


@torch.no_grad()
def retrieval_features(model, tokenizer, pixels, what):
    hidden = model.vision_model(pixel_values=pixels).last_hidden_state
    images = model.vision_proj(hidden[:, 0, :])
    ids, mask = batch(tokenizer, min(77, model.config.text_config.max_position_embeddings))
    hidden = model.text_encoder(input_ids=ids, attention_mask=mask, is_decoder=False).last_hidden_state
    texts = model.text_proj(hidden[:, 0, :])
    return features(images, texts, what)


def batch(tokenizer, context):
    tokenizer.enable_truncation(context)
    encodings = tokenizer.encode_batch(TEXTS)
    tokenizer.no_truncation()
    length = max(len(encoding.ids) for encoding in encodings)
    last = encodings[0].ids[-1]
    ids = [encoding.ids + [last] * (length - len(encoding.ids)) for encoding in encodings]
    mask = [[1] * len(encoding.ids) + [0] * (length - len(encoding.ids)) for encoding in encodings]
    return torch.tensor(ids), torch.tensor(mask)


def sentences(model, tokenizer, processor, paths, what):
    pixels = processor(opened(paths), return_tensors="pt")["pixel_values"]
    end = model.config.text_config.sep_token_id
    tokens = model.generate(pixel_values=pixels, max_new_tokens=40, min_new_tokens=1, num_beams=1, do_sample=False)
    rows = [row[1:] for row in tokens.tolist()]
    rows = [row[: row.index(end)] if end in row else row for row in rows]
    found = [tokenizer.decode(row) for row in rows]
    assert len(set(found)) > 1 and all(found), f"{what}: {found}"
    return dict(sentences=found)


def bert_base_uncased():
    """BLIP's own tokenizer: bert-base-uncased and two tokens."""
    tokenizer = BertTokenizer(vocab=str(VOCABULARY))
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    return tokenizer.backend_tokenizer
