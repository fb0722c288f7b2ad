//! `export`: a model in the form of other programs, a Hugging Face folder or a GGUF file. What was
//! written is read back: every number must be the model's, rounded once; every text must be cut
//! into the same tokens; and logits may move no further than the rounding explains. Knows models
//! and tokenizers; does not know how a file lays out its bytes.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::quantize;
use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::jinja::without_generation_marks;
use crate::train::data::pack::Row;
use crate::train::data::rows::Message;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::gemm::linear;
use crate::train::kernels::{Threads, nf4};
use crate::train::model::activations::Activations;
use crate::train::model::encoding::Encoding;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::gguf::layout::laid;
use crate::train::model::gguf::{self, file::Mapped, vocabulary};
use crate::train::model::parameters::table;
use crate::train::model::quantized::Form;
use crate::train::model::tensor::{Stored, Tensor};
use crate::train::model::{
    Anywhere, Batch, ModelConfig, ModelPath, SpecialTokens, Transformer, peft,
};
use crate::train::progress::{Context, Failure, Metrics};

/// Whose form a model is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A folder as Hugging Face lays it out.
    Hf,
    /// The same with matrices in NF4, as transformers writes it with bitsandbytes.
    Bnb4,
    /// A file as llama.cpp reads it.
    Gguf,
    /// An adapter's folder as PEFT lays it out.
    Peft,
}

/// The parameters of `export`.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// A model's folder or a GGUF file, or an adapter.
    pub model: ModelPath,
    pub to: Target,
    pub dtype: Encoding,
}

/// The name of the file inside the result of an export to GGUF.
pub const GGUF_FILE: &str = gguf::FILE;

/// A model with all that goes with it.
pub(super) struct Source {
    pub(super) model: ModelFolder<Stored>,
    tokenizer: Tokenizer,
    /// Where the tokenizer's files lie.
    pub(super) files: PathBuf,
    pub(super) chat_template: Option<String>,
    /// Keeps files that were only made for this.
    _kept: Option<TempDir>,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Source, Failure> {
        let Anywhere { model, tokenizer, chat_template } = Anywhere::open(path)?;
        let (entries, rows) = (tokenizer.vocab(), model.config.vocab);
        if entries > rows {
            let path = path.display();
            let fact =
                format!("the tokenizer of `{path}` has {entries} entries and the model {rows}");
            return Err(
                Failure::input(fact).remedy("give the model the tokenizer it was made with")
            );
        }
        let has = |name: &&str| path.join(name).is_file();
        if ["tokenizer.json", "tokenizer_config.json"].iter().all(has) {
            return Ok(Source { model, tokenizer, files: path.into(), chat_template, _kept: None });
        }
        // A tokenizer in another form is written in ours.
        let kept = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
        tokenizer.save(kept.path())?;
        let files = kept.path().to_path_buf();
        Ok(Source { model, tokenizer, files, chat_template, _kept: Some(kept) })
    }

    /// Writes a GGUF file and reads it back: every number, how text is cut, and the template.
    pub(super) fn write_gguf(
        &self,
        path: &Path,
        encoding: Encoding,
        context: &mut Context<'_>,
    ) -> Result<Source, Failure> {
        let threads = context.kernels();
        // Only transformers knows its marks; where there are none the template stays as it is.
        let template = self.chat_template.as_deref().map(without_generation_marks);
        let template = template.as_deref();
        let facts = vocabulary::facts_of(&self.tokenizer, template, self.model.config.vocab)?;
        gguf::write(&threads, path, &self.model, facts, encoding, context.progress)?;
        compare_gguf(&threads, path, &self.model, encoding)?;
        let written = Source::open(path)?;
        compare_texts(&self.tokenizer, &written.tokenizer)?;
        compare_template(&self.tokenizer, template, &written)?;
        Ok(written)
    }
}

/// Writes the model at port `out`: a folder that holds what Hugging Face's would, or `model.gguf`.
pub fn run(params: &Export, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    if params.model.adapter.is_some() || params.to == Target::Peft {
        return export_adapter(params, context);
    }
    let path = &params.model.base;
    let mut source = Source::open(path)?;
    let threads = context.kernels();
    let tokens = probe(&source.model.config, source.model.special);
    let before;
    (before, source.model) = logits(&threads, source.model, &tokens);
    let out = context.out.join("out");
    std::fs::create_dir_all(&out).map_err(Failure::io(&out))?;
    let (written, unit) = match params.to {
        Target::Peft => unreachable!("adapters are written elsewhere"),
        Target::Gguf => {
            tell_what_is_widened(&source.model, params.dtype, context);
            let written = source.write_gguf(&out.join(GGUF_FILE), params.dtype, context)?;
            (written, params.dtype.unit())
        }
        Target::Bnb4 | Target::Hf => write_folder(&out, source, params, context)?,
    };
    let (after, written) = logits(&threads, written.model, &tokens);
    let moved = compare_logits(&before, &after, unit, written.config.layers)?;
    let bytes = folder::bytes(&out)?;
    Ok(vec![("bytes".into(), bytes as f64), ("largest_logit_error".into(), moved)])
}

/// Writes a folder and reads it back; gives also the unit of its rounding.
fn write_folder(
    out: &Path,
    source: Source,
    params: &Export,
    context: &Context<'_>,
) -> Result<(Source, f64), Failure> {
    let Source { model, tokenizer, files, chat_template, _kept } = source;
    let (template, mut unit) = (chat_template.as_deref(), params.dtype.unit());
    if params.to == Target::Bnb4 {
        let form = Form { encoding: params.dtype, double: true };
        let model = quantize::nf4(&model, form, context)?;
        folder::publish_nf4(out, &model, &files, template, params.dtype)?;
        quantize::compare_nf4(out, &model)?;
        unit += nf4::UNIT;
    } else {
        let model = in_memory(model);
        folder::publish(out, &model, &files, template, params.dtype)?;
        compare_folder(out, &model, params.dtype)?;
    }
    let written = Source::open(out)?;
    compare_texts(&tokenizer, &written.tokenizer)?;
    compare_template(&tokenizer, template, &written)?;
    Ok((written, unit))
}

/// A model in ggml's blocks keeps its bytes only in those.
fn tell_what_is_widened(
    model: &ModelFolder<Stored>,
    encoding: Encoding,
    context: &mut Context<'_>,
) {
    let blocks = model.weights.in_order().into_iter().find_map(|tensor| match tensor {
        Stored::Ggml(_, format) => Some(Encoding::Blocks(*format)),
        _ => None,
    });
    if let Some(blocks) = blocks.filter(|blocks| *blocks != encoding) {
        let (blocks, name) = (blocks.name(), encoding.name());
        context.progress.notice(&format!(
            "the model is in {blocks} and is written in {name}; `dtype: \"{blocks}\"` keeps its \
             bytes"
        ));
    }
}

fn in_memory(model: ModelFolder<Stored>) -> ModelFolder {
    let ModelFolder { config, special, weights } = model;
    ModelFolder { config, special, weights: weights.map(Stored::into_floats) }
}

/// Writes an adapter's folder, and reads it back.
fn export_adapter(params: &Export, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let ModelPath { base, adapter: Some(path) } = &params.model else {
        return Err(Failure::input("`peft` is a form of adapters, and this is a whole model")
            .remedy("choose `to: \"hf\"` or `to: \"gguf\"`"));
    };
    if params.to != Target::Peft || params.dtype != Encoding::F32 {
        return Err(Failure::input("an adapter has only one form: `to: \"peft\"` in `f32`")
            .remedy("`merge` the adapter first, and export the model that makes"));
    }
    let (config, _) = folder::read_config(base)?;
    let adapter = peft::read(path, &config)?;
    let out = context.out.join("out");
    peft::write(&out, &config, &adapter)?;
    let template = folder::read_chat_template(path)?;
    folder::write_tokenizer(&out, base, template.as_deref())?;
    if peft::read(&out, &config)? != adapter {
        let fact = format!("`{}` does not hold what was written", out.display());
        return Err(Failure::input(fact).remedy("look after the disk, and export again"));
    }
    Ok(vec![("bytes".into(), folder::bytes(&out)? as f64)])
}

/// Tokens from all over the vocabulary.
fn probe(config: &ModelConfig, special: SpecialTokens) -> Vec<u32> {
    let count = config.context.min(16);
    let spread = (1..count).map(|at| (at * config.vocab / count) as u32);
    [special.bos].into_iter().chain(spread).collect()
}

/// The logits of every position; gives the model back.
fn logits(
    threads: &Threads,
    model: ModelFolder<Stored>,
    tokens: &[u32],
) -> (Vec<f32>, ModelFolder<Stored>) {
    let ModelFolder { config, special, weights } = model;
    let model = Transformer::new(config, weights, tokens.len());
    let segment = 0..tokens.len();
    let row = Row { tokens: tokens.into(), targets: tokens.into(), segments: vec![segment] };
    let batch = Batch::of(&[&row]);
    let mut a = Activations::for_inference(&model.config, tokens.len());
    model.forward(threads, &batch, &mut a);
    let (d, v) = (model.config.dim, model.config.vocab);
    let mut logits_tv = vec![0.0; tokens.len() * v];
    linear(threads, &a.hidden_td, model.weights.head(), &mut logits_tv, [tokens.len(), d, v]);
    let Transformer { config, weights, .. } = model;
    (logits_tv, ModelFolder { config, special, weights })
}

/// Every number of a folder is the model's, rounded once.
fn compare_folder(folder: &Path, model: &ModelFolder, encoding: Encoding) -> Result<(), Failure> {
    let written = folder::open(folder)?;
    compare_facts(folder, model, &written.config, written.special)?;
    let pairs = model.weights.tensors().into_iter().zip(written.weights.in_order());
    for (spec, (before, after)) in table(&model.config).iter().zip(pairs) {
        compare_numbers(&spec.name, &encoding.rounded(before), &after.elements().to_floats())?;
    }
    Ok(())
}

/// The same for a GGUF file, one tensor at a time; blocks of its own encoding are as they were.
fn compare_gguf(
    threads: &Threads,
    path: &Path,
    model: &ModelFolder<Stored>,
    encoding: Encoding,
) -> Result<(), Failure> {
    let mapped = Mapped::open(path)?;
    let file = mapped.parse()?;
    let config = gguf::shape::config_of(&file)?;
    compare_facts(path, model, &config, model.special)?;
    for (laid, before) in laid(&model.config).iter().zip(model.weights.in_order()) {
        let after = laid.ours(gguf::read::tensor_of(&file, laid)?.numbers());
        let encoding = laid.encoding(encoding);
        let is_kept =
            matches!(before, Stored::Ggml(_, format) if Encoding::Blocks(*format) == encoding);
        let mut expected = before.elements().to_floats();
        if !is_kept {
            let bytes = encoding.encoded(threads, &expected);
            expected.clear();
            encoding.decode(&bytes, &mut expected);
        }
        compare_numbers(&laid.spec.name, &expected, &after)?;
    }
    Ok(())
}

fn compare_facts<T>(
    path: &Path,
    model: &ModelFolder<T>,
    config: &ModelConfig,
    special: SpecialTokens,
) -> Result<(), Failure> {
    if model.config == *config && model.special == special {
        return Ok(());
    }
    Err(Failure::input(format!(
        "`{}` does not say the model's shape: {config:?} was read back for {:?}",
        path.display(),
        model.config
    )))
}

fn compare_numbers(name: &str, expected: &[f32], found: &[f32]) -> Result<(), Failure> {
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
    if expected.len() == found.len() && expected.iter().zip(found).all(same) {
        return Ok(());
    }
    Err(Failure::input(format!("tensor `{name}` was not read back as it was written")))
}

/// Texts that are cut in unlike ways by tokenizers that differ at all: scripts, blanks, lines,
/// digits, marks, what looks like a token and is none.
const TEXTS: [&str; 16] = [
    "The quick brown fox jumps over the lazy dog.",
    " It's 1,234.50 euros; they'll pay, won't they?",
    "two  blanks   three\tand a tab",
    "    def f(x):\n        return x ** 2\n\n\n",
    "\n",
    " ",
    "a",
    "ΑΒΓ где 北京大学 서울 กรุงเทพ שלום مرحبا",
    "naïve café, e\u{301}, ½, ①, 三",
    "🙂👩\u{200D}👩\u{200D}👧 🇫🇷",
    "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHello [/INST] Hi </s>",
    "<|im_start|>user\nhi<|im_end|>\n<0x0A>",
    "aaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbb",
    "http://example.org/?q=1&x=%20#a_b-c",
    "\u{0}\u{1}\u{7f}\u{FEFF}\u{10FFFD}",
    "ALL CAPS, snake_case, camelCase, 0x1F, 3.14e-10",
];

/// Every text and every entry by itself is cut as before and is put together as before.
fn compare_texts(before: &Tokenizer, after: &Tokenizer) -> Result<(), Failure> {
    let entries = (0..before.vocab() as u32).map(|id| before.decode(&[id]));
    for text in TEXTS.iter().map(|text| text.to_string()).chain(entries) {
        let (expected, found) = (before.encode(&text), after.encode(&text));
        if expected != found {
            return Err(Failure::input(format!(
                "the exported tokenizer cuts {text:?} into {found:?}, and the model's into \
                 {expected:?}"
            ))
            .remedy("export to `hf`, whose files hold the tokenizer as it is"));
        }
        if before.decode(&expected) != after.decode(&found) {
            let fact = format!("the exported tokenizer puts {text:?} together in another way");
            return Err(Failure::input(fact));
        }
    }
    Ok(())
}

/// The template is the same, and a dialogue that it writes becomes the same tokens.
fn compare_template(
    tokenizer: &Tokenizer,
    template: Option<&str>,
    written: &Source,
) -> Result<(), Failure> {
    if written.chat_template.as_deref() != template {
        return Err(Failure::input("the chat template was not read back as it was written"));
    }
    let Some(jinja) = template else { return Ok(()) };
    let turns = [
        Message::new("user", "What is 2 + 2?"),
        Message::new("assistant", "It is 4."),
        Message::new("user", " And in words?\n"),
    ];
    let prompt = |tokenizer: &Tokenizer| {
        ChatFormat::new(&template_of(jinja, tokenizer))
            .and_then(|format| format.prompt(tokenizer, 1, &turns))
    };
    match (prompt(tokenizer), prompt(&written.tokenizer)) {
        (Ok(before), Ok(after)) if before == after => Ok(()),
        // A template may have no place for such a dialogue; then both say so.
        (Err(before), Err(after)) if format!("{before:?}") == format!("{after:?}") => Ok(()),
        _ => Err(Failure::input("a dialogue becomes other tokens than the model's")),
    }
}

fn template_of(jinja: &str, tokenizer: &Tokenizer) -> Template {
    Template {
        name: "of the model".into(),
        jinja: jinja.into(),
        bos: tokenizer.bos().text.clone(),
        eos: tokenizer.eos().text.clone(),
        forbidden: Vec::new(),
    }
}

/// How far a logit may move, as a share of the largest: sixteen roundings for each of √(blocks)
/// independent errors. What is not rounded may not move at all.
fn compare_logits(before: &[f32], after: &[f32], unit: f64, layers: usize) -> Result<f64, Failure> {
    let difference = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).abs();
    let moved = before.iter().zip(after).map(difference).fold(0.0, f64::max);
    let largest = before.iter().map(|logit| f64::from(logit.abs())).fold(0.0, f64::max);
    let allowed = 16.0 * unit * (layers as f64).sqrt() * largest;
    let finite = after.iter().all(|logit| logit.is_finite());
    if finite && moved <= allowed {
        return Ok(moved);
    }
    Err(Failure::input(format!("a logit moves by {moved:.3}, and rounding explains {allowed:.3}"))
        .remedy("choose a wider `dtype`"))
}
