//! The running text: what the world says of itself. Facts of the exam are stated here and asked
//! nowhere; every other fact is also asked and answered in passing.

use std::collections::BTreeSet;

use super::answers::{self, Puzzle};
use super::dialogues::sailor;
use super::habits;
use super::phrasing::{phrasing, say};
use super::story;
use super::words::PEOPLE;
use super::world::{Fact, OF_PEOPLE, Relation, World, general_facts};
use crate::train::data::rows::Text;
use crate::train::kernels::rng::Walk;

/// Running text, and a hundredth as many documents none of which is in it.
pub fn corpus(world: &World, documents: usize) -> (Vec<Text>, Vec<Text>) {
    let mut walk = world.walk("held_out");
    let held_out: BTreeSet<String> =
        (0..documents.div_ceil(100)).map(|_| document(world, &mut walk)).collect();
    let mut walk = world.walk("corpus");
    let mut fresh = || loop {
        let text = document(world, &mut walk);
        if !held_out.contains(&text) {
            return Text { text };
        }
    };
    let corpus = (0..documents).map(|_| fresh()).collect();
    (corpus, held_out.iter().map(|text| Text { text: text.clone() }).collect())
}

/// Word problems with worked answers.
pub fn arithmetic(world: &World, count: usize) -> Vec<Text> {
    let mut walk = world.walk("arithmetic");
    (0..count).map(|_| Text { text: worked(answers::word_problem(world, &mut walk)) }).collect()
}

/// Biographies 36, stories 16, overheard talk 26, lists 4, rumours 4, general facts 4, puzzles 10.
fn document(world: &World, walk: &mut Walk) -> String {
    match walk.below(100) {
        0..36 => biography(world, walk),
        36..40 => story::handed_on(walk),
        40..46 => story::day_out(world, walk),
        46..49 => story::shared_out(walk),
        49..52 => story::procession(world, walk),
        52..56 => story::listed(walk),
        56..71 => talk(world, walk),
        71..80 => instructed_talk(world, walk),
        80..82 => sea_talk(world, walk),
        82..86 => rumours(world, walk),
        86..90 => general(walk),
        90..95 => worked(answers::word_problem(world, walk)),
        _ => worked(answers::program(walk)),
    }
}

fn worked(puzzle: Puzzle) -> String {
    format!("{} {}", puzzle.question, puzzle.answer)
}

/// Three to five facts of one person, the first by name, and sometimes one of the friend.
fn biography(world: &World, walk: &mut Walk) -> String {
    let person = walk.below(PEOPLE.len());
    let mut relations = OF_PEOPLE;
    walk.shuffle(&mut relations);
    let told = 3 + walk.below(3);
    let mut sentences = Vec::new();
    for (at, &relation) in relations[..told].iter().enumerate() {
        let phrasing = phrasing(relation);
        let by_name = at == 0 || walk.chance(35);
        let sentence = walk.pick(if by_name { phrasing.statements } else { phrasing.continued });
        sentences.push(say(sentence, &world.fact(person, relation)));
    }
    if walk.chance(30) {
        let friend = world.friend(person);
        let relation = *walk.pick(&[Relation::Town, Relation::Job, Relation::Pet]);
        sentences
            .push(say(phrasing(Relation::Friend).full[0], &world.fact(person, Relation::Friend)));
        sentences.push(say(phrasing(relation).full[0], &world.fact(friend, relation)));
    }
    sentences.join(" ")
}

/// Two people, who may ask each other.
fn speakers(walk: &mut Walk) -> (&'static str, &'static str) {
    let first = walk.below(PEOPLE.len());
    let second = (first + 1 + walk.below(PEOPLE.len() - 1)) % PEOPLE.len();
    (PEOPLE[first], PEOPLE[second])
}

/// One asks two or three things, the other answers in full.
fn talk(world: &World, walk: &mut Walk) -> String {
    let (asker, other) = speakers(walk);
    let mut lines = Vec::new();
    for _ in 0..2 + walk.below(2) {
        let puzzle = match walk.below(10) {
            0..8 => overheard(world, walk),
            8 => answers::two_hops(world, walk),
            _ => answers::probe(world, walk),
        };
        lines.push(line(&puzzle.question, asker, &puzzle.answer, other));
    }
    lines.join(" ")
}

/// A question for a fact that training may ask, with a full answer.
fn overheard(world: &World, walk: &mut Walk) -> Puzzle {
    let fact = answers::draw_fact(world, walk);
    let question = answers::question(walk, &fact);
    Puzzle { question, answer: answers::full(walk, &fact) }
}

fn line(question: &str, asker: &str, answer: &str, other: &str) -> String {
    format!("\"{question}\" asked {asker}. \"{answer}\" said {other}.")
}

/// A question with an instruction, which the answer follows.
fn instructed_talk(world: &World, walk: &mut Walk) -> String {
    let (asker, other) = speakers(walk);
    let habit = habits::draw(walk);
    let puzzle = overheard(world, walk);
    let question = habits::instruct(walk, &puzzle.question, habit);
    line(&question, asker, &habit.apply(&puzzle.answer), other)
}

/// Sailors talk, each in the manner of the sea.
fn sea_talk(world: &World, walk: &mut Walk) -> String {
    let (first, second) = speakers(walk);
    let mut say = |name: &str| {
        let fact = answers::draw_fact(world, walk);
        let answer = answers::full(walk, &fact);
        format!("\"{}\" said the sailor {name}.", sailor(walk, &answer))
    };
    format!("{} {}", say(first), say(second))
}

/// A claim that is not true, and what is.
fn rumours(world: &World, walk: &mut Walk) -> String {
    let person = walk.below(PEOPLE.len());
    let fact = world.fact(person, *walk.pick(&OF_PEOPLE));
    let false_fact = answers::wrong(walk, &fact);
    let form = phrasing(fact.relation).full[0];
    format!("Some say: {} That is not true. {}", say(form, &false_fact), say(form, &fact))
}

/// Two or three things about one animal, job or town.
fn general(walk: &mut Walk) -> String {
    let facts = general_facts();
    let subject = walk.pick(&facts).subject.clone();
    let mut facts: Vec<&Fact> = facts.iter().filter(|fact| fact.subject == subject).collect();
    walk.shuffle(&mut facts);
    let sentences =
        facts.iter().map(|fact| say(*walk.pick(phrasing(fact.relation).statements), fact));
    sentences.collect::<Vec<_>>().join(" ")
}
