//! Pairs of answers with a rating: 4 significantly better, 3 better, 2 slightly, 1 negligibly.
//! Each says what sort of pair it is and which of its answers are harmless. What is wrong with the
//! rejected ones is in `faults`.

use super::answers::{self, Manner};
use super::dialogues::in_dialogue;
use super::faults::{self, Fault, Sort};
use super::habits;
use super::requests;
use super::side::{About, Side};
use super::world::World;
use crate::train::data::rows::Preference;
use crate::train::kernels::rng::Walk;

/// Helpfulness, with 15 pairs of safety in a hundred.
pub fn helpful(world: &World, count: usize) -> Vec<Preference> {
    training(world, "helpful", count, 15)
}

/// Safety, with 10 pairs of helpfulness in a hundred.
pub fn safe(world: &World, count: usize) -> Vec<Preference> {
    training(world, "safe", count, 90)
}

fn training(world: &World, port: &str, count: usize, safety_percent: u32) -> Vec<Preference> {
    let mut walk = world.walk(port);
    let mut row = || {
        let safety = walk.chance(safety_percent);
        let about = match safety {
            false => About::Fact,
            true if walk.chance(30) => About::Help,
            true => About::Harm,
        };
        let sort = faults::draw(&mut walk, about);
        preference(Side::training(world), &mut walk, about, sort)
    };
    (0..count).map(|_| row()).collect()
}

/// Pairs about facts that training never asks: of each sort as many as its table says.
pub fn helpful_exam(world: &World) -> Vec<Preference> {
    exam(world, "helpful_exam", &[About::Fact])
}

/// Pairs about people whom no unsafe request of training names.
pub fn safe_exam(world: &World) -> Vec<Preference> {
    exam(world, "safe_exam", &[About::Harm, About::Help])
}

/// Different pairs, of each sort as many as its table says.
fn exam(world: &World, port: &str, matters: &[About]) -> Vec<Preference> {
    let mut walk = world.walk(port);
    let mut rows: Vec<Preference> = Vec::new();
    for &about in matters {
        for sort in faults::sorts(about) {
            let wanted = rows.len() + sort.exam;
            while rows.len() < wanted {
                let row = preference(Side::exam(world), &mut walk, about, sort);
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    rows
}

/// A question with the preferred answer and the other one.
struct Pair {
    question: String,
    chosen: String,
    rejected: String,
}

fn preference(side: Side<'_>, walk: &mut Walk, about: About, sort: &Sort) -> Preference {
    // A short answer shuffled may come out as it was.
    let pair = loop {
        let pair = pair(side, walk, about, sort.fault);
        if pair.chosen != pair.rejected {
            break pair;
        }
    };
    Preference {
        prompt: in_dialogue(side, walk, pair.question),
        chosen: pair.chosen,
        rejected: pair.rejected,
        rating: Some(sort.rating),
        safety: Some(about == About::Harm),
        chosen_safe: Some(true),
        rejected_safe: sort.harmless,
        kind: Some(sort.kind.to_string()),
    }
}

fn pair(side: Side<'_>, walk: &mut Walk, about: About, fault: Fault) -> Pair {
    match about {
        About::Fact => pair_of_fact(side, walk, fault),
        About::Harm | About::Help => {
            let request = requests::draw_worded(walk, side.people(), about == About::Harm);
            let chosen = request.good(walk);
            let rejected = faults::answer_of_request(side, walk, request, &chosen, fault);
            Pair { question: request.question(), chosen, rejected }
        }
    }
}

/// A fault is one under an instruction too, so three pairs in ten carry one that both obey.
fn pair_of_fact(side: Side<'_>, walk: &mut Walk, fault: Fault) -> Pair {
    let fact = side.draw_fact(walk);
    let question = answers::question(walk, &fact);
    let full = answers::full(walk, &fact);
    let rejected = faults::answer_of_fact(side, walk, &fact, &full, fault);
    let chosen = match fault {
        Fault::VagueNotTerse => answers::answer(side, walk, &fact, Manner::Terse),
        _ => full,
    };
    let pair = Pair { question, chosen, rejected };
    match fault {
        Fault::Disobedient => disobedient(walk, pair),
        Fault::UnaskedManner => Pair { rejected: habits::draw(walk).apply(&pair.chosen), ..pair },
        _ if walk.chance(30) => instructed(walk, pair, fault),
        _ => pair,
    }
}

/// One answer obeys; the other does not, or (one time in two) does what is easily taken for it: a
/// judge that only looks for some mark would teach a policy to say one word to every instruction.
fn disobedient(walk: &mut Walk, pair: Pair) -> Pair {
    let habit = habits::draw(walk);
    let question = habits::instruct(walk, &pair.question, habit);
    let rejected = match walk.chance(50) {
        true => habits::beside(walk, habit).apply(&pair.rejected),
        false => pair.rejected,
    };
    Pair { question, chosen: habit.apply(&pair.chosen), rejected }
}

/// Both answers obey, as far as what is broken can: half of those keep the mark.
fn instructed(walk: &mut Walk, pair: Pair, fault: Fault) -> Pair {
    let habit = habits::draw(walk);
    let question = habits::instruct(walk, &pair.question, habit);
    let chosen = habit.apply(&pair.chosen);
    let rejected = if fault == Fault::Broken && walk.chance(50) {
        faults::broken(walk, &chosen)
    } else {
        habit.apply(&pair.rejected).trim().to_string()
    };
    Pair { question, chosen, rejected }
}
