//! Runs of n neighbours in a text, and how many of them two texts have in common. Knows the order
//! of items only: words, or characters.

use std::cmp::Ordering;

/// The n-grams of a text, sorted; one that occurs twice is there twice.
pub struct Grams<'t, T>(Vec<&'t [T]>);

impl<'t, T: Ord> Grams<'t, T> {
    /// All runs of `n` items.
    pub fn of(items: &'t [T], n: usize) -> Grams<'t, T> {
        let mut grams = items.windows(n).collect::<Vec<_>>();
        grams.sort_unstable();
        Grams(grams)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many there are in both, each as often as where it is rarer.
    pub fn shared(&self, other: &Grams<'_, T>) -> usize {
        let (mut a, mut b, mut shared) = (0, 0, 0);
        while let (Some(ours), Some(theirs)) = (self.0.get(a), other.0.get(b)) {
            let order = (*ours).cmp(*theirs);
            a += usize::from(order.is_le());
            b += usize::from(order.is_ge());
            shared += usize::from(order.is_eq());
        }
        shared
    }

    /// Those in either, each as often as where it is more frequent.
    pub fn or(self, other: Grams<'t, T>) -> Grams<'t, T> {
        let (mut a, mut b) = (0, 0);
        let mut all = Vec::with_capacity(self.0.len().max(other.0.len()));
        loop {
            let order = match (self.0.get(a), other.0.get(b)) {
                (Some(ours), Some(theirs)) => ours.cmp(theirs),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Grams(all),
            };
            all.push(if order.is_le() { self.0[a] } else { other.0[b] });
            a += usize::from(order.is_le());
            b += usize::from(order.is_ge());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_as_often_as_both_have_it() {
        let (ours, theirs) = ([1, 2, 1, 2, 1], [1, 2, 3, 1, 2, 1, 2]);
        let pairs = |items| Grams::of(items, 2);
        let (ours, theirs): (Grams<'_, i32>, _) = (pairs(&ours), pairs(&theirs));
        assert_eq!((ours.count(), theirs.count()), (4, 6));
        // 1 2 twice and 2 1 once.
        assert_eq!((ours.shared(&theirs), theirs.shared(&ours)), (3, 3));
        // 1 2 thrice, 2 1 twice, 2 3 and 3 1 once.
        assert_eq!(ours.or(theirs).count(), 7);
    }

    #[test]
    fn a_text_shorter_than_n_has_none() {
        let none = Grams::of(&['a'], 2);
        assert_eq!((none.count(), none.shared(&Grams::of(&['a', 'a'], 2))), (0, 0));
    }
}
