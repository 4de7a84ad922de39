#!/usr/bin/env python3
"""The work of `esker bench` in PyTorch, on the same machine right after: float32 without TF32, eager and as a CUDA graph that is replayed.

    tests/bench/compare_torch.py --esker build/release/esker [--parts gemm,step,infer] [--only TEXT] [--out FILE.json]
    tests/bench/compare_torch.py --json esker.json            what an esker bench --json before said
    tests/bench/compare_torch.py --esker ... --memory         also peak bytes of the training steps: plans against PyTorch's allocator

Models are read from tests/bench/models, so that both sides run one description. Training is forward, cross-entropy, backward and AdamW (fused,
the fastest that PyTorch has) on inputs that lie on the device; inference is model.eval() without gradients. Each time is the
median of 5 rounds of at least 50 ms. Without CUDA, PyTorch runs on the CPU, eagerly.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"


def pair(value):
    return tuple(value) if isinstance(value, list) else (value, value)


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, rows, width = x.shape
        q, k, v = (t.view(n, rows, self.heads, -1).transpose(1, 2) for t in self.qkv(x).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(n, rows, width))


class Value(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(shape))


class Model(nn.Module):
    """A model's JSON, layer by layer. Layers with parameters are made when their input's shape is known."""

    def __init__(self, path):
        super().__init__()
        with open(path) as file:
            self.spec = json.load(file)
        self.input_name = self.spec["input"].get("name", "input")
        self.shape = self.spec["input"]["shape"]
        self.steps, self.parts, before, count = [], nn.ModuleList(), self.input_name, {}
        for layer in self.spec["layers"]:
            kind = layer["type"]
            count[kind] = count.get(kind, 0) + 1
            name = layer.get("name", "%s#%d" % (kind, count[kind]))
            inputs = layer.get("inputs") or [layer.get("input", before)]
            self.steps.append([name, kind, inputs, layer, None])
            before = name
        self.tokens = self.spec["layers"][0]["type"] == "embedding"
        self(self.example(1))

    def example(self, batch):
        shape = [batch] + self.shape
        return torch.randint(0, 65, shape) if self.tokens else torch.rand(shape)

    def make(self, kind, layer, x):
        if kind == "conv2d":
            return nn.Conv2d(x[0].shape[1], layer["filters"], pair(layer["kernel"]), pair(layer.get("stride", 1)),
                             pair(layer.get("padding", 0)), groups=layer.get("groups", 1), bias=layer.get("bias", True))
        if kind == "linear":
            return nn.Linear(x[0].shape[-1], layer["features"], bias=layer.get("bias", True))
        if kind == "batch_norm2d":
            return nn.BatchNorm2d(x[0].shape[1])
        if kind == "layer_norm":
            return nn.LayerNorm(x[0].shape[-1])
        if kind == "embedding":
            return nn.Embedding(layer["rows"], layer["features"])
        if kind == "attention":
            return Attention(x[0].shape[-1], layer["heads"], layer.get("causal", False))
        if kind == "parameter":
            return Value(layer["shape"])
        return None

    def forward(self, x):
        values = {self.input_name: x}
        for step in self.steps:
            name, kind, inputs, layer, part = step
            have = [] if kind == "parameter" else [values[i] for i in inputs]
            if part is None:  # the first time; False: it has no parameters
                part = step[4] = self.make(kind, layer, have) or False
                if part:
                    self.parts.append(part)
            if kind == "parameter":
                y = part.weight
            elif part:
                y = part(have[0])
            elif kind == "relu":
                y = F.relu(have[0])
            elif kind == "gelu":
                y = F.gelu(have[0])
            elif kind == "clamp":
                y = torch.clamp(have[0], layer["lo"], layer["hi"])
            elif kind == "add":
                y = have[0] + have[1]
            elif kind == "concat":
                y = torch.cat(have, layer.get("axis", 1))
            elif kind == "flatten":
                y = torch.flatten(have[0], 1)
            elif kind == "max_pool2d":
                window = pair(layer["window"])
                y = F.max_pool2d(have[0], window, pair(layer.get("stride", list(window))), pair(layer.get("padding", 0)))
            elif kind == "global_avg_pool2d":
                y = F.adaptive_avg_pool2d(have[0], 1)
            else:
                raise ValueError("no counterpart of layer type " + kind)
            values[name] = y
        return y


def synchronize():
    if CUDA:
        torch.cuda.synchronize()


def median_time(body, seconds=0.05, rounds=5):
    """Seconds of one call, with the device's queue emptied after each round."""
    for _ in range(3):
        body()
    synchronize()
    n = 1
    while True:
        start = time.perf_counter()
        for _ in range(n):
            body()
        synchronize()
        taken = time.perf_counter() - start
        if taken * 2 > seconds or n >= 1 << 16:
            break
        n *= 2
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(n):
            body()
        synchronize()
        times.append((time.perf_counter() - start) / n)
    return statistics.median(times)


def both(body):
    """Eager time, and the time of a replayed graph or None."""
    eager = median_time(body)
    if not CUDA:
        return eager, None
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return eager, median_time(graph.replay)


def time_gemm(name):
    shape, transposed = re.match(r"gemm (\S.*) ([nt][nt])$", name).groups()
    batch = re.match(r"(\d+)x (.*)", shape)
    many, shape = (int(batch[1]), batch[2]) if batch else (0, shape)
    m, n, k = (int(v) for v in shape.split("x"))
    lead = [many] if many else []
    a = torch.rand(lead + ([k, m] if transposed[0] == "t" else [m, k]), device=DEVICE)
    b = torch.rand(lead + ([n, k] if transposed[1] == "t" else [k, n]), device=DEVICE)
    c = torch.empty(lead + [m, n], device=DEVICE)
    a = a.transpose(-1, -2) if transposed[0] == "t" else a
    b = b.transpose(-1, -2) if transposed[1] == "t" else b
    return both(lambda: torch.matmul(a, b, out=c))


def open_model(name):
    kind, model, batch = re.match(r"(step|infer) (\S+) batch (\d+)", name).groups()
    path = model if model.endswith(".json") else os.path.join(MODELS, model + ".json")
    return kind, Model(path), int(batch)


def training(name):
    _, net, batch = open_model(name)
    net = net.to(DEVICE).train()
    x = net.example(batch).to(DEVICE)
    with torch.no_grad():
        shape = net(x).shape
    labels = torch.randint(0, shape[-1], [shape.numel() // shape[-1]], device=DEVICE)
    options = {"fused": True, "capturable": True} if CUDA else {}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01, **options)

    def step():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x).reshape(-1, shape[-1]), labels).backward()
        optimizer.step()

    return step


def time_inference(name):
    _, net, batch = open_model(name)
    net = net.to(DEVICE).eval()
    x = net.example(batch).to(DEVICE)

    def forward():
        with torch.no_grad():
            net(x)

    return both(forward)


def time_work(name):
    if name.startswith("gemm "):
        return time_gemm(name)
    if name.startswith("step "):
        return both(training(name))
    if name.startswith("infer ") and "latency" not in name:
        return time_inference(name)
    return None


def peak_bytes(name):
    """What PyTorch's allocator held at most over eager steps, the parameters and their state included."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step = training(name)
    for _ in range(3):
        step()
    synchronize()
    return torch.cuda.max_memory_allocated() - before


def run_esker(options):
    results, device = [], None
    for part in options.parts.split(","):
        command = [options.esker, "bench", part, "--json", "--peak", "--round", "0.05"]
        if options.only:
            command += ["--only", options.only]
        done = subprocess.run(command, capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        if not done.stdout:
            continue
        found = json.loads(done.stdout)
        device = found["device"]
        results += [r for r in found["results"] if r["name"] not in {q["name"] for q in results}]
    if device is None:
        sys.exit("%s bench gave no results" % options.esker)
    return {"device": device, "results": results}


def show(seconds):
    return "%12.2f" % (seconds * 1e6) if seconds else "%12s" % ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esker", help="the command")
    parser.add_argument("--json", help="what esker bench --json wrote")
    parser.add_argument("--parts", default="gemm,step,infer")
    parser.add_argument("--only", default="", help="work whose name has this in it")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--out", help="write everything as JSON")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)
    if options.json:
        with open(options.json) as file:
            esker = json.load(file)
    elif options.esker:
        esker = run_esker(options)
    else:
        parser.error("--esker or --json")
    print("esker: %s   torch %s: %s" % (esker["device"], torch.__version__, torch.cuda.get_device_name() if CUDA else "CPU"))
    print("%-46s %12s %12s %12s %8s %9s" % ("", "esker us", "eager us", "graph us", "of limit", "ratio"))
    rows = []
    for result in esker["results"]:
        name, ours = result["name"], result["median_seconds"]
        if options.only and options.only not in name:
            continue
        try:
            times = time_work(name)
        except Exception as failure:  # one size that does not fit must not hide the others
            print("%-46s %s  PyTorch: %s" % (name, show(ours), failure))
            continue
        eager, graph = times or (None, None)
        best = graph or eager
        row = dict(result, torch_eager_seconds=eager, torch_graph_seconds=graph)
        if options.memory and CUDA and name.startswith("step "):
            row["torch_peak_bytes"] = peak_bytes(name)
        limit = "%8.3f" % result["of_limit"] if result.get("of_limit") else "%8s" % ""
        ratio = "%9.2f" % (ours / best) if best else ""
        print("%-46s %s %s %s %s %s" % (name, show(ours), show(eager), show(graph), limit, ratio), flush=True)
        if row.get("peak_bytes") and row.get("torch_peak_bytes"):
            print("%-46s %12.1f MiB, PyTorch %.1f MiB, ratio %.2f" % ("  memory", row["peak_bytes"] / 2**20,
                  row["torch_peak_bytes"] / 2**20, row["peak_bytes"] / row["torch_peak_bytes"]))
        rows.append(row)
    print("ratio: esker's time over PyTorch's graph (without CUDA: eager)")
    if options.out:
        with open(options.out, "w") as file:
            json.dump({"device": esker["device"], "torch": torch.__version__, "results": rows}, file, indent=1)


if __name__ == "__main__":
    main()
