"""Asks a small random Llama the same questions as lm-evaluation-harness and compares row by row:
prompts byte for byte, log-likelihoods within 1e-3, accuracy; and times both.

    python benches/lm_eval.py LLAMAKE DATA [ROWS]

LLAMAKE is the binary, DATA the folder with `eval/` and `tokenizers/`. Needs lm_eval, torch and
transformers; asks no hub. ROWS of each file are asked, four without it. Examples are the first rows
of their file: the harness draws GSM8K's by Python's generator.
"""

import csv, glob, json, os, subprocess, sys, tempfile, time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

SUBJECTS = ["abstract_algebra", "anatomy", "world_religions"]

RECIPE = """
use std/exams
use std/llama2
use std/tasks

let shape = llama2.architecture {{
    dim: 64, layers: 2, heads: 4, kv_heads: 2, ffn: 128, vocab: 32000, context: 2048 tokens
}}
stage tokenizer = read_tokenizer {{ files: "model", vocab: 32000 }}
stage base = read_base_model {{ files: "model", is: shape, tokenizer }}
stage mmlu = tasks.mmlu_files {{ exam: "test/*.csv", examples: "dev/*.csv" }}
stage truths = read_benchmark {{
    files: "truth.json"
    columns: ["question", "mc1_targets", "mc2_targets"]
    ignore: ["mc0_targets"]
}}
stage sums = read_benchmark {{ files: "sums.jsonl", columns: ["question", "answer"] }}
stage shown = read_benchmark {{ files: "shown.jsonl", columns: ["question", "answer"] }}
stage scores = eval {{
    models: [base]
    tasks: [
        mmlu
        exams.truthfulqa_mc1 {{ data: truths }}
        exams.truthfulqa_mc2 {{ data: truths }}
        exams.gsm8k {{ data: sums, examples: shown }}
    ]
}}
output scores
"""


def make_model(folder, data):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=128, vocab_size=32000, max_position_embeddings=2048,
        rms_norm_eps=1e-5, tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() > 1:
                tensor.mul_(4.0)
    model.save_pretrained(folder)
    LlamaTokenizerFast.from_pretrained(data / "tokenizers/llama2").save_pretrained(folder)


def write_data(folder, data, rows):
    """The rows that llamake reads, and the same as the harness wants them."""
    hands = {"test": [], "dev": []}
    for split in hands:
        (folder / split).mkdir()
        for subject in SUBJECTS:
            source = data / f"eval/mmlu/{split}/{subject}_{split}.csv"
            lines = list(csv.reader(open(source, newline="")))
            lines = lines if split == "dev" else lines[:rows]
            with open(folder / split / source.name, "w", newline="") as out:
                csv.writer(out).writerows(lines)
            for q, a, b, c, d, gold in lines:
                hands[split].append(
                    {"question": q, "choices": [a, b, c, d], "answer": "ABCD".index(gold),
                     "subject": subject}
                )
    truths = json.load(open(data / "eval/truthfulqa/mc_task.json"))[:rows]
    json.dump(truths, open(folder / "truth.json", "w"))
    targets = lambda of: {"choices": list(of), "labels": list(of.values())}
    hands["truth"] = [
        {"question": row["question"], "mc1_targets": targets(row["mc1_targets"]),
         "mc2_targets": targets(row["mc2_targets"])}
        for row in truths
    ]
    for name, source, count in [("sums", "test", rows), ("shown", "train", 5)]:
        lines = open(data / f"eval/gsm8k/{source}.jsonl").read().splitlines()[:count]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        hands[name] = [json.loads(line) for line in lines]
    for name, lines in hands.items():
        path = folder / f"harness_{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def harness_tasks(folder):
    """The harness's own tasks, over local rows; examples are the first of their file."""
    import yaml
    import lm_eval.tasks as own

    base = Path(own.__file__).parent
    load = lambda path: yaml.safe_load(open(base / path))

    def local(config, test, shown=None, **more):
        files = {"test": str(folder / f"harness_{test}.jsonl")}
        if shown:
            files["dev"] = str(folder / f"harness_{shown}.jsonl")
        for name in ["dataset_name", "tag", "training_split", "validation_split", "include"]:
            config.pop(name, None)
        config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": files},
                   "test_split": "test", **more}
        if shown:
            config |= {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}}
        return config

    tasks = []
    for subject in SUBJECTS:
        for split in ["test", "dev"]:
            rows = [json.loads(row) for row in open(folder / f"harness_{split}.jsonl")]
            rows = [row for row in rows if row["subject"] == subject]
            path = folder / f"harness_{subject}_{split}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        own_task = load(f"mmlu/default/mmlu_{subject}.yaml")
        config = load("mmlu/default/_default_template_yaml") | own_task
        tasks.append(local(config, f"{subject}_test", f"{subject}_dev", num_fewshot=5))
    from lm_eval.tasks.truthfulqa import utils

    mc1 = load("truthfulqa/truthfulqa_mc1.yaml")
    tasks.append(local(dict(mc1), "truth"))
    mc2 = mc1 | {"task": "truthfulqa_mc2", "doc_to_choice": "{{mc2_targets.choices}}",
                 "process_results": utils.process_results_mc2}
    tasks.append(local(mc2, "truth"))
    tasks.append(local(load("gsm8k/gsm8k.yaml"), "sums", "shown"))
    return tasks


def run_harness(folder):
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    model = HFLM(str(folder / "model"), device="cpu", dtype="float32", batch_size=8,
                 add_bos_token=True)
    tasks = harness_tasks(folder)
    start = time.time()
    found = lm_eval.simple_evaluate(model, tasks=tasks, log_samples=True, bootstrap_iters=0)
    return found, time.time() - start


def run_llamake(folder, binary):
    (folder / "a.recipe").write_text(RECIPE.format())
    build = [binary, "build", "a.recipe"]
    start = time.time()
    subprocess.run(build, cwd=folder, check=True)
    seconds = time.time() - start
    samples = {}
    for path in glob.glob(str(folder / "build/a/scores/**/samples_*.jsonl"), recursive=True):
        rows = [json.loads(row) for row in open(path)]
        samples[Path(path).stem] = rows
    return samples, seconds


def main():
    binary, data = os.path.abspath(sys.argv[1]), Path(sys.argv[2]).resolve()
    rows = int(sys.argv[3]) if len(sys.argv) > 3 else 4
    folder = Path(tempfile.mkdtemp())
    make_model(folder / "model", data)
    write_data(folder, data, rows)
    ours, our_seconds = run_llamake(folder, binary)
    theirs, their_seconds = run_harness(folder)
    failed = compare(ours, theirs)
    print(f"llamake {our_seconds:.1f} s with reading and building, lm_eval {their_seconds:.1f} s")
    sys.exit(1 if failed else 0)


def compare(ours, theirs):
    """Whether anything differs that should not."""
    by_task = {}
    for name, rows in theirs["samples"].items():
        key = "mmlu" if name.startswith("mmlu") else name
        rows = [row for row in rows if row["filter"] in ("none", "strict-match")]
        by_task.setdefault(key, []).extend(rows)
    failed = False
    for task, rows in sorted(by_task.items()):
        own = next(of for name, of in ours.items() if name.startswith(f"samples_{task}"))
        same, furthest, scores = 0, 0.0, 0
        for mine, yours in zip(own, rows, strict=True):
            prompt = mine["arguments"]["gen_args_0"]["arg_0"]
            same += prompt == list(yours["arguments"])[0][0]
            if "acc" in yours:
                for a, b in zip(mine["resps"], yours["resps"], strict=True):
                    furthest = max(furthest, abs(float(a[0][0]) - float(b[0][0])))
                alike = abs(mine["acc"] - yours["acc"]) < 1e-4
            else:
                alike = mine["exact_match,strict-match"] == yours["exact_match"]
            scores += bool(alike)
        print(
            f"{task}: {same} of {len(rows)} prompts alike, log-likelihoods within "
            f"{furthest:.1e}, {scores} of {len(rows)} scores alike"
        )
        failed |= same < len(rows) or scores < len(rows) or furthest > 1e-3
    return failed


if __name__ == "__main__":
    main()
