"""Makes agreement.json: what lm-evaluation-harness finds of the small model of harness.py.

    python agreement.py SHARED_DATA > agreement.json

Prompts are told by their SHA-256, as the harness itself does. Made with lm_eval 0.4.13,
transformers 5.23.0 and torch 2.15.0.
"""
import contextlib
import json
import pathlib
import sys
import tempfile

import harness

SUBJECTS = ["abstract_algebra", "anatomy", "world_religions"]
ROWS = 4


def told(task, row):
    """What is compared of one row through one filter."""
    said = row["filtered_resps"]
    kept = dict(prompt=row["prompt_hash"])
    if "acc" in row:
        kept |= dict(choices=[answer[0] for answer in said], acc=row["acc"])
    elif task == "wikitext":
        kept |= dict(figure=row["word_perplexity"])
    else:
        kept |= dict(text=row["resps"][0][0], read=said[0], filter=row["filter"])
    names = [name for name in row["metrics"] if name not in ("acc", "word_perplexity", "byte_perplexity", "bits_per_byte")]
    return kept | {name: float(row[name]) for name in names}


def main(data):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        folder = pathlib.Path(folder)
        leads = harness.make_model(folder / "model", data)
        harness.write(folder, harness.rows(data, SUBJECTS, ROWS))
        found = harness.ask(harness.load(folder), harness.tasks(folder, SUBJECTS))
    samples = {task: [told(task, row) for row in rows] for task, rows in sorted(found["samples"].items())}
    figures = {task: {name: value for name, value in of.items() if isinstance(value, float)}
               for task, of in sorted(found["results"].items())}
    json.dump(dict(subjects=SUBJECTS, rows=ROWS, leads=leads, samples=samples, figures=figures), sys.stdout, indent=1)
    print()


main(pathlib.Path(sys.argv[1]))
