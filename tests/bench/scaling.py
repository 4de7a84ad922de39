#!/usr/bin/env python3
"""How cost grows: time and memory of a training step against batch, depth and width, as Markdown and as an SVG plot.

    tests/bench/scaling.py build/release/esker [--quick] [--svg docs/scaling.svg]

Networks are rows of linear layers with relu; times are medians of `esker profile --json` (step_seconds: many steps in flight), memory is
that of `esker plan` for the device's own limits, and plan seconds the wall time of `esker plan`, which needs no GPU.
"""
import argparse
import json
import math
import os
import subprocess
import tempfile
import time


def network(folder, depth, width):
    path = os.path.join(folder, "mlp_%d_%d.json" % (depth, width))
    layers = [{"type": "flatten"}]
    for _ in range(depth - 1):
        layers += [{"type": "linear", "features": width}, {"type": "relu"}]
    layers.append({"type": "linear", "features": 10})
    with open(path, "w") as file:
        json.dump({"name": "mlp", "input": {"shape": [1, 16, 16]}, "layers": layers}, file)
    return path


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def measure(options, folder, limits, batch, depth, width):
    path = network(folder, depth, width)
    start = time.perf_counter()
    plan = run([options.esker, "plan", path, "--batch", str(batch), "--input", "float32", "--limits", limits, "--json"])
    seconds = time.perf_counter() - start
    step = run([options.esker, "profile", path, "--batch", str(batch), "--json"])
    if not plan or not step:
        return None
    return {"batch": batch, "depth": depth, "width": width, "step": step["step_seconds"], "dispatches": plan["n_dispatches"],
            "flops": plan["flops"], "peak": plan["peak_bytes"], "plan": seconds, "device": step["device"]}


def table(rows):
    print("| batch | layers | width | step us | samples a second | Gflop/s | dispatches | peak MiB | plan ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print("| %d | %d | %d | %.0f | %.0f | %.0f | %d | %.1f | %.0f |" % (r["batch"], r["depth"], r["width"], r["step"] * 1e6,
              r["batch"] / r["step"], r["flops"] / r["step"] * 1e-9, r["dispatches"], r["peak"] / 2**20, r["plan"] * 1e3))


def panel(out, left, rows, key, title):
    """One log-log panel: microseconds a step and MiB."""
    width, height, top = 260, 200, 40
    xs = [math.log2(r[key]) for r in rows]
    series = [("step, us", "#1f5fa8", [r["step"] * 1e6 for r in rows]), ("memory, MiB", "#b4531f", [r["peak"] / 2**20 for r in rows])]
    values = [math.log10(max(v, 0.1)) for _, _, vs in series for v in vs]
    low, high = math.floor(min(values)), math.ceil(max(values)) or 1

    def place(x, v):
        across = (x - xs[0]) / (xs[-1] - xs[0] or 1)
        up = (math.log10(max(v, 0.1)) - low) / (high - low or 1)
        return left + across * width, top + height - up * height

    out.append('<text x="%g" y="%g" font-weight="bold">%s</text>' % (left, top - 18, title))
    for power in range(low, high + 1):
        _, y = place(xs[0], 10.0**power)
        out.append('<path d="M%g %gh%g" stroke="#ddd"/><text x="%g" y="%g" text-anchor="end">1e%d</text>' % (left, y, width, left - 4, y + 4, power))
    for r, x in zip(rows, xs):
        at, _ = place(x, 1)
        out.append('<text x="%g" y="%g" text-anchor="middle">%d</text>' % (at, top + height + 16, r[key]))
    for i, (name, colour, vs) in enumerate(series):
        points = " ".join("%.1f,%.1f" % place(x, v) for x, v in zip(xs, vs))
        out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (points, colour))
        out.append('<text x="%g" y="%g" fill="%s">%s</text>' % (left + 8, top + 14 + 14 * i, colour, name))


def plot(path, groups, device):
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="300" font-family="sans-serif" font-size="11">',
           '<rect width="1000" height="300" fill="white"/>']
    for i, (key, title, rows) in enumerate(groups):
        if len(rows) > 1:
            panel(out, 60 + 320 * i, rows, key, title)
    out.append('<text x="60" y="290">training step of rows of linear layers, %s</text></svg>' % device)
    with open(path, "w") as file:
        file.write("\n".join(out) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esker")
    parser.add_argument("--quick", action="store_true", help="fewer points")
    parser.add_argument("--svg")
    options = parser.parse_args()
    batches = [1, 16, 256] if options.quick else [1, 4, 16, 64, 256, 1024]
    depths = [2, 20] if options.quick else [2, 5, 10, 20, 50, 100, 200]
    widths = [64, 256] if options.quick else [32, 64, 128, 256, 512, 1024, 2048]
    with tempfile.TemporaryDirectory() as folder:
        limits = os.path.join(folder, "limits.json")
        with open(limits, "w") as file:
            json.dump(run([options.esker, "info", "--json"]), file)
        sweeps = [("batch", "batch (4 layers of 256)", [(b, 4, 256) for b in batches]),
                  ("depth", "layers (batch 64, width 64)", [(64, d, 64) for d in depths]),
                  ("width", "width (batch 64, 4 layers)", [(64, 4, w) for w in widths])]
        groups = []
        for key, title, points in sweeps:
            rows = [r for r in (measure(options, folder, limits, *p) for p in points) if r]
            groups.append((key, title, rows))
            print("\n%s\n" % title)
            table(rows)
        device = groups[0][2][0]["device"] if groups[0][2] else ""
        print("\n%s" % device)
        if options.svg:
            plot(options.svg, groups, device)


if __name__ == "__main__":
    main()
