//! Evaluation beside lm-evaluation-harness: of the same model and the same rows both write the same
//! prompts, find the same log-likelihoods and say the same words. What the harness found is in
//! `agreement.json`, which `agreement.py` makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::cli::Project;
use crate::train::shared_data;

fn whole(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn float(value: &Value) -> f64 {
    let told = value.as_str().and_then(|text| text.parse().ok());
    value.as_f64().or(told).unwrap_or_else(|| panic!("no number in {value}"))
}

/// 32 bits that look random, of whole numbers.
fn mixed(at: u32) -> u32 {
    let rounds = [(16, 0x85EB_CA6B), (13, 0xC2B2_AE35), (16, 1)];
    rounds.into_iter().fold(at, |at, (shift, by)| (at ^ (at >> shift)).wrapping_mul(by))
}

const VOCAB: usize = 32000;
const DIM: usize = 32;

/// The tensors of the model, by name.
fn shapes() -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::from([
        ("lm_head.weight".to_string(), vec![VOCAB, DIM]),
        ("model.embed_tokens.weight".to_string(), vec![VOCAB, DIM]),
        ("model.norm.weight".to_string(), vec![DIM]),
    ]);
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", &[DIM][..]),
            ("post_attention_layernorm", &[DIM]),
            ("self_attn.q_proj", &[DIM, DIM]),
            ("self_attn.k_proj", &[16, DIM]),
            ("self_attn.v_proj", &[16, DIM]),
            ("self_attn.o_proj", &[DIM, DIM]),
            ("mlp.gate_proj", &[64, DIM]),
            ("mlp.up_proj", &[64, DIM]),
            ("mlp.down_proj", &[DIM, 64]),
        ] {
            shapes.insert(format!("model.layers.{layer}.{name}.weight"), shape.to_vec());
        }
    }
    shapes
}

/// The numbers of a tensor, as `harness.py` makes them.
fn filled(name: &str, place: usize, shape: &[usize]) -> Vec<f32> {
    let first = 0x9E37_79B9_u32.wrapping_mul(place as u32 + 1);
    let number = |at: usize| {
        let even = (mixed(first.wrapping_add(at as u32)) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        match name {
            _ if name.contains("norm") => 1.0 + even / 2.0,
            _ if name.contains("embed") => even,
            _ => even * 0.5,
        }
    };
    (0..shape.iter().product()).map(number).collect()
}

fn write_model(project: &Project, fixture: &Value, data: &Path) {
    let shapes = shapes();
    let each = shapes.iter().enumerate();
    let mut values = each
        .map(|(place, (name, shape))| (name.as_str(), filled(name, place, shape)))
        .collect::<BTreeMap<_, _>>();
    let embedding = values["model.embed_tokens.weight"].clone();
    let head = values.get_mut("lm_head.weight").unwrap();
    for lead in list(&fixture["leads"]) {
        let (before, after) = (whole(&lead[0]), whole(&lead[1]));
        let added = &embedding[before * DIM..][..DIM];
        head[after * DIM..][..DIM].iter_mut().zip(added).for_each(|(x, more)| *x += more);
    }
    let bytes = values.iter().map(|(name, values)| {
        (*name, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
    });
    let bytes = bytes.collect::<BTreeMap<_, _>>();
    let views = bytes.iter().map(|(name, bytes)| {
        (*name, TensorView::new(Dtype::F32, shapes[*name].clone(), bytes).unwrap())
    });
    project.write("model/model.safetensors", safetensors::serialize(views, None).unwrap());
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": VOCAB,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
    });
    project.write("model/config.json", config.to_string());
    let tokenizer = fs::read(data.join("tokenizers/llama2/tokenizer.model")).unwrap();
    project.write("model/tokenizer.model", tokenizer);
}

/// The first rows of a table, its first line among them.
fn head_of_csv(path: &Path, rows: usize) -> Vec<u8> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in reader.records().take(rows) {
        writer.write_record(&record.unwrap()).unwrap();
    }
    writer.into_inner().unwrap()
}

fn head_of_lines(path: &Path, rows: usize) -> String {
    fs::read_to_string(path).unwrap().split_inclusive('\n').take(rows).collect()
}

/// The first pages of WikiText, one a line, each from its title on.
fn pages(path: &Path, count: usize) -> String {
    let text = fs::read_to_string(path).unwrap().replace("<unk>", "rare");
    let mut pages: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with(" = ") && !line.starts_with(" = =") && line.ends_with(" = \n") {
            pages.push(String::new());
        }
        if let Some(page) = pages.last_mut() {
            page.push_str(line);
        }
    }
    pages.into_iter().take(count).map(|page| json!({ "text": page }).to_string() + "\n").collect()
}

fn write_rows(project: &Project, fixture: &Value, data: &Path) {
    let rows = whole(&fixture["rows"]);
    for subject in list(&fixture["subjects"]) {
        for (split, rows) in [("test", rows), ("dev", usize::MAX)] {
            let name = format!("{split}/{}_{split}.csv", subject.as_str().unwrap());
            project.write(&name, head_of_csv(&data.join("eval/mmlu").join(&name), rows));
        }
    }
    let truths = data.join("eval/truthfulqa");
    let mut choices: Value =
        serde_json::from_slice(&fs::read(truths.join("mc_task.json")).unwrap()).unwrap();
    choices.as_array_mut().unwrap().truncate(rows);
    project.write("mc_task.json", choices.to_string());
    project.write("TruthfulQA.csv", head_of_csv(&truths.join("TruthfulQA.csv"), rows + 1));
    for (name, rows) in [("test.jsonl", rows), ("train.jsonl", usize::MAX)] {
        project.write(name, head_of_lines(&data.join("eval/gsm8k").join(name), rows));
    }
    project.write("pages.jsonl", pages(&data.join("text/wikitext2_valid.txt"), rows.min(3)));
}

fn close(got: &Value, want: &Value, what: &str) {
    let (got, want) = (float(got), float(want));
    assert!((got - want).abs() < 1e-3 + 1e-6 * want.abs(), "{what}: got {got}, want {want}");
}

/// Compares one row with what the harness found of it, through one of its filters.
fn check(task: &str, ours: &Value, theirs: &Value) {
    assert_eq!(ours["prompt_hash"], theirs["prompt"], "{task}: another prompt\n{ours}");
    let filter = theirs.get("filter").and_then(Value::as_str).unwrap_or("none");
    for (name, want) in theirs.as_object().unwrap() {
        match name.as_str() {
            "prompt" | "filter" => {}
            "choices" => {
                let found = list(&ours["filtered_resps"]);
                assert_eq!(found.len(), list(want).len(), "{task}");
                let both = found.iter().zip(list(want));
                both.for_each(|(got, want)| close(&got[0], want, &format!("{task}: {ours}")));
            }
            "figure" => {
                close(&ours["word_perplexity"][0], &want[0], task);
                assert_eq!(ours["word_perplexity"][1], want[1], "{task}");
            }
            "text" => assert_eq!(&ours["resps"][0][0], want, "{task}"),
            // A sample tells what the first filter read.
            "read" if filter == "flexible-extract" => {}
            "read" => assert_eq!(&ours["filtered_resps"][0], want, "{task}"),
            "exact_match" => close(&ours[format!("exact_match,{filter}")], want, task),
            figure => close(&ours[figure], want, &format!("{task}, {figure}")),
        }
    }
}

#[test]
fn the_harness_finds_the_same() {
    let Some(data) = shared_data(".") else { return };
    let fixture: Value = serde_json::from_str(include_str!("agreement.json")).unwrap();
    let project = Project::of(include_str!("agreement.recipe"));
    write_model(&project, &fixture, &data);
    write_rows(&project, &fixture, &data);
    project.run("build").ended(0);
    let read = |name: &str| project.read(&format!("build/a/scores/{name}"));
    let samples = |task: &str| {
        let text = read(&format!("samples_{task}_base.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let mut mmlu = samples("mmlu").into_iter();
    for (task, theirs) in fixture["samples"].as_object().unwrap() {
        let theirs = list(theirs);
        let ours = match task.starts_with("mmlu") {
            true => mmlu.by_ref().take(theirs.len()).collect(),
            false => samples(task),
        };
        // Where there are two filters the harness tells each row twice.
        let times = theirs.len() / ours.len();
        assert_eq!(theirs.len(), times * ours.len(), "{task}");
        for (ours, theirs) in ours.iter().cycle().zip(theirs) {
            check(task, ours, theirs);
        }
    }
    let results: Value = serde_json::from_str(&read("results_base.json")).unwrap();
    for (task, figures) in fixture["figures"].as_object().unwrap() {
        for (name, want) in figures.as_object().unwrap() {
            close(&results["results"][task][name], want, &format!("{name} of {task}"));
        }
    }
}
