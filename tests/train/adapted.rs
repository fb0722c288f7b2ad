//! Adapters that learn from pairs: they begin as their base does in `dpo` and `reward_model`, learn
//! what those learn, in any division and after any stop with the same bits, and serve as judges.

use std::path::Path;

use llamake::eval::critic::Critic;
use llamake::eval::roster::{Kind, candidates};
use llamake::train::data::mixture::Mix;
use llamake::train::kernels::Threads;
use llamake::train::kernels::rng::Stream;
use llamake::train::model::activations::Keep;
use llamake::train::model::folder::{self, ModelFolder};
use llamake::train::model::judge::{Gate, Judge, Judged};
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::tensor::Tensor;
use llamake::train::model::{Head, ModelConfig, ModelPath, Transformer, peft};
use llamake::train::objective::dpo::PairLoss;
use llamake::train::objective::ranking::{Margins, PairFacts, Ranking};
use llamake::train::stage::lora::{run_dpo, run_reward};
use llamake::train::stage::train_loop::TrainState;
use llamake::train::stage::{
    Dpo, Length, Lora, RewardModel, SafetyGate, Training, dpo, reward_model, safety_gate,
};

use super::alignment::{ended, endings, metric, preferences};
use super::fixtures::{Heard, adamw, batches, config, message, model, moments, row, training};
use super::samplers::world;

const PETS: [&str; 8] = ["dog", "duck", "goat", "dog", "goat", "duck", "dog", "duck"];

fn settings(dora: bool) -> LoraSettings {
    let targets = Which::ALL.to_vec();
    LoraSettings { rank: 4, alpha: 8.0, dropout: 0.1, targets, rslora: false, dora }
}

fn epochs(count: u64, lr: f64) -> Training {
    Training { length: Length::Epochs { millionths: count * 1_000_000 }, lr, ..training(0, 2) }
}

fn direct(data: &str, loss: PairLoss) -> Dpo {
    Dpo {
        init: world().at("chat/out"),
        data: Mix::Joined(vec![world().at(data)]),
        context: 160,
        batch: 4,
        beta: 0.2,
        loss,
        training: epochs(12, 3e-3),
    }
}

fn scorer(data: &str) -> RewardModel {
    RewardModel {
        init: world().at("chat/out"),
        data: Mix::Joined(vec![world().at(data)]),
        context: 160,
        batch: 4,
        margins: Margins::Small,
        safety_loss: true,
        training: epochs(30, 1e-2),
    }
}

fn one_step(training: &Training) -> Training {
    Training { length: Length::Steps(1), ..training.clone() }
}

#[test]
fn the_reference_of_an_adapter_is_its_base() {
    world().write("lora dpo pets", preferences(&PETS));
    for (loss, begin) in [(PairLoss::Sigmoid, std::f64::consts::LN_2), (PairLoss::Hinge, 1.0)] {
        let tuning = direct("lora dpo pets", loss);
        let first = Dpo { training: one_step(&tuning.training), ..tuning.clone() };
        let (_, whole, _) = ended(&|context| dpo::run(&first, context), 2, &[None]);
        // Dropout is on while an adapter learns, and would move it from where it begins.
        let settings = LoraSettings { dropout: 0.0, ..settings(false) };
        let first = Lora { tuning: first, settings };
        let (_, beside, _) = ended(&|context| run_dpo(&first, context), 2, &[None]);
        assert!((metric(&beside, "loss") - begin).abs() < 1e-4, "{loss:?}: {beside:?}");
        assert_eq!(metric(&beside, "loss").to_bits(), metric(&whole, "loss").to_bits());
        let params = Lora { tuning, ..first };
        let (_, last, _) = ended(&|context| run_dpo(&params, context), 2, &[None]);
        assert!(metric(&last, "loss") < 0.7 * begin, "{loss:?}: {last:?}");
    }
}

#[test]
fn the_bits_of_an_adapter_of_pairs_follow_from_its_settings_alone() {
    world().write("lora pets", preferences(&PETS));
    let base = || std::fs::read(world().at("chat/out/model.safetensors")).unwrap();
    let before = base();
    for dora in [false, true] {
        let params =
            Lora { tuning: direct("lora pets", PairLoss::Sigmoid), settings: settings(dora) };
        let (bits, metrics, _) = ended(&|context| run_dpo(&params, context), 1, &[None]);
        let micro = Training { micro_batch: 3, keep: Keep::Residuals, ..epochs(12, 3e-3) };
        let tuning = Dpo { training: micro, ..params.tuning.clone() };
        let cut = Lora { tuning, ..params.clone() };
        let (other, told, _) = ended(&|context| run_dpo(&cut, context), 3, &[None]);
        assert_eq!((other, &told), (bits, &metrics), "three threads, parts of three");
        for ends in endings(9).into_iter().take(3) {
            let (resumed, told, _) = ended(&|context| run_dpo(&params, context), 2, &ends);
            assert_eq!((resumed, &told), (bits, &metrics), "{ends:?}");
        }
    }
    assert_eq!(base(), before, "the base is not trained");
}

#[test]
fn an_adapter_of_rewards_begins_as_a_reward_model_and_learns_what_is_preferred() {
    world().write("lora reward pets", preferences(&PETS));
    let tuning = scorer("lora reward pets");
    let first = RewardModel { training: one_step(&tuning.training), ..tuning.clone() };
    let (_, whole, _) = ended(&|context| reward_model::run(&first, context), 2, &[None]);
    let first = Lora { tuning: first, settings: LoraSettings { dropout: 0.0, ..settings(false) } };
    let (_, beside, _) = ended(&|context| run_reward(&first, context), 2, &[None]);
    assert_eq!(metric(&beside, "loss").to_bits(), metric(&whole, "loss").to_bits());

    let params = Lora { tuning, settings: settings(false) };
    let (bits, metrics, _) = ended(&|context| run_reward(&params, context), 1, &[None]);
    assert!(metric(&metrics, "loss") < 0.5 * std::f64::consts::LN_2, "{metrics:?}");
    let numbers = 4 * 2 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64)) + 32;
    assert_eq!(metric(&metrics, "parameters"), f64::from(numbers), "an adapter and a head");
    let micro = Training { micro_batch: 3, ..params.tuning.training.clone() };
    let cut = RewardModel { training: micro, ..params.tuning.clone() };
    let cut = Lora { tuning: cut, ..params.clone() };
    let (other, told, _) = ended(&|context| run_reward(&cut, context), 3, &[None]);
    assert_eq!((other, &told), (bits, &metrics), "three threads, parts of three");
    for ends in endings(9).into_iter().take(3) {
        let (resumed, told, _) = ended(&|context| run_reward(&params, context), 2, &ends);
        assert_eq!((resumed, &told), (bits, &metrics), "{ends:?}");
    }
}

/// A decoder that scores, under an adapter; every number is far from where it began.
fn lively(dora: bool) -> Transformer {
    let t = Threads::new(1);
    let Transformer { config, weights, .. } = model(&config(), 4);
    let special = llamake::train::model::SpecialTokens { bos: 1, eos: 2 };
    let mut walk = Stream::new(5, "scores").walk();
    let mut numbers =
        |count| (0..count).map(|_| 0.02 * (walk.below(100) as f32 - 50.0)).collect::<Vec<f32>>();
    let score_d = numbers(config.dim);
    let folder = ModelFolder { config, special, weights }.scoring(score_d);
    let mut model = Transformer::new(folder.config, folder.weights, 32);
    let settings = LoraSettings { dropout: 0.0, ..settings(dora) };
    let adapter = Adapter::untrained(&t, &model.config, &model.weights, &settings, 9);
    model.adapter = Some(adapter);
    for tensor in model.adapter.as_mut().unwrap().tensors_mut() {
        let moved = numbers(tensor.len());
        tensor.iter_mut().zip(moved).for_each(|(x, by)| *x += 0.2 * by);
    }
    model.settle(&t);
    model
}

/// Along its own gradient the loss rises as the gradient says, for the head as for the adapter;
/// what is frozen has no gradient.
#[test]
fn gradients_of_scores_are_those_of_differences() {
    let (t, mut model) = (Threads::new(2), lively(false));
    let rows: Vec<_> = (0..3).map(|at| row(at, 50, &[9 + at as usize, 20])).collect();
    let facts = vec![vec![PairFacts { margin: 0.3, safe: [Some(true), None] }; 3]];
    let mut ranking = Ranking::new(batches(rows, 3), facts);
    let mut heard = Heard::default();
    let mut context = llamake::train::progress::Context::new(2, std::env::temp_dir(), &mut heard);
    use llamake::train::objective::Objective;
    let drawn = ranking.rows(0, &model, &mut context).unwrap();
    let drawn: Vec<_> = drawn.iter().collect();
    let mut state = TrainState::new(&model, moments(&model, adamw()), 128, Keep::Activations);
    state.gradients_of(&t, &model, &mut ranking, &drawn, 2).unwrap();
    let gradients: Vec<Vec<f32>> = state.gradients.tensors().iter().map(|x| x.to_vec()).collect();
    let table = model.table();
    let mut compared = Vec::new();
    for (at, gradient) in gradients.iter().enumerate().filter(|(_, of)| !of.is_empty()) {
        let norm = gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let mut loss_at = |along: f64| {
            let before = model.trainable_mut()[at].to_vec();
            for (x, slope) in model.trainable_mut()[at].iter_mut().zip(gradient) {
                *x += (along * f64::from(*slope) / norm) as f32;
            }
            let loss = state.gradients_of(&t, &model, &mut ranking, &drawn, 3).unwrap().0.loss;
            model.trainable_mut()[at].copy_from_slice(&before);
            loss
        };
        let h = 5e-3;
        let slope = (loss_at(h) - loss_at(-h)) / (2.0 * h);
        let name = &table[at].name;
        assert!((slope / norm - 1.0).abs() < 0.02, "{name}: {slope}, gradient {norm}");
        compared.push(name.as_str());
    }
    assert_eq!((compared[0], compared.len()), ("score.weight", 1 + 2 * 7 * 2));
}

fn text(tokens: &[u32]) -> Judged {
    Judged { tokens: tokens.to_vec(), safety: false }
}

/// A text's scores, the judge opened where it lies.
fn scores(judge: &ModelPath, texts: &[Judged]) -> Vec<f32> {
    let judge = Judge::open(judge, Threads::new(2)).unwrap();
    let verdicts = judge.score(texts, &mut Heard::default()).unwrap();
    verdicts.iter().map(|verdict| verdict.combined).collect()
}

#[test]
fn an_adapter_of_rewards_judges_as_the_model_it_becomes() {
    let world = world();
    world.write("judged pets", preferences(&PETS));
    let params = Lora { tuning: scorer("judged pets"), settings: settings(true) };
    world.run("taste", 2, |context| run_reward(&params, context)).unwrap();
    let base = world.at("chat/out");
    let taste = ModelPath { base: base.clone(), adapter: Some(world.at("taste/out")) };
    let texts: Vec<Judged> = (1..9).map(|end| text(&[1, 40 + end, 50, 60 + end][..3])).collect();
    let worn = scores(&taste, &texts);

    let t = Threads::new(2);
    let ModelFolder { config, special, mut weights } = folder::read(&base).unwrap();
    let (mut adapter, score_d) = peft::read_scorer(&world.at("taste/out"), &config).unwrap();
    adapter.settle(&t, &config, &folder::open(&base).unwrap().weights);
    adapter.merge(&t, &config, &mut weights);
    let weights = weights.under(&config.scoring(), score_d, Vec::new());
    let merged = ModelFolder { config: config.scoring(), special, weights };
    folder::write(&world.at("merged taste"), &merged, &base, None).unwrap();
    for (worn, merged) in worn.iter().zip(scores(&world.at("merged taste").into(), &texts)) {
        assert!((worn - merged).abs() < 1e-4, "{worn} {merged}");
    }

    // A gate holds the adapter and its base.
    let gate = SafetyGate {
        helpful: taste.clone(),
        safe: world.at("judge").into(),
        gate: Gate { below: 0.0 },
    };
    world.run("taste gate", 1, |context| safety_gate::run(&gate, context)).unwrap();
    let gated = world.at("taste gate/out").into();
    assert_eq!(scores(&gated, &texts), worn);
    assert!(Critic::open(&gated, Threads::new(1)).is_ok());
    assert!(Critic::open(&taste, Threads::new(1)).is_ok());
    let kinds = candidates(&[("taste".into(), taste)]).unwrap();
    assert_eq!(kinds[0].kind, Kind::Reward);
}

/// What is said of a folder whose `modules_to_save` was changed.
fn told(folder: &Path, modules: serde_json::Value, config: &ModelConfig) -> String {
    let path = folder.join(peft::CONFIG);
    let whole = std::fs::read_to_string(&path).unwrap();
    let mut settings: serde_json::Value = serde_json::from_str(&whole).unwrap();
    settings["modules_to_save"] = modules;
    std::fs::write(&path, settings.to_string()).unwrap();
    let read = peft::read_scorer(folder, config);
    std::fs::write(&path, whole).unwrap();
    match read {
        Ok(_) => String::new(),
        failed => message(failed).replace(&folder.display().to_string(), ""),
    }
}

#[test]
fn a_head_is_kept_whole_beside_an_adapter_and_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let model = lively(true);
    assert_eq!(model.config.head, Head::Score);
    let (adapter, score_d) = (model.adapter.as_ref().unwrap(), model.weights.head_vd.floats());
    peft::write_scorer(folder.path(), &config(), adapter, score_d).unwrap();
    let (mut read, head) = peft::read_scorer(folder.path(), &config()).unwrap();
    read.settle(&Threads::new(1), &model.config, &model.weights);
    assert_eq!((&read, head.as_slice()), (adapter, score_d));
    let text = std::fs::read_to_string(folder.path().join(peft::CONFIG)).unwrap();
    assert!(text.contains("\"SEQ_CLS\"") && peft::scores(folder.path()).unwrap(), "{text}");

    let read = message(peft::read(folder.path(), &config()));
    assert!(read.ends_with("makes a reward model, which scores texts and writes none"), "{read}");
    for (modules, fact) in [
        (serde_json::json!(["score", "classifier"]), ""),
        (serde_json::json!(["classifier"]), "`modules_to_save` is [\"classifier\"], which is not"),
        (serde_json::json!(["score", "lm_head"]), "`modules_to_save` is [\"score\",\"lm_head\"]"),
        (serde_json::json!(null), "`` is an adapter of a language model, which scores nothing"),
    ] {
        let told = told(folder.path(), modules, &config());
        assert!(told.contains(fact) && told.is_empty() == fact.is_empty(), "{told}");
    }
    peft::write(folder.path(), &config(), adapter).unwrap();
    let told = told(folder.path(), serde_json::json!(["score"]), &config());
    assert!(told.contains("tensor `base_model.model.score.weight` is missing"), "{told}");
}
