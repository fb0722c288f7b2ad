//! The rows of a task in groups within groups, as lm-evaluation-harness tells of MMLU's areas and
//! subjects: a score of a group is the mean over its rows, and its standard error is pooled from
//! the smallest groups. Knows findings; does not know how they are written down.

use super::finding::{Breakdown, Figure, Finding, Group};

/// A group with what lies in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name of the task, and of its groups down to this one.
    pub name: String,
    /// The group alone.
    pub alias: String,
    pub rows: usize,
    pub score: Figure,
    pub standard_error: Option<f64>,
    pub inside: Vec<Node>,
}

/// The whole of a task that is told in groups: every row is in one of the first, and each of the
/// next lies in one of those before, as long as that holds.
pub fn tree(task: &str, finding: &Finding) -> Option<Node> {
    let rows = |of: &Breakdown| of.groups.iter().map(|group| group.rows).sum::<usize>();
    let first = finding.breakdowns.first().filter(|first| finding.rows.len() == rows(first))?;
    let nested = |next: &&Breakdown| next.groups.iter().all(|group| group.within.is_some());
    let levels = finding.breakdowns[1..].iter().take_while(nested).collect::<Vec<_>>();
    let groups = first.groups.iter().map(|group| node(task, group, &levels));
    Some(around(task, task, finding.scores.first()?.clone(), groups.collect()))
}

fn node(task: &str, group: &Group, levels: &[&Breakdown]) -> Node {
    let name = format!("{task}_{}", slug(&group.name));
    let Some((next, deeper)) = levels.split_first() else {
        return Node {
            name,
            alias: group.name.clone(),
            rows: group.rows,
            score: group.share.clone(),
            standard_error: group.standard_error,
            inside: Vec::new(),
        };
    };
    let own = next.groups.iter().filter(|one| one.within.as_ref() == Some(&group.name));
    let inside = own.map(|one| node(task, one, deeper)).collect();
    around(&name, &group.name, group.share.clone(), inside)
}

fn around(name: &str, alias: &str, score: Figure, inside: Vec<Node>) -> Node {
    let mut node = Node {
        name: name.into(),
        alias: alias.into(),
        rows: inside.iter().map(|node| node.rows).sum(),
        score,
        standard_error: None,
        inside,
    };
    node.standard_error = pooled(&node.leaves());
    node
}

/// Variances of groups, each weighed by its rows.
fn pooled(leaves: &[&Node]) -> Option<f64> {
    let rows = leaves.iter().map(|leaf| leaf.rows).sum::<usize>() as f64;
    let squares = leaves.iter().map(|leaf| {
        let rows = leaf.rows as f64;
        Some((rows - 1.0) * rows * leaf.standard_error? * leaf.standard_error?)
    });
    Some((squares.sum::<Option<f64>>()? / (rows - leaves.len() as f64) / rows).sqrt())
}

impl Node {
    /// This one, and all that lie in it.
    pub fn all(&self) -> Vec<&Node> {
        let inside = self.inside.iter().flat_map(Node::all);
        std::iter::once(self).chain(inside).collect()
    }

    /// Those in which no other lies.
    fn leaves(&self) -> Vec<&Node> {
        self.all().into_iter().filter(|node| node.inside.is_empty()).collect()
    }
}

/// A name as the harness writes them: `social_sciences`.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() { c } else { '_' };
    name.to_lowercase().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, within: Option<&str>, rows: &[f64]) -> Group {
        let within = within.map(str::to_string);
        Group { within, ..Group::of(name, &Figure::share("acc", Some(0.5), 9), rows) }
    }

    fn finding() -> Finding {
        let rows = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let areas = vec![group("other", None, &rows[..4]), group("The Arts", None, &rows[4..])];
        let subjects = vec![
            group("law", Some("other"), &rows[..4]),
            group("music", Some("The Arts"), &rows[4..7]),
            group("dance", Some("The Arts"), &rows[7..]),
        ];
        let breakdown = |by: &str, groups| Breakdown { by: by.into(), groups };
        Finding {
            scores: vec![Figure::share("acc", Some(4.0 / 9.0), 9)],
            rows: rows.to_vec(),
            breakdowns: vec![breakdown("area", areas), breakdown("subject", subjects)],
            ..Finding::default()
        }
    }

    #[test]
    fn subjects_lie_in_their_areas() {
        let tree = tree("exam", &finding()).unwrap();
        let told = tree.all().into_iter().map(|node| (&*node.name, node.rows, node.inside.len()));
        let expected = [
            ("exam", 9, 2),
            ("exam_other", 4, 1),
            ("exam_law", 4, 0),
            ("exam_the_arts", 5, 2),
            ("exam_music", 3, 0),
            ("exam_dance", 2, 0),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        // Of lm_eval.api.metrics.pooled_sample_stderr([0.25, 1 / 3, 0.0], [4, 3, 2]) and of the
        // last two.
        let close = |node: &Node, want: f64| (node.standard_error.unwrap() - want).abs() < 1e-12;
        assert!(close(&tree, 0.161970885967925), "{tree:?}");
        assert!(close(&tree.inside[1], 0.21081851067789195), "{tree:?}");
    }

    #[test]
    fn what_does_not_hold_every_row_is_no_group() {
        let mut finding = finding();
        finding.breakdowns[1].groups[0].within = None;
        let flat = tree("exam", &finding).unwrap();
        assert_eq!(flat.all().len(), 3);
        finding.breakdowns[0].groups.pop();
        assert_eq!(tree("exam", &finding), None);
    }
}
