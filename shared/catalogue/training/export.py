"""Writes the trained models in Hugging Face's formats, with half-precision weights, and checks them."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BlipForConditionalGeneration, CLIPModel

import captioner_model
import clip_model
from world import MEAN, SIDE, STD, TrainingSet

PIXELS = dict(
    do_convert_rgb=True,
    do_resize=True,
    resample=3,
    do_rescale=True,
    rescale_factor=1 / 255,
    do_normalize=True,
    image_mean=MEAN,
    image_std=STD,
)

NO_PART_OF_THE_SHAPE = {
    "_name_or_path",
    "chunk_size_feed_forward",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
    "transformers_version",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="training set, for the checks")
    parser.add_argument("--clip", type=Path, required=True, help="checkpoint of train_clip.py")
    parser.add_argument("--captioner", type=Path, required=True, help="of train_captioner.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundled models")
    return parser.parse_args()


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_model(model, tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    config["dtype"] = "float16"
    for part in (config, config["text_config"], config["vision_config"]):
        for key in NO_PART_OF_THE_SHAPE & part.keys():
            del part[key]
    write_json(folder / "config.json", config)
    # Tied tensors are written twice, so that a reader need not know which are tied.
    tensors = {name: tensor.half().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))


def export_clip(model: CLIPModel, tokenizer: Tokenizer, folder: Path) -> None:
    write_model(model, tokenizer, folder)
    end = clip_model.END
    write_json(
        folder / "tokenizer_config.json",
        dict(
            tokenizer_class="PreTrainedTokenizerFast",
            bos_token=clip_model.START,
            eos_token=end,
            unk_token=end,
            pad_token=end,
            model_max_length=clip_model.CONTEXT,
        ),
    )
    write_json(
        folder / "preprocessor_config.json",
        dict(
            **PIXELS,
            image_processor_type="CLIPImageProcessor",
            size={"shortest_edge": SIDE},
            do_center_crop=True,
            crop_size={"height": SIDE, "width": SIDE},
        ),
    )


def export_captioner(model, tokenizer: Tokenizer, folder: Path) -> None:
    write_model(model, tokenizer, folder)
    write_json(
        folder / "tokenizer_config.json",
        dict(
            tokenizer_class="PreTrainedTokenizerFast",
            bos_token="[DEC]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            pad_token="[PAD]",
            unk_token="[UNK]",
            mask_token="[MASK]",
            model_max_length=48,
        ),
    )
    write_json(
        folder / "preprocessor_config.json",
        dict(
            **PIXELS,
            image_processor_type="BlipImageProcessor",
            size={"height": SIDE, "width": SIDE},
        ),
    )


@torch.no_grad()
def check_clip(model: CLIPModel, tokenizer: Tokenizer, folder: Path, data: TrainingSet) -> None:
    """What Hugging Face reads back must give the same tokens and nearly the same features."""
    read = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    texts = data.texts[:200] + ["It is GREEN, with a four-leaf clover instead of a xylophone!"]
    theirs = AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]
    assert theirs == [encoding.ids for encoding in tokenizer.encode_batch(texts)], "tokens differ"
    pixels = data.pixels(np.arange(200))
    ids = clip_model.encode(tokenizer, texts)
    for name, features, inputs in (
        ("image", clip_model.image_features, pixels),
        ("text", clip_model.text_features, ids),
    ):
        cosine = F.cosine_similarity(features(model, inputs)[1], features(read, inputs)[1]).min()
        assert cosine >= 0.9999, f"{name} features differ: cosine {cosine}"
        print(f"clip: least cosine of {name} features {cosine:.6f}")


@torch.no_grad()
def check_captioner(model, tokenizer: Tokenizer, folder: Path, data: TrainingSet) -> None:
    """Hugging Face's own generation must give the captions that this code gives."""
    read = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = data.pixels(np.arange(100))
    ours = captioner_model.captions(model, tokenizer, pixels)
    ids = read.generate(pixel_values=pixels, max_new_tokens=captioner_model.LONGEST - 1, do_sample=False)
    theirs = AutoTokenizer.from_pretrained(folder).batch_decode(ids, skip_special_tokens=True)
    same = sum(a == b for a, b in zip(ours, theirs))
    print(f"captioner: {same} of 100 captions the same, for example: {theirs[0]!r}")
    assert same >= 95, "captions differ"


def main() -> None:
    options = arguments()
    data = TrainingSet(options.data)
    model, tokenizer = clip_model.load(options.clip)
    export_clip(model, tokenizer, options.out / "clip")
    check_clip(model, tokenizer, options.out / "clip", data)
    model, tokenizer = captioner_model.load(options.captioner)
    export_captioner(model, tokenizer, options.out / "captioner")
    check_captioner(model, tokenizer, options.out / "captioner", data)
    for path in sorted(options.out.glob("*/*")):
        print(f"{path.stat().st_size:>9} {path.relative_to(options.out)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
