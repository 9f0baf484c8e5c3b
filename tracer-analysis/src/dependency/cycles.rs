//! Circles of dependencies: services that reach themselves by calls.

use std::collections::BTreeMap;

use super::{
    DependencyCycle,
    tally::{Returns, Tallies},
};
use crate::{
    answer::Exemplar,
    corpus::{Corpus, PartyId, is_service},
};

/// Circles that are told.
const MOST_CYCLES: usize = 50;

pub(super) fn of(corpus: &Corpus, tallies: &Tallies) -> Vec<DependencyCycle> {
    let is_one = |party: &PartyId| is_service(corpus.dictionary.party(*party).kind);
    let mut calls: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (from, to) in tallies.edges.keys().filter(|(from, to)| is_one(from) && is_one(to)) {
        calls.entry(from.index()).or_default().push(to.index());
    }
    let mut cycles: Vec<DependencyCycle> = components(tallies.parties.len(), &calls)
        .into_iter()
        .filter(|services| {
            services.len() > 1
                || services.iter().any(|one| calls.get(one).is_some_and(|calls| calls.contains(one)))
        })
        .map(|services| cycle(corpus, tallies, &services))
        .collect();
    cycles.sort_by(|one, other| one.services.cmp(&other.services));
    cycles.truncate(MOST_CYCLES);
    cycles
}

fn cycle(corpus: &Corpus, tallies: &Tallies, services: &[usize]) -> DependencyCycle {
    let returns = tallies.returns.iter().filter(|(service, _)| services.contains(&service.index()));
    let most: Option<&Returns> = returns.map(|(_, returns)| returns).max_by_key(|returns| returns.traces);
    let mut names: Vec<String> =
        services.iter().map(|service| corpus.dictionary.parties()[*service].name.to_string()).collect();
    names.sort();
    DependencyCycle {
        services: names,
        traces: most.map_or(0, |returns| returns.traces),
        exemplar: most.map(|returns| Exemplar::of(corpus.trace(returns.last.0), returns.last.1)),
    }
}

/// Strongly connected components of a graph: Tarjan, "Depth-first search and linear graph algorithms", SIAM Journal on Computing
/// 1 (1972), without recursion.
fn components(nodes: usize, calls: &BTreeMap<usize, Vec<usize>>) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let called = |node: usize| calls.get(&node).map_or(&[][..], Vec::as_slice);
    let (mut number, mut low, mut is_open) = (vec![NEW; nodes], vec![NEW; nodes], vec![false; nodes]);
    let (mut next, mut open, mut found) = (0, Vec::new(), Vec::new());
    for &begin in calls.keys() {
        if number[begin] != NEW {
            continue;
        }
        let mut steps = vec![(begin, 0)];
        while let Some((node, done)) = steps.pop() {
            if done == 0 {
                (number[node], low[node], is_open[node]) = (next, next, true);
                next += 1;
                open.push(node);
            }
            if let Some(&to) = called(node).get(done) {
                steps.push((node, done + 1));
                if number[to] == NEW {
                    steps.push((to, 0));
                } else if is_open[to] {
                    low[node] = low[node].min(number[to]);
                }
                continue;
            }
            if low[node] == number[node] {
                let first = open.iter().rposition(|one| *one == node).unwrap_or(0);
                let component = open.split_off(first);
                component.iter().for_each(|one| is_open[*one] = false);
                found.push(component);
            }
            if let Some((above, _)) = steps.last() {
                low[*above] = low[*above].min(low[node]);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether one node reaches another, by a plain search.
    fn reaches(calls: &BTreeMap<usize, Vec<usize>>, from: usize, to: usize) -> bool {
        let mut seen = vec![from];
        let mut at = 0;
        while at < seen.len() {
            for next in calls.get(&seen[at]).into_iter().flatten() {
                if *next == to {
                    return true;
                }
                if !seen.contains(next) {
                    seen.push(*next);
                }
            }
            at += 1;
        }
        false
    }

    proptest! {
        #[test]
        fn two_are_in_one_component_if_each_reaches_the_other(
            edges in proptest::collection::vec((0..8_usize, 0..8_usize), 0..20),
        ) {
            let mut calls: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (from, to) in edges {
                calls.entry(from).or_default().push(to);
            }
            let found = components(8, &calls);
            for one in 0..8 {
                for other in (0..8).filter(|other| *other != one) {
                    let together = found.iter().any(|all| all.contains(&one) && all.contains(&other));
                    let is_circle = reaches(&calls, one, other) && reaches(&calls, other, one);
                    prop_assert_eq!(together, is_circle, "{} {} {:?}", one, other, calls);
                }
            }
        }
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let calls: BTreeMap<usize, Vec<usize>> =
            (0..200_000).map(|node| (node, vec![(node + 1) % 200_000])).collect();
        let found = components(200_000, &calls);
        assert_eq!((found.len(), found[0].len()), (1, 200_000));
    }
}
