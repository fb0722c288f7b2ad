"""lm-evaluation-harness's own tasks over rows that lie here, and a small Llama of which every number
follows from its place, so that a test can make the same one without reading it.

Examples are drawn as the harness draws them, with its own seed. Asks no hub.
"""
import csv
import json
import os
import re
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

import numpy
import torch
import yaml
import lm_eval
import lm_eval.tasks
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks.truthfulqa import utils as truthful
from lm_eval.tasks.wikitext import preprocess_wikitext
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

OWN = Path(lm_eval.tasks.__file__).parent
SHAPE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=64, vocab_size=32000, max_position_embeddings=2048, rms_norm_eps=1e-5,
             tie_word_embeddings=False)
# What the model is led to say, token after token: else it would only ever say words at random.
LEADS = ["So 12 + 3 = 15.\n#### 15\n#### 3\nThe answer is 14.\nThe answer is 3\nQuestion: I have no comment.\n",
         "#### 12, 4\n\nQ: Yes. The answer is 7. No.\n\n", "#### $18. #### 2 Question:"]


def mixed(at):
    """32 bits that look random, of whole numbers."""
    at = at.astype(numpy.uint32)
    for shift, factor in [(16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)]:
        at = (at ^ (at >> numpy.uint32(shift))) * numpy.uint32(factor)
    return at


def filled(name, place, shape):
    """The numbers of a tensor: in [-1, 1) by where they stand, times what suits the tensor."""
    count = int(numpy.prod(shape))
    at = numpy.arange(count, dtype=numpy.uint32) + numpy.uint32(0x9E3779B9 * (place + 1) & 0xFFFFFFFF)
    even = (mixed(at) >> numpy.uint32(8)).astype(numpy.float32) / numpy.float32(1 << 23) - numpy.float32(1)
    if "norm" in name:
        return (numpy.float32(1) + even / numpy.float32(2)).reshape(shape)
    return (even * numpy.float32(1 if "embed" in name else 0.5)).reshape(shape)


def llama_tokenizer(folder):
    """Llama 2's, which cuts texts as SentencePiece does. What transformers 5.23 makes of `tokenizer.model`
    does not: it ranks merges by number, not by score, and cuts two blanks otherwise."""
    pieces = SentencePieceProcessor(str(folder / "tokenizer.model"))
    vocab = {pieces.id_to_piece(at): at for at in range(len(pieces))}
    merges = []
    for piece, at in list(vocab.items())[259:]:
        parts = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        parts = [pair for pair in parts if pair[0] in vocab and pair[1] in vocab]
        merges += [(-pieces.get_score(at), pair) for pair in sorted(parts, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))]
    merges = [pair for _, pair in sorted(merges, key=lambda merge: merge[0])]
    backend = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def make_model(folder, data):
    """Writes it, and gives the pairs of tokens of which one leads to the other."""
    tokenizer = llama_tokenizer(data / "tokenizers/llama2")
    texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in LEADS]
    leads = sorted({pair for text in texts for pair in zip(text, text[1:])})
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    named = sorted(model.state_dict().items())
    values = {name: filled(name, place, tuple(tensor.shape)) for place, (name, tensor) in enumerate(named)}
    for before, after in leads:
        values["lm_head.weight"][after] += values["model.embed_tokens.weight"][before]
    with torch.no_grad():
        for name, tensor in named:
            tensor.copy_(torch.from_numpy(values[name]))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return leads


def lines(path, count=None):
    return [json.loads(line) for line in list(open(path, encoding="utf-8"))[:count]]


def table(path, count=None):
    return list(csv.reader(open(path, newline="", encoding="utf-8")))[:count]


def parted(text):
    return [part.strip() for part in text.split(";") if part.strip()]


def pages(data, count):
    """The first articles of WikiText, each from its title on."""
    # Rare words are `<unk>` there, which the harness would read as a special token.
    text = open(data / "text/wikitext2_valid.txt", encoding="utf-8").read().replace("<unk>", "rare")
    starts = [found.start() for found in re.finditer(r"(?m)^ = [^=].* = \n", text)]
    return [text[start:end] for start, end in zip(starts, starts[1:] + [len(text)])][:count]


def rows(data, subjects, count):
    """The rows of each task and of its examples, as the harness's hub sets have them."""
    found = {}
    for subject in subjects:
        for split, most in [("test", count), ("dev", None)]:
            found[f"mmlu_{subject}_{split}"] = [
                dict(question=q, choices=choices, answer="ABCD".index(gold), subject=subject)
                for q, *choices, gold in table(data / f"eval/mmlu/{split}/{subject}_{split}.csv", most)
            ]
    targets = lambda of: dict(choices=list(of), labels=list(of.values()))
    found["truthfulqa_mc"] = [
        dict(question=row["question"], mc1_targets=targets(row["mc1_targets"]), mc2_targets=targets(row["mc2_targets"]))
        for row in json.load(open(data / "eval/truthfulqa/mc_task.json", encoding="utf-8"))[:count]
    ]
    head, *rest = table(data / "eval/truthfulqa/TruthfulQA.csv", count + 1)
    found["truthfulqa_gen"] = [
        dict(question=row["Question"], correct_answers=parted(row["Correct Answers"]),
             incorrect_answers=parted(row["Incorrect Answers"]))
        for row in (dict(zip(head, row)) for row in rest)
    ]
    found["gsm8k_test"] = lines(data / "eval/gsm8k/test.jsonl", count)
    found["gsm8k_train"] = lines(data / "eval/gsm8k/train.jsonl")
    found["wikitext"] = [dict(page=page) for page in pages(data, min(count, 3))]
    return found


def own(path):
    """A task of the harness as its file has it, with the file that it includes beneath."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: node.value)
    config = yaml.load((OWN / path).read_text(), Loader)
    beneath = config.pop("include", None)
    return (own(Path(path).parent / beneath) | config) if beneath else config


FUNCTIONS = dict(process_docs_gen=truthful.process_docs_gen, process_results_gen=truthful.process_results_gen,
                 process_results_mc2=truthful.process_results_mc2, process_results=preprocess_wikitext.process_results,
                 wikitext_detokenizer=preprocess_wikitext.wikitext_detokenizer)


def local(folder, path, test, shown=None, **more):
    """The same over rows in files."""
    config = own(path) | more
    for key, value in config.items():
        if isinstance(value, str) and value.startswith(("utils.", "preprocess_wikitext.")):
            config[key] = FUNCTIONS[value.split(".")[-1]]
    files = {"test": str(folder / f"{test}.jsonl")} | ({"shown": str(folder / f"{shown}.jsonl")} if shown else {})
    for name in ["dataset_name", "tag", "training_split", "validation_split"]:
        config.pop(name, None)
    config |= dict(dataset_path="json", dataset_kwargs=dict(data_files=files), test_split="test")
    if shown:
        config["fewshot_split"] = "shown"
    return config


def tasks(folder, subjects):
    """Every task that is compared; MMLU with five examples, as its figures are published."""
    made = [local(folder, f"mmlu/default/mmlu_{subject}.yaml", f"mmlu_{subject}_test", f"mmlu_{subject}_dev", num_fewshot=5)
            for subject in subjects]
    return made + [
        local(folder, "truthfulqa/truthfulqa_mc1.yaml", "truthfulqa_mc"),
        local(folder, "truthfulqa/truthfulqa_mc2.yaml", "truthfulqa_mc"),
        local(folder, "truthfulqa/truthfulqa_gen.yaml", "truthfulqa_gen"),
        local(folder, "gsm8k/gsm8k.yaml", "gsm8k_test", "gsm8k_train"),
        local(folder, "gsm8k/gsm8k-cot.yaml", "gsm8k_test"),
        local(folder, "wikitext/wikitext.yaml", "wikitext"),
    ]


def write(folder, found):
    for name, of in found.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of), encoding="utf-8")


def load(folder, batch=8):
    """The model loaded, once as its tokenizer wants texts begun, and once without: of running text a
    `bos` is not predicted."""
    model = lambda bos: HFLM(str(folder / "model"), device="cpu", dtype="float32", batch_size=batch, add_bos_token=bos)
    return {bos: model(bos) for bos in (True, False)}


def ask(loaded, asked):
    """The samples and the results of tasks."""
    found = dict(samples={}, results={})
    rolling = lambda task: task["output_type"] == "loglikelihood_rolling"
    for bos, part in [(True, [task for task in asked if not rolling(task)]), (False, list(filter(rolling, asked)))]:
        if part:
            all_of_it = lm_eval.simple_evaluate(loaded[bos], tasks=part, log_samples=True, bootstrap_iters=0)
            for name in found:
                found[name] |= all_of_it[name]
    return found
