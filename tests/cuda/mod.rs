//! The kernels for GPUs, run on the host: the same bits as the CPU's operations, in whatever order
//! threads and blocks are run.

mod asking;
mod attention;
#[cfg(feature = "cuda")]
mod card;
mod decoder;
mod faults;
mod gains;
mod halves;
mod losses;
mod optimizer;
mod products;
mod rows;
mod sampling;
mod shim;
mod together;
mod training;

use std::sync::Arc;

use llamake::train::kernels::launch::{Accelerator, Array, Plain};
use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::{Isa, Threads};

use shim::Shim;

/// Numbers between -1 and 1, the same on every run.
pub fn numbers(name: &str, len: usize) -> Vec<f32> {
    let stream = Stream::new(11, name);
    (0..len as u64).map(|i| 2.0 * stream.uniform(0, i) - 1.0).collect()
}

/// Whole numbers below a bound.
pub fn wholes(name: &str, len: usize, bound: u32) -> Vec<u32> {
    let stream = Stream::new(12, name);
    (0..len as u64).map(|i| stream.bits(0, i)[0] % bound).collect()
}

/// The CPU whose bits are right.
pub fn cpu() -> Threads {
    Threads::with_isa(1, Isa::detect())
}

/// Runs a check with several orders of threads and blocks, and on a GPU, if there is one.
pub fn on_shims(check: impl Fn(&Arc<dyn Accelerator>)) {
    #[cfg(feature = "cuda")]
    card::card().iter().for_each(&check);
    #[cfg(feature = "cuda")]
    if card::is_made_up() {
        return;
    }
    (1..=2).for_each(|seed| check(&Shim::new(seed)));
}

/// A copy in the accelerator's memory.
pub fn to<T: Plain>(on: &Arc<dyn Accelerator>, numbers: &[T]) -> Array<T> {
    Array::of(on, numbers).unwrap()
}

/// Room there, of any value.
pub fn room<T: Plain>(on: &Arc<dyn Accelerator>, len: usize) -> Array<T> {
    Array::new(on, len).unwrap()
}

/// Fails at the first place where the bits differ.
pub fn assert_same_bits(what: &str, expected: &[f32], found: &Array<f32>) {
    let found = found.read().unwrap();
    assert_eq!(expected.len(), found.len(), "{what}: lengths");
    for (at, (a, b)) in expected.iter().zip(&found).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{what}: element {at}: expected {a}, found {b}");
    }
}

/// Token ranges of batch rows of the given lengths.
pub fn batch_rows(lengths: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut at = 0;
    let mut row = |&len: &usize| {
        at += len;
        at - len..at
    };
    lengths.iter().map(&mut row).collect()
}
