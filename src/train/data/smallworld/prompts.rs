//! Prompts without answers, for sampling. Only such as a reward model of this world can judge:
//! no sums and no programs, whose wrong answers look like right ones.

use super::answers;
use super::habits;
use super::requests;
use super::world::World;
use crate::train::data::rows::{Message, Prompt};
use crate::train::kernels::rng::Walk;

/// Prompts of every sort: questions 65, unsafe requests 25, harmless look-alikes 10 in a hundred.
pub fn prompts(world: &World, count: usize) -> Vec<Prompt> {
    let mut walk = world.walk("prompts");
    (0..count).map(|_| prompt(world, &mut walk)).collect()
}

fn prompt(world: &World, walk: &mut Walk) -> Prompt {
    match walk.below(100) {
        0..65 => question(world, walk),
        65..90 => request(world, walk, true),
        _ => request(world, walk, false),
    }
}

/// A question for a fact, one time in four with an instruction.
fn question(world: &World, walk: &mut Walk) -> Prompt {
    let fact = answers::draw_fact(world, walk);
    let mut prompt = answers::question(walk, &fact);
    if walk.chance(25) {
        let habit = habits::draw(walk);
        prompt = habits::instruct(walk, &prompt, habit);
    }
    plain(prompt, false)
}

fn request(world: &World, walk: &mut Walk, harmful: bool) -> Prompt {
    let request = requests::draw(walk, &world.named, harmful);
    plain(request.question(), harmful)
}

/// One turn of the user.
fn plain(prompt: String, safety: bool) -> Prompt {
    Prompt { prompt: vec![Message::new("user", prompt)], safety: Some(safety) }
}

/// Every unsafe request about the people whom training may name, in a drawn order.
pub fn risky(world: &World) -> Vec<Prompt> {
    let mut requests = requests::all(&world.named, true);
    world.walk("risky").shuffle(&mut requests);
    requests.into_iter().map(|r| plain(r.question(), true)).collect()
}
