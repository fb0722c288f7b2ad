//! Generation: the same tokens whatever else shares the batch, with the log-probabilities that
//! scoring gives, to the last bit.

use llamake::train::data::pack::{IGNORE, Row};
use llamake::train::kernels::Threads;
use llamake::train::kernels::sample::Sampling;
use llamake::train::model::endings::Ending;
use llamake::train::model::folder::{self, ModelFolder};
use llamake::train::model::sample::{GenerateOptions, Generated, as_row};
use llamake::train::model::{LoadedModel, ModelConfig, Parameters, SpecialTokens};

use super::fixtures::{Heard, config, lively, message, row, rows};

const EOS: u32 = 2;

fn loaded(seed: u64, threads: usize) -> LoadedModel {
    loaded_as(config(), seed, threads)
}

fn loaded_as(config: ModelConfig, seed: u64, threads: usize) -> LoadedModel {
    let weights = lively(&config, seed);
    loaded_with(config, weights, threads)
}

fn loaded_with(config: ModelConfig, weights: Parameters, threads: usize) -> LoadedModel {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tempfile::tempdir().unwrap();
    std::fs::write(tokenizer.path().join("tokenizer.json"), "{}").unwrap();
    std::fs::write(tokenizer.path().join("tokenizer_config.json"), "{}").unwrap();
    let model = ModelFolder { config, special: SpecialTokens { bos: 1, eos: EOS }, weights };
    folder::write(folder.path(), &model, tokenizer.path(), None).unwrap();
    LoadedModel::load(folder.path(), Threads::new(threads)).unwrap()
}

fn options(samples: usize, temperature: f32) -> GenerateOptions {
    let sampling = Sampling { temperature, top_k: Some(20), top_p: 0.95 };
    GenerateOptions { samples, max_answer: 12, sampling, seed: 9, eos: EOS }
}

/// More requests than slots, of many lengths, so that slots are refilled at different times.
fn prompts() -> Vec<Vec<u32>> {
    (0..30).map(|at| row(at, 50, &[1 + at as usize % 23]).tokens).collect()
}

fn generate(
    model: &LoadedModel,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
) -> Vec<Generated> {
    model.generate(prompts, options, &mut Heard::default()).unwrap()
}

#[test]
fn the_samplers_log_probs_are_those_of_scoring() {
    let model = loaded(1, 2);
    for temperature in [0.0, 1.0, 1.3] {
        let (prompts, options) = (prompts(), options(4, temperature));
        let made = generate(&model, &prompts, &options);
        assert!(made.iter().any(|made| made.ended) || temperature == 0.0);
        assert!(made.iter().any(|made| !made.ended));
        let scored: Vec<_> = (0..)
            .zip(&made)
            .map(|(at, made): (usize, _)| as_row(&prompts[at / 4], made, EOS))
            .collect();
        let losses = model.score(&scored, &mut Heard::default()).unwrap();
        for (at, (made, losses)) in made.iter().zip(losses).enumerate() {
            let rescored: Vec<f32> =
                losses[prompts[at / 4].len() - 1..].iter().map(|nll| 0.0 - nll).collect();
            assert_eq!(made.log_probs, rescored, "answer {at} at temperature {temperature}");
        }
    }
}

#[test]
fn an_answer_depends_on_nothing_but_its_prompt() {
    let (model, prompts, options) = (loaded(1, 1), prompts(), options(3, 1.0));
    let together = generate(&model, &prompts, &options);
    assert_eq!(generate(&loaded(1, 3), &prompts, &options), together);
    assert_eq!(generate(&model, &prompts[..5], &options), together[..15]);
    assert_ne!(together[0], together[1]);
    let reseeded = GenerateOptions { seed: 10, ..options };
    assert_ne!(generate(&model, &prompts, &reseeded), together);
}

/// Texts of two subjects that begin alike, with choices of one token and of several.
fn endings() -> Vec<Ending> {
    let subject = |seed: u64| {
        let beginning = row(seed, 50, &[12]).tokens;
        (0..9_usize).flat_map(move |at| {
            let question =
                [beginning.clone(), row(seed + at as u64, 50, &[3 + at % 4]).tokens].concat();
            [vec![3], vec![4], vec![5, 6], vec![5, 7, 8]].map(|choice| Ending {
                from: question.len(),
                tokens: [question.clone(), choice].concat(),
            })
        })
    };
    let alone = row(99, 50, &[20]).tokens;
    subject(1).chain(subject(40)).chain([Ending { from: 1, tokens: alone }]).collect()
}

#[test]
fn shared_beginnings_change_no_bit_of_a_score() {
    let (model, endings) = (loaded(1, 2), endings());
    let found = model.score_endings(&endings, &mut Heard::default()).unwrap();
    let as_row = |Ending { tokens, from }: &Ending| {
        let mut targets = vec![IGNORE; from - 1];
        targets.extend(&tokens[*from..]);
        let read = tokens[..tokens.len() - 1].to_vec();
        Row { segments: std::iter::once(0..read.len()).collect(), tokens: read, targets }
    };
    let alone = endings.iter().map(as_row).collect::<Vec<_>>();
    let alone = model.score(&alone, &mut Heard::default()).unwrap();
    for (at, (found, alone)) in found.iter().zip(alone).enumerate() {
        assert_eq!(found.losses, alone[endings[at].from - 1..], "ending {at}");
    }
    let greedy = GenerateOptions { samples: 1, max_answer: 1, ..options(1, 0.0) };
    let prompts = endings.iter().map(|one| one.tokens[..one.from].to_vec()).collect::<Vec<_>>();
    let said = generate(&model, &prompts, &greedy);
    for (at, (found, said)) in found.iter().zip(said).enumerate() {
        let Ending { tokens, from } = &endings[at];
        let first = said.tokens.first().copied().unwrap_or(EOS);
        assert!(!found.greedy || first == tokens[*from], "ending {at}");
        if tokens.len() == from + 1 {
            assert_eq!(found.greedy, first == tokens[*from], "ending {at}");
        }
    }
}

/// More prompts than are read at once: those that wait for their turn answer as they do alone.
#[test]
fn long_prompts_take_turns() {
    let model = loaded_as(ModelConfig { context: 512, ..config() }, 1, 2);
    let prompts = (0..20).map(|at| row(at, 50, &[300 + 9 * at as usize]).tokens);
    let (prompts, options) = (prompts.collect::<Vec<_>>(), options(1, 1.0));
    let together = generate(&model, &prompts, &options);
    for (prompt, answer) in [0, 7, 19].map(|at| (&prompts[at], &together[at])) {
        let scored = as_row(prompt, answer, EOS);
        let losses = model.score(&[scored], &mut Heard::default()).unwrap();
        let rescored: Vec<f32> = losses[0][prompt.len() - 1..].iter().map(|x| 0.0 - x).collect();
        assert_eq!(answer.log_probs, rescored);
    }
    assert_eq!(generate(&model, &prompts[..5], &options), together[..5]);
}

#[test]
fn answers_end_at_their_bounds() {
    let model = loaded(1, 1);
    let never = GenerateOptions { eos: u32::MAX, ..options(1, 1.0) };
    let long = row(5, 50, &[27]).tokens;
    let made = generate(&model, &[long, vec![1]], &never);
    // The context holds 32 tokens.
    assert_eq!((made[0].tokens.len(), made[1].tokens.len()), (5, 12));
    assert!(!made[0].ended && !made[1].ended);
    assert!(generate(&model, &[], &never).is_empty());
}

#[test]
fn what_cannot_be_continued_or_scored_is_named() {
    let model = loaded(1, 1);
    let try_prompt = |prompt: Vec<u32>| {
        message(model.generate(&[vec![1], prompt], &options(1, 1.0), &mut Heard::default()))
    };
    assert_eq!(try_prompt(vec![]), "prompt 2 is empty");
    assert!(try_prompt(vec![1; 32]).contains("leaves no room for an answer"));
    assert!(try_prompt(vec![50]).contains("holds token 50, outside the model's vocabulary of 50"));
    let mut foreign = rows(1, 50);
    foreign[3].targets[0] = 77;
    let said = message(model.score(&foreign, &mut Heard::default()));
    assert!(said.contains("row 4 holds token 77"), "{said}");
    let said = message(model.score(&[row(1, 50, &[33])], &mut Heard::default()));
    assert!(said.contains("row 1 is 33 tokens long"), "{said}");
}

/// Weights that are no numbers, or infinite: nothing that is asked has an answer.
#[test]
fn a_model_without_numbers_is_told() {
    for broken in [f32::NAN, f32::INFINITY] {
        let mut weights = lively(&config(), 1);
        weights.norm_d.fill(broken);
        let model = loaded_with(config(), weights, 1);
        let prompts = [vec![1, 5]];
        let fact = "the model gives numbers that are not finite";
        for temperature in [0.0, 1.0] {
            let made = model.generate(&prompts, &options(1, temperature), &mut Heard::default());
            let told = message(made);
            assert!(told.starts_with(fact), "{broken} at {temperature}: {told}");
        }
        let told = message(model.score(&rows(1, 50), &mut Heard::default()));
        assert!(told.starts_with(fact), "{broken}: {told}");
        let told = message(model.score_endings(&endings(), &mut Heard::default()));
        assert!(told.starts_with(fact), "{broken}: {told}");
    }
}
