//! The graph of stages as DOT, Mermaid or SVG, coloured by state. Knows names, kinds and edges;
//! does not know what makes a stage fresh.

use std::fmt::Write;

/// How a stage stands, as a colour and a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Fresh,
    Stale,
    /// What it needs will run first, so it may or may not.
    Waiting,
}

/// A stage to draw; `needs` are indices of earlier nodes.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub kind: String,
    pub state: State,
    pub needs: Vec<usize>,
}

impl State {
    fn fill(self) -> &'static str {
        match self {
            State::Fresh => "#d5f0dc",
            State::Stale => "#ffe2b8",
            State::Waiting => "#e8e8ee",
        }
    }

    /// The word for it; colour never carries the meaning alone.
    pub fn word(self) -> &'static str {
        match self {
            State::Fresh => "fresh",
            State::Stale => "will run",
            State::Waiting => "may run",
        }
    }
}

/// Graphviz's language.
pub fn dot(nodes: &[Node]) -> String {
    let mut out =
        String::from("digraph recipe {\n    rankdir=LR\n    node [shape=box, style=filled]\n");
    for (at, node) in nodes.iter().enumerate() {
        let label = format!("{}\\n{} · {}", quoted(&node.name), node.kind, node.state.word());
        let fill = node.state.fill();
        writeln!(out, "    n{at} [label=\"{label}\", fillcolor=\"{fill}\"]").unwrap();
    }
    for (at, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            writeln!(out, "    n{need} -> n{at}").unwrap();
        }
    }
    out + "}\n"
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Mermaid's language, which Markdown viewers draw.
pub fn mermaid(nodes: &[Node]) -> String {
    let mut out = String::from("flowchart LR\n");
    for (at, node) in nodes.iter().enumerate() {
        let name = node.name.replace('"', "#quot;");
        writeln!(out, "    n{at}[\"{name}<br/>{} · {}\"]", node.kind, node.state.word()).unwrap();
    }
    for (at, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            writeln!(out, "    n{need} --> n{at}").unwrap();
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        writeln!(out, "    style n{at} fill:{}", node.state.fill()).unwrap();
    }
    out
}

const BOX_WIDTH: usize = 170;
const BOX_HEIGHT: usize = 44;
const GAP_X: usize = 60;
const GAP_Y: usize = 22;
const MARGIN: usize = 16;

/// A drawing by itself: columns by the longest chain of needs, each column sorted so that edges
/// stay short.
pub fn svg(nodes: &[Node]) -> String {
    let columns = columns(nodes);
    let place = places(nodes.len(), &columns);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let width = 2 * MARGIN + columns.len() * (BOX_WIDTH + GAP_X) - GAP_X.min(columns.len() * GAP_X);
    let height = 2 * MARGIN + rows * (BOX_HEIGHT + GAP_Y);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\">\n"
    );
    out.push_str("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    for (at, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            out.push_str(&edge(place[*need], place[at]));
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        out.push_str(&node_box(node, place[at]));
    }
    out + "</svg>\n"
}

/// A curve from the right side of one box to the left side of another.
fn edge(from: (usize, usize), to: (usize, usize)) -> String {
    let (x1, y1) = (from.0 + BOX_WIDTH, from.1 + BOX_HEIGHT / 2);
    let (x2, y2) = (to.0, to.1 + BOX_HEIGHT / 2);
    let bend = (x1 + x2) / 2;
    format!(
        "<path d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\" fill=\"none\" \
         stroke=\"#889\" stroke-width=\"1.4\"/>\n"
    )
}

fn node_box(node: &Node, (x, y): (usize, usize)) -> String {
    let (middle, first, second) = (x + BOX_WIDTH / 2, y + 19, y + 35);
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\" \
         fill=\"{}\" stroke=\"#667\"/>\n<text x=\"{middle}\" y=\"{first}\" font-size=\"13\" \
         text-anchor=\"middle\">{}</text>\n<text x=\"{middle}\" y=\"{second}\" font-size=\"10\" \
         fill=\"#445\" text-anchor=\"middle\">{} · {}</text>\n",
        node.state.fill(),
        escaped(&shortened(&node.name)),
        escaped(&shortened(&node.kind)),
        node.state.word()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(22) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Nodes by the length of the longest chain that leads to them; needs come before their users.
fn columns(nodes: &[Node]) -> Vec<Vec<usize>> {
    let mut level = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        level[at] = node.needs.iter().map(|need| level[*need] + 1).max().unwrap_or(0);
    }
    let mut columns = vec![Vec::new(); level.iter().max().map_or(0, |most| most + 1)];
    for (at, level) in level.iter().enumerate() {
        columns[*level].push(at);
    }
    let mut row = vec![0; nodes.len()];
    for column in &mut columns {
        column.sort_by_key(|at| mean_row(&nodes[*at].needs, &row));
        for (place, at) in column.iter().enumerate() {
            row[*at] = place;
        }
    }
    columns
}

/// The mean row of the needs, in thousandths.
fn mean_row(needs: &[usize], row: &[usize]) -> usize {
    needs.iter().map(|need| row[*need] * 1000).sum::<usize>() / needs.len().max(1)
}

fn places(count: usize, columns: &[Vec<usize>]) -> Vec<(usize, usize)> {
    let mut place = vec![(0, 0); count];
    for (column, members) in columns.iter().enumerate() {
        for (row, at) in members.iter().enumerate() {
            let x = MARGIN + column * (BOX_WIDTH + GAP_X);
            place[*at] = (x, MARGIN + row * (BOX_HEIGHT + GAP_Y));
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, needs: &[usize]) -> Node {
        let kind = "sft".to_string();
        Node { name: name.into(), kind, state: State::Stale, needs: needs.to_vec() }
    }

    #[test]
    fn users_stand_right_of_what_they_need() {
        let nodes = [node("a", &[]), node("b", &[0]), node("c", &[0, 1])];
        let place = places(3, &columns(&nodes));
        assert!(place[0].0 < place[1].0 && place[1].0 < place[2].0);
    }

    #[test]
    fn names_are_escaped() {
        let nodes = [node("a<\"b\">", &[])];
        assert!(svg(&nodes).contains("a&lt;\"b\"&gt;"));
        assert!(dot(&nodes).contains("a<\\\"b\\\">"));
        assert!(mermaid(&nodes).contains("#quot;b#quot;"));
    }

    #[test]
    fn nothing_is_drawn_for_nothing() {
        assert!(svg(&[]).ends_with("</svg>\n"));
    }
}
