//! Prompts without answers, for sampling. Only such as a reward model of this world can judge:
//! no sums and no programs, whose wrong answers look like right ones.

use super::answers;
use super::dialogues::in_dialogue;
use super::habits;
use super::requests;
use super::side::{About, Side};
use super::world::World;
use crate::train::data::rows::{Message, Prompt};
use crate::train::kernels::rng::Walk;

/// Of a hundred prompts.
const SHARES: [(About, usize); 3] = [(About::Fact, 60), (About::Harm, 20), (About::Help, 20)];
/// Prompts of the exam for each of a hundred.
const EXAM: usize = 4;

/// Prompts of every sort: questions 60, unsafe requests 20, harmless look-alikes 20 in a hundred.
pub fn prompts(world: &World, count: usize) -> Vec<Prompt> {
    let mut walk = world.walk("prompts");
    let mut row = || {
        let about = match walk.below(100) {
            0..60 => About::Fact,
            60..80 => About::Harm,
            _ => About::Help,
        };
        prompt(Side::training(world), &mut walk, about)
    };
    (0..count).map(|_| row()).collect()
}

/// Prompts of the exam, 400 different ones in the same shares.
pub fn asked(world: &World) -> Vec<Prompt> {
    let mut walk = world.walk("asked");
    let mut rows: Vec<Prompt> = Vec::new();
    for (about, share) in SHARES {
        let wanted = rows.len() + share * EXAM;
        while rows.len() < wanted {
            let row = prompt(Side::exam(world), &mut walk, about);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    walk.shuffle(&mut rows);
    rows
}

/// Questions carry an instruction two times in five, so that one prompt in four does: a policy must
/// not lose that obedience before Ghost Attention builds on it.
fn prompt(side: Side<'_>, walk: &mut Walk, about: About) -> Prompt {
    let text = match about {
        About::Fact => {
            let fact = side.draw_fact(walk);
            let question = answers::question(walk, &fact);
            let habit = walk.chance(40).then(|| habits::draw(walk));
            habit.map_or(question.clone(), |habit| habits::instruct(walk, &question, habit))
        }
        About::Harm | About::Help => {
            requests::draw_worded(walk, side.people(), about == About::Harm).question()
        }
    };
    Prompt { prompt: in_dialogue(side, walk, text), safety: Some(about == About::Harm) }
}

/// Every unsafe request about the people whom training may name, in a drawn order.
pub fn risky(world: &World) -> Vec<Prompt> {
    let mut requests = requests::all(&world.named, true);
    world.walk("risky").shuffle(&mut requests);
    let row =
        |text: String| Prompt { prompt: vec![Message::new("user", text)], safety: Some(true) };
    requests.into_iter().map(|request| row(request.question())).collect()
}
