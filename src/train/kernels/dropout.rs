//! Dropout (Srivastava et al., 2014): every number of a token is left out with a chance of `rate`,
//! what stays is divided by 1 − `rate`. Whether it stays follows from the stream, the step, the row
//! in the step, the token in the row and the place in the token: neither threads nor the parts of a
//! batch change a bit, and a second pass leaves out what the first did. Knows no layers.

pub mod launch;

use std::ops::Range;

use super::device::{Parts, Threads};
use super::rng::Stream;

/// Which numbers are left out of one input in one step.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub stream: Stream,
    pub step: u64,
    /// The place in the step of the first row at hand.
    pub first_row: u64,
    /// Below 1.
    pub rate: f32,
}

/// Numbers that one counter decides on.
const LANES: usize = 4;

impl Dropout {
    /// Leaves out of x[m, d]; `rows` are the token ranges of the batch rows, which cover 0..m.
    pub fn apply(&self, t: &Threads, rows: &[Range<usize>], x: &mut [f32]) {
        let places = (self.first_row..).zip(rows);
        let token = |row: u64| move |at: u64| row << 40 | at << 16;
        let counters: Vec<u64> =
            places.flat_map(|(row, range)| (0..range.len() as u64).map(token(row))).collect();
        let (tokens, width) = (counters.len(), x.len() / counters.len().max(1));
        assert!(x.len() == tokens * width && width <= LANES << 16, "a token's counters");
        let scale = 1.0 / (1.0 - self.rate);
        let x = Parts::new(x);
        t.split(tokens, 16, |range| {
            // SAFETY: each range of tokens is one thread's.
            let x = unsafe { x.part(range.start * width..range.end * width) };
            for (x, counter) in x.chunks_exact_mut(width).zip(&counters[range]) {
                self.token(*counter, scale, x);
            }
        });
    }

    fn token(&self, counter: u64, scale: f32, x: &mut [f32]) {
        for (x, counter) in x.chunks_mut(LANES).zip(counter..) {
            let bits = self.stream.bits(self.step, counter);
            for (x, bits) in x.iter_mut().zip(bits) {
                let uniform = (bits >> 8) as f32 / (1 << 24) as f32;
                *x = if uniform < self.rate { 0.0 } else { *x * scale };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_does_not_depend_on_threads_or_parts() {
        let stream = Stream::new(3, "dropout/test");
        let of = |first_row| Dropout { stream, step: 5, first_row, rate: 0.25 };
        let (rows, width) = ([0..70, 70..91], 37);
        let mut whole = vec![1.0; 91 * width];
        of(2).apply(&Threads::new(3), &rows, &mut whole);
        let mut parts = vec![1.0; 91 * width];
        let (first, second) = parts.split_at_mut(70 * width);
        of(2).apply(&Threads::new(1), std::slice::from_ref(&(0..70)), first);
        of(3).apply(&Threads::new(1), std::slice::from_ref(&(0..21)), second);
        assert_eq!(whole, parts);
        let left_out = whole.iter().filter(|x| **x == 0.0).count() as f64 / whole.len() as f64;
        assert!((left_out - 0.25).abs() < 0.03, "{left_out}");
        assert!(whole.iter().all(|x| *x == 0.0 || *x == 1.0 / 0.75));
    }
}
