//! AdamW with moments of 8 bits on an accelerator; see adamw8.cu. Same bits as on the CPU.

use std::sync::Arc;

use super::BLOCK;
use crate::train::kernels::adamw::AdamW;
use crate::train::kernels::dynamic8::{SIGNED, UNSIGNED};
use crate::train::kernels::launch::{
    Accelerator, Argument, Array, Fault, Slice, SliceMut, THREADS, blocks,
};

/// The maps of codes, in an accelerator's memory.
#[derive(Debug)]
pub struct Maps(Array<f32>);

impl Maps {
    /// Both maps.
    pub fn new(on: &Arc<dyn Accelerator>) -> Result<Maps, Fault> {
        let mut tables = Vec::new();
        for map in [&*SIGNED, &*UNSIGNED] {
            tables.extend(map.values);
            tables.extend(map.bounds);
            tables.push(f32::INFINITY);
        }
        Ok(Maps(Array::of(on, &tables)?))
    }
}

/// Words of a moment of so many numbers: a scale a block, and four codes a word.
pub fn words(numbers: usize) -> usize {
    numbers.div_ceil(BLOCK) + numbers.div_ceil(4)
}

/// Blocks of threads that keep a GPU busy.
const BUSY: u32 = 2048;

/// Moves one tensor and the words of its moments by one step.
pub fn step(
    of: &AdamW,
    on: &dyn Accelerator,
    maps: &Maps,
    param: SliceMut<f32>,
    gradient: Slice<f32>,
    moments: [SliceMut<f32>; 2],
) -> Result<(), Fault> {
    let len = param.len();
    assert_eq!(gradient.len(), len);
    assert_eq!(moments.each_ref().map(SliceMut::len), [words(len); 2]);
    if len == 0 {
        return Ok(());
    }
    let mut arguments = vec![(&param).into(), gradient.into()];
    for moment in moments {
        let (scales, codes) = moment.split_into_bytes(len.div_ceil(BLOCK));
        arguments.extend([Argument::from(&codes), (&scales).into()]);
    }
    let c = of.constants();
    arguments.push(maps.0.all().into());
    let constants = [c.keep, c.rate, c.root, c.one_less_1, c.one_less_2, c.beta2, c.eps, c.scale];
    arguments.extend(constants.map(Argument::from));
    arguments.push((len as u64).into());
    let [all, ..] = blocks(len, BLOCK);
    on.launch("adamw8_step", [all.min(BUSY), 1, 1], [THREADS as u32, 1, 1], 0, &arguments)
}
