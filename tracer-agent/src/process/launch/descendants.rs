//! Processes that a program leaves behind.

#![forbid(unsafe_code)]

use std::{collections::HashMap, fs};

/// Living processes below `ancestor`, ascending, without those that only wait to be reaped. As `/proc` tells them, one
/// after the other: what starts or ends meanwhile may be missing.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read(entry.path().join("stat")).ok()?;
        Some((pid, parent(&stat)?))
    });
    below(ancestor, &processes.collect())
}

/// The parent in the text of `/proc/PID/stat`; none for a zombie. A program chooses its name, which stands in
/// parentheses before the state and may have some itself (proc(5)).
fn parent(stat: &[u8]) -> Option<u32> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[name_ends + 1..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

/// Those whose chain of parents leads to `ancestor`.
fn below(ancestor: u32, parents: &HashMap<u32, u32>) -> Vec<u32> {
    let is_below = |pid: u32| {
        let chain = std::iter::successors(Some(pid), |pid| parents.get(pid).copied());
        // Read one after the other, parents can make a ring.
        chain.skip(1).take(parents.len()).any(|pid| pid == ancestor)
    };
    let mut found: Vec<u32> = parents.keys().copied().filter(|pid| is_below(*pid)).collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_behind_any_name_and_a_zombie_is_none() {
        assert_eq!(parent(b"12 (sh) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent(b"12 (a) Z 3 (b)) R 7 12 12"), Some(7));
        assert_eq!(parent(b"12 (sh) Z 7 12 12"), None);
        assert_eq!(
            [parent(b""), parent(b"12 (sh"), parent(b"12 (sh) S"), parent(b"1 (\xff) S x")],
            [None; 4]
        );
    }

    #[test]
    fn descendants_are_found_through_their_parents_and_rings_end() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (9, 1), (5, 6), (6, 5), (7, 7)]);
        assert_eq!(below(2, &parents), [3, 4]);
        assert_eq!(below(1, &parents), [2, 3, 4, 9]);
        assert_eq!(below(8, &parents), [0_u32; 0]);
    }
}
