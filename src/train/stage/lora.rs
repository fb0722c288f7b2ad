//! `lora`: a low-rank adapter learns dialogues beside a base that is never changed: its weights
//! stay in their file, and have neither gradients nor moments. Hu et al., "LoRA", 2021. Knows
//! folders; does not know how an adapter is computed.

use super::pretrain::fit;
use super::sft::{self, Sft};
use super::train_loop::train;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::lora::{Adapter, LoraSettings};
use crate::train::model::{Transformer, peft};
use crate::train::objective::next_token::NextToken;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `lora`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// What is learnt, and how; `init` is the base.
    pub tuning: Sft,
    pub settings: LoraSettings,
}

/// Trains an adapter and writes its folder, with the tokenizer and the template, at port `out`.
pub fn run(params: &Lora, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let Lora { tuning, settings } = params;
    if settings.targets.is_empty() {
        return Err(Failure::input("`targets` names no projection, so nothing would be learnt")
            .remedy("name some, or choose `targets: \"all-linear\"`"));
    }
    let ModelFolder { config, weights, .. } = folder::open(&tuning.init)?;
    let tokenizer = Tokenizer::load(&tuning.init)?;
    fit(&tokenizer, &config, tuning.context)?;
    let batches = sft::batches(tuning, &tokenizer, context)?;
    let rows = Some(batches.rows() as u64);
    let course = tuning.training.length.course(tuning.batch, tuning.context as u64, rows);
    let course = course.map_err(Failure::input)?.expect("the rows are known");
    context.progress.log(&format!("{course}, {} rows an epoch", batches.rows()));

    let (t, seed) = (context.kernels(), tuning.training.seed);
    let adapter = Adapter::untrained(&t, &config, &weights, settings, seed);
    let mut model = Transformer::new(config, weights, tuning.context);
    model.adapter = Some(adapter);
    let mut objective = NextToken::new(batches);
    let metrics = train(&mut model, &mut objective, course.steps, &tuning.training, context)?;

    let out = context.out.join("out");
    let adapter = model.adapter.as_ref().expect("it was trained");
    peft::write(&out, &model.config, adapter)?;
    folder::write_tokenizer(&out, &tuning.init, Some(&tuning.template.jinja))?;
    Ok(metrics)
}
