//! The conformance cases of `export`: GGUF files that llama.cpp's own writer made are read, and
//! those written here from the same model hold the same facts and the same bytes of every tensor.
//! What is exported is also given to the reference stack where `LLAMAKE_PYTHON` names a Python that
//! has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{Device, Tensor};
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::kernels::Threads;
use llamake::train::kernels::gemm::linear;
use llamake::train::model::activations::Activations;
use llamake::train::model::encoding::Encoding;
use llamake::train::model::folder::{self, ModelFolder};
use llamake::train::model::gguf::layout::{Laid, laid};
use llamake::train::model::gguf::{self, file::Mapped};
use llamake::train::model::{Batch, Transformer};
use llamake::train::progress::Context;
use llamake::train::stage::export::{self, Export, GGUF_FILE, Target};
use llamake::train::stage::{pretrain, sft};

use crate::golden::{Case, cases, rows_of};
use crate::train::fixtures::{Heard, assert_close};
use crate::train::pipeline::World;

const ENCODINGS: [(&str, Encoding); 3] =
    [("F32", Encoding::F32), ("F16", Encoding::F16), ("Q8_0", Encoding::Q8_0)];

/// The template of the tokenizer's case, without the marks that only transformers knows.
fn template(case: &Case) -> String {
    let path = case.folder.join("../tokenizer/tokenizer/chat_template.jinja");
    let text = std::fs::read_to_string(path).unwrap();
    text.replace("{% generation %}", "").replace("{% endgeneration %}", "")
}

#[test]
fn golden_export() {
    for case in cases("export") {
        let whole = tempfile::tempdir().unwrap();
        let model = whole_folder(&case, "llama", whole.path());
        for (name, encoding) in ENCODINGS {
            check_reading(&case, name, encoding, &model);
            check_writing(&case, name, encoding, whole.path());
        }
        check_order_of_rows(&case);
    }
}

/// The model of another case with the tokenizer's files, as one folder.
fn whole_folder(case: &Case, model: &str, folder: &Path) -> ModelFolder {
    let root = case.folder.parent().unwrap();
    for from in [root.join(model).join("model"), root.join("tokenizer/tokenizer")] {
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = folder.join(path.file_name().unwrap());
            // The fixtures may be read-only, and a copy of one of their files too.
            std::fs::write(to, std::fs::read(path).unwrap()).unwrap();
        }
    }
    std::fs::write(folder.join("chat_template.jinja"), template(case)).unwrap();
    folder::read(folder).unwrap()
}

/// A file of the fixtures: the shape, every number after rounding, the tokenizer, the logits.
fn check_reading(case: &Case, name: &str, encoding: Encoding, model: &ModelFolder) {
    let read = gguf::read(&case.folder.join(format!("tiny-{name}.gguf"))).unwrap();
    assert_eq!(read.model.config, model.config);
    assert_eq!(read.model.special, model.special);
    let pairs = read.model.weights.tensors().into_iter().zip(model.weights.tensors());
    for (laid, (got, want)) in laid(&model.config).iter().zip(pairs) {
        assert_eq!(got, laid.encoding(encoding).rounded(want), "{name}: {}", laid.name);
    }
    let tokenizer = Tokenizer::load(&case.folder.join("../tokenizer/tokenizer")).unwrap();
    for text in ["Hello, it's a house!", " two  blanks\n\n", "naïve 123 </s>", "\u{1F642}"] {
        assert_eq!(read.tokenizer.encode(text), tokenizer.encode(text), "{text}");
    }
    assert_eq!(read.chat_template, Some(template(case)));
    let ids = case.tensors("inputs.safetensors").ids("input_ids");
    let (atol, rtol) = case.tolerance(name);
    let want = case.tensors("expected.safetensors").floats(&format!("logits_{name}"));
    assert_close(&format!("logits of {name}"), &logits(read.model, &ids), &want, atol, rtol);
}

/// The same file written here: all facts but those that name the file, all bytes of all tensors.
fn check_writing(case: &Case, name: &str, encoding: Encoding, whole: &Path) {
    let out = tempfile::tempdir().unwrap();
    let path = exported(whole, Target::Gguf, encoding, out.path());
    let theirs = Mapped::open(&case.folder.join(format!("tiny-{name}.gguf"))).unwrap();
    let ours = Mapped::open(&path).unwrap();
    let (theirs, ours) = (theirs.parse().unwrap(), ours.parse().unwrap());
    assert_eq!(ours.tensors, theirs.tensors, "{name}");
    for (key, value) in &theirs.facts {
        let left_out = ["general.name", "tokenizer.ggml.padding_token_id"];
        if !left_out.contains(key) {
            assert_eq!(ours.facts.get(key), Some(value), "{name}: {key}");
        }
    }
    let again = tempfile::tempdir().unwrap();
    let again = exported(whole, Target::Gguf, encoding, again.path());
    assert_eq!(std::fs::read(path).unwrap(), std::fs::read(again).unwrap(), "{name}");
}

fn check_order_of_rows(case: &Case) {
    let mapped = Mapped::open(&case.folder.join("tiny-F32.gguf")).unwrap();
    let want = case.tensors("expected.safetensors").floats("attn_q_0_as_in_gguf");
    assert_eq!(mapped.parse().unwrap().tensors["blk.0.attn_q.weight"].numbers(), want);
}

/// The logits of every position of every row.
fn logits(model: ModelFolder, ids: &[Vec<i64>]) -> Vec<f32> {
    let ModelFolder { config, weights, .. } = model;
    let (t, context) = (Threads::new(1), config.context);
    let model = Transformer::new(config, weights, context);
    let rows = rows_of(ids);
    let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
    let mut a = Activations::for_inference(&model.config, batch.len());
    model.forward(&t, &batch, &mut a);
    let (d, v) = (model.config.dim, model.config.vocab);
    let mut logits_tv = vec![0.0; batch.len() * v];
    linear(&t, &a.hidden_td, model.weights.head(), &mut logits_tv, [batch.len(), d, v]);
    logits_tv
}

/// What the stage makes of a model's folder: a folder or a file.
fn exported(model: &Path, to: Target, dtype: Encoding, out: &Path) -> PathBuf {
    let mut heard = Heard::default();
    let mut context = Context::new(1, out.into(), &mut heard);
    export::run(&Export { model: model.into(), to, dtype }, &mut context).unwrap();
    match to {
        Target::Bnb4 | Target::Hf => out.join("out"),
        Target::Gguf => out.join("out").join(GGUF_FILE),
        Target::Peft => unreachable!("a whole model is no adapter"),
    }
}

/// Every form of three models, with our logits of it beside it.
#[test]
fn exports_are_what_the_reference_stack_reads() {
    let python = std::env::var_os("LLAMAKE_PYTHON");
    for case in cases("export") {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exports");
        let _ = std::fs::remove_dir_all(&root);
        let ids = case.tensors("inputs.safetensors").ids("input_ids");
        for name in ["llama", "llama_rope3_tied"] {
            let whole = tempfile::tempdir().unwrap();
            whole_folder(&case, name, whole.path());
            let made = make_all(whole.path(), &root.join(name), &ids);
            made.iter().for_each(|made| check_elsewhere(python.as_deref(), &case, made));
        }
        let world = World::new();
        world.run("base", 2, |context| pretrain::run(&world.pretrain(), context)).unwrap();
        world.run("chat", 2, |context| sft::run(&world.sft("base/out"), context)).unwrap();
        let ids: Vec<Vec<i64>> =
            ids.iter().map(|row| row.iter().map(|id| id % 320).collect()).collect();
        for made in make_all(&world.at("chat/out"), &root.join("trained"), &ids) {
            check_elsewhere(python.as_deref(), &case, &made);
        }
    }
    if python.is_none() {
        println!("not checked by the reference stack: `LLAMAKE_PYTHON` is not set");
    }
}

/// Something exported, and what is claimed of it.
struct Made {
    kind: &'static str,
    path: PathBuf,
    claims: PathBuf,
}

fn make_all(model: &Path, root: &Path, ids: &[Vec<i64>]) -> Vec<Made> {
    let mut all = Vec::new();
    let (config, _) = folder::read_config(model).unwrap();
    for dtype in Encoding::ALL {
        for (kind, to) in [("hf", Target::Hf), ("gguf", Target::Gguf)] {
            let is_whole = |laid: &Laid| laid.row().is_multiple_of(laid.encoding(dtype).group());
            if to == Target::Hf && dtype.group() > 1 || !laid(&config).iter().all(is_whole) {
                continue;
            }
            let folder = root.join(format!("{kind}-{}", dtype.name()));
            std::fs::create_dir_all(&folder).unwrap();
            let path = exported(model, to, dtype, &folder);
            let read = match to {
                Target::Bnb4 | Target::Hf => folder::read(&path).unwrap(),
                Target::Gguf => gguf::read(&path).unwrap().model,
                Target::Peft => unreachable!("a whole model is no adapter"),
            };
            let claims = folder.join("claims.safetensors");
            write_claims(&claims, read, ids);
            all.push(Made { kind, path, claims });
        }
    }
    all
}

fn write_claims(path: &Path, model: ModelFolder, ids: &[Vec<i64>]) {
    let shape = (ids.len(), ids[0].len(), model.config.vocab);
    let logits = Tensor::from_vec(logits(model, ids), shape, &Device::Cpu).unwrap();
    let ids = Tensor::from_vec(ids.concat(), (shape.0, shape.1), &Device::Cpu).unwrap();
    let claims = [("input_ids".to_string(), ids), ("logits".to_string(), logits)];
    candle_core::safetensors::save(&claims.into_iter().collect(), path).unwrap();
}

/// transformers leaves out the divisors of stretched positions in a GGUF file, so of those models
/// only folders are compared.
fn check_elsewhere(python: Option<&std::ffi::OsStr>, case: &Case, made: &Made) {
    let Some(python) = python else { return };
    if made.kind == "gguf" && made.path.to_string_lossy().contains("rope3") {
        return;
    }
    let script = case.folder.join("../check_export.py");
    let mut command = Command::new(python);
    command.arg(script).arg(made.kind).arg("--path").arg(&made.path);
    let done = command.arg("--claims").arg(&made.claims).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{}", said.trim());
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
}
