#!/usr/bin/env python3
"""Sampling many answers beside transformers' `generate`, on one model's folder.

Usage: benches/generation.py --python PYTHON --model DIR [--rounds N]

Both continue 64 prompts of 16 to 48 random tokens by 128 tokens at temperature 1, in f32 with the
same threads. transformers runs at several batch sizes, left-padded; its best one counts. They
alternate; medians are printed.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from step import built, ran

PROMPTS, NEW_TOKENS = 64, 128


def torch_side(folder, threads):
    """Tokens a second at each batch size, as JSON."""
    import random

    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    random.seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    vocab = model.config.vocab_size
    prompts = [[random.randrange(vocab) for _ in range(random.randint(16, 48))] for _ in range(PROMPTS)]
    rates = {}
    for size in (8, 32, 64):
        used = prompts if size >= 32 else prompts[:16]
        began = time.perf_counter()
        for first in range(0, len(used), size):
            part = used[first:first + size]
            width = max(len(prompt) for prompt in part)
            ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in part])
            mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part])
            with torch.inference_mode():
                model.generate(ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                               max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, pad_token_id=0)
        rates[size] = len(used) * NEW_TOKENS / (time.perf_counter() - began)
    print("RATES", json.dumps(rates))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="one that has torch and transformers")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--role", choices=["torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role == "torch":
        return torch_side(args.model, args.threads)
    if not args.python:
        parser.error("--python is needed")
    model = pathlib.Path(args.model).resolve()
    generation, ours, theirs = built("generation"), [], []
    for round in range(args.rounds):
        ours += ran([generation, model, args.threads], r"tokens_per_s=(\d+)")
        command = [args.python, __file__, "--role", "torch", "--model", model, "--threads", args.threads]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        line = next((line for line in done.stdout.splitlines() if line.startswith("RATES ")), None)
        if line is None:
            sys.exit(f"transformers failed:\n{done.stderr[-2000:]}")
        theirs.append(json.loads(line.removeprefix("RATES ")))
        print(f"round {round + 1} of {args.rounds}: {ours[-1]:.0f}, {theirs[-1]}", file=sys.stderr)
    best = max(statistics.median(rates[size] for rates in theirs) for size in theirs[0])
    mine = statistics.median(ours)
    print(f"llamake {mine:.0f} tokens/s, transformers {best:.0f} tokens/s: {mine / best:.2f} times")


if __name__ == "__main__":
    main()
