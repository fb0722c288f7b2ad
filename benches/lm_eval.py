"""Asks a small Llama the same questions as lm-evaluation-harness and compares row by row: prompts
byte for byte, log-likelihoods within 1e-3, generated texts, scores; and times both.

    python benches/lm_eval.py [--llamake PATH] [--data FOLDER] [--subjects N] [--rows N] [--batch N]
                              [--only mmlu] [--keep FOLDER]

The binary is target/release/llamake, or what LLAMAKE names; DATA has `eval/`, `text/` and
`tokenizers/` (default: LLAMAKE_DATA, else ../shared/data). Needs lm_eval, torch and transformers;
asks no hub. What each side is timed at is the asking alone: of llamake the stage `scores`, of the
harness `simple_evaluate` with a model that is loaded.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# In place of this folder, where `lm_eval` would be this file.
sys.path[0] = str(HERE.parent / "tests/exams")
import harness
from lm_eval.utils import make_table


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    root = HERE.parent
    parser.add_argument("--llamake", default=os.environ.get("LLAMAKE", root / "target/release/llamake"))
    parser.add_argument("--data", default=os.environ.get("LLAMAKE_DATA", root / "../shared/data"))
    parser.add_argument("--subjects", type=int, default=3, help="subjects of MMLU, the first by name")
    parser.add_argument("--rows", type=int, default=4, help="rows of each subject and of each other task")
    parser.add_argument("--batch", type=int, default=8, help="batch size of the harness")
    parser.add_argument("--only", choices=["mmlu"], help="one task alone")
    parser.add_argument("--keep", type=Path, help="a new folder for all files, which stays")
    return parser.parse_args()


def own_rows(folder, data, subjects, count):
    """The same rows in the files of their authors, as llamake reads them."""
    for split, most in [("test", count), ("dev", None)]:
        (folder / split).mkdir()
        for subject in subjects:
            name = f"{split}/{subject}_{split}.csv"
            with open(folder / name, "w", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows(harness.table(data / "eval/mmlu" / name, most))
    with open(folder / "TruthfulQA.csv", "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(harness.table(data / "eval/truthfulqa/TruthfulQA.csv", count + 1))
    choices = json.load(open(data / "eval/truthfulqa/mc_task.json", encoding="utf-8"))[:count]
    json.dump(choices, open(folder / "mc_task.json", "w"))
    for name, most in [("test", count), ("train", None)]:
        lines = harness.lines(data / f"eval/gsm8k/{name}.jsonl", most)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pages = harness.pages(data, min(count, 3))
    (folder / "pages.jsonl").write_text("".join(json.dumps(dict(text=page)) + "\n" for page in pages))


def own_recipe(only):
    text = (HERE.parent / "tests/exams/agreement.recipe").read_text()
    if not only:
        return text
    before, asked = text.split("stage choices = ")[0], "stage scores = eval { models: [base], tasks: [mmlu] }"
    return before + asked + "\noutput scores\n"


def run_llamake(binary, folder):
    """The samples of each task, and how long the stage took that asks."""
    build = lambda *names: subprocess.run([binary, "build", *names], cwd=folder, check=True)
    others = [line.split()[1] for line in (folder / "a.recipe").read_text().splitlines()
              if line.startswith("stage ") and line.split()[1] not in ("scores", "mmlu")]
    # What reads files is built before the clock runs; the rows of MMLU are read in it.
    build(*others)
    start = time.time()
    build("scores")
    seconds = time.time() - start
    found = {}
    for path in (folder / "build/a/scores").glob("samples_*_base.jsonl"):
        task = path.name.removeprefix("samples_").removesuffix("_base.jsonl")
        found[task] = [json.loads(line) for line in open(path, encoding="utf-8")]
    results = json.load(open(folder / "build/a/scores/results_base.json", encoding="utf-8"))
    # The harness prints our results as its own.
    print(make_table(results), make_table(results, "groups"), sep="\n")
    return found, seconds


def by_task(samples):
    """The rows of the harness as llamake has them: MMLU as one task, each row once a filter."""
    found = {}
    for name, rows in sorted(samples.items()):
        task = "mmlu" if name.startswith("mmlu") else name
        found.setdefault(task, []).extend(rows)
    return found


def likelihoods(row):
    """Each number that is a log-likelihood."""
    if "word_perplexity" in row:
        return [float(row["word_perplexity"][0])]
    return [float(said[0]) for said in row["filtered_resps"]] if "acc" in row else []


def figures(row, filters):
    """Each score of a row by its name in llamake."""
    beside = {"word_perplexity", "byte_perplexity", "bits_per_byte"}
    names = [name for name in row["metrics"] if name not in beside]
    return {f"{name},{row['filter']}" if filters else name: float(row[name]) for name in names}


def compared(task, ours, theirs):
    """Prints how far both agree; whether they do."""
    times = len(theirs) // len(ours)
    assert len(theirs) == times * len(ours), task
    prompts, texts, scores, furthest = 0, 0, 0, 0.0
    for mine, yours in zip(ours * times, theirs):
        prompts += mine["prompt_hash"] == yours["prompt_hash"]
        texts += "acc" in yours or "word_perplexity" in yours or mine["resps"][0][0] == yours["resps"][0][0]
        pairs = list(zip(likelihoods(mine), likelihoods(yours), strict=True))
        furthest = max([furthest] + [abs(a - b) / max(1, abs(b) / 1e3) for a, b in pairs])
        wanted = figures(yours, filters="exact_match" in yours)
        scores += all(abs(mine[name] - value) < 1e-3 for name, value in wanted.items())
    of = len(theirs)
    print(f"{task}: of {of} rows {prompts} prompts, {texts} texts and {scores} scores are alike; "
          f"log-likelihoods within {furthest:.1e}")
    return prompts == texts == scores == of and furthest < 1e-3


def main():
    args = arguments()
    data, binary = Path(args.data).resolve(), str(Path(args.llamake).resolve())
    subjects = sorted(path.name.removesuffix("_test.csv") for path in (data / "eval/mmlu/test").glob("*.csv"))
    subjects = subjects[: args.subjects]
    folder = args.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        harness.make_model(folder / "model", data)
        own_rows(folder, data, subjects, args.rows)
        (folder / "a.recipe").write_text(own_recipe(args.only))
        ours, our_seconds = run_llamake(binary, folder)
        (folder / "theirs").mkdir()
        harness.write(folder / "theirs", harness.rows(data, subjects, args.rows))
        (folder / "theirs/model").symlink_to(folder / "model")
        tasks = [task for task in harness.tasks(folder / "theirs", subjects)
                 if not args.only or task["task"].startswith(args.only)]
        model = harness.load(folder / "theirs", args.batch)
        start = time.time()
        theirs = by_task(harness.ask(model, tasks)["samples"])
        their_seconds = time.time() - start
    finally:
        if not args.keep:
            shutil.rmtree(folder)
    agreed = [compared(task, ours[task], rows) for task, rows in theirs.items()]
    print(f"asking took llamake {our_seconds:.2f} s, lm_eval {their_seconds:.2f} s: "
          f"{their_seconds / our_seconds:.1f} times as long")
    sys.exit(0 if all(agreed) else 1)


if __name__ == "__main__":
    main()
