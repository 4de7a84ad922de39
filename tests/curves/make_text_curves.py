#!/usr/bin/env python3
"""Train models of text with PyTorch on the CPU for a few steps and write the losses and gradient norms that ours must follow.

    python3 tests/curves/make_text_curves.py >tests/curves/text_curves.inc        (needs numpy and torch)

Weights start as make_curves.py makes them, one stream for each parameter; those with fan_in 0 are 1 ("weight") or 0 ("bias").

  batch of step s: with r the words of stream 2^35 + s, row after row of CONTEXT + 1 tokens, token t of a row is
                 r % VOCABULARY for t = 0 and where (r >> 16) % 8 is 0, else (3 * the token before + 7) % VOCABULARY.
                 A model sees the first CONTEXT of them, and each is to foretell its successor.

AdamW, beta2 0.99, weight decay 0.1 for matrices alone; the gradient is clipped to a norm of 1; the rate rises over 5 steps and
falls along a cosine.
"""
import math
import sys

import numpy as np

from make_curves import SEED, STEPS, fingerprint, weights, words

BATCH = 8
CONTEXT = 16
VOCABULARY = 65
WIDTH = 32
LAYERS = 2
HEADS = 2


def rate(step):
    peak, warm_up = 1e-2, 5
    if step < warm_up:
        return float(np.float32(peak * (step + 1) / warm_up))
    return float(np.float32(peak * (0.55 + 0.45 * math.cos(math.pi * (step + 1 - warm_up) / (STEPS - warm_up)))))


def batch(step):
    """Tokens [BATCH, CONTEXT] and their successors."""
    r = words(2**35 + step, BATCH * (CONTEXT + 1)).astype(np.int64).reshape(BATCH, CONTEXT + 1)
    rows = r % VOCABULARY
    for t in range(1, CONTEXT + 1):
        rows[:, t] = np.where((r[:, t] >> 16) % 8 == 0, rows[:, t], (3 * rows[:, t - 1] + 7) % VOCABULARY)
    return rows[:, :-1].copy(), rows[:, 1:].copy()


def gpt_parameters():
    """(name, shape, fan_in) in the order in which the test records them."""
    table = [("characters", (VOCABULARY, WIDTH), WIDTH), ("positions", (CONTEXT, WIDTH), WIDTH)]

    def norm(name):
        return [(f"{name}.weight", (WIDTH,), 0), (f"{name}.bias", (WIDTH,), 0)]

    def linear(name, outs, ins):
        return [(f"{name}.weight", (outs, ins), ins), (f"{name}.bias", (outs,), ins)]

    for i in range(1, LAYERS + 1):
        table += norm(f"block{i}.norm1")
        for part in ("query", "key", "value", "mix"):
            table += linear(f"block{i}.{part}", WIDTH, WIDTH)
        table += norm(f"block{i}.norm2")
        table += linear(f"block{i}.expand", 4 * WIDTH, WIDTH) + linear(f"block{i}.contract", WIDTH, 4 * WIDTH)
    return table + norm("norm")


def gpt(torch, p, tokens):
    f = torch.nn.functional

    def norm(name, x):
        return f.layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"])

    def linear(name, x):
        return f.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def heads(name, x):
        return linear(name, x).view(BATCH, CONTEXT, HEADS, WIDTH // HEADS).transpose(1, 2)

    x = p["characters"][tokens] + p["positions"]
    for i in range(1, LAYERS + 1):
        y = norm(f"block{i}.norm1", x)
        y = f.scaled_dot_product_attention(*[heads(f"block{i}.{part}", y) for part in ("query", "key", "value")],
                                           is_causal=True)
        x = x + linear(f"block{i}.mix", y.transpose(1, 2).reshape(BATCH, CONTEXT, WIDTH))
        y = linear(f"block{i}.expand", norm(f"block{i}.norm2", x))
        x = x + linear(f"block{i}.contract", f.gelu(y))
    return norm("norm", x) @ p["characters"].T


def gru_parameters():
    table = [("characters", (VOCABULARY, WIDTH), 1)]
    for i in range(LAYERS):
        table += [(f"gru.weight_{part}_l{i}", (3 * WIDTH, WIDTH), WIDTH) for part in ("ih", "hh")]
        table += [(f"gru.bias_{part}_l{i}", (3 * WIDTH,), WIDTH) for part in ("ih", "hh")]
    return table + [("fc.weight", (VOCABULARY, WIDTH), WIDTH), ("fc.bias", (VOCABULARY,), WIDTH)]


def gru(torch, p, tokens):
    cell = torch.nn.GRU(WIDTH, WIDTH, LAYERS, batch_first=True, dtype=p["characters"].dtype)
    parts = {name[4:]: tensor for name, tensor in p.items() if name.startswith("gru.")}
    y, _ = torch.func.functional_call(cell, parts, (p["characters"][tokens],))
    return torch.nn.functional.linear(y, p["fc.weight"], p["fc.bias"])


MODELS = {"gpt": (gpt_parameters, gpt), "gru": (gru_parameters, gru)}


def train(torch, name, dtype):
    table, model = MODELS[name][0](), MODELS[name][1]
    p, start = {}, []
    for index, (label, shape, fan_in) in enumerate(table):
        values = np.full(shape, float(label.endswith("weight")), np.float32)
        if fan_in:
            values = weights(index, shape, fan_in)
            start.append(values)
        p[label] = torch.from_numpy(values).to(dtype).requires_grad_(True)
    update = torch.optim.AdamW([{"params": [t for t in p.values() if t.dim() == 2], "weight_decay": 0.1},
                                {"params": [t for t in p.values() if t.dim() != 2], "weight_decay": 0.0}],
                               betas=(0.9, 0.99))
    losses, norms, batches = [], [], []
    for step in range(STEPS):
        tokens, successors = batch(step)
        batches += [tokens.astype("<i4"), successors.astype("<i4")]
        logits = model(torch, p, torch.from_numpy(tokens)).reshape(BATCH * CONTEXT, VOCABULARY)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(successors).reshape(-1))
        update.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(list(p.values()), 1.0).item())
        for group in update.param_groups:
            group["lr"] = rate(step)
        update.step()
        losses.append(loss.item())
    return table, fingerprint(start), fingerprint(batches), losses, norms


def numbers(values, form, end):
    """Rows of five numbers in braces."""
    rows = [", ".join(format(v, form) for v in values[i : i + 5]) for i in range(0, len(values), 5)]
    return "     {" + ",\n      ".join(rows) + "}" + end


def main():
    import torch

    torch.set_num_threads(1)
    out = [
        "/*",
        " * Losses and gradient norms that PyTorch computes for models of text, in float64. Made by",
        " * tests/curves/make_text_curves.py; do not edit.",
        f" * torch {torch.__version__.split('+')[0]}, numpy {np.__version__}, on the CPU.",
        " */",
        f"enum {{ CURVE_STEPS = {STEPS}, CURVE_BATCH = {BATCH}, CURVE_CONTEXT = {CONTEXT}, CURVE_VOCABULARY = {VOCABULARY},",
        f"       CURVE_WIDTH = {WIDTH}, CURVE_LAYERS = {LAYERS}, CURVE_HEADS = {HEADS}, CURVE_SEED = {SEED} }};",
        "",
        "static const float curve_rates[] =",
        numbers([rate(step) for step in range(STEPS)], ".9f", ";").replace(",", "f,").replace("}", "f}"),
        "",
    ]
    curves = []
    for name in MODELS:
        table, start, batches, losses, norms = train(torch, name, torch.float64)
        _, _, _, single_losses, single_norms = train(torch, name, torch.float32)
        stray = [max(abs(a - b) / abs(a) for a, b in zip(*pair)) for pair in ((losses, single_losses), (norms, single_norms))]
        out.append(f"static const struct curve_param {name}_params[] = {{")
        out += [f'    {{"{label}", {math.prod(shape)}, {fan_in}}},' for label, shape, fan_in in table]
        out += ["};", ""]
        curves += [f'    {{"{name}", record_{name}, {name}_params, {len(table)}, 0x{start:016x}u, 0x{batches:016x}u,',
                   f"     {stray[0]:.2e}, {stray[1]:.2e},", numbers(losses, ".12f", ","), numbers(norms, ".12f", "},")]
        print(f"{name}: {losses[0]:.6f} -> {losses[-1]:.6f}, norms {norms[0]:.4f} -> {norms[-1]:.4f}, "
              f"float32 strays {stray[0]:.2e} and {stray[1]:.2e}", file=sys.stderr)
    out += ["static const struct text_curve curves[] = {", *curves, "};"]
    print("\n".join(out))


if __name__ == "__main__":
    main()
