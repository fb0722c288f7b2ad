//! Stages that let a model answer: what they keep, how their rows are written, and that one that
//! was killed goes on with the same bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use llamake::train::data::chat::ChatFormat;
use llamake::train::data::mixture::Mix;
use llamake::train::data::rows::{Chat, Learn, Message, Preference, Prompt, Text, read_rows};
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::kernels::Threads;
use llamake::train::kernels::sample::Sampling;
use llamake::train::model::folder::{self, ModelFolder};
use llamake::train::model::judge::{Judge, Judged};
use llamake::train::model::sample::{GenerateOptions, Generated};
use llamake::train::model::{Head, LoadedModel, ModelConfig};
use llamake::train::progress::{Attempt, Context, Failure, Metrics};
use llamake::train::stage::rejection_sampling::curve;
use llamake::train::stage::samples::rows_of;
use llamake::train::stage::{
    Answering, ContextDistill, GhostAttention, Length, Pretrain, PromptsOf, RejectionSampling, Sft,
    Training, context_distill, generate, ghost_attention, pretrain, prompts_of, rejection_sampling,
    sft,
};

use super::fixtures::{End, Heard, lively, message, training};
use super::pipeline::World;

type Stage<'a> = &'a dyn Fn(&mut Context<'_>) -> Result<Metrics, Failure>;

const NAMES: [&str; 4] = ["Ada", "Ben", "Kurt", "Mia"];
const PETS: [&str; 4] = ["cat", "dog", "duck", "goat"];
const CONTEXT: usize = 160;

/// Each name with the instruction after, before and nowhere.
fn asked() -> Vec<Message> {
    let of = |name: &str| {
        let question = format!("What pet does {name} have?");
        [format!("{question} Please."), format!("Please. {question}"), question]
    };
    NAMES.into_iter().flat_map(of).map(|text| Message::new("user", text)).collect()
}

/// Talks of four turns and a model that has learnt them, with a judge that has learnt nothing.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let world = World::new();
        let talk = |first: usize| {
            let turns = (0..4).flat_map(|turn| {
                let at = (first + turn * 5) % 12;
                let answer = format!("It is a {}.", PETS[at / 3]);
                [asked()[at].clone(), Message::new("assistant", answer)]
            });
            Chat::new(turns.collect())
        };
        world.write("talks", (0..12).map(talk));
        world.write("questions", asked().into_iter().map(|turn| prompt(turn, None)));
        world.write("habits", [prompt(Message::new("user", "Please. "), None)]);
        let config = ModelConfig { context: CONTEXT, ..world.pretrain().model };
        let base = Pretrain { model: config.clone(), ..world.pretrain() };
        world.run("base", 2, |context| pretrain::run(&base, context)).unwrap();
        let length = Length::Epochs { millionths: 60_000_000 };
        let chat = Sft {
            data: Mix::Joined(vec![world.at("chats"), world.at("talks")]),
            context: CONTEXT,
            training: Training { length, ..training(0, 4) },
            ..world.sft("base/out")
        };
        world.run("chat", 2, |context| sft::run(&chat, context)).unwrap();
        let (_, special) = folder::read_config(&world.at("chat/out")).unwrap();
        let config = ModelConfig { head: Head::Score, ..config };
        let weights = lively(&config, 5);
        let judge = ModelFolder { config, special, weights };
        let jinja = chat.template.jinja.as_str();
        folder::write(&world.at("judge"), &judge, &world.at("tokenizer"), Some(jinja)).unwrap();
        world
    })
}

fn prompt(turn: Message, safety: Option<bool>) -> Prompt {
    Prompt { prompt: vec![turn], safety }
}

fn answering(samples: usize, temperature: f64) -> Answering {
    Answering { samples, max_answer: 14, temperature, seed: 3 }
}

fn best_of_four() -> RejectionSampling {
    let world = world();
    RejectionSampling {
        policy: world.at("chat/out"),
        judge: world.at("judge").into(),
        prompts: Mix::Joined(vec![world.at("questions")]),
        template: world.sft("base/out").template,
        answering: answering(4, 1.4),
    }
}

fn ghosts() -> GhostAttention {
    let world = world();
    GhostAttention {
        model: world.at("chat/out"),
        dialogues: Mix::Joined(vec![world.at("chats"), world.at("talks")]),
        instructions: Mix::Joined(vec![world.at("habits")]),
        short: None,
        rows: Some(30),
        min_turns: 2,
        max_turns: 4,
        template: world.sft("base/out").template,
        answering: answering(1, 0.3),
    }
}

fn distilled() -> ContextDistill {
    let RejectionSampling { policy, judge, prompts, template, .. } = best_of_four();
    let (preprompt, answering) = ("Please.".into(), answering(1, 1.4));
    ContextDistill { model: policy, prompts, preprompt, keep_if: judge, template, answering }
}

/// The result of a stage, in a folder of its own.
fn ran(stage: impl FnOnce(&mut Context<'_>) -> Result<Metrics, Failure>) -> (Vec<Chat>, Metrics) {
    let out = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    let metrics = stage(&mut Context::new(2, out.path().into(), &mut heard)).unwrap();
    (read_rows(&out.path().join("out")).unwrap(), metrics)
}

fn metric(metrics: &Metrics, name: &str) -> f64 {
    metrics.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{metrics:?}")).1
}

/// What the tests compute by themselves, one text at a time.
struct Bench {
    tokenizer: Tokenizer,
    format: ChatFormat,
    model: LoadedModel,
    judge: Judge,
}

impl Bench {
    fn new() -> Bench {
        let world = world();
        let template = world.sft("base/out").template;
        Bench {
            tokenizer: Tokenizer::load(&world.at("chat/out")).unwrap(),
            format: ChatFormat::new(&template).unwrap(),
            model: LoadedModel::load(&world.at("chat/out"), Threads::new(1)).unwrap(),
            judge: Judge::open(&world.at("judge").into(), Threads::new(1)).unwrap(),
        }
    }

    fn sampled(&self, prompts: &[Message], how: Answering) -> Vec<Generated> {
        let turns =
            |turn: &Message| self.format.prompt(&self.tokenizer, 1, std::slice::from_ref(turn));
        let prompts: Vec<_> = prompts.iter().map(|turn| turns(turn).unwrap()).collect();
        let Answering { samples, max_answer, temperature, seed } = how;
        let sampling = Sampling { temperature: temperature as f32, top_k: None, top_p: 1.0 };
        let eos = self.model.special.eos;
        let options = GenerateOptions { samples, max_answer, sampling, seed, eos };
        self.model.generate(&prompts, &options, &mut Heard::default()).unwrap()
    }

    /// The text and its reward, if it can be learned from.
    fn kept(&self, turn: &Message, made: &Generated) -> Option<(String, f32)> {
        let text = self.tokenizer.decode(&made.tokens).trim().to_string();
        let row = self.format.reply(&self.tokenizer, 1, std::slice::from_ref(turn), &text).ok()?;
        let reward = self.reward(row.tokens);
        (made.ended && !text.is_empty()).then_some((text, reward))
    }

    fn reward(&self, tokens: Vec<u32>) -> f32 {
        let judged = [Judged { tokens, safety: false }];
        self.judge.score(&judged, &mut Heard::default()).unwrap()[0].combined
    }
}

#[test]
fn the_best_answer_that_ended_is_kept() {
    let (bench, params) = (Bench::new(), best_of_four());
    let made = bench.sampled(&asked(), params.answering);
    let mut expected = Vec::new();
    for (turn, made) in asked().iter().zip(made.chunks(4)) {
        let mut best: Option<(String, f32)> = None;
        for (text, reward) in made.iter().filter_map(|made| bench.kept(turn, made)) {
            if best.as_ref().is_none_or(|(_, most)| reward > *most) {
                best = Some((text, reward));
            }
        }
        expected.extend(best.map(|(text, reward)| (turn.content.clone(), text, reward)));
    }
    let (rows, metrics) = ran(|context| rejection_sampling::run(&params, context));
    let told = rows.iter().map(|row| {
        assert_eq!(row.learn, None);
        (row.messages[0].content.clone(), row.messages[1].content.clone())
    });
    let texts = expected.iter().map(|(asked, said, _)| (asked.clone(), said.clone()));
    assert_eq!(told.collect::<Vec<_>>(), texts.collect::<Vec<_>>());
    let mean = expected.iter().map(|(.., reward)| f64::from(*reward)).sum::<f64>();
    assert_eq!(metric(&metrics, "reward"), mean / expected.len() as f64);
    assert_eq!(metric(&metrics, "kept"), expected.len() as f64);
    assert_eq!((metric(&metrics, "of"), metric(&metrics, "answers")), (12.0, 48.0));
    let ended = made.iter().filter(|made| made.ended).count();
    assert!(ended < 48, "none was cut: the test sees less than it should");
    assert_eq!(metric(&metrics, "ended"), ended as f64);
    let curve = [1, 2, 4].map(|k| metric(&metrics, &format!("reward of best of {k}")));
    assert!(curve.is_sorted() && curve[0] < curve[2], "{curve:?}");
}

#[test]
fn more_samples_are_worth_what_the_curve_says() {
    // Two prompts of three samples.
    let rewards = [1.0, 5.0, 3.0, -2.0, -4.0, 0.0];
    let expected = vec![(1, [-0.5, -0.5]), (2, [1.5, 0.0]), (3, [2.5, 0.5])];
    assert_eq!(curve(&rewards, 3), expected);
    assert_eq!(curve(&[4.0], 1), [(1, [4.0, 4.0])]);
    let sizes: Vec<usize> = curve(&[0.0; 8], 8).into_iter().map(|(k, _)| k).collect();
    assert_eq!(sizes, [1, 2, 4, 8]);
}

#[test]
fn ghost_attention_writes_the_instruction_once_and_learns_the_last_answer() {
    let (bench, params) = (Bench::new(), ghosts());
    let (rows, metrics) = ran(|context| ghost_attention::run(&params, context));
    let left_out = metric(&metrics, "too long") + metric(&metrics, "no row to learn from");
    assert_eq!(metric(&metrics, "kept") + left_out, 30.0);
    assert_eq!(metric(&metrics, "kept"), rows.len() as f64);
    assert!(rows.len() > 5, "{metrics:?}");
    let mut lengths = std::collections::BTreeSet::new();
    let mut places = std::collections::BTreeSet::new();
    for row in &rows {
        assert_eq!(row.learn, Some(Learn::Last));
        let roles = row.messages.iter().map(|turn| turn.role.as_str());
        let expected = ["user", "assistant"].into_iter().cycle().take(row.messages.len());
        assert!(roles.eq(expected));
        lengths.insert(row.messages.len() / 2);
        let first = &row.messages[0].content;
        let bare = asked();
        let bare = |text: &str| bare.iter().any(|turn| turn.content == text);
        let before = first.strip_prefix("Please. ").is_some_and(bare);
        let after = first.strip_suffix(" Please.").is_some_and(bare);
        assert!(before || after, "{first}");
        places.insert(before);
        for later in row.messages[2..].iter().filter(|turn| turn.role == "user") {
            assert!(bare(&later.content), "{}", later.content);
        }
        let example = bench.format.learned(&bench.tokenizer, 1, row).unwrap();
        let learned = example.tokens.iter().zip(&example.learned).filter(|(_, learned)| **learned);
        let learned: Vec<u32> = learned.map(|(id, _)| *id).collect();
        let last = &row.messages.last().unwrap().content;
        assert_eq!(bench.tokenizer.decode(&learned).trim(), last);
    }
    assert!(lengths.iter().all(|turns| (2..=4).contains(turns)) && lengths.len() > 1);
    assert_eq!(places.len(), 2, "the instruction stands on both sides");
}

/// The last answer is what the model says with the instruction in every turn.
#[test]
fn ghost_attention_samples_under_the_instruction() {
    let bench = Bench::new();
    let params = GhostAttention { answering: answering(1, 0.0), max_turns: 2, ..ghosts() };
    let (rows, _) = ran(|context| ghost_attention::run(&params, context));
    for row in &rows {
        let said = |places: [bool; 2]| {
            let mut messages = row.messages.clone();
            let last = messages.pop().unwrap();
            let turn = &mut messages[2].content;
            *turn = match places {
                [true, _] => format!("Please. {turn}"),
                _ => format!("{turn} Please."),
            };
            let prompt = bench.format.prompt(&bench.tokenizer, 1, &messages).unwrap();
            let sampling = Sampling { temperature: 0.0, top_k: None, top_p: 1.0 };
            let eos = bench.model.special.eos;
            let options = GenerateOptions { samples: 1, max_answer: 14, sampling, seed: 0, eos };
            let made = bench.model.generate(&[prompt], &options, &mut Heard::default()).unwrap();
            bench.tokenizer.decode(&made[0].tokens).trim() == last.content
        };
        assert!(said([true, false]) || said([false, true]), "{row:?}");
    }
}

#[test]
fn half_of_the_ghosts_are_written_with_the_short_instruction() {
    let world = world();
    let path = world.at("in short");
    std::fs::write(&path, "{\"prompt\":\"Kind.\"}\n").unwrap();
    let short = Some(Mix::Joined(vec![path.clone()]));
    let (rows, _) = ran(|context| {
        ghost_attention::run(&GhostAttention { short: short.clone(), ..ghosts() }, context)
    });
    let in_short = rows.iter().filter(|row| row.messages[0].content.contains("Kind.")).count();
    assert!(in_short > 0 && in_short < rows.len(), "{in_short} of {}", rows.len());
    std::fs::write(&path, "{\"prompt\":\"Kind.\"}\n{\"prompt\":\"Loud.\"}\n").unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    let said = message(ghost_attention::run(
        &GhostAttention { short, ..ghosts() },
        &mut Context::new(1, out.path().into(), &mut heard),
    ));
    assert!(said.starts_with("`short` has 2 rows and `instructions` 1"), "{said}");
}

/// The rows of answers under the pre-prompt that are better than those without.
fn better(bench: &Bench, params: &ContextDistill) -> Vec<(String, String)> {
    let plain = bench.sampled(&asked(), params.answering);
    let under = |turn: Message| Message::new("user", format!("Please. {}", turn.content));
    let under: Vec<Message> = asked().into_iter().map(under).collect();
    let under = bench.sampled(&under, params.answering);
    let mut better = Vec::new();
    for (at, turn) in asked().iter().enumerate() {
        let before = bench.kept(turn, &plain[at]).map(|(_, reward)| reward).unwrap_or_else(|| {
            let prompt =
                bench.format.prompt(&bench.tokenizer, 1, std::slice::from_ref(turn)).unwrap();
            let end = plain[at].ended.then_some(bench.model.special.eos);
            bench.reward(prompt.iter().chain(&plain[at].tokens).copied().chain(end).collect())
        });
        let after = bench.kept(turn, &under[at]).filter(|(_, reward)| *reward > before);
        better.extend(after.map(|(text, _)| (turn.content.clone(), text)));
    }
    better
}

#[test]
fn only_better_answers_are_distilled() {
    let bench = Bench::new();
    let seeded = |seed| {
        let answering = Answering { seed, ..answering(1, 1.6) };
        let params = ContextDistill { answering, ..distilled() };
        let expected = better(&bench, &params);
        (!expected.is_empty() && expected.len() < 12).then_some((params, expected))
    };
    let (params, expected) = (0..50).find_map(seeded).expect("some answers are better");
    let (rows, metrics) = ran(|context| context_distill::run(&params, context));
    let told = rows.iter().map(|row| {
        assert_eq!(row.messages.len(), 2);
        (row.messages[0].content.clone(), row.messages[1].content.clone())
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(metric(&metrics, "kept"), expected.len() as f64);
    assert_eq!(metric(&metrics, "of"), 12.0);
}

/// Runs a stage in this attempt; its bytes, unless it was killed, and what it said.
fn attempted(
    folder: &Path,
    end: Option<End>,
    stage: &dyn Fn(&mut Context<'_>) -> Result<Metrics, Failure>,
) -> (Option<Vec<u8>>, Vec<String>) {
    let out = tempfile::tempdir().unwrap();
    let mut heard = Heard { end, ..Heard::default() };
    let attempt = Some(Attempt { folder: folder.into(), every: Duration::from_secs(3600) });
    let mut context = Context { attempt, ..Context::new(2, out.path().into(), &mut heard) };
    let done = catch_unwind(AssertUnwindSafe(|| stage(&mut context)));
    let whole = matches!(done, Ok(Ok(_)));
    let bytes = whole.then(|| std::fs::read(out.path().join("out")).unwrap());
    (bytes, heard.said)
}

fn goes_on(said: &[String]) -> bool {
    said.iter().any(|line| line.starts_with("goes on after "))
}

#[test]
fn a_stage_killed_anywhere_ends_with_the_bytes_of_one_never_killed() {
    let (best, ghosts, distilled) = (best_of_four(), ghosts(), distilled());
    let generate_params = world().generate("chat/out", 3, 1.4);
    let stages: [(&str, Stage<'_>); 4] = [
        ("answers", &|context| rejection_sampling::run(&best, context)),
        ("answers-2", &|context| ghost_attention::run(&ghosts, context)),
        ("answers-under", &|context| context_distill::run(&distilled, context)),
        ("answers", &|context| generate::run(&generate_params, context)),
    ];
    for (at, (file, stage)) in stages.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        let (never, said) = attempted(&root.path().join("never"), None, stage);
        assert!(never.is_some() && !goes_on(&said), "{at}");
        let folder = root.path().join("killed");
        for after in [1, 8, 9] {
            assert!(attempted(&folder, Some(End::Kill(after)), stage).0.is_none(), "{at} {after}");
        }
        let stopped = attempted(&folder, Some(End::Stop(3)), stage).0;
        assert!(stopped.is_none(), "{at}: a stage that was asked to stop went on");
        let (last, said) = attempted(&folder, None, stage);
        assert!(goes_on(&said), "{at}: {said:?}");
        assert!(last == never, "{at}");

        // A torn tail is dropped; so is all from the first damage on.
        let path = folder.join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle] ^= 1;
        for bytes in [&whole[..whole.len() - 3], &damaged, &whole[..20], &whole[..0]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(attempted(&folder, None, stage).0 == never, "{at}");
            assert_eq!(std::fs::read(&path).unwrap().len(), whole.len(), "{at}");
        }
    }
}

#[test]
fn answers_of_another_stage_are_not_used() {
    let best = best_of_four();
    let root = tempfile::tempdir().unwrap();
    let run = |best: &RejectionSampling| {
        attempted(root.path(), None, &|context| rejection_sampling::run(best, context))
    };
    let (first, _) = run(&best);
    let mut other = best.clone();
    other.answering.seed = 4;
    let (second, said) = run(&other);
    assert!(second.is_some() && second != first);
    assert!(said.iter().any(|line| line.ends_with("or of other ways to answer them")), "{said:?}");
    std::fs::write(root.path().join("answers"), "something else that is long enough").unwrap();
    let (third, said) = run(&best);
    assert!(third == first);
    assert!(said.iter().any(|line| line.ends_with("it has another layout")), "{said:?}");
    // A length that no answer has is not believed.
    let mut forged = std::fs::read(root.path().join("answers")).unwrap();
    forged[48..52].fill(0xFF);
    std::fs::write(root.path().join("answers"), forged).unwrap();
    let (fourth, said) = run(&best);
    assert!(fourth == first && !goes_on(&said));
}

/// Where nothing can be kept the stage does its work all the same, and says so once.
#[test]
fn answers_that_cannot_be_kept_stop_nothing() {
    let best = best_of_four();
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("answers")).unwrap();
    let stage = |context: &mut Context<'_>| rejection_sampling::run(&best, context);
    let (bytes, said) = attempted(root.path(), None, &stage);
    assert!(bytes.is_some());
    let told = said.iter().filter(|line| line.starts_with("work goes on, but")).count();
    assert_eq!(told, 1, "{said:?}");
}

#[test]
fn what_leaves_nothing_to_learn_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    let mut context = Context::new(1, out.path().into(), &mut heard);
    let mut params = best_of_four();
    params.answering.max_answer = 1;
    let said = message(rejection_sampling::run(&params, &mut context));
    assert!(said.starts_with("none of 48 answers can be learned from"), "{said}");
    let mut params = best_of_four();
    params.judge = world().at("chat/out").into();
    let said = message(rejection_sampling::run(&params, &mut context));
    assert!(said.ends_with("holds a language model, not a reward model"), "{said}");
}

#[test]
fn prompts_of_preferences_are_written_once_and_tagged() {
    let world = World::new();
    let pair = |name: &str, safety| Preference {
        prompt: vec![Message::new("user", name)],
        chosen: "yes".into(),
        rejected: "no".into(),
        safety,
        ..Preference::default()
    };
    world.write("helpful", [pair("a", None), pair("b", Some(true)), pair("a", None)]);
    world.write("harmless", [pair("c", None), pair("a", Some(false))]);
    world.write("more", [pair("d", Some(false)), pair("b", None)]);
    let set = |name: &str| (name.to_string(), world.at(name));
    let data = vec![set("helpful"), set("harmless"), set("more")];
    let params = PromptsOf { data, safety: vec![set("harmless")] };
    let metrics = world.run("asked", 1, |context| prompts_of::run(&params, context)).unwrap();
    let rows: Vec<Prompt> = read_rows(&world.at("asked/out")).unwrap();
    let told = rows.iter().map(|row| (row.prompt[0].content.as_str(), row.safety.unwrap()));
    let expected = [("a", true), ("b", true), ("c", true), ("d", false)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(metrics.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [4.0, 3.0, 7.0]);
    let strange = PromptsOf { data: vec![set("helpful")], ..params };
    let said = message(world.run("strange", 1, |context| prompts_of::run(&strange, context)));
    assert_eq!(said, "`safety` names `harmless`, which is not among `data`");
}

#[test]
fn shares_of_rows_take_none_twice() {
    let world = World::new();
    let texts = |prefix: &'static str, count| {
        (0..count).map(move |at| Text { text: format!("{prefix}{at}") })
    };
    world.write("many", texts("m", 100));
    world.write("few", texts("f", 3));
    let rows = |mix: &Mix<PathBuf>| rows_of::<Text>(mix).unwrap().len();
    let (many, few) = (world.at("many"), world.at("few"));
    assert_eq!(rows(&Mix::Joined(vec![many.clone(), few.clone()])), 103);
    assert_eq!(rows(&Mix::Shares(vec![(70.0, many), (30.0, few)])), 10);
    std::fs::write(world.at("none"), "").unwrap();
    let said = message(rows_of::<Text>(&Mix::Joined(vec![world.at("none")])));
    assert!(said.ends_with("there is no row to begin with"), "{said}");
}
