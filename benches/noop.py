#!/usr/bin/env python3
"""Building a second time: llamake beside ninja on one graph of 1,000 programs.

Usage: benches/noop.py [--runs N] [--llamake PATH] [--ninja PATH] [--write-recipe]

Ten chains of a hundred `cp`; tests/cli/thousand.recipe holds the recipe, and --write-recipe makes
it anew. Both tools build everything once, then the second builds alternate; medians and the median
of the pairwise ratios are printed. ninja: `pip install ninja`.
"""
import argparse
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = ROOT / "tests/cli/thousand.recipe"
STAGES, CHAINS = 1000, 10


def recipe():
    lines = ["//! A thousand programs in ten chains, to measure what a build costs that has nothing to do."]
    for i in range(STAGES):
        source = '"seed.txt"' if i < CHAINS else f"s{i - CHAINS:03}"
        below = "" if i < CHAINS else f"/x{i - CHAINS:03}"
        lines += [
            f"stage s{i:03} = command {{",
            f'    argv:    ["cp", "{{{{from}}}}{below}", "{{{{out}}}}/x{i:03}"]',
            f"    inputs:  {{ from: {source} }}",
            f'    outputs: ["x{i:03}"]',
            "}",
        ]
    last = ", ".join(f"s{i:03}" for i in range(STAGES - CHAINS, STAGES))
    return "\n".join(lines + [f"output {last}"]) + "\n"


def ninja_file():
    lines = ["rule copy", "  command = cp $in $out"]
    for i in range(STAGES):
        source = "seed.txt" if i < CHAINS else f"out/s{i - CHAINS:03}"
        lines.append(f"build out/s{i:03}: copy {source}")
    return "\n".join(lines) + "\n"


def timed(command, folder):
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--llamake", default=str(ROOT / "target/release/llamake"))
    parser.add_argument("--ninja", default=shutil.which("ninja"))
    parser.add_argument("--write-recipe", action="store_true")
    args = parser.parse_args()
    if args.write_recipe:
        RECIPE.write_text(recipe())
        return
    assert args.ninja, "ninja is not installed: pip install ninja"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "seed.txt").write_text("seed\n")
        (folder / "thousand.recipe").write_text(RECIPE.read_text())
        (folder / "build.ninja").write_text(ninja_file())
        ours, theirs = [args.llamake, "build", "thousand.recipe"], [args.ninja]
        first = timed(ours, folder), timed(theirs, folder)
        print(f"first build: llamake {first[0]:.0f} ms, ninja {first[1]:.0f} ms")
        pairs = [(timed(ours, folder), timed(theirs, folder)) for _ in range(args.runs)]
    mine, other = (statistics.median(side) for side in zip(*pairs))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"second build, median of {args.runs}: llamake {mine:.1f} ms, ninja {other:.1f} ms, ratio {ratio:.2f}")


main()
