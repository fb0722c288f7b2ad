//! Pairs of answers with a rating: 4 significantly better, 3 better, 2 slightly, 1 negligibly.
//!
//! Rejected are also empty, cut and shuffled replies: a reward model that never saw an empty reply
//! may like it, and PPO then finds that out. Left out is the right kind of fact about another
//! person: a model of this size can not tell it, and would learn to guess.

use super::answers::{self, Manner};
use super::dialogues::exchange;
use super::habits;
use super::requests::{self, Request};
use super::world::{Fact, World};
use crate::train::data::rows::{Message, Preference};
use crate::train::kernels::rng::Walk;

/// Helpfulness, with 15 pairs of safety in a hundred.
pub fn helpful(world: &World, count: usize) -> Vec<Preference> {
    pairs(world, "helpful", count, 15)
}

/// Safety, with 10 pairs of helpfulness in a hundred.
pub fn safe(world: &World, count: usize) -> Vec<Preference> {
    pairs(world, "safe", count, 90)
}

fn pairs(world: &World, port: &str, count: usize, safety_percent: u32) -> Vec<Preference> {
    let mut walk = world.walk(port);
    let mut row = || loop {
        let safety = walk.chance(safety_percent);
        let drawn = if safety { safe_pair } else { helpful_pair };
        let pair = drawn(world, &mut walk);
        // A short answer shuffled may come out as it was.
        if pair.chosen != pair.rejected {
            return Preference { prompt: in_dialogue(world, &mut walk, pair.prompt), ..pair };
        }
    };
    (0..count).map(|_| row()).collect()
}

/// One time in four, the prompt after an earlier question and a full answer.
fn in_dialogue(world: &World, walk: &mut Walk, prompt: Vec<Message>) -> Vec<Message> {
    if !walk.chance(25) {
        return prompt;
    }
    let fact = answers::draw_fact(world, walk);
    let question = answers::question(walk, &fact);
    let mut turns = exchange(question, answers::full(walk, &fact));
    turns.extend(prompt);
    turns
}

fn pair(
    question: String,
    (chosen, rejected): (String, String),
    rating: u8,
    safety: bool,
) -> Preference {
    let prompt = vec![Message::new("user", question)];
    Preference {
        prompt,
        chosen,
        rejected,
        rating: Some(rating),
        safety: Some(safety),
        ..Preference::default()
    }
}

/// How a rejected answer to a question for a fact fails.
#[derive(Clone, Copy)]
enum Fault {
    OffTopic,
    Broken,
    Unknowing,
    Vague,
    NeedlessRefusal,
    Wrong,
    Rambling,
    Disobedient,
    Terse,
    VagueNotTerse,
    Paraphrase,
}

/// Each fault with the rating of its pair and how many pairs in a hundred have it.
const FAULTS: [(Fault, u8, usize); 11] = [
    (Fault::OffTopic, 4, 8),
    (Fault::Broken, 4, 10),
    (Fault::Unknowing, 4, 9),
    (Fault::Vague, 4, 10),
    (Fault::NeedlessRefusal, 4, 8),
    (Fault::Wrong, 3, 5),
    (Fault::Rambling, 3, 12),
    (Fault::Disobedient, 3, 15),
    (Fault::Terse, 2, 12),
    (Fault::VagueNotTerse, 2, 5),
    (Fault::Paraphrase, 1, 6),
];

fn draw_fault(walk: &mut Walk) -> (Fault, u8) {
    let mut left = walk.below(100);
    for (fault, rating, weight) in FAULTS {
        if left < weight {
            return (fault, rating);
        }
        left -= weight;
    }
    unreachable!("the weights sum to a hundred")
}

fn helpful_pair(world: &World, walk: &mut Walk) -> Preference {
    let (fault, rating) = draw_fault(walk);
    let fact = answers::draw_fact(world, walk);
    let mut question = answers::question(walk, &fact);
    let mut chosen = answers::full(walk, &fact);
    let mut rejected = faulty(world, walk, &fact, &chosen, fault);
    match fault {
        Fault::VagueNotTerse => chosen = answers::answer(world, walk, &fact, Manner::Terse),
        Fault::Disobedient => {
            let habit = habits::draw(walk);
            question = habits::instruct(walk, &question, habit);
            chosen = habit.apply(&chosen);
        }
        // The other faults are faults under an instruction too, though both answers obey it.
        Fault::Vague | Fault::Unknowing | Fault::Rambling | Fault::Terse if walk.chance(25) => {
            let habit = habits::draw(walk);
            question = habits::instruct(walk, &question, habit);
            (chosen, rejected) = (habit.apply(&chosen), habit.apply(&rejected));
        }
        _ => {}
    }
    pair(question, (chosen, rejected), rating, false)
}

fn faulty(world: &World, walk: &mut Walk, fact: &Fact, full: &str, fault: Fault) -> String {
    let manner = match fault {
        Fault::OffTopic => return off_topic(world, walk, fact),
        Fault::Broken => return broken(walk, full),
        Fault::NeedlessRefusal => return needless_refusal(walk, world),
        Fault::Wrong => {
            let wrong = answers::wrong(walk, fact);
            return answers::full(walk, &wrong);
        }
        Fault::Disobedient => return full.to_string(),
        Fault::Paraphrase => return answers::paraphrase(walk, fact, full),
        Fault::Unknowing => Manner::Unknowing,
        Fault::Rambling => Manner::Rambling,
        Fault::Terse => Manner::Terse,
        Fault::Vague | Fault::VagueNotTerse => Manner::Vague,
    };
    answers::answer(world, walk, fact, manner)
}

/// A full answer to a question of another kind about another subject.
fn off_topic(world: &World, walk: &mut Walk, fact: &Fact) -> String {
    loop {
        let other = answers::draw_fact(world, walk);
        if other.relation != fact.relation && other.subject != fact.subject {
            return answers::full(walk, &other);
        }
    }
}

/// Nothing, the first half, or the words shuffled.
fn broken(walk: &mut Walk, answer: &str) -> String {
    let mut words: Vec<&str> = answer.split(' ').collect();
    match walk.below(3) {
        0 => return String::new(),
        1 => words.truncate(words.len() / 2),
        _ => walk.shuffle(&mut words),
    }
    words.join(" ")
}

fn needless_refusal(walk: &mut Walk, world: &World) -> String {
    requests::draw(walk, &world.named, true).refusal(walk)
}

/// A pair about an unsafe request, or (three times in ten) about its harmless look-alike.
/// `safety` says whether the request would do harm.
fn safe_pair(world: &World, walk: &mut Walk) -> Preference {
    let harmful = !walk.chance(30);
    let request = requests::draw(walk, &world.named, harmful);
    let chosen = request.good(walk);
    let (rejected, rating) = if harmful {
        reckless(world, walk, request, &chosen)
    } else {
        timid(walk, request, &chosen)
    };
    pair(request.question(), (chosen, rejected), rating, harmful)
}

/// A bad answer to an unsafe request.
fn reckless(world: &World, walk: &mut Walk, request: Request, good: &str) -> (String, u8) {
    match walk.below(100) {
        0..45 => (request.compliance(), 4),
        45..60 => (format!("{} {}", request.compliance(), request.refusal(walk)), 3),
        60..70 => ("No.".to_string(), 2),
        70..90 => (broken(walk, good), 4),
        _ => {
            let fact = answers::draw_fact(world, walk);
            (answers::full(walk, &fact), 4)
        }
    }
}

/// A bad answer to a harmless request.
fn timid(walk: &mut Walk, request: Request, good: &str) -> (String, u8) {
    match walk.below(100) {
        0..70 => (request.refusal(walk), 4),
        70..80 => (answers::UNKNOWING.to_string(), 3),
        _ => (broken(walk, good), 4),
    }
}
