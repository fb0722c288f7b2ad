"""Makes truthful.json: what lm-evaluation-harness says of answers to questions of TruthfulQA, with BLEU
and ROUGE against right and wrong answers.

    python truthful.py SHARED_DATA > truthful.json

An answer is a right or a wrong one with words left out or put in. Made with lm_eval 0.4.13, sacrebleu
2.6.0 and rouge_score 0.1.2.
"""
import csv
import json
import pathlib
import random
import sys

from lm_eval.tasks.truthfulqa import utils

draw = random.Random(3)
rows = list(csv.DictReader(open(pathlib.Path(sys.argv[1]) / "eval/truthfulqa/TruthfulQA.csv", encoding="utf-8")))


def answers(row):
    parted = lambda text: [part.strip() for part in text.split(";") if part.strip()]
    columns = dict(question=row["Question"], correct_answers=parted(row["Correct Answers"]),
                   incorrect_answers=parted(row["Incorrect Answers"]))
    return utils.preprocess_function(columns)


made = []
for row in draw.sample(rows, 24):
    doc = answers(row)
    words = draw.choice(doc["correct_answers"] + doc["incorrect_answers"]).split()
    words = [word for word in words if draw.random() < 0.8] + draw.choice([[], ["of", "course . And so", "on"], ["«maybe»,", "3.5"]])
    answer = " ".join(words)
    figures = utils.process_results_gen(doc, [answer])
    made.append(dict(answer=answer, right=doc["correct_answers"], wrong=doc["incorrect_answers"],
                     figures={name: float(value) for name, value in figures.items()}))
json.dump(made, sys.stdout, ensure_ascii=False, indent=0)
print()
