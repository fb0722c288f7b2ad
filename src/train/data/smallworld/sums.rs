//! Word problems with worked answers, and little programs. Knows numbers from 0 to 27; does not
//! know people's facts, so that a sum says nothing of them.

use super::words::{PEOPLE, THINGS};
use crate::train::kernels::rng::Walk;

/// Something a person gets (positive) or loses (negative).
pub type Change = i32;

/// A whole problem: who has how many of what, and what happens to them. Two problems with the
/// same sum but another person or thing are two problems.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    person: usize,
    thing: usize,
    start: i32,
    changes: Vec<Change>,
}

/// A problem of one change, or (three times in ten) of two. Nobody ever has less than nothing.
pub fn draw(walk: &mut Walk) -> Problem {
    let (person, thing) = (walk.below(PEOPLE.len()), walk.below(THINGS.len()));
    let start = digit(walk);
    let steps = if walk.chance(30) { 2 } else { 1 };
    let mut held = start;
    let mut changes = Vec::new();
    for _ in 0..steps {
        let amount = digit(walk);
        let change = if walk.chance(50) && amount <= held { -amount } else { amount };
        held += change;
        changes.push(change);
    }
    Problem { person, thing, start, changes }
}

fn digit(walk: &mut Walk) -> i32 {
    walk.below(9) as i32 + 1
}

impl Problem {
    pub fn question(&self) -> String {
        let (name, thing) = (PEOPLE[self.person], THINGS[self.thing]);
        let mut text = format!("{name} has {} {thing}.", self.start);
        for &change in &self.changes {
            let verb = if change < 0 { "loses" } else { "gets" };
            text += &format!(" {name} {verb} {} {thing}.", change.abs());
        }
        format!("{text} How many {thing} does {name} have now?")
    }

    /// Every sum on its own, then the sentence that ends in the number.
    pub fn worked_answer(&self) -> String {
        let mut held = self.start;
        let mut text = String::new();
        for &change in &self.changes {
            let sign = if change < 0 { '-' } else { '+' };
            let sum = held + change;
            text += &format!("{held} {sign} {} = {sum}. ", change.abs());
            held = sum;
        }
        format!("{text}{} has {held} {}.", PEOPLE[self.person], THINGS[self.thing])
    }

    /// How many there are in the end.
    pub fn result(&self) -> i32 {
        self.start + self.changes.iter().sum::<i32>()
    }
}

/// A program of two or three assignments, and what it prints.
pub struct Program {
    pub source: String,
    pub run: String,
}

/// Names of variables.
const LETTERS: [&str; 8] = ["a", "b", "c", "d", "m", "n", "x", "y"];

/// A program: each line adds a digit to a variable set before; any of them is printed.
pub fn draw_program(walk: &mut Walk) -> Program {
    let mut letters = LETTERS;
    walk.shuffle(&mut letters);
    let first = digit(walk);
    let mut known = vec![(letters[0], first)];
    let mut source = format!("let {} = {first} ;", letters[0]);
    let mut run = format!("{} is {first}.", letters[0]);
    for &letter in &letters[1..2 + walk.below(2)] {
        let (from, value) = *walk.pick(&known);
        let amount = digit(walk);
        let sum = value + amount;
        source += &format!(" let {letter} = {from} + {amount} ;");
        run += &format!(" {letter} is {value} + {amount} = {sum}.");
        known.push((letter, sum));
    }
    let (printed, value) = *walk.pick(&known);
    source += &format!(" print {printed}");
    run += &format!(" It prints {value}.");
    Program { source, run }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_answer_shows_each_sum() {
        let problem = Problem { person: 21, thing: 0, start: 9, changes: vec![4, -3] };
        assert_eq!(
            problem.question(),
            "Sam has 9 coins. Sam gets 4 coins. Sam loses 3 coins. \
             How many coins does Sam have now?"
        );
        assert_eq!(problem.worked_answer(), "9 + 4 = 13. 13 - 3 = 10. Sam has 10 coins.");
        assert_eq!(problem.result(), 10);
    }
}
