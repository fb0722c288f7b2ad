//! Words met before, with their ids. A word has one slot, and the word that comes last has it, so
//! memory is bounded without a thought about what to forget. Knows bytes and ids; does not know
//! how one becomes the other.

/// Bytes of the longest word that is kept, and its ids at most.
const LONGEST: usize = 31;
const MOST_IDS: usize = 7;

/// 2^15 slots of a cache line each: two megabytes.
const BITS: u32 = 15;

/// A word padded with zeros, its length in the last byte.
type Key = [u64; 4];

/// One line of the processor's cache.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Slot {
    /// All zeros where there is no word: no word has length 0.
    key: Key,
    ids: [u32; MOST_IDS],
    count: u32,
}

/// The slots.
#[derive(Debug)]
pub struct Cache {
    slots: Vec<Slot>,
}

impl Cache {
    /// Remembers.
    pub fn new() -> Cache {
        Cache { slots: vec![Slot::default(); 1 << BITS] }
    }

    /// Forgets at once: for a single text.
    pub fn none() -> Cache {
        Cache { slots: Vec::new() }
    }

    /// The ids of a word, if it is known. Otherwise what it takes to keep it, if it can be.
    pub fn find(&self, word: &[u8]) -> Result<&[u32], Option<Place>> {
        if self.slots.is_empty() || word.len() > LONGEST {
            return Err(None);
        }
        let key = key(word);
        let at = (hash(&key) >> (64 - BITS)) as usize;
        let slot = &self.slots[at];
        if slot.key == key { Ok(&slot.ids[..slot.count as usize]) } else { Err(Some((at, key))) }
    }

    /// Keeps a word that was not found, unless it has too many ids.
    pub fn keep(&mut self, (at, key): Place, found: &[u32]) {
        if found.len() <= MOST_IDS {
            let mut ids = [0; MOST_IDS];
            ids[..found.len()].copy_from_slice(found);
            self.slots[at] = Slot { key, ids, count: found.len() as u32 };
        }
    }
}

/// Where a word will be kept, and as what.
type Place = (usize, Key);

fn key(word: &[u8]) -> Key {
    let mut bytes = [0; LONGEST + 1];
    bytes[..word.len()].copy_from_slice(word);
    bytes[LONGEST] = word.len() as u8;
    let mut key = [0; 4];
    for (part, bytes) in key.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *part = u64::from_le_bytes(*bytes);
    }
    key
}

/// Multiplies by the golden ratio; the high bits are the mixed ones.
fn hash(key: &Key) -> u64 {
    let mix =
        |hash: u64, part: &u64| (hash.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    key.iter().fold(0, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_as_it_was_kept() {
        let mut cache = Cache::new();
        let place = cache.find(b"heron").unwrap_err().unwrap();
        cache.keep(place, &[4, 5]);
        assert_eq!(cache.find(b"heron"), Ok(&[4, 5][..]));
        for other in [&b"heron\0"[..], b"hero", b"Heron"] {
            assert!(cache.find(other).is_err());
        }
        let place = cache.find(b"tapir").unwrap_err().unwrap();
        cache.keep(place, &[1; MOST_IDS + 1]);
        assert!(cache.find(b"tapir").is_err());
        assert_eq!(cache.find(&[b'a'; LONGEST + 1]), Err(None));
        assert_eq!(Cache::none().find(b"heron"), Err(None));
    }
}
