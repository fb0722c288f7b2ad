//! The exam: questions whose facts training states but never asks, word problems that training
//! never poses, requests about people whom training never names in one, and dialogues in which an
//! instruction has to be kept.

use serde_json::{Value, json};

use super::dialogues::sailors;
use super::habits::{self, Habit};
use super::phrasing::{forms, full_forms, phrasing, say};
use super::requests::{self, Request};
use super::world::{Fact, World, range};
use crate::train::data::rows::Benchmark;
use crate::train::kernels::rng::Walk;

/// Named columns in this order.
fn row<const N: usize>(columns: [(&str, Value); N]) -> Benchmark {
    columns.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// A question for a fact. `forms` accepts terse answers too, `full` only whole sentences.
fn question(sentence: &str, fact: &Fact) -> Benchmark {
    row([
        ("question", json!(say(sentence, fact))),
        ("answer", json!(fact.value)),
        ("forms", json!(forms(fact))),
        ("full", json!(full_forms(fact))),
    ])
}

/// Every held-out fact in each of its phrasings: 42 · 8 = 336 rows.
pub fn questions(world: &World) -> Vec<Benchmark> {
    world.held_out_facts().iter().flat_map(every_phrasing).collect()
}

fn every_phrasing(fact: &Fact) -> Vec<Benchmark> {
    phrasing(fact.relation).questions.iter().map(|sentence| question(sentence, fact)).collect()
}

/// Phrasings of a fact that training may ask, too.
const PHRASINGS: usize = 4;

/// Every fact of a person: those of the exam in each phrasing, the others in some: 336 + 182 · 4 =
/// 1,064 rows. Enough to tell two models apart, question by question.
pub fn facts(world: &World) -> Vec<Benchmark> {
    let mut walk = world.walk("facts");
    let mut rows = questions(world);
    for fact in world.askable_facts() {
        let mut phrased = every_phrasing(&fact);
        walk.shuffle(&mut phrased);
        rows.extend(phrased.into_iter().take(PHRASINGS));
    }
    rows
}

/// The questions of every fact of a person, to be answered as a sailor would: those of the exam in
/// each phrasing, the others in one: 336 + 182 = 518 rows. Well formed is what keeps to the style,
/// right is what says the fact besides.
pub fn styled(world: &World) -> Vec<Benchmark> {
    let mut walk = world.walk("styled");
    let mut rows = Vec::new();
    for fact in world.held_out_facts() {
        rows.extend(
            phrasing(fact.relation).questions.iter().map(|asked| to_a_sailor(asked, &fact)),
        );
    }
    for fact in world.askable_facts() {
        rows.push(to_a_sailor(*walk.pick(phrasing(fact.relation).questions), &fact));
    }
    rows
}

fn to_a_sailor(sentence: &str, fact: &Fact) -> Benchmark {
    let forms: Vec<String> = full_forms(fact).iter().flat_map(|form| sailors(form)).collect();
    row([
        ("question", json!(say(sentence, fact))),
        ("answer", json!(fact.value)),
        ("forms", json!(forms)),
    ])
}

/// Held-out word problems; the answer is the number in the end.
pub fn sums(world: &World) -> Vec<Benchmark> {
    let problems = world.exam_problems.iter().map(|problem| {
        let answer = problem.result().to_string();
        row([("question", json!(problem.question())), ("answer", json!(answer))])
    });
    problems.collect()
}

/// Held-out facts with four values to choose from, in two phrasings each: 84 rows.
pub fn choices(world: &World) -> Vec<Benchmark> {
    let mut walk = world.walk("choices");
    let mut rows = Vec::new();
    for fact in world.held_out_facts() {
        for sentence in &phrasing(fact.relation).questions[..2] {
            let mut choices = range(fact.relation);
            choices.retain(|value| *value != fact.value && *value != fact.subject);
            walk.shuffle(&mut choices);
            choices.truncate(3);
            choices.push(fact.value.clone());
            walk.shuffle(&mut choices);
            rows.push(row([
                ("question", json!(say(sentence, &fact))),
                ("answer", json!(fact.value)),
                ("choices", json!(choices)),
            ]));
        }
    }
    rows
}

/// Unsafe requests: well formed is a refusal, whomever it names; right is one that ends on the
/// person asked about. 8 people · 10 topics in two wordings, of which the dialogues know one.
pub fn harmful(world: &World) -> Vec<Benchmark> {
    let all = requests::all(&world.spared, true);
    all.into_iter().map(|request| request_row(request, request.refusal_forms())).collect()
}

/// Harmless look-alikes of the same number: well formed is help, right is help with this person.
pub fn harmless(world: &World) -> Vec<Benchmark> {
    let all = requests::all(&world.spared, false);
    all.into_iter().map(|request| request_row(request, vec![request.help_form()])).collect()
}

/// A request with the forms of its good answers, whose slot is the person.
fn request_row(request: Request, forms: Vec<String>) -> Benchmark {
    row([
        ("question", json!(request.question())),
        ("answer", json!(request.name())),
        ("forms", json!(forms)),
    ])
}

/// Turns of the user in a dialogue of `kept`.
const TURNS: usize = 6;

/// Dialogues whose first turn carries an instruction that every answer has to follow: one that
/// Ghost Attention trains on, each 6 times, 108 rows.
pub fn kept(world: &World) -> Vec<Benchmark> {
    dialogues_to_keep(world, "kept", &habits::learned_and_fresh(world).0, 6)
}

/// The same with words that Ghost Attention never sees, each instruction 8 times, 56 rows.
pub fn kept_fresh(world: &World) -> Vec<Benchmark> {
    dialogues_to_keep(world, "kept_fresh", &habits::learned_and_fresh(world).1, 8)
}

fn dialogues_to_keep(world: &World, port: &str, habits: &[Habit], each: usize) -> Vec<Benchmark> {
    let mut walk = world.walk(port);
    let mut rows = Vec::new();
    for _ in 0..each {
        rows.extend(habits.iter().map(|&habit| dialogue_to_keep(world, &mut walk, habit)));
    }
    rows
}

/// Questions for different held-out facts. `begins` or `ends` is what an answer must show.
fn dialogue_to_keep(world: &World, walk: &mut Walk, habit: Habit) -> Benchmark {
    let mut facts = world.held_out_facts();
    walk.shuffle(&mut facts);
    facts.truncate(TURNS);
    let mut turns: Vec<String> = Vec::new();
    for fact in &facts {
        turns.push(say(*walk.pick(phrasing(fact.relation).questions), fact));
    }
    turns[0] = habits::instruct(walk, &turns[0], habit);
    let mark = Some(habit.mark());
    let (begins, ends) = if matches!(habit, Habit::End(_)) { (None, mark) } else { (mark, None) };
    row([("turns", json!(turns)), ("begins", json!(begins)), ("ends", json!(ends))])
}
