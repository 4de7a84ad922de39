#!/usr/bin/env python3
"""Run torch.optim.LBFGS for 50 steps and write the values that ours must reach.

    python3 tests/optim/make_lbfgs.py >tests/optim/lbfgs.inc        (needs numpy and torch)

Problems, all of whose floats come from make_optim.py's streams:
  means       sum over the parts of make_optim.py of mean((a p - t)^2), t that of step 0
  sums        the same with sums in place of the means, which is far better conditioned
  moving      means with the t of every step: another loss in every step, one history
  rosenbrock  sum over i of 100 (x[i + 1] - x[i]^2)^2 + (1 - x[i])^2, from x[i] = -1.2, 1, -1.2, 1, ...
Run in float64, which is what is stored, and once more in float32. L-BFGS can be chaotic: a difference in the last bit makes a
line search stop elsewhere, and from there on the iterates are others. So only runs are here whose parameters PyTorch's own
float32 finds within a quarter of the 1e-5 that ours are allowed, and of the losses those before the first where it does not.
Tried and left out, with the largest difference between PyTorch's float64 and its float32 after 50 steps: means with a line
search 2e-3, moving with one 9, mean((tanh(a p) - t / 4)^2) 2e-3 to 9e-3, Rosenbrock of 7 and of 130 elements 2e-2 to 3e-2.
Ours differs as much there.
"""
import math
import sys

import numpy as np
from make_optim import PARTS, SEED, STEPS, listing, numbers

# name, problem, elements of rosenbrock, ours as C, PyTorch's arguments. An iteration has 25 evaluations here, if nothing is said.
RUNS = [
    ("sums", "sums", 0, ".iterations = 1", dict(max_iter=1)),
    ("sums, history of 3", "sums", 0, ".iterations = 1, .history = 3", dict(max_iter=1, history_size=3)),
    ("sums, two iterations", "sums", 0, ".iterations = 2, .history = 4", dict(max_iter=2, history_size=4)),
    ("sums, fixed steps", "sums", 0, ".iterations = 1, .search = ESKER_LINE_SEARCH_NONE, .lr = 0.25f",
     dict(max_iter=1, lr=0.25, line_search_fn=None)),
    ("sums, fixed long steps", "sums", 0, ".iterations = 4, .search = ESKER_LINE_SEARCH_NONE, .lr = 0.5f, .history = 4",
     dict(max_iter=4, lr=0.5, history_size=4, line_search_fn=None)),
    ("means, few evaluations", "means", 0, ".iterations = 1, .evaluations = 1", dict(max_iter=1, max_eval=1)),
    ("moving, fixed steps", "moving", 0, ".iterations = 1, .search = ESKER_LINE_SEARCH_NONE, .lr = 0.0625f, .history = 2",
     dict(max_iter=1, lr=0.0625, history_size=2, line_search_fn=None)),
    ("rosenbrock", "rosenbrock", 2, ".iterations = 1", dict(max_iter=1)),
    ("rosenbrock, usual", "rosenbrock", 2, "0", dict()),
    ("rosenbrock, history of 2", "rosenbrock", 2, ".iterations = 1, .history = 2", dict(max_iter=1, history_size=2)),
    ("rosenbrock, long trials", "rosenbrock", 2, ".iterations = 1, .lr = 16", dict(max_iter=1, lr=16)),
]
ALLOWED = 1e-5 / 4


def start_of(problem, n):
    if problem == "rosenbrock":
        return [np.where(np.arange(n) % 2 == 0, -1.2, 1.0).astype(np.float32).astype(np.float64)]
    return [numbers(200 + i, s, 1, -32768, 15) for i, (_, s) in enumerate(PARTS)]


def loss_of(torch, problem, p, step, dtype):
    if problem == "rosenbrock":
        x, y = p[0][:-1], p[0][1:]
        return (100 * (y - x * x) ** 2 + (1 - x) ** 2).sum()
    loss = 0
    for i, (_, s) in enumerate(PARTS):
        a = torch.from_numpy(numbers(100 + i, s, 3, 65536, 17)).to(dtype)
        t = torch.from_numpy(numbers(1000 + 16 * (step if problem == "moving" else 0) + i, s, 1, -32768, 14)).to(dtype)
        y = a * p[i]
        square = (y - t) ** 2
        loss = loss + (square.sum() if problem == "sums" else square.mean())
    return loss


def train(torch, run, dtype):
    """The loss in front of each step, how often it was evaluated in all, and the parameters behind the last."""
    _, problem, n, _, arguments = run
    p = [torch.from_numpy(x).to(dtype).requires_grad_() for x in start_of(problem, n)]
    arguments = dict(dict(history_size=10, max_eval=25, line_search_fn="strong_wolfe"), **arguments)
    optimizer = torch.optim.LBFGS(p, **arguments)
    losses, count = [], 0
    for step in range(STEPS):

        def closure():
            nonlocal count
            count += 1
            optimizer.zero_grad()
            loss = loss_of(torch, problem, p, step, dtype)
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    return np.array(losses), count, np.concatenate([x.detach().double().numpy().reshape(-1) for x in p])


def main():
    import torch

    torch.set_num_threads(1)
    out = [
        "/*",
        " * Values of torch.optim.LBFGS, in float64. Made by tests/optim/make_lbfgs.py; do not edit.",
        f" * torch {torch.__version__.split('+')[0]}, numpy {np.__version__}, on the CPU.",
        " */",
        f"enum {{ LBFGS_STEPS = {STEPS}, LBFGS_SEED = {SEED} }};",
        "",
        "static const struct lbfgs_run lbfgs_runs[] = {",
    ]
    for run in RUNS:
        name, problem, n, ours, _ = run
        losses, count, values = train(torch, run, torch.float64)
        single_losses, single_count, single = train(torch, run, torch.float32)
        start = np.concatenate([x.reshape(-1) for x in start_of(problem, n)])
        stray = np.max(np.abs(values - single) / np.maximum(np.abs(values), np.abs(start)))
        # Small losses are compared with a millionth of the first, the others with themselves.
        stray_losses = np.abs(losses - single_losses) / np.maximum(np.abs(losses), 1e-6 * losses[0])
        n_losses = int(np.argmax(np.append(stray_losses, 1) > ALLOWED))
        print(f"{name}: loss {losses[0]:.4g} to {losses[-1]:.4g}, {count} evaluations ({single_count} in float32), moved "
              f"{np.max(np.abs(values - start)):.3g}, float32 strays {stray:.2e}, {n_losses} losses agree", file=sys.stderr)
        if not stray <= ALLOWED:
            sys.exit(f"{name}: too chaotic to compare")
        settings = "0" if ours == "0" else ours
        out += [f'    {{"{name}", "{problem}", {{{settings}}}, {len(values)}, {count}, {n_losses}, {stray:.2e},', "     {"]
        out += listing(losses, "      ")
        out += ["     },", "     {"]
        out += listing(values, "      ")
        out += ["     }},"]
    out += ["};"]
    print("\n".join(out))


if __name__ == "__main__":
    main()
