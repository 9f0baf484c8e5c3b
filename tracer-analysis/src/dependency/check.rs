//! Dependencies as they are beside those that somebody declared.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DependenciesAnswer, Dependency};
use crate::answer::{EdgeName, Exemplar};

/// An edge that is expected. Each name may have `*` for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeclaredEdge {
    /// Who calls.
    pub from: String,
    /// Who is called: a service, or the host and port of another one.
    pub to: String,
    /// Whether it may be without calls.
    pub optional: bool,
}

impl DeclaredEdge {
    fn meets(&self, edge: &EdgeName) -> bool {
        matches(&self.from, &edge.from) && matches(&self.to, &edge.to)
    }
}

/// An architecture as it was declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Edges that are expected.
    pub edges: Vec<DeclaredEdge>,
    /// Edges that are not looked at.
    pub ignored: Vec<DeclaredEdge>,
}

/// How the calls differ from what was declared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DependencyCheck {
    /// Calls that nobody declared, the most first.
    pub undeclared: Vec<UndeclaredEdge>,
    /// Declared edges without a call, in the order of the declaration; without those that are optional.
    pub unused: Vec<UnusedEdge>,
    /// Edges that are as declared.
    pub as_declared: u64,
    /// Edges that the declaration says to ignore.
    pub ignored: u64,
    /// Edges, or calls of further ones, that were not compared, since there are too many: nothing is certain then.
    pub not_compared: u64,
}

impl DependencyCheck {
    /// Whether the calls are as declared.
    pub fn is_met(&self) -> bool {
        self.undeclared.is_empty() && self.unused.is_empty() && self.not_compared == 0
    }
}

/// Calls that nobody declared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UndeclaredEdge {
    /// Who calls whom.
    pub edge: EdgeName,
    /// Calls.
    pub calls: u64,
    /// First call.
    pub first_unix_us: u64,
    /// Names of the calls.
    pub operations: Vec<String>,
    /// A trace with a call.
    pub exemplar: Option<Exemplar>,
}

/// A declared edge without a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnusedEdge {
    /// The edge, as it was declared.
    pub edge: DeclaredEdge,
    /// Requests that its caller served: with none, the absence of calls says little.
    pub caller_requests: u64,
    /// Whether there are spans of the caller.
    pub is_caller_seen: bool,
}

/// Compares what was seen with what was declared.
pub fn check(answer: &DependenciesAnswer, declared: &Declared) -> DependencyCheck {
    let not_compared = answer.left_out + answer.omitted_calls;
    let mut check = DependencyCheck { not_compared, ..DependencyCheck::default() };
    let mut is_used = vec![false; declared.edges.len()];
    for dependency in &answer.edges {
        let mut is_declared = false;
        for (edge, is_used) in declared.edges.iter().zip(&mut is_used) {
            if edge.meets(&dependency.edge) {
                (*is_used, is_declared) = (true, true);
            }
        }
        if is_declared {
            check.as_declared += 1;
        } else if declared.ignored.iter().any(|ignored| ignored.meets(&dependency.edge)) {
            check.ignored += 1;
        } else {
            check.undeclared.push(undeclared(dependency));
        }
    }
    let unused = declared.edges.iter().zip(is_used).filter(|(edge, is_used)| !is_used && !edge.optional);
    check.unused = unused
        .map(|(edge, _)| {
            let callers = answer.parties.iter().filter(|party| matches(&edge.from, &party.name));
            UnusedEdge {
                edge: edge.clone(),
                caller_requests: callers.clone().map(|party| party.requests).sum(),
                is_caller_seen: callers.count() > 0,
            }
        })
        .collect();
    check
}

fn undeclared(dependency: &Dependency) -> UndeclaredEdge {
    UndeclaredEdge {
        edge: dependency.edge.clone(),
        calls: dependency.calls,
        first_unix_us: dependency.first_unix_us,
        operations: dependency.operations.clone(),
        exemplar: dependency.exemplar.clone(),
    }
}

/// Whether a name is as a pattern says, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(begin) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::DependencyParty;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, is_met) in [
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("*", "", true),
            ("shop*", "shop-eu", true),
            ("*.example:5432", "db.example:5432", true),
            ("*.example:5432", "db.example:54321", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*b", "ab", false),
            ("**", "x", true),
            ("ä*", "äx", true),
        ] {
            assert_eq!(matches(pattern, name), is_met, "{pattern} {name}");
        }
    }

    fn seen(from: &str, to: &str, calls: u64) -> Dependency {
        let edge = EdgeName { from: from.into(), to: to.into(), ..EdgeName::default() };
        Dependency { edge, calls, ..Dependency::default() }
    }

    fn edge(from: &str, to: &str, optional: bool) -> DeclaredEdge {
        DeclaredEdge { from: from.into(), to: to.into(), optional }
    }

    #[test]
    fn undeclared_and_unused_edges_are_told() {
        let answer = DependenciesAnswer {
            edges: vec![
                seen("shop", "stock", 9),
                seen("shop", "mail:25", 2),
                seen("shop", "169.254.169.254:80", 1),
            ],
            parties: vec![DependencyParty { name: "shop".into(), requests: 7, ..DependencyParty::default() }],
            ..DependenciesAnswer::default()
        };
        let declared = Declared {
            edges: vec![
                edge("shop", "stock", false),
                edge("shop", "cache:6379", true),
                edge("shop", "catalog", false),
                edge("ghost", "stock", false),
            ],
            ignored: vec![edge("*", "169.254.*", false)],
        };
        let check = check(&answer, &declared);
        let undeclared: Vec<_> = check.undeclared.iter().map(|one| (&*one.edge.to, one.calls)).collect();
        assert_eq!(undeclared, [("mail:25", 2)]);
        let unused: Vec<_> = check
            .unused
            .iter()
            .map(|one| (&*one.edge.from, &*one.edge.to, one.caller_requests, one.is_caller_seen))
            .collect();
        assert_eq!(unused, [("shop", "catalog", 7, true), ("ghost", "stock", 0, false)]);
        assert_eq!((check.as_declared, check.ignored, check.is_met()), (1, 1, false));
    }

    #[test]
    fn what_is_as_declared_is_met() {
        let answer =
            DependenciesAnswer { edges: vec![seen("shop", "stock", 9)], ..DependenciesAnswer::default() };
        let declared = Declared { edges: vec![edge("shop", "*", false)], ..Declared::default() };
        assert!(check(&answer, &declared).is_met());
    }

    #[test]
    fn what_was_not_compared_is_not_met() {
        let answer = DependenciesAnswer { left_out: 3, ..DependenciesAnswer::default() };
        let check = check(&answer, &Declared::default());
        assert_eq!((check.not_compared, check.is_met()), (3, false));
    }
}
