//! The world of one seed: who lives where, does what and likes whom, and which of these facts are
//! held out. Knows facts as subject, relation and value; does not know how they are said.

use std::collections::BTreeSet;

use super::sums::{self, Problem};
use super::words::{ANIMALS, COLOURS, FOODS, JOBS, PEOPLE, TOWNS};
use crate::train::kernels::rng::{Stream, Walk};

/// What a fact says of its subject. The first seven are of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    Town,
    Job,
    Pet,
    Colour,
    Food,
    Friend,
    Number,
    Sound,
    Legs,
    Bed,
    Product,
    Tool,
    Neighbour,
    Fame,
}

/// The relations of people, in order.
pub const OF_PEOPLE: [Relation; 7] = [
    Relation::Town,
    Relation::Job,
    Relation::Pet,
    Relation::Colour,
    Relation::Food,
    Relation::Friend,
    Relation::Number,
];

/// One thing that is true: the pet of Jon is a goat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub relation: Relation,
    pub subject: String,
    pub value: String,
}

/// Everyone, everything, and what is kept for the exam.
pub struct World {
    seed: u64,
    /// `people[p][r]` is the value of relation `OF_PEOPLE[r]` for `PEOPLE[p]`.
    people: Vec<Vec<String>>,
    /// Places in `people` of the facts that training never asks.
    held_out: BTreeSet<(usize, usize)>,
    /// Word problems that training never poses.
    pub exam_problems: BTreeSet<Problem>,
    /// Everybody whom training names in unsafe requests.
    pub named: Vec<usize>,
    /// Everybody whom only the exam names in unsafe requests.
    pub spared: Vec<usize>,
}

/// Facts held out of each relation of people.
const HELD_OUT_A_RELATION: usize = 6;
/// Facts held out of one person, at most.
const HELD_OUT_A_PERSON: usize = 2;
/// People whom no unsafe request of training names.
const SPARED: usize = 8;
const EXAM_PROBLEMS: usize = 200;

impl World {
    pub fn new(seed: u64) -> World {
        let mut walk = Stream::new(seed, "smallworld/people").walk();
        let people = draw_people(&mut walk);
        let held_out = draw_held_out(&mut walk);
        let mut order: Vec<usize> = (0..PEOPLE.len()).collect();
        walk.shuffle(&mut order);
        let named = order.split_off(SPARED);
        let mut walk = Stream::new(seed, "smallworld/exam").walk();
        let mut exam_problems = BTreeSet::new();
        while exam_problems.len() < EXAM_PROBLEMS {
            exam_problems.insert(sums::draw(&mut walk));
        }
        World { seed, people, held_out, exam_problems, named, spared: order }
    }

    /// The stream of draws for one port.
    pub fn walk(&self, port: &str) -> Walk {
        Stream::new(self.seed, &format!("smallworld/{port}")).walk()
    }

    /// The value of a relation for a person.
    pub fn value(&self, person: usize, relation: Relation) -> &str {
        &self.people[person][relation as usize]
    }

    /// The fact of a relation of a person.
    pub fn fact(&self, person: usize, relation: Relation) -> Fact {
        let value = self.value(person, relation).to_string();
        Fact { relation, subject: PEOPLE[person].to_string(), value }
    }

    /// The place of the friend of a person.
    pub fn friend(&self, person: usize) -> usize {
        place(self.value(person, Relation::Friend))
    }

    /// Whether training may ask for a fact. Only facts of people are ever held out.
    pub fn may_ask(&self, person: usize, relation: Relation) -> bool {
        !self.held_out.contains(&(person, relation as usize))
    }

    /// The facts that only the exam asks.
    pub fn held_out_facts(&self) -> Vec<Fact> {
        self.held_out.iter().map(|&(person, r)| self.fact(person, OF_PEOPLE[r])).collect()
    }

    /// The facts of people that training may ask.
    pub fn askable_facts(&self) -> Vec<Fact> {
        let everyone = (0..PEOPLE.len()).flat_map(|p| OF_PEOPLE.map(|r| (p, r)));
        everyone.filter(|&(p, r)| self.may_ask(p, r)).map(|(p, r)| self.fact(p, r)).collect()
    }

    /// A fact of a person that training may ask.
    pub fn draw_askable(&self, walk: &mut Walk) -> Fact {
        loop {
            let (person, relation) = (walk.below(PEOPLE.len()), *walk.pick(&OF_PEOPLE));
            if self.may_ask(person, relation) {
                return self.fact(person, relation);
            }
        }
    }

    /// A word problem that training may pose.
    pub fn draw_problem(&self, walk: &mut Walk) -> Problem {
        loop {
            let problem = sums::draw(walk);
            if !self.exam_problems.contains(&problem) {
                return problem;
            }
        }
    }
}

/// The place of a person in [`PEOPLE`].
pub fn place(name: &str) -> usize {
    PEOPLE.iter().position(|&p| p == name).expect("a person of this world")
}

/// What is true of animals, jobs and towns. Too few of a kind to be held out.
pub fn general_facts() -> Vec<Fact> {
    let fact = |relation, subject: &str, value: &str| Fact {
        relation,
        subject: subject.to_string(),
        value: value.to_string(),
    };
    let animals = ANIMALS.iter().flat_map(|&(animal, sound, legs, bed)| {
        [
            fact(Relation::Sound, animal, sound),
            fact(Relation::Legs, animal, legs),
            fact(Relation::Bed, animal, bed),
        ]
    });
    let jobs = JOBS.iter().flat_map(|&(job, product, tool)| {
        [fact(Relation::Product, job, product), fact(Relation::Tool, job, tool)]
    });
    let towns = TOWNS.iter().flat_map(|&(town, neighbour, fame)| {
        [fact(Relation::Neighbour, town, neighbour), fact(Relation::Fame, town, fame)]
    });
    animals.chain(jobs).chain(towns).collect()
}

/// Every value that a relation of people can have; a wrong answer is one of these.
pub fn range(relation: Relation) -> Vec<String> {
    let owned = |words: &[&str]| words.iter().map(|w| w.to_string()).collect();
    match relation {
        Relation::Town => TOWNS.iter().map(|t| t.0.to_string()).collect(),
        Relation::Job => JOBS.iter().map(|j| j.0.to_string()).collect(),
        Relation::Pet => ANIMALS.iter().map(|a| a.0.to_string()).collect(),
        Relation::Colour => owned(&COLOURS),
        Relation::Food => owned(&FOODS),
        Relation::Friend => owned(&PEOPLE),
        Relation::Number => (10..100).map(|n: u32| n.to_string()).collect(),
        other => general_facts()
            .into_iter()
            .filter(|fact| fact.relation == other)
            .map(|fact| fact.value)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
    }
}

/// Seven facts for each person. Friends form one ring; numbers are all different.
fn draw_people(walk: &mut Walk) -> Vec<Vec<String>> {
    let mut ring: Vec<usize> = (0..PEOPLE.len()).collect();
    walk.shuffle(&mut ring);
    let mut numbers = range(Relation::Number);
    walk.shuffle(&mut numbers);
    let place_in_ring = |p: usize| ring.iter().position(|&q| q == p).expect("all are in the ring");
    let mut person = |p: usize| -> Vec<String> {
        let mut values: Vec<String> =
            OF_PEOPLE[..5].iter().map(|&r| walk.pick(&range(r)).clone()).collect();
        values.push(PEOPLE[ring[(place_in_ring(p) + 1) % ring.len()]].to_string());
        values.push(numbers[p].clone());
        values
    };
    (0..PEOPLE.len()).map(&mut person).collect()
}

/// Equally many of each relation, spread over people.
fn draw_held_out(walk: &mut Walk) -> BTreeSet<(usize, usize)> {
    let mut taken = vec![0; PEOPLE.len()];
    let mut held_out = BTreeSet::new();
    for relation in 0..OF_PEOPLE.len() {
        while held_out.iter().filter(|&&(_, r)| r == relation).count() < HELD_OUT_A_RELATION {
            let person = walk.below(PEOPLE.len());
            if taken[person] < HELD_OUT_A_PERSON && held_out.insert((person, relation)) {
                taken[person] += 1;
            }
        }
    }
    held_out
}
