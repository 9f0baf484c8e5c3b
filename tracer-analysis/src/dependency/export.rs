//! Dependencies for other tools: Mermaid and Graphviz.

use std::{collections::BTreeMap, fmt::Write};

use tracer_model::answer::NodeKind;

use super::{DependenciesAnswer, Dependency};

/// A node of the drawing: its number and its kind.
type Nodes<'a> = BTreeMap<&'a str, (usize, NodeKind)>;

fn nodes(answer: &DependenciesAnswer) -> Nodes<'_> {
    let mut nodes: Nodes<'_> = BTreeMap::new();
    let parties = answer.parties.iter().map(|party| (party.name.as_str(), party.kind));
    let ends = answer.edges.iter().flat_map(|dependency| {
        let edge = &dependency.edge;
        [(edge.from.as_str(), dependency.from_kind), (edge.to.as_str(), edge.to_kind)]
    });
    for (name, kind) in parties.chain(ends) {
        let number = nodes.len();
        nodes.entry(name).or_insert((number, kind));
    }
    nodes
}

fn label(dependency: &Dependency) -> String {
    match dependency.failed_calls {
        0 => format!("{} calls", dependency.calls),
        failed => format!("{} calls, {failed} failed", dependency.calls),
    }
}

/// A flowchart of Mermaid.
pub fn mermaid(answer: &DependenciesAnswer) -> String {
    let nodes = nodes(answer);
    let mut text = "flowchart LR\n".to_owned();
    for (name, (number, kind)) in &nodes {
        let (open, close) = match kind {
            NodeKind::Database => ("[(", ")]"),
            NodeKind::Broker => ("[[", "]]"),
            NodeKind::Service => ("[", "]"),
            _ => ("([", "])"),
        };
        let _ = writeln!(text, "  n{number}{open}\"{}\"{close}", mermaid_text(name));
    }
    for dependency in &answer.edges {
        let (from, to) = (nodes[dependency.edge.from.as_str()].0, nodes[dependency.edge.to.as_str()].0);
        let _ = writeln!(text, "  n{from} -->|\"{}\"| n{to}", label(dependency));
    }
    text
}

/// Text in quotes of Mermaid, which knows entities by number. All that is no letter, digit or plain sign is one.
fn mermaid_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || " .,:_-/@".contains(c) {
            safe.push(c);
        } else {
            let _ = write!(safe, "#{};", u32::from(c));
        }
    }
    safe
}

/// A directed graph in the DOT language of Graphviz.
pub fn dot(answer: &DependenciesAnswer) -> String {
    let nodes = nodes(answer);
    let mut text = "digraph dependencies {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (name, (number, kind)) in &nodes {
        let shape = match kind {
            NodeKind::Database => "cylinder",
            NodeKind::Broker => "cds",
            NodeKind::Service => "box",
            _ => "ellipse",
        };
        let _ = writeln!(text, "  n{number} [label=\"{}\", shape={shape}];", dot_text(name));
    }
    for dependency in &answer.edges {
        let (from, to) = (nodes[dependency.edge.from.as_str()].0, nodes[dependency.edge.to.as_str()].0);
        let color = if dependency.failed_calls > 0 { ", color=red" } else { "" };
        let _ = writeln!(text, "  n{from} -> n{to} [label=\"{}\"{color}];", label(dependency));
    }
    text + "}\n"
}

/// Text in quotes of DOT: a backslash begins an escape there, also at the end of the text.
fn dot_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::EdgeName;

    fn answer() -> DependenciesAnswer {
        let edge = |from: &str, to: &str, to_kind| EdgeName { from: from.into(), to: to.into(), to_kind };
        DependenciesAnswer {
            edges: vec![
                Dependency {
                    edge: edge("shop", "db:5432", NodeKind::Database),
                    calls: 7,
                    failed_calls: 2,
                    ..Dependency::default()
                },
                Dependency {
                    edge: edge("shop", "x\"]; n0 --> n1 <b>\\", NodeKind::Peer),
                    calls: 1,
                    ..Dependency::default()
                },
            ],
            ..DependenciesAnswer::default()
        }
    }

    #[test]
    fn mermaid_draws_kinds_and_no_name_breaks_out() {
        let drawn = mermaid(&answer());
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(
            lines,
            [
                "flowchart LR",
                "  n1[(\"db:5432\")]",
                "  n0[\"shop\"]",
                "  n2([\"x#34;#93;#59; n0 --#62; n1 #60;b#62;#92;\"])",
                "  n0 -->|\"7 calls, 2 failed\"| n1",
                "  n0 -->|\"1 calls\"| n2",
            ]
        );
    }

    #[test]
    fn dot_draws_kinds_and_no_name_breaks_out() {
        let drawn = dot(&answer());
        assert!(drawn.contains("n1 [label=\"db:5432\", shape=cylinder];"), "{drawn}");
        assert!(drawn.contains("n2 [label=\"x\\\"]; n0 --> n1 <b>\\\\\", shape=ellipse];"), "{drawn}");
        assert!(drawn.contains("n0 -> n1 [label=\"7 calls, 2 failed\", color=red];"), "{drawn}");
    }
}
