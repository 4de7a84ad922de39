#!/usr/bin/env python3
"""Run PyTorch's optimizers and learning rate schedules for 50 steps and write the values that ours must reach.

    python3 tests/optim/make_optim.py >tests/optim/optim.inc        (needs numpy and torch)

The problem: parameters p of odd sizes, loss = sum over them of mean((a p - t)^2), with targets t that are new for every
step, so that gradients stay noisy. Every float comes from a word w of Philox4x32-10 (src/base/philox.h) by exact steps, so
test_optim.c makes the same bits. k = w >> 16, word i of
  stream 100 + part                 a = (3 k + 65536) / 2^17          in [0.5, 2)
  stream 200 + part                 start = (k - 32768) / 2^15        in [-1, 1)
  stream 1000 + 16 step + part      t = (k - 32768) / 2^14            in [-2, 2)
Run in float64, which is what is stored, and once more in float32: how far PyTorch's own float32 strays is stored too.
Lion and LAMB are not in PyTorch: Chen et al. 2023, algorithm 2, and You et al. 2020, algorithm 2 with corrected moments and
the norm itself as phi, on PyTorch's tensors.
"""
import math
import sys

import numpy as np

STEPS = 50
SEED = 20260202
PARTS = [("one", (1,)), ("matrix", (3, 7)), ("past", (65,)), ("scalar", ()), ("bias", (33,))]  # the last is group 1

# name, kind, ours as C, PyTorch's arguments, extra: clip_norm, clip_value, group (arguments of the last parameter)
RUNS = [
    ("sgd", "SGD", ".lr = 0.05f", dict(lr=0.05), {}),
    ("sgd, momentum", "SGD", ".lr = 0.02f, .momentum = 0.9f, .weight_decay = 0.01f",
     dict(lr=0.02, momentum=0.9, weight_decay=0.01), {}),
    ("sgd, dampening", "SGD", ".lr = 0.1f, .momentum = 0.8f, .dampening = 0.25f",
     dict(lr=0.1, momentum=0.8, dampening=0.25), {}),
    ("sgd, nesterov", "SGD", ".lr = 0.02f, .momentum = 0.9f, .nesterov = true, .weight_decay = 0.1f",
     dict(lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1), {}),
    ("adam", "ADAM", "0", dict(), {}),
    ("adam, all", "ADAM", ".lr = 0.01f, .beta1 = 0.8f, .beta2 = 0.95f, .eps = 1e-4f, .weight_decay = 0.1f",
     dict(lr=0.01, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1), {}),
    ("adamw", "ADAMW", ".lr = 0.01f, .weight_decay = 0.3f", dict(lr=0.01, weight_decay=0.3), {}),
    ("rmsprop", "RMSPROP", ".lr = 3e-3f", dict(lr=3e-3), {}),
    ("rmsprop, momentum", "RMSPROP", ".lr = 1e-3f, .momentum = 0.9f, .alpha = 0.9f, .weight_decay = 0.1f",
     dict(lr=1e-3, momentum=0.9, alpha=0.9, weight_decay=0.1), {}),
    ("rmsprop, centered", "RMSPROP", ".lr = 3e-3f, .centered = true, .eps = 1e-4f",
     dict(lr=3e-3, centered=True, eps=1e-4), {}),
    ("rmsprop, centered, momentum", "RMSPROP",
     ".lr = 1e-3f, .centered = true, .momentum = 0.5f, .eps = 1e-4f, .weight_decay = 0.1f",
     dict(lr=1e-3, centered=True, momentum=0.5, eps=1e-4, weight_decay=0.1), {}),
    ("adagrad", "ADAGRAD", "0", dict(), {}),
    ("adagrad, all", "ADAGRAD", ".lr = 0.1f, .lr_decay = 0.02f, .accumulator = 0.5f, .eps = 1e-3f, .weight_decay = 0.1f",
     dict(lr=0.1, lr_decay=0.02, initial_accumulator_value=0.5, eps=1e-3, weight_decay=0.1), {}),
    ("adadelta", "ADADELTA", "0", dict(), {}),
    ("adadelta, all", "ADADELTA", ".lr = 0.5f, .alpha = 0.8f, .eps = 1e-4f, .weight_decay = 0.1f",
     dict(lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1), {}),
    ("nadam", "NADAM", "0", dict(), {}),
    ("nadam, all", "NADAM", ".lr = 0.01f, .beta1 = 0.8f, .beta2 = 0.95f, .momentum_decay = 0.1f, .weight_decay = 0.1f",
     dict(lr=0.01, betas=(0.8, 0.95), momentum_decay=0.1, weight_decay=0.1), {}),
    ("lion", "LION", ".lr = 3e-3f, .weight_decay = 0.3f", dict(lr=3e-3, weight_decay=0.3), {}),
    ("lion, all", "LION", ".lr = 3e-3f, .beta1 = 0.8f, .beta2 = 0.9f", dict(lr=3e-3, betas=(0.8, 0.9)), {}),
    ("lamb", "LAMB", ".lr = 0.01f, .weight_decay = 0.1f", dict(lr=0.01, weight_decay=0.1), {}),
    ("lamb, all", "LAMB", ".lr = 0.02f, .beta1 = 0.8f, .beta2 = 0.95f, .eps = 1e-3f",
     dict(lr=0.02, betas=(0.8, 0.95), eps=1e-3), {}),
    ("lamb, groups", "LAMB",
     ".lr = 0.01f, .weight_decay = 0.2f, .clip_norm = 1, .groups = {{0}, {.lr_scale = 0.25f, .no_weight_decay = true}}",
     dict(lr=0.01, weight_decay=0.2), dict(clip_norm=1.0, group=dict(lr=0.0025, weight_decay=0.0))),
    ("sgd, clipped by norm", "SGD", ".lr = 0.05f, .clip_norm = 0.5f", dict(lr=0.05), dict(clip_norm=0.5)),
    ("adamw, clipped by value", "ADAMW", ".lr = 0.01f, .clip_value = 0.02f", dict(lr=0.01), dict(clip_value=0.02)),
    ("adamw, groups", "ADAMW",
     ".lr = 0.01f, .weight_decay = 0.3f, .clip_norm = 1, .groups = {{0}, {.lr_scale = 0.25f, .no_weight_decay = true}}",
     dict(lr=0.01, weight_decay=0.3), dict(clip_norm=1.0, group=dict(lr=0.0025, weight_decay=0.0))),
    ("sgd, groups", "SGD",
     ".lr = 0.05f, .momentum = 0.5f, .weight_decay = 0.01f, .groups = {{0}, {.lr_scale = 2, .weight_decay = 0.5f}}",
     dict(lr=0.05, momentum=0.5, weight_decay=0.01), dict(group=dict(lr=0.1, weight_decay=0.5))),
    ("sgd, with a schedule", "SGD", ".lr = 0.1f, .momentum = 0.9f", dict(lr=0.1, momentum=0.9), dict(schedule="warm-up, cosine")),
]

BASE_LR = 0.1
# name, ours as C, PyTorch's
SCHEDULES = [
    ("constant", ".kind = ESKER_SCHEDULE_CONSTANT", lambda s, o: s.LambdaLR(o, lambda t: 1.0)),
    ("step", ".kind = ESKER_SCHEDULE_STEP, .period = 7, .gamma = 0.5", lambda s, o: s.StepLR(o, 7, 0.5)),
    ("step, usual gamma", ".kind = ESKER_SCHEDULE_STEP, .period = 20", lambda s, o: s.StepLR(o, 20)),
    ("multi-step", ".kind = ESKER_SCHEDULE_MULTI_STEP, .milestones = {5, 11, 11, 30}, .n_milestones = 4, .gamma = 0.3",
     lambda s, o: s.MultiStepLR(o, [5, 11, 11, 30], 0.3)),
    ("exponential", ".kind = ESKER_SCHEDULE_EXPONENTIAL, .gamma = 0.9", lambda s, o: s.ExponentialLR(o, 0.9)),
    ("linear", ".kind = ESKER_SCHEDULE_LINEAR, .period = 20, .start = 0.25, .end = 0.8",
     lambda s, o: s.LinearLR(o, 0.25, 0.8, 20)),
    ("polynomial", ".kind = ESKER_SCHEDULE_POLYNOMIAL, .period = 40, .power = 2.5",
     lambda s, o: s.PolynomialLR(o, 40, 2.5)),
    ("cosine", ".kind = ESKER_SCHEDULE_COSINE, .period = 50", lambda s, o: s.CosineAnnealingLR(o, 50)),
    ("cosine, past its period", ".kind = ESKER_SCHEDULE_COSINE, .period = 30, .min_lr = 0.01",
     lambda s, o: s.CosineAnnealingLR(o, 30, 0.01)),
    ("restarts", ".kind = ESKER_SCHEDULE_COSINE_RESTARTS, .period = 11, .min_lr = 0.005",
     lambda s, o: s.CosineAnnealingWarmRestarts(o, 11, 1, 0.005)),
    ("restarts, longer", ".kind = ESKER_SCHEDULE_COSINE_RESTARTS, .period = 6, .period_factor = 2",
     lambda s, o: s.CosineAnnealingWarmRestarts(o, 6, 2)),
    ("one-cycle", ".kind = ESKER_SCHEDULE_ONE_CYCLE, .period = 50", lambda s, o: s.OneCycleLR(o, BASE_LR, 50)),
    ("one-cycle, linear", ".kind = ESKER_SCHEDULE_ONE_CYCLE, .period = 50, .linear = true, .rise = 0.2, .start = 0.1, .end = 0.01",
     lambda s, o: s.OneCycleLR(o, BASE_LR, 50, pct_start=0.2, anneal_strategy="linear", div_factor=10, final_div_factor=10)),
    ("one-cycle, three phases", ".kind = ESKER_SCHEDULE_ONE_CYCLE, .period = 50, .three_phase = true",
     lambda s, o: s.OneCycleLR(o, BASE_LR, 50, three_phase=True)),
    ("warm-up, cosine", ".kind = ESKER_SCHEDULE_COSINE, .period = 45, .min_lr = 0.001, .warmup = 5",
     lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.2, 1.0, 5), s.CosineAnnealingLR(o, 45, 0.001)], [5])),
    ("warm-up, step", ".kind = ESKER_SCHEDULE_STEP, .period = 10, .warmup = 8, .warmup_start = 0.3",
     lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.3, 1.0, 8), s.StepLR(o, 10)], [8])),
    ("chain", ".kind = ESKER_SCHEDULE_CHAIN, .n_milestones = 2, .milestones = {12, 30}, .n_parts = 3, .parts = chain_parts",
     lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.5, 1.0, 10), s.ExponentialLR(o, 0.9), s.StepLR(o, 4, 0.5)], [12, 30])),
    ("plateau", ".kind = ESKER_SCHEDULE_PLATEAU, .gamma = 0.5, .patience = 3, .threshold = 0.01, .cooldown = 2, .min_lr = 0.01",
     lambda s, o: s.ReduceLROnPlateau(o, factor=0.5, patience=3, threshold=0.01, cooldown=2, min_lr=0.01)),
    ("plateau, of what grows", ".kind = ESKER_SCHEDULE_PLATEAU, .patience = 5, .higher_is_better = true",
     lambda s, o: s.ReduceLROnPlateau(o, mode="max", patience=5)),
]


def metric(step):
    """What plateau schedules are told behind step `step`: falls, then stays, with some noise."""
    return max(2.0 - step / 16.0, 1.0) + (step * 7 % 5) / 64.0


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


def numbers(stream, shape, scale, shift, bits):
    k = (words(stream, math.prod(shape)) >> np.uint32(16)).astype(np.float64)
    return ((k * scale + shift) * 2.0**-bits).reshape(shape)


def lion_class(torch):
    class Lion(torch.optim.Optimizer):
        def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
            super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                b1, b2 = group["betas"]
                for p in group["params"]:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(group["lr"] * torch.sign(b1 * m + (1 - b1) * p.grad))
                    m.mul_(b2).add_((1 - b2) * p.grad)

    return Lion


def lamb_class(torch):
    class Lamb(torch.optim.Optimizer):
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
            super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                b1, b2 = group["betas"]
                for p in group["params"]:
                    state = self.state[p]
                    m, v = state.setdefault("m", torch.zeros_like(p)), state.setdefault("v", torch.zeros_like(p))
                    n = state["n"] = state.get("n", 0) + 1
                    m.mul_(b1).add_((1 - b1) * p.grad)
                    v.mul_(b2).add_((1 - b2) * p.grad**2)
                    r = (m / (1 - b1**n)) / ((v / (1 - b2**n)).sqrt() + group["eps"]) + group["weight_decay"] * p
                    size, length = p.norm(), r.norm()
                    trust = size / length if size > 0 and length > 0 else 1.0
                    p.sub_(group["lr"] * trust * r)

    return Lamb


def make_optimizer(torch, kind, tensors, arguments, group):
    classes = {"SGD": torch.optim.SGD, "ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW, "RMSPROP": torch.optim.RMSprop,
               "ADAGRAD": torch.optim.Adagrad, "ADADELTA": torch.optim.Adadelta, "NADAM": torch.optim.NAdam,
               "LION": lion_class(torch), "LAMB": lamb_class(torch)}
    arguments = dict(arguments)
    if kind == "ADAMW":
        arguments.setdefault("weight_decay", 0.0)  # PyTorch's is 0.01
    groups = [{"params": tensors[:-1]}, {"params": tensors[-1:], **group}]
    return classes[kind](groups, **arguments)


def train(torch, run, dtype):
    _, kind, _, arguments, extra = run
    shapes = [shape for _, shape in PARTS]
    a = [torch.from_numpy(numbers(100 + i, s, 3, 65536, 17)).to(dtype) for i, s in enumerate(shapes)]
    p = [torch.from_numpy(numbers(200 + i, s, 1, -32768, 15)).to(dtype).requires_grad_() for i, s in enumerate(shapes)]
    optimizer = make_optimizer(torch, kind, p, arguments, extra.get("group", {}))
    schedule = None
    if "schedule" in extra:
        make = next(make for name, _, make in SCHEDULES if name == extra["schedule"])
        schedule = make(torch.optim.lr_scheduler, optimizer)
    for step in range(STEPS):
        t = [torch.from_numpy(numbers(1000 + 16 * step + i, s, 1, -32768, 14)).to(dtype) for i, s in enumerate(shapes)]
        loss = sum(((a[i] * p[i] - t[i]) ** 2).mean() for i in range(len(p)))
        optimizer.zero_grad()
        loss.backward()
        if "clip_value" in extra:
            torch.nn.utils.clip_grad_value_(p, extra["clip_value"])
        if "clip_norm" in extra:
            torch.nn.utils.clip_grad_norm_(p, extra["clip_norm"])
        optimizer.step()
        if schedule:
            schedule.step()
    return np.concatenate([x.detach().double().numpy().reshape(-1) for x in p])


def rates(torch, make):
    tensor = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([tensor], lr=BASE_LR)
    schedule = make(torch.optim.lr_scheduler, optimizer)
    plateau = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
    out = []
    for step in range(STEPS):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < STEPS:
            schedule.step(metric(step)) if plateau else schedule.step()
    return out


def listing(values, indent):
    lines = []
    for i in range(0, len(values), 6):
        lines.append(indent + ", ".join(f"{v:.12g}" for v in values[i : i + 6]) + ",")
    return lines


def main():
    import warnings

    import torch

    warnings.simplefilter("ignore")  # SequentialLR's own use of step(epoch)
    torch.set_num_threads(1)
    n = sum(math.prod(shape) for _, shape in PARTS)
    start = np.concatenate([numbers(200 + i, s, 1, -32768, 15).reshape(-1) for i, (_, s) in enumerate(PARTS)])
    out = [
        "/*",
        " * Values of PyTorch's optimizers, in float64, and of its schedules. Made by tests/optim/make_optim.py; do not edit.",
        f" * torch {torch.__version__.split('+')[0]}, numpy {np.__version__}, on the CPU.",
        " */",
        f"enum {{ OPTIM_STEPS = {STEPS}, OPTIM_SEED = {SEED}, OPTIM_ELEMS = {n} }};",
        f"#define OPTIM_BASE_LR {BASE_LR}",
        "",
        "static const struct optim_run optim_runs[] = {",
    ]
    for run in RUNS:
        name, kind, ours, _, extra = run
        values, single = train(torch, run, torch.float64), train(torch, run, torch.float32)
        stray = np.max(np.abs(values - single) / np.maximum(np.abs(values), np.abs(start)))
        print(f"{name}: moved {np.max(np.abs(values - start)):.3g}, float32 strays {stray:.2e}", file=sys.stderr)
        settings = f".kind = ESKER_OPTIMIZER_{kind}" + ("" if ours == "0" else ", " + ours)
        schedule = f'"{extra["schedule"]}"' if "schedule" in extra else "NULL"
        out += [f'    {{"{name}", {{{settings}}}, {schedule}, {stray:.2e},', "     {"]
        out += listing(values, "      ")
        out += ["     }},"]
    out += [
        "};",
        "",
        "static const esker_schedule_desc chain_parts[] = {",
        "    {.kind = ESKER_SCHEDULE_LINEAR, .period = 10, .start = 0.5},",
        "    {.kind = ESKER_SCHEDULE_EXPONENTIAL, .gamma = 0.9},",
        "    {.kind = ESKER_SCHEDULE_STEP, .period = 4, .gamma = 0.5},",
        "};",
        "",
        "static const struct optim_schedule optim_schedules[] = {",
    ]
    for name, ours, make in SCHEDULES:
        out += [f'    {{"{name}", {{{ours}}},', "     {"]
        out += listing(rates(torch, make), "      ")
        out += ["     }},"]
    out += ["};", "", "/* What plateau schedules were told behind each step. */", "static const double optim_metrics[] = {"]
    out += listing([metric(step) for step in range(STEPS)], "    ")
    out += ["};"]
    print("\n".join(out))


if __name__ == "__main__":
    main()
