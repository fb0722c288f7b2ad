//! Finished models that are asked on an accelerator: answers, losses and scores have the bits of
//! the processor's.

use std::sync::Arc;

use llamake::train::kernels::cross_entropy::launch::room;
use llamake::train::kernels::sample::Sampling;
use llamake::train::model::accelerated::Accelerated;
use llamake::train::model::activations::Activations;
use llamake::train::model::asked::{Asked, Engine};
use llamake::train::model::endings::Ending;
use llamake::train::model::inference::Inference;
use llamake::train::model::loaded::TOKENS_AT_ONCE;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::sample::GenerateOptions;
use llamake::train::model::{Batch, Head, ModelConfig, Transformer};

use super::shim::Shim;
use super::{cpu, on_shims};
use crate::train::fixtures::{Heard, config, lively, message, model, row, rows};

fn wide() -> ModelConfig {
    ModelConfig { dim: 64, heads: 4, kv_heads: 2, ..config() }
}

fn here(model: Transformer) -> Asked {
    Asked::new(model, &cpu().into()).unwrap()
}

/// The same answers of a model here and wherever there is an accelerator.
fn check<T: PartialEq + std::fmt::Debug>(
    model: impl Fn() -> Transformer,
    ask: impl Fn(&mut Asked) -> T,
) {
    let expected = ask(&mut here(model()));
    on_shims(|on| {
        let engine = Engine { threads: Arc::new(cpu()), accelerator: Some(on.clone()) };
        assert_eq!(ask(&mut Asked::new(model(), &engine).unwrap()), expected);
    });
}

fn generated(asked: &Asked, prompts: &[Vec<u32>], sampling: Sampling) -> Vec<(Vec<u32>, Vec<u32>)> {
    let options = GenerateOptions { samples: 2, max_answer: 6, sampling, seed: 9, eos: 2 };
    let made = asked.at().generate(prompts, &options, &mut Heard::default()).unwrap();
    let bits = |log_probs: Vec<f32>| log_probs.into_iter().map(f32::to_bits).collect();
    made.into_iter().map(|made| (made.tokens, bits(made.log_probs))).collect()
}

/// More requests than places, of one token and of many, with a beginning that they share.
#[test]
fn answers_have_the_bits_of_the_processor() {
    let prompt = |at: u64| [vec![1, 7, 3], row(at, 50, &[1 + at as usize % 13]).tokens].concat();
    let prompts: Vec<Vec<u32>> = (0..34).map(prompt).collect();
    let greedy = Sampling { temperature: 0.0, top_k: None, top_p: 1.0 };
    let drawn = Sampling { temperature: 1.1, top_k: Some(20), top_p: 0.95 };
    for sampling in [greedy, drawn] {
        check(
            || model(&wide(), 4),
            |asked| {
                let made = generated(asked, &prompts, sampling);
                assert!(made.iter().any(|(tokens, _)| tokens.len() == 6));
                assert!(made.iter().any(|(tokens, _)| *tokens != made[0].0));
                made
            },
        );
    }
}

/// Fewer texts side by side where there is less room; nothing else changes.
#[test]
fn where_memory_is_short_fewer_answers_are_made_at_once() {
    let prompts: Vec<Vec<u32>> = (0..6).map(|at| row(at, 50, &[4]).tokens).collect();
    let drawn = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
    let ask = |free: u64| {
        let on = Shim::with_free(1, free);
        let machine = Accelerated::new(Arc::clone(&on));
        let texts = machine.texts_at_once(&wide(), 10, 12);
        let engine = Engine { threads: Arc::new(cpu()), accelerator: Some(on) };
        let asked = Asked::new(model(&wide(), 4), &engine).unwrap();
        (texts, generated(&asked, &prompts, drawn))
    };
    // What reading takes, and keys and values of five texts and of what they begin with.
    let ModelConfig { layers, vocab, .. } = wide();
    let each = 8 * (layers * wide().kv_dim() * 10) as u64;
    let reading = TOKENS_AT_ONCE as u64;
    let beside = Activations::inference_bytes(&wide(), reading) + room(reading, vocab as u64);
    let little = (beside + 6 * each) / 9 * 10 + 100;
    let [(most, plenty), (some, short), (one, none)] = [1 << 40, little, 0].map(ask);
    assert_eq!((most, some, one), (12, 5, 1));
    assert!(plenty == short && plenty == none);
}

#[test]
fn endings_have_the_bits_of_the_processor() {
    let text = |at: u32| [vec![1, 9, 9, 4], row(u64::from(at), 50, &[8]).tokens].concat();
    let ends = (0..9).flat_map(|at| [4, 6, 11].map(|from| Ending { tokens: text(at), from }));
    let endings: Vec<Ending> = ends.collect();
    check(
        || model(&wide(), 4),
        |asked| {
            let found = asked.at().endings(&endings, &mut Heard::default()).unwrap();
            let bits = |loss: &f32| loss.to_bits();
            found
                .iter()
                .map(|one| (one.losses.iter().map(bits).collect(), one.greedy))
                .collect::<Vec<(Vec<u32>, bool)>>()
        },
    );
}

/// A batch read whole: losses at two temperatures, scores at the ends, values everywhere.
#[test]
fn losses_scores_and_values_have_the_bits_of_the_processor() {
    let rows = rows(3, 50);
    let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
    let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let policy = ModelConfig { head: Head::LanguageAndValue, ..wide() };
    check(
        || model(&policy, 4),
        |asked| {
            let mut passes = asked.at().passes();
            passes.read(&batch);
            let [one, more] = [1.0, 1.7].map(|at| bits(passes.losses(&batch, at).unwrap()));
            assert_ne!(one, more);
            [one, more, bits(passes.values(&batch).unwrap().expect("it has values"))]
        },
    );
    check(
        || model(&wide().scoring(), 4),
        |asked| {
            let mut passes = asked.at().passes();
            passes.read(&batch);
            assert_eq!(passes.values(&batch).unwrap(), None);
            bits(passes.scores(&batch).unwrap())
        },
    );
}

fn adapter(dora: bool) -> Adapter {
    let targets = vec![Which::Query, Which::Value, Which::Down];
    let settings = LoraSettings { rank: 3, alpha: 5.0, dropout: 0.0, targets, rslora: false, dora };
    let weights = lively(&wide(), 4).into();
    let mut adapter = Adapter::untrained(&cpu(), &wide(), &weights, &settings, 9);
    // What is learnt starts as nothing.
    let mut at = 0.0;
    adapter.tensors_mut().into_iter().flatten().for_each(|x| {
        at += 0.37;
        *x += 0.2 * f32::sin(at);
    });
    adapter
}

#[test]
fn a_model_under_an_adapter_and_without_it_has_the_bits_of_the_processor() {
    let prompts: Vec<Vec<u32>> = (0..3).map(|at| row(at, 50, &[5]).tokens).collect();
    let drawn = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
    check(
        || model(&wide(), 4),
        |asked| {
            let before = generated(asked, &prompts, drawn);
            let [under, magnified] = [false, true].map(|dora| {
                asked.wear(Some(adapter(dora))).unwrap();
                generated(asked, &prompts, drawn)
            });
            asked.wear(None).unwrap();
            assert_eq!(generated(asked, &prompts, drawn), before);
            assert!(under != before && magnified != before && magnified != under);
            [before, under, magnified]
        },
    );
}

#[test]
fn what_is_not_asked_there_is_refused() {
    on_shims(|on| {
        let engine = Engine { threads: Arc::new(cpu()), accelerator: Some(on.clone()) };
        let narrow = message(Asked::new(model(&config(), 4), &engine).map(|_| ()));
        assert_eq!(narrow, "heads are 16, 32, 64 or 128 wide on a GPU, not 4");
    });
}
