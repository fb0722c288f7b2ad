//! What training data has of the rows of tasks, as it is kept and told; and what scores are on the
//! rows that it does not have. Knows shares and scores; does not know how they were found.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::said::Said;
use crate::eval::finding::{Breakdown, CLEAN_ROWS, Figure, Finding, Group};
use crate::eval::metric::statistics::mean;
use crate::train::progress::Failure;

/// The file of a result.
pub const FILE: &str = "overlap.json";

/// The rows of some tasks held against training data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlap {
    /// Tokens that a run must have more than to count.
    pub longer_than: usize,
    pub tasks: Vec<TaskOverlap>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskOverlap {
    pub name: String,
    /// Of all that its rows say.
    pub digest: String,
    pub rows: usize,
    /// The rows of which anything was found, in order.
    pub found: Vec<RowOverlap>,
}

/// One row of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowOverlap {
    /// Counted from 1.
    pub row: usize,
    pub tokens: usize,
    /// Those that stand in training data.
    pub shared: usize,
    /// Whether what it asks stands there as it is.
    pub prompt: bool,
    /// The rows with most of it.
    pub places: Vec<PlaceFound>,
}

/// A row of training data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceFound {
    pub data: String,
    /// Counted from 1.
    pub row: usize,
    pub tokens: usize,
    pub prompt: bool,
}

/// Standard errors beyond which a subset of rows is unlike all of them.
const FAR: f64 = 2.0;

impl RowOverlap {
    /// Less than a fifth of it stands in training data, and what it asks does not.
    pub fn is_clean(&self) -> bool {
        self.shared * 5 < self.tokens.max(1) && !self.prompt
    }

    /// Four fifths or more of it stand in training data.
    pub fn is_dirty(&self) -> bool {
        self.shared * 5 >= self.tokens.max(1) * 4
    }

    /// `row 3: 93% of its 41 tokens are in row 7 of `desk``
    pub fn sentence(&self) -> String {
        let share = (100 * self.shared).checked_div(self.tokens).unwrap_or(0);
        let place = self.places.first();
        let place = place.map(|place| format!("row {} of `{}`", place.row, place.data));
        let place = place.unwrap_or_default();
        match self.prompt {
            true if self.shared == 0 => format!("row {}: its prompt is in {place}", self.row),
            true => format!(
                "row {}: its prompt and {share}% of its {} tokens are in training data, most in \
                 {place}",
                self.row, self.tokens
            ),
            false => format!(
                "row {}: {share}% of its {} tokens are in training data, most in {place}",
                self.row, self.tokens
            ),
        }
    }
}

impl TaskOverlap {
    /// The rows that are not clean.
    pub fn unclean(&self) -> impl Iterator<Item = &RowOverlap> {
        self.found.iter().filter(|row| !row.is_clean())
    }

    /// A sentence for the whole task, then one for each row that is not clean, up to so many.
    pub fn sentences(&self, most: usize) -> Vec<String> {
        let dirty = self.found.iter().filter(|row| row.is_dirty()).count();
        let unclean = self.unclean().collect::<Vec<_>>();
        let of = format!("task `{}`", self.name);
        let mut told = vec![format!(
            "{of}: {} of {} rows are not clean, {dirty} dirty",
            unclean.len(),
            self.rows
        )];
        told.extend(unclean.iter().take(most).map(|row| format!("{of}, {}", row.sentence())));
        match unclean.len().saturating_sub(most) {
            0 => {}
            1 => told.push(format!("{of}: and 1 more row")),
            more => told.push(format!("{of}: and {more} more rows")),
        }
        told
    }

    /// The score of a finding on clean rows and in the four subsets of the paper. `rows` are the
    /// numbers from 0 of those that were asked.
    pub fn part(&self, finding: &mut Finding, rows: &[usize]) {
        let by_row = self.found.iter().map(|row| (row.row - 1, row));
        let by_row = by_row.collect::<std::collections::BTreeMap<_, _>>();
        let each = |of: &dyn Fn(&RowOverlap) -> bool, absent: bool| {
            let told = rows.iter().map(|row| by_row.get(row).map_or(absent, |row| of(row)));
            told.collect::<Vec<_>>()
        };
        let clean = each(&RowOverlap::is_clean, true);
        let dirty = each(&RowOverlap::is_dirty, false);
        let share = clean.iter().map(|clean| f64::from(u8::from(*clean))).collect::<Vec<_>>();
        let not = |of: &[bool]| of.iter().map(|is| !is).collect::<Vec<_>>();
        let mut figures = vec![Figure::new(CLEAN_ROWS, mean(&share))];
        if finding.rows.len() == rows.len() && !rows.is_empty() {
            let subsets = [
                ("clean, < 20%", &clean),
                ("not clean", &not(&clean)),
                ("not dirty", &not(&dirty)),
                ("dirty, ≥ 80%", &dirty),
            ];
            let of = |(name, within): &(&str, &Vec<bool>)| group(name, within, &finding.rows);
            let groups = subsets.iter().map(of).collect::<Vec<_>>();
            figures.insert(0, Figure::new("on_clean", groups[0].share.value));
            finding.remarks.extend(suspicion(&subsets.map(|(_, within)| within), &finding.rows));
            finding.breakdowns.push(Breakdown { by: "overlap".into(), groups });
        }
        finding.scores.splice(1..1, figures);
    }
}

/// The score of some rows.
fn group(name: &str, within: &[bool], rows: &[f64]) -> Group {
    let rows = rows.iter().zip(within).filter(|(_, within)| **within).map(|(row, _)| *row);
    let rows = rows.collect::<Vec<_>>();
    let binary = rows.iter().all(|row| *row == 0.0 || *row == 1.0);
    let kind =
        if binary { Figure::share("score", Some(0.0), 1) } else { Figure::new("score", None) };
    Group::of(name, &kind, &rows)
}

/// The paper holds a score for raised by what a model has seen if all four subsets are far from the
/// mean of all rows, in standard errors of their size: clean ones below, dirty ones above.
fn suspicion(subsets: &[&Vec<bool>; 4], rows: &[f64]) -> Option<String> {
    let all = mean(rows)?;
    let spread = mean(&rows.iter().map(|row| (row - all) * (row - all)).collect::<Vec<_>>())?;
    let error = |count: usize| (spread / count as f64).sqrt();
    let [clean, not_clean, not_dirty, dirty] = *subsets;
    let z = |within: &[bool]| {
        let part = group("", within, rows);
        Some((part.share.value? - all) / error(part.rows))
    };
    let far = z(clean)? < -FAR && z(not_clean)? > FAR && z(not_dirty)? < -FAR && z(dirty)? > FAR;
    far.then(|| {
        "scores higher on rows that stand in its training data: clean rows lie more than two \
         standard errors below all of them, dirty ones above."
            .into()
    })
}

/// A digest of all that the rows of a task say.
pub fn digest(rows: &[Said]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("llamake 2026 rows of a task");
    for row in rows {
        for texts in [&row.asked, &row.answered] {
            hasher.update(&(texts.len() as u64).to_le_bytes());
            for text in texts {
                hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
        }
    }
    hasher.finalize().to_hex().to_string()
}

impl Overlap {
    /// Writes the result into a new folder.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(folder).map_err(Failure::io(folder))?;
        let path = folder.join(FILE);
        let json = serde_json::to_string_pretty(self).expect("string keys") + "\n";
        std::fs::write(&path, json).map_err(Failure::io(&path))
    }

    /// Reads a result.
    pub fn read(folder: &Path) -> Result<Overlap, Failure> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(Failure::io(&path))?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::input(format!("`{}` is no overlap: {error}", path.display())))
    }

    /// The overlap of a task, which must have been found for the rows that it has now.
    pub fn of(&self, task: &str, rows: &[Said]) -> Result<&TaskOverlap, Failure> {
        let remedy = "name the same tasks in `contamination` and in `eval`";
        let found = self.tasks.iter().find(|found| found.name == task).ok_or_else(|| {
            Failure::input(format!("`overlap` knows no task `{task}`")).remedy(remedy)
        })?;
        match found.rows == rows.len() && found.digest == digest(rows) {
            true => Ok(found),
            false => {
                let message = format!("`overlap` was found for other rows of task `{task}`");
                Err(Failure::input(message).remedy(remedy))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(row: usize, tokens: usize, shared: usize, prompt: bool) -> RowOverlap {
        let place = PlaceFound { data: "desk".into(), row: 7, tokens: shared, prompt };
        RowOverlap { row, tokens, shared, prompt, places: vec![place] }
    }

    fn task(found: Vec<RowOverlap>) -> TaskOverlap {
        TaskOverlap { name: "quiz".into(), digest: String::new(), rows: 6, found }
    }

    #[test]
    fn shares_are_told_apart_at_a_fifth_and_four_fifths() {
        assert!(row(1, 100, 19, false).is_clean() && !row(1, 100, 20, false).is_clean());
        assert!(row(1, 100, 80, false).is_dirty() && !row(1, 100, 79, false).is_dirty());
        assert!(!row(1, 8, 0, true).is_clean() && !row(1, 8, 0, true).is_dirty());
        assert!(row(1, 0, 0, false).is_clean() && !row(1, 0, 0, false).is_dirty());
    }

    #[test]
    fn rows_are_named_with_where_they_stand() {
        let told = task(vec![row(2, 50, 4, false), row(3, 41, 38, true)]).sentences(1);
        assert_eq!(told[0], "task `quiz`: 1 of 6 rows are not clean, 1 dirty");
        let row = "row 3: its prompt and 92% of its 41 tokens are in training data, most in row 7 \
                   of `desk`";
        assert_eq!(told[1..], [format!("task `quiz`, {row}")]);
    }

    #[test]
    fn the_clean_part_has_a_score_of_its_own() {
        let task = task(vec![row(1, 20, 20, false), row(4, 20, 10, false), row(5, 20, 1, false)]);
        let headline = Figure::share("exact_match", Some(0.5), 4);
        let rows = vec![1.0, 0.0, 1.0, 0.0];
        let mut finding = Finding { scores: vec![headline], rows, ..Finding::default() };
        task.part(&mut finding, &[0, 1, 3, 4]);
        let names = finding.scores.iter().map(|figure| (&*figure.name, figure.value));
        let names = names.collect::<Vec<_>>();
        let expected =
            [("exact_match", Some(0.5)), ("on_clean", Some(0.0)), ("clean_rows", Some(0.5))];
        assert_eq!(names, expected);
        let groups = &finding.breakdowns[0].groups;
        let groups = groups.iter().map(|group| (group.rows, group.share.value));
        let expected = [(2, Some(0.0)), (2, Some(1.0)), (3, Some(1.0 / 3.0)), (1, Some(1.0))];
        assert_eq!(groups.collect::<Vec<_>>(), expected);
        assert!(finding.remarks.is_empty());
    }

    #[test]
    fn a_score_that_follows_the_overlap_is_suspicious() {
        let dirty = (0..100).map(|at| at < 50).collect::<Vec<_>>();
        let clean = dirty.iter().map(|dirty| !dirty).collect::<Vec<_>>();
        let rows = dirty.iter().map(|dirty| f64::from(u8::from(*dirty))).collect::<Vec<_>>();
        assert!(suspicion(&[&clean, &dirty, &clean, &dirty], &rows).is_some());
        let even = (0..100).map(|at| f64::from(at % 2)).collect::<Vec<_>>();
        assert_eq!(suspicion(&[&clean, &dirty, &clean, &dirty], &even), None);
        assert_eq!(suspicion(&[&clean, &dirty, &clean, &dirty], &[1.0; 100]), None);
    }
}
