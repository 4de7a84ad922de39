#!/usr/bin/env python3
"""Train models of images with PyTorch on the CPU for a few steps and write the losses that ours must follow.

    python3 tests/curves/make_curves.py >tests/curves/curves.inc        (needs numpy and torch)

Nothing big is stored: initial weights and batches come from Philox4x32-10 (src/base/philox.h), and every float from an
integer by exact steps, so test_curves.c makes the same bits. Run in float64, which is the curve, and once more in float32:
how far PyTorch's own float32 strays from it is stored too, as the measure of what can be asked.

  parameter i (in the order of the model), element j:  (2 u - 1) * bound, u = (word j of stream i >> 8) * 2^-24,
                 bound = 1 / sqrt(fan_in) rounded to float32, one float32 multiplication; those of norms, which have
                 no fan_in (0 in the table), start as their layer has it
  label of sample b of step s:       word b of stream 2^32 + s, modulo 10
  pixel j of sample b of step s:     byte (j % 4) of word b * ceil(pixels / 4) + j / 4 of stream 2^33 + s gives noise
                 n = byte % 97 - 48; the image is a grid of 4 x 4 cells, and cell k is lit in class c where bit k of word c
                 of stream 2^34 is set: clamp((lit ? 150 : 60) + n, 0, 255). The model sees float32(pixel) * float32(1/255).

After the steps the model is put into its eval mode, where batch norm takes the running statistics, and measured on batch STEPS.
"""
import json
import math
import os
import sys

import numpy as np

STEPS = 20
BATCH = 64
CLASSES = 10
SEED = 20260101
RUNS = [  # model file, optimizer, learning rate, momentum, weight decay
    ("mlp", "adam", 1e-3, 0.0, 0.0),
    ("smallconv", "adam", 1e-3, 0.0, 0.0),
    ("smallconv", "sgd", 0.05, 0.9, 1e-3),
    ("resnet", "adam", 0.01, 0.0, 0.0),
    ("resnet", "adamw", 0.02, 0.0, 0.1),
    ("normcnn_p0", "adamw", 1e-3, 0.0, 0.1),
]
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FOLDERS = ["demo/models", "tests/curves"]


def words(stream, n):
    """Words 0 .. n-1 of a stream under SEED: four for each value of the counter."""
    mask = np.uint64(0xFFFFFFFF)
    low = np.arange((n + 3) // 4, dtype=np.uint64)
    c = [low & mask, low >> np.uint64(32), np.full_like(low, stream & 0xFFFFFFFF), np.full_like(low, stream >> 32)]
    k0, k1 = SEED & 0xFFFFFFFF, SEED >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & mask, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=1).reshape(-1)[:n].astype(np.uint32)


def weights(index, shape, fan_in):
    unit = (words(index, math.prod(shape)) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    bound = np.float32(1.0 / math.sqrt(float(fan_in)))
    return ((unit * np.float32(2) - np.float32(1)) * bound).reshape(shape)


def batch(step, shape):
    """Labels [BATCH] and pixels [BATCH, *shape] as uint8."""
    channels, height, width = shape
    pixels = channels * height * width
    labels = (words(2**32 + step, BATCH) % np.uint32(CLASSES)).astype(np.int64)
    row_words = (pixels + 3) // 4
    noise = words(2**33 + step, BATCH * row_words).astype("<u4").view(np.uint8).reshape(BATCH, row_words * 4)[:, :pixels]
    noise = (noise.astype(np.int64) % 97 - 48).reshape(BATCH, channels, height, width)
    cell = (np.arange(height)[:, None] * 4 // height) * 4 + np.arange(width)[None, :] * 4 // width
    lit = (words(2**34, CLASSES).astype(np.int64)[labels][:, None, None] >> cell[None]) & 1
    images = np.clip(np.where(lit, 150, 60)[:, None] + noise, 0, 255).astype(np.uint8)
    return labels, images


def fingerprint(arrays):
    """FNV-1a, 64 bits, over the bytes: tells a wrong start from a wrong step."""
    value = 0xCBF29CE484222325
    for array in arrays:
        for byte in np.ascontiguousarray(array).tobytes():
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def pair(value):
    return tuple(value) if isinstance(value, list) else (value, value)


def folder_of(name):
    return next(folder for folder in FOLDERS if os.path.exists(os.path.join(ROOT, folder, name + ".json")))


class Model:
    """What a model's JSON says, as PyTorch modules called in the order of the list (which must not look ahead)."""

    # Layers without a name are called by these, or by their type, and the first number that is free.
    PREFIX = {"conv2d": "conv", "linear": "fc", "max_pool2d": "pool", "avg_pool2d": "pool", "batch_norm2d": "bn"}

    def __init__(self, torch, name, dtype):
        with open(os.path.join(ROOT, folder_of(name), name + ".json"), encoding="utf-8") as file:
            spec = json.load(file)
        self.torch = torch
        self.shape = tuple(spec["input"]["shape"])
        self.input = last = spec["input"].get("name", "input")
        self.modules, self.steps, shapes = {}, [], {self.input: (1,) + self.shape}
        taken = {self.input} | {layer["name"] for layer in spec["layers"] if "name" in layer}
        for layer in spec["layers"]:
            prefix = self.PREFIX.get(layer["type"], layer["type"])
            name = layer.get("name") or next(n for n in (f"{prefix}{i}" for i in range(1, 10000)) if n not in taken)
            taken.add(name)
            inputs = layer["inputs"] if "inputs" in layer else [layer.get("input", last)]
            module = self.make(layer, shapes[inputs[0]])
            if isinstance(module, torch.nn.Module):
                module = module.to(dtype)
                if list(module.parameters()):
                    self.modules[name] = module
                module.eval()  # a batch norm is to forget nothing and to remember nothing
            with torch.no_grad():
                shapes[name] = tuple(module(*[torch.zeros(shapes[i], dtype=dtype) for i in inputs]).shape)
            self.steps.append((name, module, inputs))
            last = name
        self.output = spec.get("output", last)

    def make(self, layer, shape):
        torch, kind = self.torch, layer["type"]
        if kind == "linear":
            return torch.nn.Linear(shape[1], layer["features"], bias=layer.get("bias", True))
        if kind == "conv2d":
            return torch.nn.Conv2d(shape[1], layer["filters"], pair(layer["kernel"]), pair(layer.get("stride", 1)),
                                   pair(layer.get("padding", 0)), bias=layer.get("bias", True))
        if kind in ("max_pool2d", "avg_pool2d"):
            pool = torch.nn.MaxPool2d if kind == "max_pool2d" else torch.nn.AvgPool2d
            return pool(pair(layer["window"]), pair(layer.get("stride", layer["window"])), pair(layer.get("padding", 0)))
        if kind == "batch_norm2d":
            return torch.nn.BatchNorm2d(shape[1])
        if kind == "dropout":
            return torch.nn.Dropout(layer["p"])
        if kind == "flatten":
            return torch.nn.Flatten()
        if kind in ("sum", "mean"):
            return lambda x: getattr(x, kind)(tuple(layer["axes"]), keepdim=layer.get("keepdims", False))
        if kind in ("relu", "sigmoid", "tanh", "add", "sub", "mul", "div"):
            return getattr(torch, kind)
        raise SystemExit(f"layer type {kind}: not known here")

    def parameters(self):
        """(name, tensor, fan_in) in the order of the layers, weight before bias before running statistics."""
        for name, module in self.modules.items():
            fan_in = math.prod(module.weight.shape[1:]) if module.weight.dim() > 1 else 0
            for part in ("weight", "bias", "running_mean", "running_var"):
                tensor = getattr(module, part, None)
                if tensor is not None:
                    yield f"{name}.{part}", tensor, fan_in

    def train(self, on):
        for _, module, _ in self.steps:
            if isinstance(module, self.torch.nn.Module):
                module.train(on)

    def __call__(self, x):
        values = {self.input: x}
        for name, module, inputs in self.steps:
            values[name] = module(*[values[i] for i in inputs])
        return values[self.output]


def train(torch, run, dtype):
    name, optimizer, lr, momentum, weight_decay = run
    model = Model(torch, name, dtype)
    parameters, start = [], []
    for index, (label, tensor, fan_in) in enumerate(model.parameters()):
        parameters.append((label, fan_in, tensor))
        if fan_in == 0:
            continue
        values = weights(index, tuple(tensor.shape), fan_in)
        start.append(values)
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(values))
    tensors = [tensor for _, _, tensor in parameters if tensor.requires_grad]
    if optimizer == "sgd":
        update = torch.optim.SGD(tensors, lr=lr, momentum=momentum, weight_decay=weight_decay)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
        update = kind(tensors, lr=lr, weight_decay=weight_decay)
    losses, batches = [], []
    model.train(True)
    for step in range(STEPS + 1):
        if step == STEPS:
            model.train(False)
        labels, images = batch(step, model.shape)
        batches += [labels.astype("<i4"), images]
        x = images.astype(np.float32) * np.float32(1.0 / 255.0)
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x).to(dtype)), torch.from_numpy(labels))
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
    table = [(label, tensor.numel(), fan_in) for label, fan_in, tensor in parameters]
    return table, fingerprint(start), fingerprint(batches), losses


def main():
    import torch

    torch.set_num_threads(1)
    out = [
        "/*",
        " * Losses that PyTorch computes for models of images, in float64. Made by tests/curves/make_curves.py; do not edit.",
        f" * torch {torch.__version__.split('+')[0]}, numpy {np.__version__}, on the CPU.",
        " */",
        f"enum {{ CURVE_STEPS = {STEPS}, CURVE_BATCH = {BATCH}, CURVE_CLASSES = {CLASSES}, CURVE_SEED = {SEED} }};",
        "",
    ]
    rows, listed = [], set()
    for run in RUNS:
        table, start, batches, losses = train(torch, run, torch.float64)
        single = train(torch, run, torch.float32)[3]
        stray = max(abs(a - b) / abs(a) for a, b in zip(losses, single))
        array = f"{run[0]}_params"
        if array not in listed:
            out.append(f"static const struct curve_param {array}[] = {{")
            out += [f'    {{"{label}", {n}, {fan_in}}},' for label, n, fan_in in table]
            out += ["};", ""]
            listed.add(array)
        rows.append("    {" f'"{folder_of(run[0])}", "{run[0]}", ESKER_OPTIMIZER_{run[1].upper()}, {run[2]!r}f, {run[3]!r}f, {run[4]!r}f,')
        rows.append(f"     {array}, {len(table)}, 0x{start:016x}u, 0x{batches:016x}u, {stray:.2e},")
        for i in range(0, STEPS, 5):
            text = ", ".join(f"{loss:.12f}" for loss in losses[i : min(i + 5, STEPS)])
            rows.append("     " + ("{" if i == 0 else " ") + text + ("}," if i + 5 >= STEPS else ","))
        rows.append(f"     {losses[STEPS]:.12f}" + "},")
        print(f"{run}: {losses[0]:.6f} -> {losses[-1]:.6f}, float32 strays {stray:.2e}", file=sys.stderr)
    out += ["static const struct curve curves[] = {", *rows, "};"]
    print("\n".join(out))


if __name__ == "__main__":
    main()
