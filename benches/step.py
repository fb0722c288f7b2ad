#!/usr/bin/env python3
"""The training step of a small Llama beside PyTorch.

Usage: benches/step.py --torch-step SCRIPT --python PYTHON [--rounds N] [--steps N] [--modes A,B]

SCRIPT trains the same shape (dim 256, 6 layers, 8 heads, ffn 688, vocabulary 4096, 8 rows of 256
tokens, AdamW, clip 1) in PyTorch: `PYTHON SCRIPT MODE STEPS THREADS` prints a line `RESULT torch …
median SECONDS … peakRSS MEGABYTESMB`. Ours is `cargo bench --bench step`. They alternate; medians
of the rounds' medians are printed, and how many times longer and larger PyTorch is.
"""
import argparse
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODES = "eager,eager-rmsf-fused,compile-rmsf-fused,bf16,compile-bf16,compile-bf16-rmsf-fused"


def built(name):
    """The program of a benchmark, compiled."""
    command = ["cargo", "bench", "--no-run", "--bench", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = re.search(rf"\((\S*release/deps/{name}-[0-9a-f]+)\)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"`{' '.join(command)}` failed:\n{done.stderr}")
    return ROOT / found.group(1)


def ran(command, pattern):
    """The numbers that a pattern finds in what a command prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    found = re.search(pattern, done.stdout)
    if done.returncode != 0 or not found:
        sys.exit(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [float(number) for number in found.groups()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-step", required=True)
    parser.add_argument("--python", required=True, help="one that has torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", default=MODES)
    args = parser.parse_args()
    step, modes = built("step"), args.modes.split(",")
    ours, theirs = [], {mode: [] for mode in modes}
    for round in range(args.rounds):
        for mode in modes:
            pattern = r"median_s=([\d.]+) .*peak_rss_bytes=(\d+) ledger_bytes=(\d+)"
            ours.append(ran([step, args.steps, args.threads], pattern))
            command = [args.python, args.torch_step, mode, args.steps, args.threads]
            theirs[mode].append(ran(command, r"RESULT torch.* median ([\d.]+) .*peakRSS (\d+)MB"))
        print(f"round {round + 1} of {args.rounds}", file=sys.stderr)
    time, peak, ledger = (statistics.median(column) for column in zip(*ours))
    print(f"{'':<26} {'s/step':>8} {'ratio':>6} {'peak MB':>8} {'ratio':>6}")
    print(f"{'llamake exact-f32':<26} {time:8.4f} {1:6.2f} {peak / 2**20:8.0f} {1:6.2f}")
    for mode, runs in theirs.items():
        seconds, megabytes = (statistics.median(column) for column in zip(*runs))
        ratio = megabytes * 2**20 / peak
        print(f"{'torch ' + mode:<26} {seconds:8.4f} {seconds / time:6.2f} {megabytes:8.0f} {ratio:6.2f}")
    print(f"the ledger said {ledger / 2**20:.0f} MB: {100 * (ledger / peak - 1):+.1f} % of the peak")


if __name__ == "__main__":
    main()
