//! The operations of the trainer, judged from outside: against candle's differentiable slow
//! operations in f64, against the words of their own specification, and against themselves on
//! every instruction set and number of threads.

mod bits;
mod ggml;
mod nf4;
mod oracle;
mod segments;

use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::{Isa, Threads};

/// Numbers between -1 and 1, the same on every run.
pub fn numbers(name: &str, len: usize) -> Vec<f32> {
    let stream = Stream::new(7, name);
    (0..len as u64).map(|i| 2.0 * stream.uniform(0, i) - 1.0).collect()
}

/// Every instruction set of this processor on one to three threads.
pub fn everywhere() -> impl Iterator<Item = Threads> {
    let available = Isa::ALL.into_iter().filter(|isa| isa.available());
    available.flat_map(|isa| (1..=3).map(move |threads| Threads::with_isa(threads, isa)))
}

/// Fails at the first place where the bits differ.
pub fn assert_same_bits(what: &str, expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len(), "{what}: lengths");
    for (at, (a, b)) in expected.iter().zip(found).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{what}: element {at}: expected {a}, found {b}");
    }
}

/// Fails where a value is further from the truth than `tolerance` of the largest one.
pub fn assert_near(what: &str, truth: &[f64], found: &[f32], tolerance: f64) {
    assert_eq!(truth.len(), found.len(), "{what}: lengths");
    let largest = truth.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
    for (at, (&a, &b)) in truth.iter().zip(found).enumerate() {
        let error = (a - f64::from(b)).abs() / largest;
        assert!(error <= tolerance, "{what}: element {at}: truth {a}, found {b}");
    }
}
