"""Makes agreement.json: what sacrebleu and rouge-score say of pairs of texts.

    python agreement.py SHARED_DATA [PAIRS [CHARACTERS]] > agreement.json

Pairs are drawn from the files of answers and references, none with more characters than that; some
have two references, and some are made up to be nasty. To compare many more than the suite does, make
a larger file and name it in LLAMAKE_AGREEMENT when the tests run.

Made with sacrebleu 2.6.0, rouge_score 0.1.2 and nltk 3.10.4.
"""
import json
import pathlib
import random
import sys

import sacrebleu
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

data = pathlib.Path(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
most = int(sys.argv[3]) if len(sys.argv) > 3 else 160
draw = random.Random(1)

NASTY = [
    ("", ["a"]), ("a", [""]), ("", [""]), ("a", ["a"]), ("a b c d", ["a b c d"]), ("a b c", ["a b c"]),
    ("the the the the the", ["the cat", "the the"]), ("a b", ["b a", "a", "a b c d e"]),
    ("It's 3.5% more, isn't it?", ["It is 3.5 % more, isn't it?"]), ("1,000-2.5 a-b 5-", ["1,000 - 2.5 a-b 5"]),
    ("one-\ntwo\nthree", ["onetwo three", "one two\nthree"]), ("&quot;a&amp;lt;&quot; b", ['"a<" b']),
    ("«Hé»—oui… 5€, ñandú", ["Hé oui 5 € nandu"]), ("你好，世界。", ["你好世界"]), ("İSTANBUL ΣΑΣ K", ["istanbul σας k"]),
    ("a\u001cb\u00a0c\u200bd", ["a b c d"]), ("naïve café 🦙🦙", ["naive cafe 🦙"]), ("  leading\t\ttabs \r\n", ["leading tabs"]),
    ("(hi) 'hi' -hi- hi!! !", ["hi hi hi hi"]), ("dying skies running happily", ["die sky runs happy"]),
    ("One saw.\nTwo ran away.\n\nThree", ["One saw it.\nTwo walked away.", "Three\nOne"]),
    ("a b a c\nb a", ["b a c a b\na a b c"]), ("x y z w v u", ["x y z w v u t s r q p o n m"]),
]


def pairs():
    rows = []
    for name in ["wmt14_fr_en_fairseq.jsonl", "bert_score_long.jsonl"]:
        rows += [json.loads(line) for line in open(data / "scores" / name, encoding="utf-8")]
    rows = [row for row in rows if max(len(row["hyp"]), len(row["ref"])) <= most]
    drawn = draw.sample(rows, min(count, len(rows)))
    for at, row in enumerate(drawn):
        others = [drawn[at - 1]["hyp"]] if at % 4 == 3 else []
        yield row["hyp"], [row["ref"], *others]
    yield from NASTY


def measured(answer, references):
    bleu = {}
    for tokens in ["13a", "intl", "char", "none"]:
        metric = sacrebleu.BLEU(tokenize=tokens, effective_order=tokens != "intl", lowercase=tokens == "none")
        bleu[tokens] = metric.sentence_score(answer, references).score
    chrf = [sacrebleu.CHRF(word_order=order).sentence_score(answer, references).score for order in (0, 2)]
    rouge = []
    for stemmed in (False, True):
        scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=stemmed)
        scores = scorer.score(references[0], answer)
        rouge.append([[score.precision, score.recall, score.fmeasure] for score in scores.values()])
    return dict(answer=answer, references=references, bleu=bleu, chrf=chrf, rouge=rouge)


def corpus(rows):
    answers = [row["answer"] for row in rows]
    most = max(len(row["references"]) for row in rows)
    # A reference that a row lacks is left out where it is None.
    references = [[(row["references"] + [None] * most)[at] for row in rows] for at in range(most)]
    bleu = []
    for smoothing, value in [("exp", None), ("floor", None), ("floor", 0.01), ("add-k", None), ("add-k", 0.5), ("none", None)]:
        for tokens in ["13a", "intl"]:
            for lowercase in (False, True):
                metric = sacrebleu.BLEU(tokenize=tokens, smooth_method=smoothing, smooth_value=value, lowercase=lowercase)
                whole = metric.corpus_score(answers, references)
                # Few rows, where orders without a match are likely.
                few = metric.corpus_score(answers[-4:-2], [[column[-4], column[-3]] for column in references])
                value_used = metric.SMOOTH_DEFAULTS[smoothing] if value is None else value
                bleu.append(dict(smoothing=smoothing, value=value_used, tokens=tokens, lowercase=lowercase,
                                 score=whole.score, precisions=whole.precisions, brevity=whole.bp, few=few.score))
    chrf = [sacrebleu.CHRF(word_order=order, lowercase=lowercase).corpus_score(answers, references).score
            for order in (0, 2) for lowercase in (False, True)]
    return dict(bleu=bleu, chrf=chrf)


def stems(rows):
    words = {word for row in rows for text in [row["answer"], *row["references"]] for word in text.lower().split()}
    words = sorted(word for word in words if word.isascii() and word.isalnum())
    endings = ["ational", "tional", "enci", "izer", "abli", "alli", "entli", "ousli", "ization", "alism", "iveness",
               "fulli", "logi", "biliti", "icate", "ative", "iciti", "ical", "ement", "ion", "ies", "ied", "eed", "ing", "ll", "y"]
    words += [start + ending for start in ["", "b", "ba", "bab", "sky", "tray", "oxyt", "yab"] for ending in endings]
    stemmer = PorterStemmer()
    return [[word, stemmer.stem(word)] for word in words]


rows = [measured(*pair) for pair in pairs()]
json.dump(dict(rows=rows, corpus=corpus(rows), stems=stems(rows)), sys.stdout, ensure_ascii=False, separators=(",", ":"))
print()
