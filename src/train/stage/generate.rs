//! `generate`: a chat model's answers to prompts, as dialogues. Knows prompts and a model's folder;
//! does not know how tokens are drawn.

use std::path::{Path, PathBuf};

use super::samples::Sampler;
use crate::train::data::chat::Template;
use crate::train::data::rows::{Chat, Message, Prompt, Writer, read_rows};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::sample::Sampling;
use crate::train::model::sample::GenerateOptions;
use crate::train::model::{ModelPath, folder};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `generate`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Generate {
    pub model: ModelPath,
    pub prompts: PathBuf,
    pub samples: usize,
    pub max_answer: usize,
    pub temperature: f64,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    pub seed: u64,
}

/// Answers every prompt and writes the dialogues at port `out`.
pub fn run(params: &Generate, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let prompts = read_rows::<Prompt>(&params.prompts)?;
    let ModelPath { base, adapter } = &params.model;
    let tokenizer = Tokenizer::load(base)?;
    let template = template_of(params.model.dress(), &tokenizer)?;
    let mut sampler = Sampler::open(base, tokenizer, &template, context)?;
    sampler.wear(adapter.as_deref())?;
    let encode = |(row, prompt): (usize, &Prompt)| sampler.prompt(row, &prompt.prompt);
    let texts: Vec<Vec<u32>> = (1..).zip(&prompts).map(encode).collect::<Result<_, _>>()?;
    let options = GenerateOptions {
        samples: params.samples,
        max_answer: params.max_answer,
        sampling: params.sampling(),
        seed: params.seed,
        eos: sampler.eos(),
    };
    let answers = sampler.sample("answers", &texts, &options, context)?;

    let mut file = Writer::create(&context.out.join("out"))?;
    for (at, answer) in answers.iter().enumerate() {
        let mut messages = prompts[at / params.samples].prompt.clone();
        messages.push(Message::new("assistant", sampler.text(answer)));
        file.write(&Chat::new(messages))?;
    }
    let written = file.finish()?;
    let tokens: usize = answers.iter().map(|answer| answer.log_probs.len()).sum();
    let ended = answers.iter().filter(|answer| answer.ended).count();
    let metric = |name: &str, value: usize| (name.to_string(), value as f64);
    Ok(vec![metric("answers", written), metric("ended", ended), metric("tokens", tokens)])
}

impl Generate {
    fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature as f32,
            top_k: self.top_k,
            top_p: self.top_p.map_or(1.0, |top_p| top_p as f32),
        }
    }
}

/// The template that a chat model carries in its folder.
pub fn template_of(folder: &Path, tokenizer: &Tokenizer) -> Result<Template, Failure> {
    let Some(jinja) = folder::read_chat_template(folder)? else {
        return Err(Failure::input(format!("`{}` has no chat template", folder.display()))
            .remedy("fine-tune the model on dialogues first, with `sft`"));
    };
    Ok(Template {
        name: "of the model".into(),
        jinja,
        bos: tokenizer.bos().text.clone(),
        eos: tokenizer.eos().text.clone(),
        forbidden: Vec::new(),
    })
}
