//! Memory that was given back and is handed out again: asking the driver for some, or giving it
//! back, waits for everything that was launched. What is done in one stream may use it at once.
//! Knows places and sizes; the driver is the card's.

use std::collections::BTreeMap;

/// Larger places are as large as they are asked for.
const ROUNDED: usize = 64 << 20;
/// Still larger ones are the driver's business: a matrix of a model of 70 billion numbers, widened
/// from 4 bits, is none.
const LARGEST: usize = 512 << 20;
/// No more bytes are kept than this.
const MOST: usize = 1 << 30;

/// Places that nobody uses, by their size.
#[derive(Debug, Default)]
pub struct Kept {
    places: BTreeMap<usize, Vec<u64>>,
    bytes: usize,
}

/// The size of the place for so many bytes, so that sizes recur: whole steps of 512 bytes and,
/// where they are many, an eighth more at most.
pub fn size_of(bytes: usize) -> usize {
    if bytes > ROUNDED {
        return bytes;
    }
    let step = (bytes.next_power_of_two() / 16).max(512);
    bytes.next_multiple_of(step)
}

impl Kept {
    /// A place of this size.
    pub fn take(&mut self, size: usize) -> Option<u64> {
        let at = self.places.get_mut(&size)?.pop()?;
        self.bytes -= size;
        Some(at)
    }

    /// Keeps a place, unless there is too much already.
    pub fn keep(&mut self, at: u64, size: usize) -> bool {
        let fits = size <= LARGEST && self.bytes + size <= MOST;
        if fits {
            self.places.entry(size).or_default().push(at);
            self.bytes += size;
        }
        fits
    }

    /// How much is kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything, which is to be given back.
    pub fn empty(&mut self) -> Vec<u64> {
        self.bytes = 0;
        std::mem::take(&mut self.places).into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_handed_out_again_to_whom_it_fits() {
        let mut kept = Kept::default();
        assert!(kept.keep(7, size_of(1000)) && kept.keep(8, size_of(4000)));
        assert_eq!([size_of(1), size_of(1000), size_of(100_000)], [512, 1024, 106_496]);
        assert_eq!(kept.take(size_of(3000)), None);
        assert_eq!(kept.take(size_of(900)), Some(7));
        assert_eq!((kept.take(size_of(900)), kept.empty()), (None, vec![8]));
        assert_eq!((kept.empty(), kept.take(size_of(4000))), (vec![], None));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut kept = Kept::default();
        assert!(!kept.keep(1, size_of(LARGEST + 1)));
        let held = (0..20).filter(|at| kept.keep(*at, LARGEST)).count();
        assert_eq!(held, MOST / LARGEST);
        assert_eq!(kept.empty().len(), held);
        assert!(kept.keep(1, LARGEST));
        assert_eq!(kept.bytes(), LARGEST);
    }
}
