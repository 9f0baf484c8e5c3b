//! The file that declares an architecture.

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, fmt::Write, fs::File, io::Read, path::Path};

use serde::Deserialize;
use tracer_analysis::dependency::{
    DependenciesAnswer,
    check::{Declared, DeclaredEdge},
};

use crate::{
    commands::outcome::{Failure, USAGE},
    one_or_list,
};

/// Edges that are declared at most.
const MOST_EDGES: usize = 20_000;

/// Largest file that is read.
const MOST_BYTES: u64 = 4 << 20;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredFile {
    edges: Vec<DeclaredLine>,
    #[serde(default)]
    ignore: Vec<IgnoredLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredLine {
    #[serde(deserialize_with = "one_or_list::read")]
    from: Vec<String>,
    #[serde(deserialize_with = "one_or_list::read")]
    to: Vec<String>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IgnoredLine {
    #[serde(default = "anybody", deserialize_with = "one_or_list::read")]
    from: Vec<String>,
    #[serde(default = "anybody", deserialize_with = "one_or_list::read")]
    to: Vec<String>,
}

fn anybody() -> Vec<String> {
    vec!["*".to_owned()]
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or is wrong.
pub(super) fn read(path: &Path) -> Result<Declared, Failure> {
    let wrong = |message: String| Failure::new(USAGE, format!("--check {}: {message}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(wrong(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
    }
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Declared, String> {
    let file: DeclaredFile =
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    let lines = file.edges.iter().map(|line| (&line.from, &line.to));
    let pairs_of = |(from, to): (&Vec<String>, &Vec<String>)| from.len().saturating_mul(to.len());
    let all: usize = lines.chain(file.ignore.iter().map(|line| (&line.from, &line.to))).map(pairs_of).sum();
    if all > MOST_EDGES {
        return Err(format!(
            "it declares {all} edges, and {MOST_EDGES} are read at most: use patterns with *"
        ));
    }
    let mut declared = Declared::default();
    for line in &file.edges {
        declared.edges.extend(pairs(&line.from, &line.to, line.optional));
    }
    for line in &file.ignore {
        declared.ignored.extend(pairs(&line.from, &line.to, false));
    }
    match declared
        .edges
        .iter()
        .chain(&declared.ignored)
        .find(|edge| edge.from.is_empty() || edge.to.is_empty())
    {
        Some(_) => {
            Err("a name is empty: give the name of a service, HOST:PORT, or a pattern with *".to_owned())
        }
        None => Ok(declared),
    }
}

fn pairs(from: &[String], to: &[String], optional: bool) -> Vec<DeclaredEdge> {
    let all = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
    all.map(|(from, to)| DeclaredEdge { from: from.clone(), to: to.clone(), optional }).collect()
}

/// Writes the file that declares what was seen.
pub(super) fn write(answer: &DependenciesAnswer) -> String {
    let mut called: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for dependency in &answer.edges {
        called.entry(&dependency.edge.from).or_default().push(&dependency.edge.to);
    }
    let mut text =
        "# Who calls whom, as `tracer map --format yaml` saw it. `tracer map --check` compares with it.\n"
            .to_owned();
    text += if called.is_empty() { "edges: []\n" } else { "edges:\n" };
    for (from, mut to) in called {
        to.sort_unstable();
        let to: Vec<String> = to.into_iter().map(quoted).collect();
        let _ = writeln!(text, "  - from: {}\n    to: [{}]", quoted(from), to.join(", "));
    }
    text
}

/// A text of YAML: JSON's are such.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tracer_analysis::{answer::EdgeName, dependency::Dependency};

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_met() {
        let edge = |from: &str, to: &str| Dependency {
            edge: EdgeName { from: from.into(), to: to.into(), ..EdgeName::default() },
            ..Dependency::default()
        };
        let answer = DependenciesAnswer {
            edges: vec![edge("shop", "stock"), edge("shop", "a: \"b\" #\n"), edge("no", "yes")],
            ..DependenciesAnswer::default()
        };
        let declared = parse(&write(&answer)).expect("it is right");
        assert!(tracer_analysis::dependency::check::check(&answer, &declared).is_met(), "{declared:?}");
        assert_eq!(parse(&write(&DependenciesAnswer::default())), Ok(Declared::default()));
    }

    #[test]
    fn names_are_one_or_several_and_what_is_left_out_is_anybody() {
        let declared = parse(
            "edges:\n - from: [a, b]\n   to: c\n - {from: c, to: ['d:1', e], optional: true}\nignore:\n - to: x*\n",
        )
        .expect("it is right");
        let told: Vec<_> =
            declared.edges.iter().map(|edge| (&*edge.from, &*edge.to, edge.optional)).collect();
        assert_eq!(told, [("a", "c", false), ("b", "c", false), ("c", "d:1", true), ("c", "e", true)]);
        assert_eq!((&*declared.ignored[0].from, &*declared.ignored[0].to), ("*", "x*"));
    }

    #[test]
    fn a_wrong_file_is_told_with_its_place() {
        for (text, told) in [
            ("edges:\n - from: a\n   too: b\n", "unknown field `too`"),
            ("edges:\n - from: a\n", "missing field `to`"),
            ("", "line 1"),
            ("edges: [", "line"),
            ("edges:\n - {from: '', to: a}\n", "a name is empty"),
            ("edges: 7\n", "line 1"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(told), "{text:?}: {error}");
        }
    }
}
