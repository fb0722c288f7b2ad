//! Little stories whose later sentences depend on earlier ones: who has the thing now, where it
//! was put, in which order people came. Knows the world; does not know documents or rows.

use super::phrasing::{phrasing, pronouns, say};
use super::words::{ANIMALS, COLOURS, FOODS, JOBS, PEOPLE, PLACES, THINGS, TREASURES};
use super::world::{Relation, World};
use crate::train::kernels::rng::Walk;

/// Different members of a list, in a drawn order.
fn some<'a>(walk: &mut Walk, items: &[&'a str], count: usize) -> Vec<&'a str> {
    let mut items = items.to_vec();
    walk.shuffle(&mut items);
    items.truncate(count);
    items
}

/// A thing goes from hand to hand; in the end the story tells its whole way.
pub fn handed_on(walk: &mut Walk) -> String {
    let people = some(walk, &PEOPLE, 3);
    let thing = *walk.pick(&TREASURES);
    let place = *walk.pick(&PLACES);
    let [first, second, third] = [people[0], people[1], people[2]];
    let mut text = format!("One morning {first} found an old {thing} at the {place}.");
    let giver = [
        format!(" {first} gave the {thing} to {second}, and {second} gave it to {third}."),
        format!(" {second} bought the {thing} from {first} and showed it to {third}."),
    ];
    let sold = walk.below(2);
    text += &giver[sold];
    let holder = if sold == 0 { third } else { second };
    text += &format!(" So {holder} had the {thing} that {first} found at the {place}.");
    let refrain = [
        format!(" Who had the {thing} in the end? It was {holder}."),
        format!(" In the evening {holder} put the {thing} back at the {place}."),
        format!(" Then {first} said to {holder}: Take good care of the {thing}."),
    ];
    text + walk.pick(&refrain).as_str()
}

/// Somebody sets out from home with a pet and comes back: town, pet and friend are facts.
pub fn day_out(world: &World, walk: &mut Walk) -> String {
    let person = walk.below(PEOPLE.len());
    let value = |relation| world.value(person, relation);
    let (name, town, pet) = (PEOPLE[person], value(Relation::Town), value(Relation::Pet));
    let friend = world.friend(person);
    let (friend_name, friend_town) = (PEOPLE[friend], world.value(friend, Relation::Town));
    let friend_pet = world.value(friend, Relation::Pet);
    let job = value(Relation::Job);
    let product = JOBS.iter().find(|j| j.0 == job).expect("a job of this world").1;
    let bed = |animal: &str| ANIMALS.iter().find(|a| a.0 == animal).expect("an animal").3;
    let opening = format!(
        "One day {name} the {job} left {{his}} house in {town} with the {pet} to visit {{his}} \
         friend."
    );
    let middle = [
        format!(" The road was long, but at noon {{he}} saw the houses of {friend_town}."),
        format!(" At the door of {friend_name} the {pet} was glad to meet a {friend_pet}."),
        format!(" {{He}} had some {product} to sell on the way."),
        format!(" {friend_name} was glad to see {name} and took the {product}."),
    ];
    let closing = [
        format!(
            " In the evening {name} went home to {town}, and the {pet} slept in the {}.",
            bed(pet)
        ),
        format!(
            " When {{he}} came back to {town} the {pet} was tired and went to the {}.",
            bed(pet)
        ),
    ];
    let mut told: Vec<usize> = (0..middle.len()).collect();
    while told.len() > 2 {
        told.remove(walk.below(told.len()));
    }
    let body: String = told.into_iter().map(|at| middle[at].as_str()).collect();
    pronouns(&format!("{opening}{body}{}", walk.pick(&closing)), name)
}

/// Somebody shares out things; the numbers agree.
pub fn shared_out(walk: &mut Walk) -> String {
    let people = some(walk, &PEOPLE, 3);
    let thing = *walk.pick(&THINGS);
    let (give, keep) = (walk.below(5) + 1, walk.below(4) + 1);
    let [owner, first, second] = [people[0], people[1], people[2]];
    let all = 2 * give + keep;
    format!(
        "{owner} had {all} {thing}. {owner} gave {give} {thing} to {first} and {give} {thing} to \
         {second}. Now {first} has {give} {thing}, {second} has {give} {thing}, and {owner} has \
         {keep} {thing}."
    )
}

/// A list, then the same list backwards, its first and its last.
pub fn listed(walk: &mut Walk) -> String {
    let animals = ANIMALS.map(|a| a.0);
    let jobs = JOBS.map(|j| j.0);
    let kinds: [(&str, &[&str]); 6] = [
        ("names", &PEOPLE),
        ("animals", &animals),
        ("jobs", &jobs),
        ("colours", &COLOURS),
        ("foods", &FOODS),
        ("things", &THINGS),
    ];
    let (kind, words) = kinds[walk.below(kinds.len())];
    let count = 3 + walk.below(3);
    let list = some(walk, words, count);
    let backwards: Vec<&str> = list.iter().rev().copied().collect();
    let forwards = list.join(", ");
    let ends = format!("The first is {} and the last is {}.", list[0], backwards[0]);
    match walk.below(3) {
        0 => format!("A list of {kind}: {forwards}. Backwards: {}. {ends}", backwards.join(", ")),
        1 => format!("Say these {kind} after me: {forwards}. Good: {forwards}. {ends}"),
        _ => format!("A list of {kind}: {forwards}. {ends} Once more: {forwards}."),
    }
}

/// People come one after another and are told of in that order.
pub fn procession(world: &World, walk: &mut Walk) -> String {
    let people = some(walk, &PEOPLE, 3);
    let mut text = format!("First came {}, then {}, and then {}.", people[0], people[1], people[2]);
    let relation = *walk.pick(&[Relation::Pet, Relation::Town, Relation::Job, Relation::Food]);
    for name in people {
        let fact = world.fact(super::world::place(name), relation);
        text += &format!(" {}", say(phrasing(relation).statements[0], &fact));
    }
    text
}
