#!/usr/bin/env python3
"""Matrix products over NF4 beside dequantise-then-matmul in PyTorch.

Usage: benches/nf4.py --python PYTHON [--rounds N]

y = x wT in f32 with two threads each, w in NF4 with double quantisation: ours reads the blocks,
PyTorch makes the whole matrix with bitsandbytes' portable dequantisation and multiplies
(`bitsandbytes`), or looks the codes up and scales them itself (`lookup`); the faster one counts.
Every round measures both, in turn; medians and the median of the pairwise ratios are printed.
"""
import argparse
import pathlib
import statistics
import subprocess
import sys
import time

from step import built

SHAPES = [(tokens, 2048, outputs) for tokens in (1, 16, 512) for outputs in (2048, 5632)]


def torch_side(threads):
    """Answers each line of sizes with the seconds of one product."""
    import torch
    import bitsandbytes.functional as bnb

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    made = {}

    def operands(m, k, n):
        x, w = torch.rand(m, k) - 0.5, torch.rand(n, k) - 0.5
        packed, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=True)
        absmax = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
        return x, packed, state, absmax.float(), state.code.float()

    def by_bitsandbytes(x, packed, state, absmax, code):
        return torch.nn.functional.linear(x, bnb.dequantize_4bit(packed, state))

    def by_lookup(x, packed, state, absmax, code):
        flat = packed.flatten()
        codes = torch.stack((flat >> 4, flat & 15), 1).flatten().int()
        weight = code[codes].view(-1, 64) * absmax[:, None]
        return torch.nn.functional.linear(x, weight.view(state.shape))

    ways = {"bitsandbytes": by_bitsandbytes, "lookup": by_lookup}
    with torch.inference_mode():
        for line in sys.stdin:
            way, *sizes = line.split()
            sizes = tuple(map(int, sizes))
            if sizes not in made:
                made[sizes] = operands(*sizes)
            began = time.perf_counter()
            ways[way](*made[sizes])
            print(time.perf_counter() - began, flush=True)


def asked(program, line):
    # Threads of whoever worked before may still be watching for work.
    time.sleep(0.02)
    program.stdin.write(line + "\n")
    program.stdin.flush()
    return float(program.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="one that has torch and bitsandbytes")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--role", choices=["torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role == "torch":
        return torch_side(args.threads)
    started = lambda command: subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    ours = started([built("nf4"), "--serve"])
    script = str(pathlib.Path(__file__).resolve())
    torch = started([args.python, script, "--role", "torch", "--threads", str(args.threads)])
    print(f"{'tokens x in x out':<20} {'ours':>9} {'bnb':>9} {'lookup':>9} {'ratio':>7}")
    for shape in SHAPES:
        sizes = " ".join(map(str, shape))
        rounds = [
            (asked(ours, sizes), asked(torch, f"bitsandbytes {sizes}"), asked(torch, f"lookup {sizes}"))
            for _ in range(args.rounds + 1)
        ][1:]
        times = [1e3 * statistics.median(side) for side in zip(*rounds)]
        ratio = statistics.median(min(bnb, lookup) / own for own, bnb, lookup in rounds)
        name = " x ".join(map(str, shape))
        print(f"{name:<20} {times[0]:>6.2f} ms {times[1]:>6.2f} ms {times[2]:>6.2f} ms {ratio:>7.2f}")
    for program in (ours, torch):
        program.stdin.close()
        program.wait()


if __name__ == "__main__":
    main()
