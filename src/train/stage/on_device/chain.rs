//! The sum of a step's gradients over accelerators: a chain. Each part of the step takes over what
//! the parts before it summed up, on whichever accelerator that is, and adds its own; so the order
//! of every sum, and every bit, is that of a single accelerator, whatever their number.
//!
//! ```text
//! part     0        1        2        3
//! on       A ─────→ B ─────→ A ─────→ B ─────→ A     each arrow once a group of parameters is done
//! ```
//!
//! A group goes on as soon as it has its gradients, beside what its accelerator does next: B is
//! behind A by one group, not by a whole pass. What the last part has goes round once more, so
//! that everybody has all of it. Left out: a reduction by halves, as collectives do it; its order
//! depends on how many there are. Knows buffers and moments, not what is in them.

use std::collections::BTreeMap;

use crate::train::kernels::launch::{Accelerator, Fault, Lent, Mark};
use crate::train::model::accelerated::{LowRanks, Room};
use crate::train::model::trainable::{Group, Trainable};

/// What is known of the buffers of all accelerators during a step.
#[derive(Debug)]
pub struct Chain {
    /// The moment at which the buffers of each are free of the step before.
    began: Vec<Mark>,
    /// What the last part summed up of a group, and when it is there.
    sums: BTreeMap<Group, (Vec<Lent>, Mark)>,
    /// When the next has taken over a group of each.
    taken: BTreeMap<(usize, Group), Mark>,
}

impl Chain {
    /// At the begin of a step, when everything of the one before was launched.
    pub fn begin<'a>(all: impl Iterator<Item = &'a dyn Accelerator>) -> Result<Chain, Fault> {
        let began = all.map(|on| on.mark()).collect::<Result<_, _>>()?;
        Ok(Chain { began, sums: BTreeMap::new(), taken: BTreeMap::new() })
    }

    /// Who computes a part.
    fn place(&self, part: usize) -> usize {
        part % self.began.len()
    }

    /// Before a part adds to a group: takes over what the parts before summed up.
    pub fn take(
        &mut self,
        on: &dyn Accelerator,
        part: usize,
        group: Group,
        rooms: Vec<&mut Room>,
    ) -> Result<(), Fault> {
        if self.began.len() == 1 || part == 0 {
            return Ok(());
        }
        let (place, before) = (self.place(part), self.place(part - 1));
        let (sums, there) = &self.sums[&group];
        let mut after = vec![&self.began[place], there];
        after.extend(self.taken.get(&(place, group)));
        let pairs = rooms.into_iter().zip(sums);
        let brought = pairs.map(|(room, sum)| room.all_mut().bring(on, *sum, &after));
        let Some(here) = brought.collect::<Result<Vec<_>, _>>()?.pop() else { return Ok(()) };
        on.wait(&here)?;
        self.taken.insert((before, group), here);
        Ok(())
    }

    /// After a part added to a group.
    pub fn pass_on(
        &mut self,
        on: &dyn Accelerator,
        group: Group,
        rooms: Vec<&mut Room>,
    ) -> Result<(), Fault> {
        if self.began.len() > 1 {
            let lent = rooms.into_iter().map(|room| room.all_mut().lent());
            self.sums.insert(group, (lent.collect(), on.mark()?));
        }
        Ok(())
    }

    /// After the last part: what it has goes round, and nothing is changed before it is there.
    pub fn end<'a>(
        mut self,
        parts: usize,
        groups: &[Group],
        all: &mut [(&'a dyn Accelerator, &'a mut Trainable<Room, LowRanks>)],
        heads: bool,
    ) -> Result<(), Fault> {
        for part in parts..parts + self.began.len() - 1 {
            let (on, gradients) = &mut all[part % self.began.len()];
            for group in groups {
                self.take(*on, part, *group, gradients.rooms_of(*group, heads))?;
                self.pass_on(*on, *group, gradients.rooms_of(*group, heads))?;
            }
        }
        self.taken.iter().try_for_each(|((place, _), mark)| all[*place].0.wait(mark))
    }
}
