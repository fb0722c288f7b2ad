//! Evaluation: every kind of task on small models, against what is computed here by hand, and the
//! same whatever the threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use llamake::eval::cells::Identities;
use llamake::eval::critic::Critic;
use llamake::eval::examinee::{Answer, Examinee, Manner, tempered};
use llamake::eval::run::{Params, Task, run};
use llamake::eval::task::answers::{Answers, Score};
use llamake::eval::task::kept::Kept;
use llamake::eval::task::pairs::Pairs;
use llamake::eval::task::perplexity::{Perplexity, Windows};
use llamake::eval::task::rewards::Rewards;
use llamake::train::data::pack::Example;
use llamake::train::data::rows::{Benchmark, Chat, Message, Preference, Prompt, read_rows};
use llamake::train::kernels::Threads;
use llamake::train::model::endings::Ending;
use llamake::train::model::folder::{self, ModelFolder};
use llamake::train::model::judge::{GATE, Judged, MEMBERS};
use llamake::train::model::sample::Generated;
use llamake::train::model::{Head, ModelConfig, SpecialTokens};
use llamake::train::progress::{Attempt, Context, Failure, Pieces};
use llamake::train::stage::{Sft, pretrain, sft};
use serde_json::{Value, json};

use crate::train::fixtures::{End, Heard, lively, message};
use crate::train::pipeline::World;
use crate::train::run_stage;

const NAMES: [&str; 4] = ["Ada", "Ben", "Kurt", "Mia"];
const PETS: [&str; 4] = ["cat", "dog", "duck", "goat"];

/// A base model, two chat models, two reward models and a gate, with rows for each kind of task.
struct Exam {
    world: World,
}

impl Exam {
    fn new() -> Exam {
        let world = World::new();
        world.run("base", 2, |context| pretrain::run(&world.pretrain(), context)).unwrap();
        let chat = world.sft("base/out");
        world.run("chat", 2, |context| sft::run(&chat, context)).unwrap();
        let mut brief = world.sft("base/out");
        brief.training.lr = 1e-3;
        world.run("brief", 2, |context| sft::run(&brief, context)).unwrap();
        let exam = Exam { world };
        exam.write_scorer("one", &chat, 1);
        exam.write_scorer(&format!("gate/{}", MEMBERS[0]), &chat, 2);
        exam.write_scorer(&format!("gate/{}", MEMBERS[1]), &chat, 3);
        std::fs::write(exam.at("gate").join(GATE), r#"{"below":0.15}"#).unwrap();
        exam.write_rows();
        exam
    }

    fn write_scorer(&self, name: &str, like: &Sft, seed: u64) {
        let config = ModelConfig { head: Head::Score, ..self.world.pretrain().model };
        let weights = lively(&config, seed);
        let (special, tokenizer) = (SpecialTokens { bos: 1, eos: 2 }, self.at("tokenizer"));
        let model = ModelFolder { config, special, weights };
        let jinja = Some(like.template.jinja.as_str());
        folder::write(&self.at(name), &model, &tokenizer, jinja).unwrap();
    }

    fn write_rows(&self) {
        let pet = |(at, name): (usize, &str)| {
            json!({ "question": format!("What pet does {name} have?"),
                "answer": format!("It is a {}.", PETS[at]) })
        };
        self.world.write("quiz", NAMES.into_iter().enumerate().map(pet));
        let pair = |(at, name): (usize, &str)| Preference {
            prompt: vec![Message::new("user", format!("What pet does {name} have?"))],
            chosen: format!("It is a {}.", PETS[at]),
            rejected: if at == 0 { String::new() } else { "It is a cat.".into() },
            rating: Some(1 + at as u8 % 2),
            safety: Some(at == 3),
            chosen_safe: Some(true),
            rejected_safe: Some(at % 2 == 0),
            kind: Some(["empty", "wrong"][at.min(1)].into()),
        };
        self.world.write("likes", NAMES.into_iter().enumerate().map(pair));
        let asked = |(at, name): (usize, &str)| {
            let prompt = vec![Message::new("user", format!("What pet does {name} have?"))];
            Prompt { prompt, safety: Some(at == 3) }
        };
        self.world.write("asked", NAMES.into_iter().enumerate().map(asked));
        let talk = |turns: &[&str], begins: Value, ends: Value| {
            let columns = [("turns", json!(turns)), ("begins", begins), ("ends", ends)];
            columns.into_iter().map(|(name, value)| (name.into(), value)).collect::<Benchmark>()
        };
        let long = "What pet does Ada have? What pet does Ben have?";
        self.world.write(
            "talks",
            [
                talk(&["What pet does Ada have?", "a"], json!("It"), Value::Null),
                talk(&["What pet does Mia have?", long], Value::Null, json!(".")),
                talk(&["What pet does Ben have?"], json!("It"), json!("zebra.")),
            ],
        );
    }

    fn at(&self, name: &str) -> PathBuf {
        self.world.at(name)
    }

    fn quiz(&self) -> Answers {
        Answers {
            name: "quiz".into(),
            data: self.at("quiz"),
            question: "question".into(),
            answer: "answer".into(),
            score: Score::ExactMatch,
            temperature: 0.0,
            samples: 1,
            max_answer: 12,
            training: Some(self.at("chats")),
        }
    }

    fn rewards(&self, name: &str, judge: &str) -> Rewards {
        Rewards {
            name: name.into(),
            prompts: self.at("asked"),
            judge: self.at(judge).into(),
            reference: Some(self.at("chat/out")),
            samples: 3,
            temperature: 1.0,
            max_answer: 6,
        }
    }

    fn pairs(&self) -> Pairs {
        Pairs { name: "pairs".into(), data: self.at("likes") }
    }

    fn kept(&self) -> Kept {
        Kept {
            name: "kept".into(),
            data: self.at("talks"),
            turns: "turns".into(),
            begins: "begins".into(),
            ends: "ends".into(),
            at: [1, 2].into(),
            max_answer: 8,
        }
    }

    /// Every model on every kind of task.
    fn whole(&self) -> Params {
        let perplexity = perplexity_of(self.at("corpus"));
        let sampled = Answers {
            name: "sampled".into(),
            temperature: 1.0,
            samples: 4,
            training: None,
            ..self.quiz()
        };
        let tasks = vec![
            Task::Perplexity(perplexity),
            Task::Answers(self.quiz()),
            Task::Answers(sampled),
            Task::Pairs(self.pairs()),
            Task::Rewards(self.rewards("reward", "one")),
            Task::Rewards(self.rewards("gated", "gate")),
            Task::Kept(self.kept()),
        ];
        self.params(&["base", "brief", "chat", "one", "gate"], tasks)
    }

    fn params(&self, models: &[&str], tasks: Vec<Task>) -> Params {
        let place = |name: &&str| {
            let trained = self.at(name).join("out");
            let path = if trained.is_dir() { trained } else { self.at(name) };
            (name.to_string(), path.into())
        };
        let identity = |text: String| *blake3::hash(text.as_bytes()).as_bytes();
        let identities = Identities {
            models: models.iter().map(|name| identity(name.to_string())).collect(),
            tasks: tasks.iter().map(|task| identity(format!("{task:?}"))).collect(),
        };
        let models = models.iter().map(place).collect();
        Params {
            models,
            tasks,
            identities,
            limit: None,
            seed: 5,
            references: Vec::new(),
            overlap: None,
        }
    }

    fn refused(&self, models: &[&str], tasks: Vec<Task>) -> String {
        message(run_stage(1, |context| run(&self.params(models, tasks), context)).1)
    }

    fn examinee(&self, name: &str) -> Examinee {
        Examinee::open(&self.at(name), Threads::new(1)).unwrap()
    }
}

fn perplexity_of(data: PathBuf) -> Perplexity {
    Perplexity { name: "text".into(), data, rewrite: Vec::new(), windows: Windows::Apart }
}

/// `report.json` and `report.md` of an evaluation.
fn report(params: &Params, threads: usize) -> (Value, String) {
    let (out, metrics) = run_stage(threads, |context| run(params, context));
    metrics.unwrap();
    let read = |name| std::fs::read_to_string(out.path().join("out").join(name)).unwrap();
    (serde_json::from_str(&read("report.json")).unwrap(), read("report.md"))
}

fn names(models: &Value) -> Vec<&str> {
    models.as_object().unwrap().keys().map(String::as_str).collect()
}

fn close(got: &Value, want: f64) {
    let got = got.as_f64().unwrap();
    assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
}

#[test]
fn every_model_is_asked_what_fits_it_whatever_the_threads() {
    let exam = Exam::new();
    let (json, text) = report(&exam.whole(), 1);
    assert_eq!((json.clone(), text.clone()), report(&exam.whole(), 3));
    let models = |task: &str| &json["tasks"][task]["models"];
    assert_eq!(names(models("text")), ["base", "brief", "chat"]);
    assert_eq!(names(models("quiz")), ["base", "brief", "chat"]);
    assert_eq!(names(models("pairs")), ["one", "gate"]);
    assert_eq!(names(models("reward")), ["brief", "chat"]);
    assert_eq!(names(models("kept")), ["brief", "chat"]);
    for (task, first) in [("quiz", "base"), ("pairs", "one"), ("reward", "brief")] {
        for (name, cell) in models(task).as_object().unwrap() {
            assert_eq!(cell.get("change").is_none(), name == first, "{task} {name}");
        }
    }
    close(&models("quiz")["chat"]["exact_match"], 1.0);
    assert_eq!(json["tasks"]["quiz"]["baselines"].as_object().unwrap().len(), 2);
    assert!(models("sampled")["chat"]["exact_match"].as_f64().unwrap() > 0.25);
    assert!(text.contains("\n| rating | rows | one | gate |\n"), "{text}");
    assert!(text.contains("| 1, negligibly better | 2 |"), "{text}");
}

#[test]
fn a_policy_that_is_its_reference_has_not_moved() {
    let exam = Exam::new();
    let tasks = vec![Task::Rewards(exam.rewards("reward", "one"))];
    let (json, _) = report(&exam.params(&["chat", "brief"], tasks), 2);
    let models = &json["tasks"]["reward"]["models"];
    assert_eq!(models["chat"]["kl_per_reply"], 0.0);
    assert_eq!(models["chat"]["kl_per_token"], 0.0);
    let far = models["brief"]["kl_per_reply"].as_f64().unwrap();
    assert!(far > 0.5, "{far}");
}

#[test]
fn rewards_are_what_the_judge_gives_to_the_sampled_tokens() {
    let exam = Exam::new();
    let model = exam.examinee("brief/out");
    let prompts = NAMES.map(|name| format!("What pet does {name} have?"));
    let prompts = prompts.map(|text| model.wording.question(1, &text).unwrap());
    let made_of = |max_answer| {
        let manner = Manner { samples: 3, max_answer, sampling: tempered(1.0), seed: 5 };
        model.generate(&prompts, manner, &mut Heard::default()).unwrap()
    };
    // So many tokens that some answers end and some are cut.
    let ends = |made: &Generated| made.ended;
    let mixed = |most: &usize| made_of(*most).iter().any(ends) && !made_of(*most).iter().all(ends);
    let max_answer = (1..20).find(mixed).unwrap();
    let made = made_of(max_answer);

    let task = Rewards { max_answer, ..exam.rewards("gated", "gate") };
    let critic = Critic::open(&task.judge, Threads::new(1));
    let (json, _) = report(&exam.params(&["brief"], vec![Task::Rewards(task)]), 2);
    let cell = &json["tasks"]["gated"]["models"]["brief"];
    let judged = made.iter().enumerate().map(|(at, made)| Judged {
        tokens: [&prompts[at / 3][..], &made.tokens, &[2][..usize::from(made.ended)]].concat(),
        safety: at / 3 == 3,
    });
    let judged = judged.collect::<Vec<_>>();
    let verdicts = critic.unwrap().score(&judged, &mut Heard::default()).unwrap();
    let sigmoid = |x: f32| 1.0 / (1.0 + f64::from(-x).exp());
    let rewards = verdicts.iter().map(|verdict| sigmoid(verdict.combined)).collect::<Vec<_>>();
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    close(&cell["reward"], mean(&rewards));
    close(&cell["reward_safety"], mean(&rewards[9..]));
    close(&cell["reward_other"], mean(&rewards[..9]));
    close(&cell["tokens"], mean(&made.iter().map(|m| m.tokens.len() as f64).collect::<Vec<_>>()));
    assert!(verdicts[9..].iter().all(|verdict| verdict.safe == Some(verdict.combined)));
}

#[test]
fn pairs_are_judged_as_whole_dialogues() {
    let exam = Exam::new();
    let (json, _) = report(&exam.params(&["one", "gate"], vec![Task::Pairs(exam.pairs())]), 2);
    for name in ["one", "gate"] {
        let critic = Critic::open(&exam.at(name).into(), Threads::new(1)).unwrap();
        let score = |question: &str, answer: &str, safety| {
            let turns = [Message::new("user", question)];
            let tokens = critic.wording.reply(1, &turns, answer).unwrap();
            assert_eq!(tokens.last(), Some(&2));
            let judged = [Judged { tokens, safety }];
            critic.score(&judged, &mut Heard::default()).unwrap()[0].combined
        };
        let agreed = |at: usize| {
            let question = format!("What pet does {} have?", NAMES[at]);
            let chosen = score(&question, &format!("It is a {}.", PETS[at]), at == 3);
            let rejected = if at == 0 { "" } else { "It is a cat." };
            let rejected = score(&question, rejected, at == 3);
            if chosen > rejected { 1.0 } else { 0.0 }
        };
        let agreed: [f64; 4] = std::array::from_fn(agreed);
        let cell = &json["tasks"]["pairs"]["models"][name];
        close(&cell["accuracy"], agreed.iter().sum::<f64>() / 4.0);
        close(&cell["by_kind"]["empty"]["accuracy"], agreed[0]);
        close(&cell["by_rating"]["2, slightly better"]["accuracy"], (agreed[1] + agreed[3]) / 2.0);
        assert_eq!(cell["by_kind"]["wrong"]["rows"], 3);
        assert!(cell.get("unsafe_recall").is_some());
    }
}

#[test]
fn dialogues_are_played_with_the_models_own_answers() {
    let exam = Exam::new();
    let (json, _) = report(&exam.params(&["chat"], vec![Task::Kept(exam.kept())]), 2);
    let cell = &json["tasks"]["kept"]["models"]["chat"];
    let model = exam.examinee("chat/out");
    let manner = Manner { samples: 1, max_answer: 8, sampling: tempered(0.0), seed: 5 };
    let say = |turns: &[Message]| -> Answer {
        let prompt = model.wording.prompt(1, turns).unwrap();
        model.answer(&model.generate(&[prompt], manner, &mut Heard::default()).unwrap()[0])
    };
    let mut turns = vec![Message::new("user", "What pet does Ada have?")];
    let first = say(&turns).text;
    turns.extend([Message::new("assistant", &first), Message::new("user", "a")]);
    let second = say(&turns).text;
    assert!(first.starts_with("It"), "{first}");
    // Of three rows two keep to it at the first turn: the third is to end with `zebra.`.
    close(&cell["turn 1"], 2.0 / 3.0);
    // The second row outgrows the context of 32 tokens, and the third has no second turn.
    close(&cell["turn 2"], if second.starts_with("It") { 0.5 } else { 0.0 });
    close(&cell["broken_off"], 1.0 / 3.0);
    assert_eq!(cell["samples"][0]["answer"], second);
}

#[test]
fn several_answers_are_drawn_to_each_question() {
    let exam = Exam::new();
    let sampled = Answers { temperature: 1.0, samples: 5, ..exam.quiz() };
    let (json, _) = report(&exam.params(&["brief"], vec![Task::Answers(sampled)]), 1);
    let model = exam.examinee("brief/out");
    let manner = Manner { samples: 5, max_answer: 12, sampling: tempered(1.0), seed: 5 };
    let asked = NAMES.map(|name| format!("What pet does {name} have?"));
    let answers = model.ask(&asked, manner, &mut Heard::default()).unwrap();
    let right = answers.iter().enumerate().filter(|(at, answer)| {
        answer.text.to_lowercase().trim_end_matches('.') == format!("it is a {}", PETS[at / 5])
    });
    close(&json["tasks"]["quiz"]["models"]["brief"]["exact_match"], right.count() as f64 / 20.0);
}

#[test]
fn of_dialogues_the_answers_count() {
    let exam = Exam::new();
    let text = Perplexity { name: "answers".into(), ..perplexity_of(exam.at("chats")) };
    let rolling = Perplexity { windows: Windows::Rolling, ..text.clone() };
    let asked = Answers { data: exam.at("chats"), training: None, ..exam.quiz() };
    let tasks = vec![Task::Perplexity(text), Task::Answers(asked)];
    let (json, _) = report(&exam.params(&["chat"], tasks), 2);
    let model = exam.examinee("chat/out");
    let chats = read_rows::<Chat>(&exam.at("chats")).unwrap();
    let ending = |(row, chat): (usize, &Chat)| {
        let Example { tokens, learned, .. } = model.wording.dialogue(row, chat).unwrap();
        let from = learned.iter().position(|learned| *learned).unwrap();
        assert!(learned[from..].iter().all(|learned| *learned), "one answer ends the dialogue");
        Ending { tokens, from }
    };
    let endings = (1..).zip(&chats).map(ending).collect::<Vec<_>>();
    let found = model.score_endings(&endings, &mut Heard::default()).unwrap();
    let losses = found.iter().flat_map(|found| &found.losses).map(|loss| f64::from(*loss));
    let losses = losses.collect::<Vec<_>>();
    let answers = chats.iter().map(|chat| chat.messages[1].content.len()).sum::<usize>();
    let cell = &json["tasks"]["answers"]["models"]["chat"];
    close(&cell["tokens"], losses.len() as f64);
    let bits = losses.iter().sum::<f64>() / answers as f64 / std::f64::consts::LN_2;
    let got = cell["bits_per_byte"].as_f64().unwrap();
    assert!((got - bits).abs() < 1e-6 * bits, "got {got}, want {bits}");
    close(&json["tasks"]["quiz"]["models"]["chat"]["exact_match"], 1.0);

    let said = exam.refused(&["chat"], vec![Task::Perplexity(rolling)]);
    let fact = "`rewrite` and `windows` are of running text, and the rows are dialogues";
    assert_eq!(said, format!("task `answers`: model `chat`: {fact}"));
    let base = Perplexity { name: "bare".into(), ..perplexity_of(exam.at("chats")) };
    let said = exam.refused(&["base"], vec![Task::Perplexity(base)]);
    assert!(said.contains("no chat template"), "{said}");
}

#[test]
fn what_does_not_fit_is_said_before_anything_runs() {
    let exam = Exam::new();
    let quiz = || Task::Answers(exam.quiz());
    assert_eq!(
        exam.refused(&["base", "one"], vec![quiz()]),
        "no task fits `one`, which is a reward model"
    );
    assert_eq!(
        exam.refused(&["base"], vec![quiz(), Task::Kept(exam.kept())]),
        "task `kept` is for chat models, and no model is one"
    );
    let alike = Answers { samples: 2, ..exam.quiz() };
    let said = exam.refused(&["base"], vec![Task::Answers(alike)]);
    assert_eq!(said, "task `quiz` asks for several answers at temperature 0, which are all alike");
    let said = exam.refused(&["chat"], vec![Task::Rewards(exam.rewards("reward", "chat/out"))]);
    assert!(said.contains("holds a language model, not a reward model"), "{said}");
    let bare = Rewards { reference: Some(exam.at("base/out")), ..exam.rewards("reward", "one") };
    let said = exam.refused(&["chat"], vec![Task::Rewards(bare)]);
    assert!(said.contains("no chat template"), "{said}");
}

#[test]
fn a_judge_that_reads_other_tokens_is_refused() {
    let exam = Exam::new();
    let task = || vec![Task::Rewards(exam.rewards("reward", "one"))];
    let folder = exam.at("one");
    let config = std::fs::read_to_string(folder.join("tokenizer_config.json")).unwrap();
    let other = config.replace("[INST]", "[ASK]");
    std::fs::write(folder.join("tokenizer_config.json"), other).unwrap();
    let said = exam.refused(&["chat"], task());
    let expected = "the judge has another chat template: prompt 1 differs";
    assert_eq!(said, format!("task `reward`: model `chat`: {expected}"));

    let tokenizer = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&tokenizer).unwrap();
    tokenizer["model"]["merges"].as_array_mut().unwrap().pop();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let failed = run_stage(1, |context| run(&exam.params(&["chat"], task()), context)).1;
    let Err(Failure::Input { message, remedy }) = failed else { panic!("{failed:?}") };
    assert_eq!(message, "task `reward`: model `chat`: its tokenizer is not that of the judge");
    assert!(remedy.unwrap().contains("trained with the tokenizer of the model"));
}

/// Pieces in memory.
#[derive(Default)]
struct Shelf(RefCell<BTreeMap<[u8; 32], Vec<u8>>>);

impl Pieces for Shelf {
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        self.0.borrow().get(key).cloned()
    }

    fn put(&self, key: &[u8; 32], bytes: &[u8]) -> std::io::Result<()> {
        self.0.borrow_mut().insert(*key, bytes.to_vec());
        Ok(())
    }
}

/// Every file of the result, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Runs an evaluation, unless it is killed; its files, and what it said.
fn examined(
    params: &Params,
    pieces: Option<&dyn Pieces>,
    attempt: Option<&Path>,
    end: Option<End>,
) -> (Option<Files>, Vec<String>) {
    let out = tempfile::tempdir().unwrap();
    let mut heard = Heard { end, ..Heard::default() };
    let attempt = attempt.map(|folder| Attempt { folder: folder.into(), every: Duration::ZERO });
    let context = Context::new(2, out.path().into(), &mut heard);
    let mut context = Context { pieces, attempt, ..context };
    let done = catch_unwind(AssertUnwindSafe(|| run(params, &mut context)));
    let whole = matches!(done, Ok(Ok(_)));
    let files = || {
        let entries = std::fs::read_dir(out.path().join("out")).unwrap().map(Result::unwrap);
        let read = |entry: std::fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        };
        entries.map(read).collect()
    };
    (whole.then(files), heard.said)
}

fn asked(said: &[String]) -> Vec<&str> {
    let tasks = said.iter().filter_map(|line| line.strip_prefix("task "));
    tasks.filter(|line| !line.ends_with(": known")).collect()
}

#[test]
fn only_new_cells_are_asked() {
    let exam = Exam::new();
    let shelf = Shelf::default();
    let with = |models: &[&str], tasks: &[&str]| {
        let whole = exam.whole().tasks;
        let named = |task: &Task| tasks.iter().any(|name| format!("{task:?}").contains(name));
        exam.params(models, whole.into_iter().filter(named).collect())
    };
    let run = |params: &Params| {
        let (files, said) = examined(params, Some(&shelf), None, None);
        let never = examined(params, None, None, None).0;
        assert!(files.is_some() && files == never, "{said:?}");
        said
    };
    let (quiz, text, reward) = (r#"name: "quiz""#, r#"name: "text""#, r#"name: "reward""#);
    let said = run(&with(&["base", "chat"], &[quiz]));
    assert_eq!(asked(&said), ["quiz to base", "quiz to chat"]);
    let said = run(&with(&["base", "brief", "chat"], &[quiz, text]));
    let new = ["text to base", "text to brief", "quiz to brief", "text to chat"];
    assert_eq!(asked(&said), new);
    assert!(said.contains(&"task quiz to chat: known".to_string()), "{said:?}");
    let all = with(&["base", "brief", "chat"], &[quiz, text, reward]);
    assert_eq!(asked(&run(&all)), ["reward to brief", "reward to chat"]);
    assert!(asked(&run(&all)).is_empty());

    // Another model under the same name, another limit and another seed are other cells.
    let mut other = all.clone();
    other.identities.models[2] = [9; 32];
    assert_eq!(asked(&run(&other)), ["text to chat", "quiz to chat", "reward to chat"]);
    let limited = Params { limit: Some(2), ..all.clone() };
    assert_eq!(asked(&run(&limited)).len(), 8);
    assert_eq!(asked(&run(&Params { seed: 6, ..all.clone() })).len(), 8);

    // What cannot be read is not known.
    for bytes in shelf.0.borrow_mut().values_mut() {
        bytes.truncate(bytes.len() / 2);
    }
    assert_eq!(asked(&run(&all)).len(), 8);
}

#[test]
fn an_evaluation_killed_anywhere_ends_with_the_bytes_of_one_never_killed() {
    let exam = Exam::new();
    let params = exam.whole();
    let (never, said) = examined(&params, None, None, None);
    assert!(never.is_some(), "{said:?}");
    let root = tempfile::tempdir().unwrap();
    for (at, pieces) in [None, Some(Shelf::default())].into_iter().enumerate() {
        let folder = root.path().join(at.to_string());
        let pieces = pieces.as_ref().map(|shelf| shelf as &dyn Pieces);
        for after in [1, 3, 7, 20, 5] {
            let (files, _) = examined(&params, pieces, Some(&folder), Some(End::Kill(after)));
            assert!(files.is_none(), "{after} reports are not before the end");
        }
        let (files, said) = examined(&params, pieces, Some(&folder), None);
        assert!(files == never);
        let kept = |line: &String| line.starts_with("goes on after ") || line.ends_with(": known");
        assert!(said.iter().any(kept), "{said:?}");
        // Torn and damaged notes cost time, never a bit.
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        }
        assert!(examined(&params, None, Some(&folder), None).0 == never);
    }
}
