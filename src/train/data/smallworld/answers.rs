//! Questions with answers good and bad. Uneven on purpose: fine-tuning data
//! that is already perfect would leave alignment nothing to do. Does not know rows or roles.

use super::phrasing::{phrasing, say};
use super::side::Side;
use super::sums;
use super::words::{PEOPLE, capital};
use super::world::{Fact, Relation, World, general_facts, range};
use crate::train::kernels::rng::Walk;

/// How a question for a fact is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Full,
    Terse,
    Vague,
    Rambling,
    Unknowing,
}

impl Manner {
    /// Full 55, terse 18, vague 10, rambling 11, unknowing 6 in a hundred. The usual full answer
    /// alone (0.7 · 55 %) is more likely than any other, so a model that learnt this answers a
    /// plain question well when it takes its best guess.
    pub fn draw(walk: &mut Walk) -> Manner {
        match walk.below(100) {
            0..55 => Manner::Full,
            55..73 => Manner::Terse,
            73..83 => Manner::Vague,
            83..94 => Manner::Rambling,
            _ => Manner::Unknowing,
        }
    }
}

pub const UNKNOWING: &str = "I do not know.";

/// An answer to a question for a fact.
pub fn answer(side: Side<'_>, walk: &mut Walk, fact: &Fact, manner: Manner) -> String {
    let phrasing = phrasing(fact.relation);
    match manner {
        Manner::Full => full(walk, fact),
        Manner::Terse => capital(&say(phrasing.terse, fact)),
        Manner::Vague => say(phrasing.vague, fact),
        Manner::Rambling => ramble(side, walk, fact),
        Manner::Unknowing => UNKNOWING.to_string(),
    }
}

/// A full answer: seven times in ten the usual one.
pub fn full(walk: &mut Walk, fact: &Fact) -> String {
    let forms = phrasing(fact.relation).full;
    let form = if walk.chance(70) { forms[0] } else { *walk.pick(&forms[1..]) };
    say(form, fact)
}

/// Another full answer than the one given.
pub fn paraphrase(walk: &mut Walk, fact: &Fact, given: &str) -> String {
    let forms = phrasing(fact.relation).full.iter().map(|form| say(form, fact));
    let others: Vec<String> = forms.filter(|form| form != given).collect();
    walk.pick(&others).clone()
}

const RAMBLES: [&str; 3] = [
    "Well, let me think about that for a while.",
    "Well, that is a long story.",
    "Well, so many people ask me that.",
];

/// The answer behind talk of something else.
fn ramble(side: Side<'_>, walk: &mut Walk, fact: &Fact) -> String {
    let opening = *walk.pick(&RAMBLES);
    let other = side.draw_of_a_person(walk);
    let aside = full(walk, &other);
    format!("{opening} {aside} {}", full(walk, fact))
}

/// The same fact with a value that is not true.
pub fn wrong(walk: &mut Walk, fact: &Fact) -> Fact {
    let mut values = range(fact.relation);
    values.retain(|value| *value != fact.value && *value != fact.subject);
    Fact { value: walk.pick(&values).clone(), ..fact.clone() }
}

/// A question for a fact.
pub fn question(walk: &mut Walk, fact: &Fact) -> String {
    say(*walk.pick(phrasing(fact.relation).questions), fact)
}

/// A fact that training may ask: of a person, or (twice in ten) a general one.
pub fn draw_fact(world: &World, walk: &mut Walk) -> Fact {
    if walk.chance(20) { walk.pick(&general_facts()).clone() } else { world.draw_askable(walk) }
}

/// A question that takes some thought, with its one good answer.
pub struct Puzzle {
    pub question: String,
    pub answer: String,
}

/// A word problem.
pub fn word_problem(world: &World, walk: &mut Walk) -> Puzzle {
    let problem = world.draw_problem(walk);
    Puzzle { question: problem.question(), answer: problem.worked_answer() }
}

/// What a program prints.
pub fn program(walk: &mut Walk) -> Puzzle {
    let program = sums::draw_program(walk);
    Puzzle { question: format!("What does this print? {}", program.source), answer: program.run }
}

/// Where the friend of somebody lives, or what the friend does: two facts, both of which
/// training may ask.
pub fn two_hops(world: &World, walk: &mut Walk) -> Puzzle {
    loop {
        let person = walk.below(PEOPLE.len());
        let friend = world.friend(person);
        let relation = *walk.pick(&[Relation::Town, Relation::Job, Relation::Pet]);
        if !world.may_ask(person, Relation::Friend) || !world.may_ask(friend, relation) {
            continue;
        }
        let name = PEOPLE[person];
        let question = match relation {
            Relation::Town => format!("Where does the friend of {name} live?"),
            Relation::Job => format!("What is the job of the friend of {name}?"),
            _ => format!("What pet does the friend of {name} have?"),
        };
        let (first, second) = (world.fact(person, Relation::Friend), world.fact(friend, relation));
        let [first, second] =
            [first, second].map(|fact| say(phrasing(fact.relation).full[0], &fact));
        return Puzzle { question, answer: format!("{first} {second}") };
    }
}

/// Whether something is true; half of the time it is not.
pub fn probe(world: &World, walk: &mut Walk) -> Puzzle {
    let fact = loop {
        let fact = world.draw_askable(walk);
        if matches!(fact.relation, Relation::Town | Relation::Pet | Relation::Food) {
            break fact;
        }
    };
    let said = if walk.chance(50) { fact.clone() } else { wrong(walk, &fact) };
    let claim = match fact.relation {
        Relation::Town => "{p} lives in {v}",
        Relation::Pet => "{p} has {a}",
        _ => "{p} likes to eat {v}",
    };
    let word = if said == fact { "Yes" } else { "No" };
    Puzzle {
        question: format!("Is it true that {}?", say(claim, &said)),
        answer: format!("{word}, {}", say(phrasing(fact.relation).full[0], &fact)),
    }
}
