#!/usr/bin/env python3
"""The training step of LoRA adapters on a small Llama beside PEFT.

Usage: benches/lora.py --python PYTHON [--rounds N] [--steps N]

PYTHON has torch, transformers and peft. The model is that of `benches/step.rs` (dim 256, 6 layers, 8
heads, ffn 688, vocabulary 4096; 8 rows of 256 tokens; AdamW, clip 1), f32, adapters of rank 8 on q
and v or on every projection. PEFT runs as it comes (SDPA) and compiled. They alternate; medians of
the rounds' medians are printed, and how many times longer and larger PEFT is.
"""
import argparse
import statistics
import sys

from step import built, ran

TARGETS = {"q,v": ["q_proj", "v_proj"], "all-linear": "all-linear"}


def peft_step(targets, compiled, steps, threads):
    """Trains in PEFT and prints a line of figures."""
    import resource
    import time

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256, num_hidden_layers=6, num_attention_heads=8, intermediate_size=688,
        vocab_size=4096, max_position_embeddings=256, attn_implementation="sdpa", use_cache=False,
    )
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS[targets], task_type="CAUSAL_LM")
    model = get_peft_model(LlamaForCausalLM(config), lora)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-3, weight_decay=0.1, fused=True)
    run = torch.compile(model) if compiled else model
    times = []
    for _ in range(steps):
        tokens = torch.randint(0, 4096, (8, 256))
        began = time.perf_counter()
        run(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"RESULT median_s={statistics.median(times[3:]):.5f} peak_rss_bytes={peak}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peft", nargs=2, metavar=("TARGETS", "MODE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peft:
        targets, mode = args.peft
        return peft_step(targets, mode == "compiled", args.steps, args.threads)
    step, pattern = built("step"), r"median_s=([\d.]+) .*?peak_rss_bytes=(\d+)"
    for targets in TARGETS:
        ours, theirs = [], {"as it comes": [], "compiled": []}
        for round in range(args.rounds):
            for mode, runs in theirs.items():
                ours.append(ran([step, args.steps, args.threads, targets], pattern))
                command = [args.python, __file__, "--steps", args.steps, "--threads", args.threads]
                runs.append(ran(command + ["--peft", targets, mode], pattern))
            print(f"{targets}: round {round + 1} of {args.rounds}", file=sys.stderr)
        time, peak = (statistics.median(column) for column in zip(*ours))
        print(f"{targets:<20} {'s/step':>8} {'ratio':>6} {'peak MB':>8} {'ratio':>6}")
        print(f"{'  llamake, exact f32':<20} {time:8.4f} {1:6.2f} {peak / 2**20:8.0f} {1:6.2f}")
        for mode, runs in theirs.items():
            seconds, bytes = (statistics.median(column) for column in zip(*runs))
            ratios = f"{seconds / time:6.2f} {bytes / 2**20:8.0f} {bytes / peak:6.2f}"
            print(f"{'  PEFT, ' + mode:<20} {seconds:8.4f} {ratios}")


if __name__ == "__main__":
    main()
