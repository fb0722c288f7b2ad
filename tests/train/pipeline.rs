//! The stages one after another, on a handful of texts: tokenizer, `pretrain`, `sft`, `generate`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use llamake::train::data::chat::Template;
use llamake::train::data::mixture::Mix;
use llamake::train::data::pack::Packing;
use llamake::train::data::rows::{Chat, Message, Prompt, Text, Writer, read_rows};
use llamake::train::data::vocabulary::{Manner, Vocabulary};
use llamake::train::kernels::Threads;
use llamake::train::model::{Head, LoadedModel, ModelConfig, folder};
use llamake::train::progress::{Attempt, Context, Failure, Metrics};
use llamake::train::stage::{
    BatchSize, Generate, Length, Pretrain, Sft, Training, generate, pretrain, sft,
};
use serde::Serialize;

use super::fixtures::{End, Heard, message, training};

const NAMES: [&str; 4] = ["Ada", "Ben", "Kurt", "Mia"];
const PETS: [&str; 4] = ["cat", "dog", "duck", "goat"];

const JINJA: &str = "{% for turn in messages %}{% if turn['role'] == 'user' %}\
    {{ bos_token + '[INST] ' + turn['content'] | trim + ' [/INST]' }}{% else %}\
    {{ ' ' + turn['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}";

/// Files of a small world in a temporary folder.
pub struct World {
    root: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let world = World { root: tempfile::tempdir().unwrap() };
        let pairs = || NAMES.into_iter().zip(PETS);
        let text =
            |(name, pet)| Text { text: format!("{name} has a {pet}. The {pet} likes {name}.") };
        world.write("corpus", pairs().map(text));
        let ask = |name| Message::new("user", format!("What pet does {name} have?"));
        let answer = |pet| Message::new("assistant", format!("It is a {pet}."));
        world.write("chats", pairs().map(|(name, pet)| Chat::new(vec![ask(name), answer(pet)])));
        world.write("prompts", NAMES.map(|name| Prompt { prompt: vec![ask(name)], safety: None }));
        let vocabulary = Vocabulary {
            size: 320,
            manner: Manner::SentencePiece,
            split_digits: true,
            byte_fallback: true,
            bos: "<s>".into(),
            eos: "</s>".into(),
            unknown: "<unk>".into(),
        };
        let mut texts: Vec<String> = pairs().map(|pair| text(pair).text).collect();
        texts.extend(pairs().map(|(name, pet)| {
            format!("[INST] What pet does {name} have? [/INST] It is a {pet}. ")
        }));
        let counts = vocabulary.count_words(&texts, 1);
        std::fs::create_dir(world.at("tokenizer")).unwrap();
        vocabulary.train(&counts, 1).unwrap().save(&world.at("tokenizer")).unwrap();
        world
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn write(&self, name: &str, rows: impl IntoIterator<Item = impl Serialize>) {
        let mut file = Writer::create(&self.at(name)).unwrap();
        rows.into_iter().for_each(|row| file.write(&row).unwrap());
        file.finish().unwrap();
    }

    /// Runs a stage whose result lies at `<name>/out`.
    pub fn run(
        &self,
        name: &str,
        threads: usize,
        stage: impl FnOnce(&mut Context<'_>) -> Result<Metrics, Failure>,
    ) -> Result<Metrics, Failure> {
        let out = self.at(name);
        std::fs::create_dir(&out).unwrap();
        stage(&mut Context::new(threads, out, &mut Heard::default()))
    }

    pub fn pretrain(&self) -> Pretrain {
        Pretrain {
            model: ModelConfig {
                dim: 32,
                layers: 2,
                heads: 4,
                kv_heads: 2,
                ffn: 64,
                vocab: 320,
                context: 32,
                norm_eps: 1e-5,
                rope: 10_000.0,
                rope_scaling: None,
                tied: false,
                head: Head::Language,
            },
            tokenizer: self.at("tokenizer"),
            data: Mix::Shares(vec![(75.0, self.at("corpus")), (25.0, self.at("corpus"))]),
            context: 16,
            batch: BatchSize::Tokens(64),
            training: Training { length: Length::Tokens(60 * 64), ..training(0, 4) },
        }
    }

    pub fn sft(&self, init: &str) -> Sft {
        Sft {
            init: self.at(init),
            data: Mix::Joined(vec![self.at("chats")]),
            template: Template {
                name: "test".into(),
                jinja: JINJA.into(),
                bos: "<s>".into(),
                eos: "</s>".into(),
                forbidden: vec!["[INST]".into()],
            },
            context: 32,
            batch: BatchSize::Sequences(4),
            packing: Packing::Isolated,
            training: Training {
                length: Length::Epochs { millionths: 150_000_000 },
                ..training(0, 4)
            },
        }
    }

    pub fn generate(&self, model: &str, samples: usize, temperature: f64) -> Generate {
        let (model, prompts) = (self.at(model), self.at("prompts"));
        let (top_k, top_p) = (None, Some(0.9));
        Generate {
            model: model.into(),
            prompts,
            samples,
            max_answer: 20,
            temperature,
            top_k,
            top_p,
            seed: 3,
        }
    }
}

pub fn answers(path: &Path) -> Vec<String> {
    let last = |chat: Chat| chat.messages.last().unwrap().content.clone();
    read_rows::<Chat>(path).unwrap().into_iter().map(last).collect()
}

#[test]
fn a_model_is_pretrained_tuned_and_answers() {
    let world = World::new();
    let base = world.run("base", 2, |context| pretrain::run(&world.pretrain(), context)).unwrap();
    assert!(base[0].1 < 1.5, "{base:?}");
    assert_eq!(base[1], ("steps".to_string(), 60.0));
    let chat = world.run("chat", 2, |context| sft::run(&world.sft("base/out"), context)).unwrap();
    assert!(chat[0].1 < 0.1, "{chat:?}");
    let made = world.generate("chat/out", 1, 0.0);
    world.run("greedy", 2, |context| generate::run(&made, context)).unwrap();
    let expected = PETS.map(|pet| format!("It is a {pet}."));
    assert_eq!(answers(&world.at("greedy/out")), expected);
    let made = world.generate("chat/out", 3, 0.7);
    let metrics = world.run("drawn", 1, |context| generate::run(&made, context)).unwrap();
    assert_eq!(metrics[0], ("answers".to_string(), 12.0));
    assert_eq!(answers(&world.at("drawn/out")).len(), 12);

    let model = LoadedModel::load(&world.at("chat/out"), Threads::new(1)).unwrap();
    assert_eq!(model.config(), &world.pretrain().model);
    assert_eq!(folder::read_chat_template(&world.at("chat/out")).unwrap().as_deref(), Some(JINJA));
    let said = message(
        world.run("mute", 1, |context| generate::run(&world.generate("base/out", 1, 0.0), context)),
    );
    assert!(said.ends_with("has no chat template"), "{said}");
}

/// Kills fall into the tokens of the first source and of the second, and into training.
#[test]
fn a_stage_killed_anywhere_ends_with_the_folder_of_one_never_killed() {
    let world = World::new();
    let params = Pretrain { training: training(8, 4), ..world.pretrain() };
    let attempt = Attempt { folder: world.at("attempt"), every: Duration::ZERO };
    let run = |name: &str, attempt: Option<Attempt>, end: Option<End>| {
        let out = world.at(name);
        std::fs::create_dir(&out).unwrap();
        let mut heard = Heard { end, ..Heard::default() };
        let mut context = Context { attempt, ..Context::new(2, out.clone(), &mut heard) };
        let done =
            catch_unwind(AssertUnwindSafe(|| pretrain::run(&params, &mut context).map(drop)));
        let read = |file: &str| std::fs::read(out.join("out").join(file)).unwrap();
        done.is_ok().then(|| ["config.json", "model.safetensors"].map(read))
    };
    let never = run("never", None, None);
    assert!(never.is_some());
    for (at, after) in [1, 2, 2, 3].into_iter().enumerate() {
        let killed = run(&format!("killed {at}"), Some(attempt.clone()), Some(End::Kill(after)));
        assert!(killed.is_none(), "{at}");
    }
    for kept in ["shard-0", "shard-1", "checkpoint"] {
        assert!(attempt.folder.join(kept).is_file(), "{kept}");
    }
    assert!(run("last", Some(attempt), None) == never);
}

/// The whole folder, bytes for bytes.
#[test]
fn threads_and_micro_batch_leave_no_trace_in_the_folder() {
    let world = World::new();
    let run = |name: &str, threads: usize, micro_batch: usize| {
        let mut params = world.pretrain();
        params.training = training(4, micro_batch);
        world.run(name, threads, |context| pretrain::run(&params, context)).unwrap();
        let read = |file: &str| std::fs::read(world.at(name).join("out").join(file)).unwrap();
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].map(read)
    };
    assert_eq!(run("one", 1, 4), run("two", 2, 1));
}

#[test]
fn what_does_not_fit_is_refused() {
    let world = World::new();
    let try_pretrain = |name: &str, change: &dyn Fn(&mut Pretrain)| {
        let mut params = world.pretrain();
        change(&mut params);
        message(world.run(name, 1, |context| pretrain::run(&params, context)))
    };
    let said = try_pretrain("vocab", &|params| params.model.vocab = 319);
    assert_eq!(said, "the tokenizer has 320 entries and the model 319");
    let said = try_pretrain("context", &|params| params.context = 33);
    assert!(said.starts_with("rows of 33 tokens are longer than the model's context of 32"));
    let said = try_pretrain("batch", &|params| params.batch = BatchSize::Tokens(50));
    assert!(said.starts_with("a batch of 50 tokens is not whole sequences of 16"), "{said}");
    std::fs::write(world.at("empty"), "").unwrap();
    let said =
        try_pretrain("empty data", &|params| params.data = Mix::Joined(vec![world.at("empty")]));
    assert!(said.contains("holds nothing"), "{said}");

    world
        .run("base", 1, |context| {
            pretrain::run(&Pretrain { training: training(2, 4), ..world.pretrain() }, context)
        })
        .unwrap();
    let mut short = world.sft("base/out");
    short.context = 12;
    let said = message(world.run("short", 1, |context| sft::run(&short, context)));
    assert!(said.contains("no answer is ever cut"), "{said}");
}
