//! Random numbers by counter: Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", 2011). A stream is a seed and a name; an element of it is found by its counter alone,
//! so no draw depends on a thread, a batch slot or what was drawn before.

const MULTIPLY: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox on one counter.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let low = u64::from(MULTIPLY[0]) * u64::from(counter[0]);
        let high = u64::from(MULTIPLY[1]) * u64::from(counter[2]);
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// A named stream of one seed: `init/<tensor>`, `shuffle/<epoch>`, `sample/<prompt>/<k>`.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The key is the first 64 bits of blake3 over the seed and the name.
    pub fn new(seed: u64, name: &str) -> Stream {
        let mut hasher = blake3::Hasher::new_derive_key("llamake 2026 random stream");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let digest = hasher.finalize();
        let word =
            |at: usize| u32::from_le_bytes(digest.as_bytes()[at..at + 4].try_into().unwrap());
        Stream { key: [word(0), word(4)] }
    }

    /// What tells it from other streams.
    pub(super) fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The 128 bits at `(step, element)`.
    pub fn bits(&self, step: u64, element: u64) -> [u32; 4] {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let ([a, b], [c, d]) = (halves(element), halves(step));
        philox([a, b, c, d], self.key)
    }

    /// Uniform in `[0, 1)` with 24 bits, exact in f32.
    pub fn uniform(&self, step: u64, element: u64) -> f32 {
        (self.bits(step, element)[0] >> 8) as f32 / (1 << 24) as f32
    }

    /// Draws one after another, for code that walks.
    pub fn walk(self) -> Walk {
        Walk { stream: self, next: 0 }
    }
}

/// A stream read from its start, one draw after another.
#[derive(Clone, Debug)]
pub struct Walk {
    stream: Stream,
    next: u64,
}

impl Walk {
    pub fn bits64(&mut self) -> u64 {
        let [a, b, ..] = self.stream.bits(0, self.next);
        self.next += 1;
        u64::from(a) | u64::from(b) << 32
    }

    /// Uniform below `bound`, unbiased up to 2⁻⁶⁴ · bound (multiply and shift).
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "nothing to draw from");
        ((u128::from(self.bits64()) * bound as u128) >> 64) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Fisher–Yates, from the end.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of the Random123 distribution.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }
}
