//! A report in the shape that lm-evaluation-harness writes, so that what reads its results reads
//! ours: one file of results a model, and one of samples a model and task. Hashes are computed as
//! it does. What it states of host, time and versions of packages is left out: the same evaluation
//! has the same bytes everywhere. Knows findings; does not know how they came about.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::finding::{Card, Figure, Finding, Record, RowsAsked, Said, sha256};
use super::groups::{self, Node};
use super::report::{Cell, Report, TaskReport};

/// Figures that say something of another one, not of the model.
const BESIDE: [&str; 4] = ["change", "change_se", "change_p", "reward_se"];

/// All that one model showed, or `None` if it is in no task.
pub fn results(report: &Report, model: &str) -> Option<Value> {
    let cells = report.tasks.iter().filter_map(|task| {
        let cell = task.cells.iter().find(|cell| cell.model == model)?;
        Some((task, &cell.finding))
    });
    let cells = cells.collect::<Vec<_>>();
    let card = &cells.first()?.1.card;
    let of = |read: &dyn Fn(&TaskReport, &Finding) -> Value| {
        let all = cells.iter().map(|(task, finding)| (task.name.clone(), read(task, finding)));
        Value::Object(all.collect())
    };
    let hashes = cells
        .iter()
        .filter_map(|(task, finding)| Some((task.name.clone(), Value::String(finding.hash()?))));
    let samples = |RowsAsked { rows, of }| json!({ "original": of, "effective": rows });
    let mut tables = Tables::default();
    let names = cells.iter().map(|(task, _)| task.name.as_str()).collect::<BTreeSet<_>>();
    cells.iter().for_each(|(task, finding)| tables.add(task, finding, &names));
    let mut whole = json!({
        "results": tables.results,
        "groups": tables.groups,
        "group_subtasks": tables.inside,
        "configs": of(&|task, _| config(task)),
        "versions": tables.versions,
        "n-shot": tables.shots,
        "higher_is_better": tables.directions,
        "n-samples": of(&|_, finding| samples(finding.asked)),
        "config": {
            "model": "llamake",
            "model_args": { "pretrained": model },
            "model_num_parameters": card.parameters,
            "model_dtype": card.dtype,
            "limit": report.limit,
            "random_seed": report.seed,
            "fewshot_seed": report.seed,
        },
        "model_source": "llamake",
        "model_name": model,
        "model_name_sanitized": file_stem(model),
        "task_hashes": Value::Object(hashes.collect()),
    });
    let all = whole.as_object_mut().expect("it is one");
    all.extend(tokens(card));
    Some(whole)
}

/// What is told of each task and each group of its rows.
#[derive(Default)]
struct Tables {
    results: Told,
    groups: Told,
    inside: Told,
    versions: Told,
    shots: Told,
    directions: Told,
}

impl Tables {
    fn add(&mut self, task: &TaskReport, finding: &Finding, tasks: &BTreeSet<&str>) {
        let mut whole = metrics(&task.name, finding);
        let tree = groups::tree(&task.name, finding);
        let Some(tree) = tree.filter(|tree| self.is_free(tree, tasks)) else {
            self.shots.insert(task.name.clone(), json!(task.about.shots));
            self.inside.insert(task.name.clone(), json!([]));
            return self.tell(task, finding, &task.name, whole);
        };
        whole.extend(group_metrics(&tree));
        for (at, node) in tree.all().into_iter().enumerate() {
            let told = if at == 0 { whole.clone() } else { group_metrics(node) };
            if node.inside.is_empty() {
                self.shots.insert(node.name.clone(), json!(task.about.shots));
            } else {
                let names = node.inside.iter().map(|node| node.name.as_str());
                self.inside.insert(node.name.clone(), names.collect());
                self.groups.insert(node.name.clone(), told.clone().into());
            }
            self.tell(task, finding, &node.name, told);
        }
    }

    /// Whether no two groups of a task have one name, and none has that of a task or a group.
    fn is_free(&self, tree: &Node, tasks: &BTreeSet<&str>) -> bool {
        let mut names = BTreeSet::new();
        tree.all().into_iter().skip(1).all(|node| {
            let name = node.name.as_str();
            names.insert(name) && !tasks.contains(name) && !self.results.contains_key(name)
        })
    }

    fn tell(&mut self, task: &TaskReport, finding: &Finding, name: &str, told: Told) {
        self.results.insert(name.into(), told.into());
        self.versions.insert(name.into(), json!(task.about.version));
        self.directions.insert(name.into(), directions(finding));
    }
}

/// Values by name.
type Told = Map<String, Value>;

/// The headline of a group.
fn group_metrics(node: &Node) -> Told {
    let (metric, filter) = parted(&node.score.name);
    let error = node.standard_error.map_or_else(|| json!("N/A"), |error| json!(error));
    Map::from_iter([
        ("alias".to_string(), json!(node.alias)),
        ("sample_len".to_string(), json!(node.rows)),
        (format!("{metric},{filter}"), json!(node.score.value)),
        (format!("{metric}_stderr,{filter}"), error),
    ])
}

/// What is told of tokenizer and template.
fn tokens(card: &Card) -> Map<String, Value> {
    let special = |(text, id): &(String, u32)| json!([text, id.to_string()]);
    let template_sha = card.chat_template.as_deref().map(sha256);
    let told = json!({
        "tokenizer_blake3": card.tokenizer,
        "tokenizer_bos_token": special(&card.bos),
        "tokenizer_eos_token": special(&card.eos),
        "eot_token_id": card.eos.1,
        "max_length": card.context,
        "adapter": card.adapter,
        "chat_template": card.chat_template,
        "chat_template_sha": template_sha,
    });
    told.as_object().cloned().expect("it is one")
}

/// `exact_match,none`, and its standard error beside it.
fn metrics(task: &str, finding: &Finding) -> Told {
    let mut all = Map::new();
    all.insert("alias".into(), json!(task));
    all.insert("sample_len".into(), json!(finding.asked.rows));
    for figure in figures(finding) {
        let (metric, filter) = parted(&figure.name);
        let error = finding.standard_error(&figure.name);
        all.insert(format!("{metric},{filter}"), json!(figure.value));
        let error = error.map_or_else(|| json!("N/A"), |error| json!(error));
        all.insert(format!("{metric}_stderr,{filter}"), error);
    }
    all
}

/// The figures of a model that have a value.
fn figures(finding: &Finding) -> impl Iterator<Item = &Figure> {
    let tells = |figure: &&Figure| {
        figure.value.is_some() && !figure.counts && !BESIDE.contains(&figure.name.as_str())
    };
    finding.scores.iter().filter(tells)
}

/// A figure's name and the filter it was taken through: `exact_match,strict-match`.
fn parted(name: &str) -> (&str, &str) {
    name.split_once(',').unwrap_or((name, "none"))
}

fn directions(finding: &Finding) -> Value {
    let better =
        |figure: &Figure| (parted(&figure.name).0.to_string(), json!(figure.higher_is_better));
    Value::Object(figures(finding).map(better).collect())
}

fn config(task: &TaskReport) -> Value {
    let about = &task.about;
    let mut config = json!({
        "task": task.name,
        "kind": about.kind,
        "output_type": about.output_type,
        "num_fewshot": about.shots,
        "metadata": { "version": about.version },
    });
    if let Some((temperature, samples)) = about.drawing {
        config["repeats"] = json!(samples);
        config["generation_kwargs"] = drawing(temperature);
    }
    config
}

fn drawing(temperature: f64) -> Value {
    json!({ "do_sample": temperature > 0.0, "temperature": temperature })
}

/// The rows of a cell, one object a line; nothing where rows are not told.
pub fn samples(task: &TaskReport, cell: &Cell) -> String {
    let line = |(at, record): (usize, &Record)| format!("{}\n", sample(task, at, record));
    cell.finding.records.iter().enumerate().map(line).collect()
}

fn sample(task: &TaskReport, at: usize, record: &Record) -> Value {
    let Record { row, prompt, gold, said, scores } = record;
    let Exchange { arguments, resps, filtered } = exchange(task, prompt, said);
    let [doc_hash, prompt_hash, target_hash] = record.hashes();
    let figures = scores.iter().map(|(name, value)| (name.clone(), json!(value)));
    let mut figures = figures.collect::<Vec<_>>();
    if let Said::Text(cost) = said {
        // Such figures have no value of one text alone: what is summed stands in its place.
        let of = |name: &str, size: usize| (name.to_string(), json!([-cost.nats, size]));
        figures.push(of("word_perplexity", cost.words));
        figures.push(of("byte_perplexity", cost.bytes));
        figures.push(of("bits_per_byte", cost.bytes));
    }
    let mut sample = json!({
        "doc_id": at,
        "doc": row,
        "target": gold,
        "arguments": arguments,
        "resps": resps,
        "filtered_resps": filtered,
        "filter": "none",
        "metrics": figures.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "doc_hash": doc_hash,
        "prompt_hash": prompt_hash,
        "target_hash": target_hash,
    });
    sample.as_object_mut().expect("it is one").extend(figures);
    sample
}

/// What a model was asked, what it said, and what of that counts.
struct Exchange {
    arguments: Value,
    resps: Value,
    filtered: Value,
}

fn exchange(task: &TaskReport, prompt: &str, said: &Said) -> Exchange {
    match said {
        Said::Answers(answers) => {
            let how = task.about.drawing.map_or(json!({}), |(temperature, _)| drawing(temperature));
            let texts = answers.iter().map(|answer| &answer.text).collect::<Vec<_>>();
            let read = answers.iter().map(|answer| &answer.read).collect::<Vec<_>>();
            Exchange {
                arguments: json!({ "gen_args_0": { "arg_0": prompt, "arg_1": how } }),
                resps: json!([texts]),
                filtered: if read.len() == 1 { json!(read) } else { json!([read]) },
            }
        }
        Said::Choices(choices) => {
            let texts = choices.iter().map(|choice| choice.text.as_str());
            let told = choices.iter().map(|choice| {
                let greedy = if choice.greedy { "True" } else { "False" };
                json!([format!("{:?}", choice.log_prob), greedy])
            });
            each_text(prompt, texts, told.collect())
        }
        Said::Scores(scores) => {
            let texts = scores.iter().map(|(text, _)| text.as_str());
            let told = scores.iter().map(|(_, score)| json!([format!("{score:?}")]));
            each_text(prompt, texts, told.collect())
        }
        Said::Text(cost) => {
            let told = format!("{:?}", -cost.nats);
            Exchange {
                arguments: json!({ "gen_args_0": { "arg_0": prompt } }),
                resps: json!([[told]]),
                filtered: json!([told]),
            }
        }
    }
}

/// One request for each text that could follow, and what was told of it.
fn each_text<'t>(prompt: &str, texts: impl Iterator<Item = &'t str>, told: Vec<Value>) -> Exchange {
    let request = |(at, text): (usize, &str)| {
        (format!("gen_args_{at}"), json!({ "arg_0": prompt, "arg_1": text }))
    };
    Exchange {
        arguments: Value::Object(texts.enumerate().map(request).collect()),
        resps: told.iter().map(|told| json!([told])).collect(),
        filtered: told.into(),
    }
}

/// A part of a file's name that any system takes; two names may give the same.
pub fn file_stem(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
    name.chars().take(80).map(plain).collect()
}
