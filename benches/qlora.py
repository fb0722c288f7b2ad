#!/usr/bin/env python3
"""QLoRA of a model with 1.1 billion parameters on a CPU: the memory it takes, what `plan` foretold,
and what training all weights would need.

Usage: benches/qlora.py [--llamake PATH] [--scale 8] [--steps N] [--context T] [--rank R] [--into DIR]

A folder of TinyLlama's shape is made of random numbers in bf16, with a tokenizer of bytes and
dialogues of random words. One process quantises it, another trains an adapter beside it for a few
steps: matrices in NF4, adapters beside all of them, every block computed again on the way back.

The peak is the child's own VmHWM, as the kernel gives it when the child ends. It counts pages of
mapped files too: the base is read from its file, so those that were touched are in it, and they are
in the ledger as `weights` and `quantised blocks`. Pages of the program and of the embedding's rows
that no token names are in one of the two only. Every 50 ms both sorts are looked at apart.

--scale 8 divides every size by eight, to try the script; what the program itself takes is then most
of the peak. Needs numpy.
"""
import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile
import time

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent

RECIPE = """//! A model of TinyLlama's shape, quantised and taught by an adapter.
use std/llama2
use std/shapes

stage words = read_tokenizer {{ files: "model", vocab: {vocab} }}

let shape = llama2.architecture {{
    dim:      {dim}
    layers:   {layers}
    heads:    {heads}
    kv_heads: {kv_heads}
    ffn:      {ffn}
    vocab:    {vocab}
    context:  2048 tokens
}}

stage base = read_chat_model {{
    files:     "model"
    is:        shape
    tokenizer: words
    template:  llama2.chat
}}
stage talk  = read_chat {{ files: "talk.jsonl", shape: shapes.messages {{}} }}
stage small = quantize {{ model: base, dtype: "bf16" }}

let short = {{
    data:                   talk
    context:                {context} tokens
    length:                 {steps} steps
    batch:                  1 sequence
    micro_batch:            1 sequence
    gradient_checkpointing: true
}}

stage tuned = lora {{ ..short, base: small, rank: {rank}, targets: "all-linear" }}
stage whole = sft {{ ..short, init: base }}

output tuned, whole
"""


def shape(scale):
    return {
        "dim": 2048 // scale,
        "layers": max(22 // scale, 2),
        "heads": 32 // scale,
        "kv_heads": max(4 // scale, 1),
        "ffn": 5632 // scale,
        "vocab": 32000 // scale,
    }


def tensors(of):
    d, f, v = of["dim"], of["ffn"], of["vocab"]
    k = d // of["heads"] * of["kv_heads"]
    yield "model.embed_tokens.weight", [v, d]
    for layer in range(of["layers"]):
        for name, size in [
            ("input_layernorm", [d]),
            ("self_attn.q_proj", [d, d]),
            ("self_attn.k_proj", [k, d]),
            ("self_attn.v_proj", [k, d]),
            ("self_attn.o_proj", [d, d]),
            ("post_attention_layernorm", [d]),
            ("mlp.gate_proj", [f, d]),
            ("mlp.up_proj", [f, d]),
            ("mlp.down_proj", [d, f]),
        ]:
            yield f"model.layers.{layer}.{name}.weight", size
    yield "model.norm.weight", [d]
    yield "lm_head.weight", [v, d]


def write_weights(path, of):
    """Normal numbers of deviation 0.02, norms of one; one tensor at a time."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, size in tensors(of):
        bytes_of = 2 * int(numpy.prod(size))
        header[name] = {"dtype": "BF16", "shape": size, "data_offsets": [end, end + bytes_of]}
        end += bytes_of
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = numpy.random.default_rng(7)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, size in tensors(of):
            numbers = numpy.ones(size, "f4")
            if len(size) > 1:
                numbers = draw.standard_normal(size, "f4") * numpy.float32(0.02)
            file.write((numbers.view("u4") >> 16).astype("u2").tobytes())
    return end


def byte_signs():
    """The sign that stands for each byte, as GPT-2 has them."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    signs = {byte: chr(byte) for byte in own}
    signs.update({byte: chr(256 + at) for at, byte in enumerate(others)})
    return [signs[byte] for byte in range(256)]


def write_tokenizer(folder):
    special = ["<unk>", "<s>", "</s>"]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": at, "content": text, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True,
            }
            for at, text in enumerate(special)
        ],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "vocab": {text: at for at, text in enumerate(special + byte_signs())},
            "merges": [],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def write_config(folder, of):
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": of["dim"], "num_hidden_layers": of["layers"],
        "num_attention_heads": of["heads"], "num_key_value_heads": of["kv_heads"],
        "intermediate_size": of["ffn"], "vocab_size": of["vocab"],
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_talk(path, rows, context):
    draw = random.Random(7)

    def words(count):
        return " ".join("".join(draw.choices("aeiounrst", k=5)) for _ in range(count))

    with open(path, "w") as file:
        for _ in range(rows):
            # A word is six tokens, one a byte; the template adds some twenty.
            count = (context - 40) // 12
            turns = [("user", words(count)), ("assistant", words(count))]
            turns = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"messages": turns}) + "\n")


def status(pid):
    """Anonymous and mapped bytes of a process, or None when it is gone."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return [1024 * int(kilobytes[name]) for name in ("RssAnon", "RssFile")] if kilobytes else None


def measured(command, folder):
    """Seconds, the child's peak, and the most of either sort of pages."""
    began = time.time()
    log = open(folder / "log.txt", "a")
    child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    most = [0, 0]
    while True:
        pid, code, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        found = status(child.pid)
        most = [max(pair) for pair in zip(most, found)] if found else most
        time.sleep(0.05)
    child.returncode = os.waitstatus_to_exitcode(code)
    if child.returncode:
        raise SystemExit((folder / "log.txt").read_text())
    return time.time() - began, 1024 * usage.ru_maxrss, most


def gigabytes(number):
    return f"{number / 1e9:.2f} GB"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--llamake", default=str(ROOT / "target/release/llamake"))
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--into")
    args = parser.parse_args()
    llamake = str(pathlib.Path(args.llamake).resolve())
    with tempfile.TemporaryDirectory(dir=args.into) as folder:
        folder = pathlib.Path(folder)
        (folder / "model").mkdir()
        of = shape(args.scale)
        settings = {"context": args.context, "steps": args.steps, "rank": args.rank}
        (folder / "tune.recipe").write_text(RECIPE.format(**of, **settings))
        size = write_weights(folder / "model/model.safetensors", of)
        write_config(folder / "model", of)
        write_tokenizer(folder / "model")
        write_talk(folder / "talk.jsonl", 2 * args.steps, args.context)
        print(f"the model as it was made: {gigabytes(size)} in bf16")

        told = subprocess.run(
            [llamake, "plan", "tune.recipe", "--json"], cwd=folder, check=True, capture_output=True
        )
        plan = {row["stage"]: row for row in map(json.loads, told.stdout.decode().splitlines())}
        subprocess.run([llamake, "build", "tune.recipe", "base", "talk"], cwd=folder, check=True)
        seconds, peak, _ = measured([llamake, "build", "tune.recipe", "small"], folder)
        print(f"quantised in {seconds:.0f} s, peak {gigabytes(peak)}")

        seconds, peak, (own, mapped) = measured([llamake, "build", "tune.recipe", "tuned"], folder)
        adapter, whole = plan["tuned"]["memory_bytes"], plan["whole"]["memory_bytes"]
        parts = {name: bytes_of for name, bytes_of in plan["tuned"]["memory"].items() if bytes_of}
        print(f"{args.steps} steps of {args.context} tokens in {seconds:.0f} s")
        print(f"peak: {gigabytes(peak)}; at most {gigabytes(own)} of its own, {gigabytes(mapped)} mapped")
        print(f"the ledger said {gigabytes(adapter)}: {100 * (adapter / peak - 1):+.1f} % of the peak")
        print("  " + " + ".join(f"{name} {gigabytes(bytes_of)}" for name, bytes_of in parts.items()))
        print(f"all weights would need {gigabytes(whole)}: {whole / peak:.1f} times the peak")


main()
