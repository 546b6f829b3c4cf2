"""PyTorch and ONNX Runtime beside which `bench-encode` measures: one CLIP ViT-B/32 with random weights.

    encode_peers.py checkpoint FOLDER     writes the checkpoint that both sides load
    encode_peers.py serve FOLDER          answers lines "PEER CASE SECONDS" with seconds per batch (the
                                          median of the calls made in SECONDS); prints "ready" first

CASE is image:BATCH or text:BATCH:TOKENS, PEER is torch or ort. Both peers run in f32 on THREADS threads
(environment), with the inputs already in memory. Texts have no padding: every row has TOKENS tokens.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

WORDS = 1000
START, END = 49406, 49407


def checkpoint(folder):
    """The published B/32 configuration, and a tokenizer of one word per token."""
    torch.manual_seed(0)
    config = CLIPConfig()
    config.text_config.eos_token_id = END
    config.text_config.bos_token_id = START
    folder.mkdir(parents=True, exist_ok=True)
    CLIPModel(config).save_pretrained(folder)
    vocabulary = {f"w{n}": n for n in range(WORDS)} | {"<unk>": WORDS, "<start>": START, "<end>": END}
    special = [
        dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        for content, id in (("<start>", START), ("<end>", END))
    ]
    frame = {name: dict(id=name, ids=[id], tokens=[name]) for name, id in (("<start>", START), ("<end>", END))}
    single = [
        {"SpecialToken": dict(id="<start>", type_id=0)},
        {"Sequence": dict(id="A", type_id=0)},
        {"SpecialToken": dict(id="<end>", type_id=0)},
    ]
    tokenizer = dict(
        version="1.0", truncation=None, padding=None, added_tokens=special, normalizer=None,
        pre_tokenizer=dict(type="WhitespaceSplit"), decoder=None,
        post_processor=dict(type="TemplateProcessing", single=single, pair=single, special_tokens=frame),
        model=dict(type="WordLevel", vocab=vocabulary, unk_token="<unk>"),
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    preprocessor = dict(image_processor_type="CLIPImageProcessor", size=dict(shortest_edge=224), crop_size=224)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))


def images(batch):
    return torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def texts(batch, tokens):
    ids = torch.randint(0, WORDS, (batch, tokens), generator=torch.Generator().manual_seed(2))
    ids[:, 0], ids[:, -1] = START, END
    return ids


class Features(torch.nn.Module):
    """One tower of the model as a function of one tensor, which is what an ONNX graph is."""

    def __init__(self, model, images):
        super().__init__()
        self.model, self.images = model, images

    def forward(self, given):
        if self.images:
            return self.model.visual_projection(self.model.vision_model(pixel_values=given).pooler_output)
        return self.model.text_projection(self.model.text_model(input_ids=given).pooler_output)


def exported(module, example, path, dynamic):
    import onnxruntime

    if not path.exists():
        part = path.with_suffix(".part")
        torch.onnx.export(
            module, (example,), part, dynamo=True, external_data=False, verbose=False,
            input_names=["given"], output_names=["features"], dynamic_shapes=(dynamic,), optimize=True,
        )
        part.rename(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def threads():
    return int(os.environ.get("THREADS", "2"))


def serve(folder):
    torch.set_num_threads(threads())
    model = CLIPModel.from_pretrained(folder).eval()
    picture, text = Features(model, True).eval(), Features(model, False).eval()
    batch, tokens = torch.export.Dim("batch", min=1, max=512), torch.export.Dim("tokens", min=2, max=77)
    sessions = dict(
        image=exported(picture, images(2), folder / "vision.onnx", {0: batch}),
        text=exported(text, texts(2, 9), folder / "text.onnx", {0: batch, 1: tokens}),
    )
    print("ready", flush=True)
    for line in sys.stdin:
        peer, case, seconds = line.split()
        kind, *sizes = case.split(":")
        given = (images if kind == "image" else texts)(*map(int, sizes))
        module, session, array = (picture if kind == "image" else text), sessions[kind], given.numpy()
        call = (lambda: module(given)) if peer == "torch" else (lambda: session.run(None, {"given": array}))
        with torch.inference_mode():
            found = np.asarray(session.run(None, {"given": array})[0])
            expected = module(given).numpy()
            assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max(), "the peers disagree"
            print(median(call, float(seconds)), flush=True)


def median(call, seconds):
    call()
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    dict(checkpoint=checkpoint, serve=serve)[command](Path(folder))
