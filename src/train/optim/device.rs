//! AdamW and the norm of gradients on an accelerator: the moments lie there, those beyond a budget
//! in pages of the host's memory that its kernels reach, and the host has a copy of them once they
//! are fetched. Knows no schedule.

use std::ops::Range;
use std::sync::Arc;

use super::adamw::AdamWState;
use super::clip::by_name;
use super::moments::{Bits, Moment};
use crate::train::kernels::adamw::AdamW;
use crate::train::kernels::adamw::launch::{self, Moved};
use crate::train::kernels::adamw8::launch::{self as adamw8, Maps};
use crate::train::kernels::elements::launch::narrow;
use crate::train::kernels::launch::{Accelerator, Array, Fault};
use crate::train::model::accelerated::{Accelerated, Class, Learning, LowRanks, Room};
use crate::train::model::{Trainable, Transformer};

/// The moments of every parameter, in the order of the table.
#[derive(Debug)]
pub struct DeviceMoments {
    first: Vec<Array<f32>>,
    second: Vec<Array<f32>>,
    /// How both of each are kept.
    bits: Vec<Bits>,
    maps: Maps,
}

impl DeviceMoments {
    /// Copies of the host's.
    pub fn of(
        on: &Arc<dyn Accelerator>,
        optimizer: &mut AdamWState,
    ) -> Result<DeviceMoments, Fault> {
        let copy = |moments: &mut Vec<Moment>| {
            let copies = moments.iter_mut().map(|moment| match moment.is_paged() {
                true => Array::paged(on, moment.words_mut()),
                false => Array::of(on, moment.words_mut()),
            });
            copies.collect::<Result<Vec<_>, _>>()
        };
        let (first, second) = (copy(&mut optimizer.first)?, copy(&mut optimizer.second)?);
        let bits = optimizer.first.iter().map(Moment::bits).collect();
        Ok(DeviceMoments { first, second, bits, maps: Maps::new(on)? })
    }

    /// Writes them into the host's.
    pub fn fetch(&self, optimizer: &mut AdamWState) -> Result<(), Fault> {
        let pairs = self.first.iter().zip(&mut optimizer.first);
        let pairs = pairs.chain(self.second.iter().zip(&mut optimizer.second));
        for (there, here) in pairs {
            there.read_first(here.words_mut())?;
        }
        Ok(())
    }

    /// Moves every weight that is learnt by one step, of which the host's state says the constants.
    pub fn step<T: Class>(
        &mut self,
        on: &Arc<dyn Accelerator>,
        by: &[AdamW],
        (model, gradients): (&mut Transformer<Accelerated<T>>, &mut Trainable<Room, LowRanks>),
    ) -> Result<(), Fault> {
        let pairs = model.learning().into_iter().zip(gradients.rooms_mut());
        let pairs = pairs.map(|(weight, gradient)| (weight, &*gradient));
        self.move_rows(on, by, 0..by.len(), pairs)
    }

    /// Moves some rows of the table, which come with their gradients, by one step.
    pub fn move_rows<'a>(
        &mut self,
        on: &Arc<dyn Accelerator>,
        by: &[AdamW],
        rows: Range<usize>,
        pairs: impl Iterator<Item = (Option<Learning<'a>>, &'a Room)>,
    ) -> Result<(), Fault> {
        let moments = self.first[rows.clone()].iter_mut().zip(&mut self.second[rows.clone()]);
        let (moments, by) = (moments.zip(&self.bits[rows.clone()]), by[rows].iter().copied());
        let mut moved = Vec::new();
        for ((pair, ((first, second), bits)), by) in pairs.zip(moments).zip(by) {
            let (Some(Learning { weight, copy }), gradient) = pair else { continue };
            let (copy, gradient) = (copy.map(Room::all_mut), gradient.all());
            let (first, second) = (first.all_mut(), second.all_mut());
            match bits {
                Bits::Full => {
                    let weight = weight.all_mut();
                    moved.push(Moved { weight, copy, gradient, first, second, by });
                }
                Bits::Eight => {
                    let (moments, numbers) = ([first, second], weight.all_mut());
                    adamw8::step(&by, &**on, &self.maps, numbers, gradient, moments)?;
                    copy.map_or(Ok(()), |copy| narrow(&**on, weight.all(), copy))?;
                }
            }
        }
        launch::step(on, &moved)
    }
}

/// The Euclidean norm over every gradient, in f64, tensors in the order of their names.
pub fn norm(
    on: &Arc<dyn Accelerator>,
    model: &Transformer,
    gradients: &mut Trainable<Room, LowRanks>,
) -> Result<f64, Fault> {
    let named = by_name(model, gradients.rooms_mut()).collect::<Vec<_>>();
    let slices = named.iter().filter(|room| !room.is_empty()).map(|room| room.all());
    Ok(launch::squared_norm(on, slices)?.sqrt())
}
