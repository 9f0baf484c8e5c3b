//! Lines beyond those that a person can read become a count.

use std::io::Write;

/// Lines that are written in a second before the rest is folded into a count.
pub(super) const LINES_PER_SECOND: usize = 200;

/// What of a second was written, and what was only counted.
pub(super) struct LineLimit {
    /// What is counted: a word for it after "more", with a space before it.
    what: &'static str,
    second: u64,
    lines: usize,
    folded: u64,
    /// Something was folded since the last tick.
    is_folding: bool,
}

impl LineLimit {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, second: 0, lines: 0, folded: 0, is_folding: false }
    }

    /// Whether so many lines may be written in a second; they are counted otherwise.
    pub(super) fn admits(&mut self, out: &mut Vec<u8>, second: u64, lines: usize) -> bool {
        if second > self.second {
            self.tell(out);
            self.second = second;
            self.lines = 0;
        }
        if self.lines + lines > LINES_PER_SECOND {
            self.folded += 1;
            self.is_folding = true;
            return false;
        }
        self.lines += lines;
        true
    }

    /// Time has passed. While things go on being folded, their count waits for the next second.
    pub(super) fn tick(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_folding) {
            self.tell(out);
        }
    }

    /// Writes the count of what was folded.
    pub(super) fn tell(&mut self, out: &mut Vec<u8>) {
        if self.folded > 0 {
            // Writing to memory does not fail.
            let _ = writeln!(out, "              … and {} more{} in the same second", self.folded, self.what);
            self.folded = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(limit: &mut LineLimit, step: impl FnOnce(&mut LineLimit, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        step(limit, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn more_lines_than_a_person_reads_become_one_count() {
        let mut limit = LineLimit::new("");
        let mut admitted = 0;
        let written = told(&mut limit, |limit, out| {
            admitted = (0..LINES_PER_SECOND + 50).filter(|_| limit.admits(out, 1, 1)).count();
            limit.tick(out);
        });
        assert_eq!(admitted, LINES_PER_SECOND);
        assert_eq!(written, "", "the second may not be over");
        let written = told(&mut limit, |limit, out| assert!(limit.admits(out, 2, 1)));
        assert_eq!(written, "              … and 50 more in the same second\n");
        assert_eq!(told(&mut limit, LineLimit::tick), "");
        assert_eq!(told(&mut limit, LineLimit::tick), "");
    }

    #[test]
    fn a_count_does_not_wait_for_traffic_that_has_stopped() {
        let mut limit = LineLimit::new(" traces");
        told(&mut limit, |limit, out| {
            assert!(limit.admits(out, 1, LINES_PER_SECOND));
            assert!(!limit.admits(out, 1, 1));
        });
        assert_eq!(told(&mut limit, LineLimit::tick), "");
        assert_eq!(
            told(&mut limit, LineLimit::tick),
            "              … and 1 more traces in the same second\n"
        );
    }
}
