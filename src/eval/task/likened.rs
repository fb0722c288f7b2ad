//! Answers measured by how like they are to texts that are right, and to others that are wrong.
//! Where wrong ones are known, each answer counts by its best likeness to either side (TruthfulQA's
//! generation); else all answers together are measured. Knows texts; does not know rows.

use super::written::{Known, Marked};
use crate::eval::finding::Figure;
use crate::eval::metric::likeness::{Likeness, likeness};
use crate::eval::metric::measure::Measure;
use crate::eval::metric::statistics::{mean, means_of};
use crate::train::progress::Failure;

/// What draws the answers again for an interval: it is the same in every report.
const SEED: u64 = 1234;

/// The figures of answers, `samples` of them to each question.
pub fn marked(
    measure: &Measure,
    known: &[Known],
    answers: &[&str],
    samples: usize,
) -> Result<Vec<Marked>, Failure> {
    match known.iter().all(|known| known.wrong.is_none()) {
        true => Ok(vec![together(measure, known, answers, samples)]),
        false => either(measure, known, answers, samples),
    }
}

/// All answers against what is right.
fn together(measure: &Measure, known: &[Known], answers: &[&str], samples: usize) -> Marked {
    let pairs = answers.iter().enumerate();
    let pairs = pairs.map(|(at, answer)| (*answer, &known[at / samples].right[..]));
    let pairs = pairs.collect::<Vec<_>>();
    let each = pairs.iter().map(|(answer, right)| measure.of_one(answer, right));
    let whole = measure.of_all(&pairs, SEED);
    let mut figure = Figure::new(measure.name(), whole.map(|(score, _)| score));
    figure.interval = whole.and_then(|(_, interval)| interval);
    let read = answers.iter().map(|answer| (answer.to_string(), None)).collect();
    Marked { figure, rows: means_of(&each.collect::<Vec<_>>(), samples), read }
}

/// Each answer against both sides: whether right texts are likelier, by how much, and how like the
/// likest of them is.
fn either(
    measure: &Measure,
    known: &[Known],
    answers: &[&str],
    samples: usize,
) -> Result<Vec<Marked>, Failure> {
    let scores = |answer: &str, texts: &[String]| {
        texts.iter().map(|text| measure.of_one(answer, std::slice::from_ref(text))).collect()
    };
    let of = |(at, answer): (usize, &&str)| {
        let Known { right, wrong } = &known[at / samples];
        let (right, wrong): (Vec<f64>, Vec<f64>) =
            (scores(answer, right), scores(answer, wrong.as_deref().unwrap_or_default()));
        likeness(&right, &wrong)
    };
    let found = answers.iter().enumerate().map(of).collect::<Option<Vec<Likeness>>>();
    let found = found.ok_or_else(|| Failure::input("`wrong` gives nothing"))?;
    let name = |end: &str| format!("{}_{end}", measure.name());
    let rows = |of: &dyn Fn(&Likeness) -> f64| {
        means_of(&found.iter().map(of).collect::<Vec<_>>(), samples)
    };
    let read = answers.iter().zip(&found);
    let read = read.map(|(answer, found)| (answer.to_string(), Some(found.acc)));
    let read = read.collect::<Vec<_>>();
    let marked = |figure: Figure, rows: Vec<f64>| Marked { figure, rows, read: read.clone() };
    let acc = rows(&|found| f64::from(u8::from(found.acc)));
    let (max, diff) = (rows(&|found| found.max), rows(&|found| found.diff));
    Ok(vec![
        marked(Figure::share(name("acc"), mean(&acc), known.len()), acc),
        marked(Figure::new(name("max"), mean(&max)).higher(), max),
        marked(Figure { signed: true, ..Figure::new(name("diff"), mean(&diff)).higher() }, diff),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metric::measure::{Rouge, Units};

    fn rouge() -> Measure {
        Measure::Rouge(Rouge { of: Units::Words(1), stemmed: false, sentences: None, name: None })
    }

    fn known(right: &[&str], wrong: Option<&[&str]>) -> Known {
        let texts = |all: &[&str]| all.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        Known { right: texts(right), wrong: wrong.map(texts) }
    }

    #[test]
    fn answers_lean_to_one_side() {
        let known = [known(&["a b", "c d"], Some(&["a c"])), known(&["x"], Some(&["y"]))];
        let marked = marked(&rouge(), &known, &["c d", "y"], 1).unwrap();
        let figures = marked.iter().map(|one| (&*one.figure.name, one.figure.value.unwrap()));
        let expected = [("rouge1_acc", 0.5), ("rouge1_max", 50.0), ("rouge1_diff", -25.0)];
        assert_eq!(figures.collect::<Vec<_>>(), expected);
        assert_eq!(marked[0].rows, [1.0, 0.0]);
        assert_eq!(marked[0].read[1], ("y".into(), Some(false)));
    }

    #[test]
    fn without_wrong_texts_all_answers_are_one_figure() {
        let known = [known(&["a b"], None), known(&["c d"], None)];
        let marked = marked(&rouge(), &known, &["a b", "a b", "c", "d"], 2).unwrap();
        assert_eq!((marked.len(), &*marked[0].figure.name), (1, "rouge1"));
        let want = 100.0 * (1.0 + 1.0 + 2.0 / 3.0 + 2.0 / 3.0) / 4.0;
        assert!((marked[0].figure.value.unwrap() - want).abs() < 1e-9);
        assert!(marked[0].figure.interval.is_some() && marked[0].read[0].1.is_none());
        assert_eq!(marked[0].rows.len(), 2);
    }

    #[test]
    fn a_side_without_texts_is_told() {
        let known = [known(&["a"], Some(&["b"])), known(&["a"], Some(&[]))];
        let Err(Failure::Input { message, .. }) = marked(&rouge(), &known, &["a", "a"], 1) else {
            panic!()
        };
        assert_eq!(message, "`wrong` gives nothing");
    }
}
