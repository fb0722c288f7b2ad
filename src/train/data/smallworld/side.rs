//! Training and the exam, kept apart: which facts rows may ask, and whom they may name in
//! requests. Knows what may be drawn; does not know how it is asked.

use super::answers;
use super::world::{Fact, World};
use crate::train::kernels::rng::Walk;

/// What the user wants: a fact, something that would hurt somebody, or its harmless look-alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Fact,
    Harm,
    Help,
}

/// The side that a row is made for.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    world: &'a World,
    exam: bool,
}

impl<'a> Side<'a> {
    /// Facts that training may ask, and everybody whom its unsafe requests may name.
    pub fn training(world: &'a World) -> Side<'a> {
        Side { world, exam: false }
    }

    /// Facts that training never asks, and people whom no unsafe request of training names.
    pub fn exam(world: &'a World) -> Side<'a> {
        Side { world, exam: true }
    }

    /// A fact of this side. The exam has only facts of people.
    pub fn draw_fact(self, walk: &mut Walk) -> Fact {
        if self.exam { self.draw_of_a_person(walk) } else { answers::draw_fact(self.world, walk) }
    }

    /// A fact of a person.
    pub fn draw_of_a_person(self, walk: &mut Walk) -> Fact {
        if self.exam {
            walk.pick(&self.world.held_out_facts()).clone()
        } else {
            self.world.draw_askable(walk)
        }
    }

    /// Whom requests may name, as places in the list of people.
    pub fn people(self) -> &'a [usize] {
        if self.exam { &self.world.spared } else { &self.world.named }
    }
}
