"""Makes random checkpoints and what the original implementation computes from them.

    python make.py --out DIR [--seed N] [--real]    for check.py; --real adds the real sizes
    python make.py --fixtures                       the committed ones, for the crate's own tests

Each checkpoint is a folder with expected.json, which says what to load, and `check.py` compares.
Needs what tests/peers.txt pins.
"""

import argparse
import json
import pathlib
import shutil

import torch
import transformers

from checkpoints import *

FIXTURES = ROOT / "shared/models/tests/fixtures"
LARGE_HEADS = dict(vision=dict(hidden_size=64, num_attention_heads=8), text=dict(num_attention_heads=2))
SALESFORCE = dict(vision=dict(hidden_size=128, image_size=384, patch_size=16, layer_norm_eps=1e-6), text=dict(hidden_size=64))


def write(folder, expected, paths, **facts):
    pictures = [path.name for path in paths]
    expected = dict(**facts, pictures=pictures, texts=TEXTS, **expected)
    (folder / "expected.json").write_text(json.dumps(expected))
    print("made", folder, flush=True)


def make(folder, made, format, dtype, paths, expect, role):
    """A Hugging Face folder of one model in one format."""
    folder.mkdir(parents=True)
    model, tokenizer, processor = made
    tensors = as_stored(model, dtype)
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    FORMATS[format](tensors, folder)
    write(folder, expect(model, tokenizer, processor, paths, folder.name), paths, role=role, model=".")


def make_clip(folder, made, format, dtype, paths):
    make(folder, made, format, dtype, paths, clip_features, "encoder")


def make_captioner(folder, made, format, dtype, paths):
    make(folder, made, format, dtype, paths, sentences, "captioner")


def make_retrieval(folder, made, format, dtype, paths):
    def expect(model, tokenizer, processor, paths, what):
        pixels = processor(opened(paths), return_tensors="pt")["pixel_values"]
        return retrieval_features(model, tokenizer, pixels, what)

    make(folder, made, format, dtype, paths, expect, "encoder")


def make_salesforce(folder, seed, dtype, paths, grid, sizes, packed=False):
    """A .pth alone. `grid` is the number of patches on a side that its positions are for."""
    folder.mkdir(parents=True)
    text = dict(vocab_size=30524, num_attention_heads=sizes["text"]["hidden_size"] // 64, **sizes["text"])
    vision = dict(num_attention_heads=sizes["vision"]["hidden_size"] // 64, **sizes["vision"])
    model, _, _ = blip_retrieval(seed, text=text, vision=vision, dim=sizes.get("dim", 24))
    if packed:
        pack(model, seed)
    tensors = as_stored(model, dtype)
    positions = "vision_model.embeddings.position_embedding"
    if grid != 24:
        generator = torch.Generator().manual_seed(seed)
        stored = (0.2 * torch.randn(1, grid * grid + 1, vision["hidden_size"], generator=generator)).to(dtype)
        tensors[positions] = stored
        patches = stored[:, 1:].float().view(1, grid, grid, -1).permute(0, 3, 1, 2)
        patches = torch.nn.functional.interpolate(patches, size=(24, 24), mode="bicubic", align_corners=False)
        patches = patches.permute(0, 2, 3, 1).flatten(1, 2)
        model.load_state_dict({positions: torch.cat([stored[:, :1].float(), patches], dim=1)}, strict=False)
    if packed:
        tensors = {name: tensor if "patch" in name else packed_view(tensor) for name, tensor in tensors.items()}
    save_salesforce(tensors, folder / "model.pth", pretraining=grid != 24)
    expected = retrieval_features(model, bert_base_uncased(), published_pixels(opened(paths), 384), folder.name)
    write(folder, expected, paths, role="encoder", model="model.pth", names=sorted(model.state_dict()))


def pack(model, seed):
    """Large matrices get rows that are one sequence, each shifted by one, so that the file, which
    keeps the sequence alone, stays small."""
    generator = torch.Generator().manual_seed(seed + 1)
    for name, parameter in model.named_parameters():
        if parameter.numel() > 4000 and "patch" not in name:
            rows, columns = parameter.shape[0], parameter[0].numel()
            sequence = torch.randn(rows + columns - 1, generator=generator)
            scale = 0.7 if "word" in name else 1.2 / columns**0.5
            matrix = (scale * sequence).as_strided((rows, columns), (1, 1))
            parameter.data = matrix.reshape(parameter.shape).clone()


def packed_view(tensor):
    if tensor.dim() < 2 or tensor.numel() <= 4000 or tensor.shape[0] == 1:
        return tensor
    matrix = tensor.flatten(1)
    sequence = torch.cat([matrix[:, 0], matrix[-1, 1:]])
    strides = [1, *tensor[0].contiguous().stride()]
    return sequence.as_strided(tensor.shape, strides)


def small(out, seed):
    paths = pictures(out / "pictures", seed)
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    n = iter(range(seed, seed + 100))
    make_clip(out / "clip-quick-gelu-safetensors", clip(next(n), "quick_gelu", legacy_end=True), "safetensors", f32, paths)
    make_clip(out / "clip-gelu-safetensors-shards-f16", clip(next(n)), "safetensors_shards", f16, paths)
    make_clip(out / "clip-gelu-safetensors-bf16", clip(next(n)), "safetensors", bf16, paths)
    make_clip(out / "clip-gelu-tanh-bin", clip(next(n), "gelu_pytorch_tanh"), "bin", f32, paths)
    make_clip(out / "clip-quick-gelu-bin-shards", clip(next(n), "quick_gelu"), "bin_shards", f32, paths)
    make_clip(out / "clip-gelu-bin-stream", clip(next(n)), "bin_stream", f16, paths)
    make_clip(out / "clip-gelu-bin-views", clip(next(n)), "bin_views", f32, paths)
    make_retrieval(out / "blip-base-safetensors", blip_retrieval(next(n)), "safetensors", f32, paths)
    make_retrieval(out / "blip-large-safetensors-shards", blip_retrieval(next(n), **LARGE_HEADS), "safetensors_shards", f32, paths)
    make_retrieval(out / "blip-large-bin", blip_retrieval(next(n), **LARGE_HEADS), "bin", f16, paths)
    make_retrieval(out / "blip-base-bin-shards", blip_retrieval(next(n)), "bin_shards", f32, paths)
    make_salesforce(out / "blip-base-pth", next(n), f32, paths, 24, SALESFORCE)
    make_salesforce(out / "blip-large-pth-224", next(n), f32, paths, 14, SALESFORCE)
    make_captioner(out / "captioner-safetensors", blip_captioner(next(n)), "safetensors", f32, paths)
    make_captioner(out / "captioner-safetensors-shards", blip_captioner(next(n)), "safetensors_shards", f16, paths)
    make_captioner(out / "captioner-bin", blip_captioner(next(n)), "bin", f32, paths)


def tower(width, layers, heads, **others):
    return dict(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads, **others)


def real(out, seed):
    """The published configurations, with a small tokenizer. Dear in memory: one after the other."""
    paths = pictures(out / "pictures", seed)
    n = iter(range(seed + 100, seed + 200))
    words = dict(vocab_size=49408, max_position_embeddings=77)
    make_clip(
        out / "real-clip-b32",
        clip(next(n), text=tower(512, 12, 8, **words), vision=tower(768, 12, 12, image_size=224, patch_size=32), dim=512),
        "safetensors", torch.float32, paths,
    )
    make_clip(
        out / "real-clip-l14",
        clip(next(n), text=tower(768, 12, 12, **words), vision=tower(1024, 24, 16, image_size=224, patch_size=14), dim=768),
        "safetensors_shards", torch.float32, paths,
    )
    words = dict(vocab_size=30524, max_position_embeddings=512)
    vision = tower(768, 12, 12, image_size=384, patch_size=16)
    make_retrieval(
        out / "real-blip-b",
        blip_retrieval(next(n), text=tower(768, 12, 12, **words), vision=vision, dim=256),
        "bin", torch.float32, paths,
    )
    sizes = dict(
        vision=dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, image_size=384, patch_size=16, layer_norm_eps=1e-6),
        text=dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, max_position_embeddings=512),
        dim=256,
    )
    make_salesforce(out / "real-blip-b-pth", next(n), torch.float32, paths, 24, sizes)


def committed():
    """Tiny, and one model for all formats: folders hold what differs from clip_formats/base."""
    paths = sorted((FIXTURES / "pictures").glob("[lpst]*.png"))
    paths = [path for path in paths if path.name in fixtures.picture_names()]
    formats = FIXTURES / "formats"
    shutil.rmtree(formats, ignore_errors=True)
    tiny = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    made = clip(7, "gelu_pytorch_tanh", text=tiny, vision=dict(**tiny, image_size=16), dim=12)
    model, tokenizer, processor = made
    base = formats / "base"
    base.mkdir(parents=True)
    tensors = as_stored(model, torch.float16)
    model.config.save_pretrained(base)
    processor.save_pretrained(base)
    tokenizer.save(str(base / "tokenizer.json"))
    expected = clip_features(model, tokenizer, processor, paths, "formats")
    write(base, expected, paths)
    for format, save in FORMATS.items():
        (formats / format).mkdir()
        save(tensors, formats / format)
    shutil.rmtree(FIXTURES / "blip_retrieval", ignore_errors=True)
    sizes = dict(
        vision=dict(hidden_size=32, intermediate_size=48, num_attention_heads=8),
        text=dict(hidden_size=24, intermediate_size=48, num_attention_heads=2),
    )
    make_retrieval(FIXTURES / "blip_retrieval", blip_retrieval(3, **sizes), "safetensors", torch.float16, paths)
    shutil.rmtree(FIXTURES / "salesforce", ignore_errors=True)
    sizes = dict(
        vision=dict(SALESFORCE["vision"], hidden_size=64, num_hidden_layers=1),
        text=dict(hidden_size=128, num_hidden_layers=1, max_position_embeddings=80),
    )
    make_salesforce(FIXTURES / "salesforce", 4, torch.float16, paths, 14, sizes, packed=True)
    bicubic()


def bicubic():
    """What PyTorch makes of grids of other sizes."""
    cases = []
    for start, end, width in ((3, 5, 2), (14, 24, 1), (5, 3, 3), (1, 2, 1)):
        grid = torch.randn(1, width, start, start)
        made = torch.nn.functional.interpolate(grid, size=(end, end), mode="bicubic", align_corners=False)
        rows = lambda grid: [round(value, 6) for value in grid[0].permute(1, 2, 0).flatten().tolist()]
        cases.append({"from": start, "to": end, "width": width, "values": rows(grid), "expected": rows(made)})
    (FIXTURES / "salesforce/bicubic.json").write_text(json.dumps(cases))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--fixtures", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    transformers.logging.set_verbosity_error()
    if arguments.fixtures:
        committed()
        return
    if arguments.out is None:
        parser.error("--out is needed")
    arguments.out.mkdir(parents=True)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, seed {arguments.seed}")
    small(arguments.out, arguments.seed)
    if arguments.real:
        real(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
