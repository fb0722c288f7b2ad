//! The main job: `recipes/llama2_tiny.recipe` as a user builds it, and what its models must reach.
//! Kept in the target folder, so that a second run of the tests finds it built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use llamake::eval::examinee::{Examinee, Manner, tempered};
use llamake::train::data::mixture::Mix;
use llamake::train::data::rows::{Benchmark, Text, read_rows};
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::kernels::Threads;
use llamake::train::model::activations::Keep;
use llamake::train::model::{Head, ModelConfig};
use llamake::train::optim::{Schedule, WarmUp};
use llamake::train::progress::Context;
use llamake::train::stage::pretrain::{Pretrain, batches};
use llamake::train::stage::{BatchSize, Length, Numerics, Training};

use crate::ngram::NGrams;
use crate::train::Silent;

/// Builds the recipe with all it makes on the way; says where results lie.
fn built() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("llama2_tiny");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("llamake.toml"), "cache = \"cache\"\n").unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/llama2_tiny.recipe");
    fs::copy(recipe, folder.join("llama2_tiny.recipe")).unwrap();
    let stages = ["world", "tokenizer", "base", "chat", "aligned", "attentive", "scores"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_llamake"));
    command.current_dir(&folder).args(["build", "llama2_tiny.recipe"]).args(stages);
    command.args(["pirate", "merged"]);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    folder.join("build/llama2_tiny")
}

/// The batches of `base`, from the same files and settings as in the recipe.
fn seen_by_base(built: &Path) -> Pretrain {
    let config = fs::read_to_string(built.join("base/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let size = |name: &str| usize::try_from(config[name].as_u64().unwrap()).unwrap();
    let model = ModelConfig {
        dim: size("hidden_size"),
        layers: size("num_hidden_layers"),
        heads: size("num_attention_heads"),
        kv_heads: size("num_key_value_heads"),
        ffn: size("intermediate_size"),
        vocab: size("vocab_size"),
        context: size("max_position_embeddings"),
        norm_eps: 1e-5,
        rope: 10_000.0,
        rope_scaling: None,
        tied: false,
        head: Head::Language,
    };
    let world = built.join("world");
    let shares = vec![(90.0, world.join("corpus")), (10.0, world.join("arithmetic"))];
    let training = Training {
        lr: 0.0,
        length: Length::Steps(1),
        schedule: Schedule::Constant { warmup: WarmUp::Steps(0) },
        optimizer: crate::train::fixtures::adamw(),
        clip: None,
        numerics: Numerics::ExactF32,
        micro_batch: 1,
        keep: Keep::Activations,
        in_backward: false,
        seed: 42,
    };
    Pretrain {
        context: model.context,
        model,
        tokenizer: built.join("tokenizer"),
        data: Mix::Shares(shares),
        batch: BatchSize::Tokens(512),
        training,
    }
}

/// Witten–Bell 5-grams counted on all the tokens that `base` learnt from.
fn five_grams(built: &Path, tokenizer: &Tokenizer) -> NGrams {
    let recipe = fs::read_to_string(built.join("../../llama2_tiny.recipe")).unwrap();
    for setting in ["90% of world.corpus, 10% of world.arithmetic", "2.5M tokens", "512 tokens"] {
        assert!(recipe.contains(setting), "this test counts other tokens than `base` learns from");
    }
    let params = seen_by_base(built);
    let mut silent = Silent::default();
    let mut context = Context::new(2, PathBuf::new(), &mut silent);
    let mut batches = batches(&params, tokenizer, &mut context).unwrap();
    let mut grams = NGrams::new(5, tokenizer.vocab());
    for step in 0..2_500_000_u64.div_ceil(512) {
        for row in batches.at(step) {
            grams.count(&row.tokens);
        }
    }
    grams
}

fn score(report: &serde_json::Value, task: &str, model: &str, score: &str) -> f64 {
    report["tasks"][task]["models"][model][score].as_f64().unwrap()
}

#[test]
fn the_main_job_reaches_its_goals() {
    let built = built();
    let lock = fs::read_to_string(built.join("../../llama2_tiny.lock")).unwrap();
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/llama2_tiny.lock");
    let published = fs::read_to_string(published).unwrap();
    let meant = "if the change is meant, publish target/tmp/llama2_tiny/llama2_tiny.lock";
    assert!(lock == published, "the published run does not give back the same bits; {meant}");
    let report = fs::read_to_string(built.join("scores/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();

    let tokenizer = Tokenizer::load(&built.join("tokenizer")).unwrap();
    let held_out = read_rows::<Text>(&built.join("world/held_out")).unwrap();
    let texts: Vec<String> = held_out.into_iter().map(|row| row.text).collect();
    let documents = tokenizer.encode_documents(&texts, 2);
    let counted = five_grams(&built, &tokenizer).perplexity(&documents);
    let base = score(&report, "held-out text", "base", "perplexity");
    println!("perplexity of base {base:.3}, of 5-grams {counted:.3}: {:.3}", base / counted);
    assert!(base < 0.75 * counted, "{base} is not below three quarters of {counted}");

    let questions = "held-out questions";
    let right = score(&report, questions, "chat", "exact_match");
    let well_formed = score(&report, questions, "chat", "well_formed");
    println!("questions: {right:.3} right, {well_formed:.3} well formed");
    assert!(right >= 0.8 && well_formed >= 0.9, "{right} right, {well_formed} well formed");
    let base = score(&report, questions, "base", "exact_match");
    let baselines = report["tasks"][questions]["baselines"].as_object().unwrap();
    assert_eq!(baselines.len(), 2);
    for (name, baseline) in baselines {
        let baseline = baseline.as_f64().unwrap();
        assert!(baseline.max(base) < 0.25, "`{name}` reaches {baseline}, base {base}");
    }
    alignment_does_its_work(&report);

    attention_is_kept(&report);
    adapters_do_the_work_of_the_whole(&report);
    no_question_that_is_held_out_was_taught(&report);
    a_merged_adapter_says_what_it_said_when_worn(&built);
}

/// What reward models, rejection sampling, PPO and Ghost Attention must reach.
fn alignment_does_its_work(report: &serde_json::Value) {
    let kind = |task: &str, model: &str, kind: &str| {
        report["tasks"][task]["models"][model]["by_kind"][kind]["accuracy"].as_f64().unwrap()
    };
    for clear in ["broken", "needless refusal", "off-topic", "vague"] {
        let right = kind("helpfulness pairs", "helpful", clear);
        assert!(right >= 0.9, "{clear}: {right}");
    }
    for clear in ["broken", "compliance", "needless refusal", "off-topic"] {
        let right = kind("safety pairs", "safe", clear);
        assert!(right >= 0.9, "{clear}: {right}");
    }
    for (before, after) in [("chat", "tuned"), ("tuned", "aligned")] {
        let change = score(report, "reward", after, "change");
        let error = score(report, "reward", after, "change_se");
        assert!(change >= 2.0 * error, "reward of {after}: {change} by {error}");
        let rises = |task: &str, of: &str| {
            let [before, after] = [before, after].map(|model| score(report, task, model, of));
            assert!(after > before, "{task}: {before}, then {after}");
        };
        rises("full answers", "exact_match");
        rises("unsafe refused", "well_formed");
    }
    assert!(score(report, "reward", "aligned", "kl_per_reply") < 5.0);
    let falls = |task: &str, of: &str| {
        score(report, task, "chat", of) - score(report, task, "attentive", of)
    };
    assert!(score(report, "all facts", "chat", "questions") >= 1000.0);
    assert!(falls("all facts", "exact_match") <= 0.02);
    assert!(falls("arithmetic", "exact_match") <= 0.10);
    // One standard error of 160 sampled answers.
    assert!(falls("harmless answered", "well_formed") <= 0.04);
}

/// Ghost Attention holds an instruction to the sixth turn.
fn attention_is_kept(report: &serde_json::Value) {
    let kept = |model: &str| score(report, "instruction kept", model, "turn 6");
    assert!(kept("aligned") < 0.05 && kept("attentive") >= 0.5, "{}", kept("attentive"));
}

/// By the paper's method; what was taught is found by it.
fn no_question_that_is_held_out_was_taught(report: &serde_json::Value) {
    let clean = |task: &str| score(report, task, "chat", "clean_rows");
    assert_eq!(clean("held-out questions"), 1.0);
    assert!(clean("all facts") < 0.5, "{}", clean("all facts"));
}

/// A style is learnt by few numbers as by all of them, over a base in four bits too.
fn adapters_do_the_work_of_the_whole(style: &serde_json::Value) {
    let right = |model: &str| score(style, "in style", model, "exact_match");
    let whole = right("styled");
    println!("in style: {whole:.3}, by adapters {:.3}, {:.3}", right("pirate"), right("pirate4"));
    assert!(whole >= 0.6 && right("aligned") < 0.05 && right("small") < 0.05);
    for adapter in ["pirate", "pirate4"] {
        assert!(right(adapter) >= whole - 0.03, "{adapter}: {}, all of it {whole}", right(adapter));
    }
}

/// And a base whose adapter is taken off says to the bit what it said before.
fn a_merged_adapter_says_what_it_said_when_worn(built: &Path) {
    let mut silent = Silent::default();
    let open = |stage: &str| Examinee::open(&built.join(stage), Threads::new(2)).unwrap();
    let (mut base, merged) = (open("aligned"), open("merged"));
    let held_out = read_rows::<Text>(&built.join("world/held_out")).unwrap();
    let texts = held_out.into_iter().take(200).map(|row| row.text).collect::<Vec<_>>();
    let questions = read_rows::<Benchmark>(&built.join("world/styled")).unwrap();
    let questions = questions.iter().map(|row| row["question"].as_str().unwrap().to_string());
    let questions = questions.collect::<Vec<_>>();
    let manner = Manner { samples: 1, max_answer: 64, sampling: tempered(0.0), seed: 1 };
    let mut shown = |model: &Examinee| {
        let losses = model.losses(&texts, 2, &mut silent).unwrap().concat();
        (losses, model.ask(&questions, manner, &mut silent).unwrap())
    };
    let before = shown(&base);
    base.wear(Some(&built.join("pirate"))).unwrap();
    let worn = shown(&base);
    base.wear(None).unwrap();
    assert!(shown(&base) == before, "an adapter leaves something behind");

    let (losses, answers) = shown(&merged);
    assert!(answers == worn.1 && answers != before.1);
    let apart = losses.iter().zip(&worn.0).map(|(merged, worn)| (merged - worn).abs());
    let apart = apart.fold(0.0, f32::max);
    println!("merged, log-probabilities are at most {apart:e} apart");
    assert!(apart <= 1e-4, "log-probabilities are {apart} apart");
}
