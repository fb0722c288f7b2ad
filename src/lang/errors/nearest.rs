//! "Did you mean": the candidate closest to a word, if it is close. Does not know what the words
//! stand for.

/// The candidate with the fewest edits, if those are at most a third of the word.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3);
    let scored = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let (edits, best) = scored.min_by_key(|(edits, _)| *edits)?;
    (edits <= limit && edits < best.chars().count()).then_some(best)
}

/// Insertions, deletions, changes and swaps of neighbours that turn one word into the other,
/// whatever the case of their letters.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.to_lowercase().chars().collect();
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let change = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn close_words_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("tokesn", ["steps", "tokens"]), Some("tokens"));
        assert_eq!(nearest("GIB", ["GB", "GiB"]), Some("GiB"));
        assert_eq!(nearest("examples", ["steps", "tokens"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
