//! How a proxy rewrites targets: what it puts in the place of their first segments.

/// Rewritten beginnings of targets that were seen while only one server request was waiting.
#[derive(Debug, Default)]
pub(super) struct Rewrites(Vec<Rewrite>);

/// A beginning, and what stands in its place.
#[derive(Debug)]
struct Rewrite {
    from: Box<[u8]>,
    to: Box<[u8]>,
    /// It was seen more than once.
    is_used: bool,
}

impl Rewrites {
    /// Beginnings that are remembered, and their longest.
    const MOST: usize = 64;
    const LONGEST: usize = 256;

    /// An upstream request with this target was sent for a server request with that one.
    pub(super) fn learn(&mut self, server: &[u8], upstream: &[u8]) {
        let Some(Split { server, upstream, .. }) = split(server, upstream) else { return };
        let is_short = server.len() <= Self::LONGEST && upstream.len() <= Self::LONGEST;
        let known = self.0.iter_mut().find(|known| known.is(server, upstream));
        if let Some(known) = known {
            known.is_used = true;
        } else if is_short {
            // One that came once, the oldest, makes room: what is used stays.
            if self.0.len() >= Self::MOST
                && let Some(at) = self.0.iter().position(|known| !known.is_used)
            {
                self.0.remove(at);
            }
            if self.0.len() < Self::MOST {
                self.0.push(Rewrite { from: server.into(), to: upstream.into(), is_used: false });
            }
        }
    }

    fn has(&self, server: &[u8], upstream: &[u8]) -> bool {
        self.0.iter().any(|known| known.is(server, upstream))
    }

    /// The server request, of those that wait with these targets, that an upstream request of this target continues: the
    /// target's end is the only one of its kind, and the beginning is cut off, or rewritten as it was before.
    pub(super) fn only<'a>(
        &self,
        waiting: impl Iterator<Item = &'a [u8]> + Clone,
        upstream: &'a [u8],
    ) -> Option<usize> {
        let all = waiting.clone().enumerate();
        let fitting = all.filter_map(|(at, server)| {
            let split = split(server, upstream)?;
            // An end of one segment is too common to say anything by itself.
            let is_cut_off = split.upstream.is_empty() && count(split.end, b'/') > 1;
            (is_cut_off || self.has(split.server, split.upstream)).then_some((at, split.end))
        });
        let (at, end) = fitting.max_by_key(|(_, end)| end.len())?;
        let mut with_end = waiting.filter(|server| server.ends_with(end));
        (with_end.next().is_some() && with_end.next().is_none()).then_some(at)
    }
}

impl Rewrite {
    fn is(&self, from: &[u8], to: &[u8]) -> bool {
        (&*self.from, &*self.to) == (from, to)
    }
}

/// Two targets that end in the same.
struct Split<'a> {
    server: &'a [u8],
    upstream: &'a [u8],
    /// The longest end of both that begins with a segment of the path.
    end: &'a [u8],
}

fn split<'a>(server: &'a [u8], upstream: &'a [u8]) -> Option<Split<'a>> {
    let same = server.iter().rev().zip(upstream.iter().rev()).take_while(|(one, other)| one == other).count();
    let at = server.len() - same;
    let path = server.iter().position(|byte| *byte == b'?').unwrap_or(server.len());
    let begin = at + server.get(at..path)?.iter().position(|byte| *byte == b'/')?;
    let (server, end) = server.split_at(begin);
    let upstream = upstream.strip_suffix(end)?;
    (end.len() > 1 && (server, upstream) != (b"", b"")).then_some(Split { server, upstream, end })
}

fn count(bytes: &[u8], wanted: u8) -> usize {
    let path = bytes.iter().take_while(|byte| **byte != b'?');
    path.filter(|byte| **byte == wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(rewrites: &Rewrites, waiting: &[&str], upstream: &str) -> Option<usize> {
        rewrites.only(waiting.iter().map(|target| target.as_bytes()), upstream.as_bytes())
    }

    #[test]
    fn a_beginning_that_is_cut_off_leaves_an_end_that_one_request_has() {
        let rewrites = Rewrites::default();
        let waiting = ["/fast/x/1", "/fast/x/2?a=/x/3", "/slow/x/4", "/fast/x/4"];
        assert_eq!(only(&rewrites, &waiting, "/x/1"), Some(0));
        assert_eq!(only(&rewrites, &waiting, "/x/2?a=/x/3"), Some(1));
        assert_eq!(only(&rewrites, &waiting, "/x/3"), None, "that is in a query");
        assert_eq!(only(&rewrites, &waiting, "/x/4"), None, "two have it");
        assert_eq!(only(&rewrites, &waiting, "/1"), None, "one segment");
        assert_eq!(only(&rewrites, &waiting, "/"), None);
        assert_eq!(only(&rewrites, &waiting, "/y/x/1"), None, "rewritten, and never before");
        assert_eq!(only(&rewrites, &[], "/x/1"), None);
    }

    #[test]
    fn a_beginning_is_rewritten_as_it_was_when_one_request_was_waiting() {
        let mut rewrites = Rewrites::default();
        let waiting = ["/old/5", "/old/6", "/r/0"];
        assert_eq!(only(&rewrites, &waiting, "/new/5"), None);
        rewrites.learn(b"/old/1", b"/new/1");
        assert_eq!(only(&rewrites, &waiting, "/new/5"), Some(0));
        assert_eq!(only(&rewrites, &["/old/5", "/r/5"], "/new/5"), None, "two have the end");
        // The end of another rewritten target looks like one that waits.
        rewrites.learn(b"/r/7", b"/c/7/0");
        assert_eq!(only(&rewrites, &waiting, "/c/5/0"), None);
        for n in 0..100 {
            rewrites.learn(format!("/{n}/x").as_bytes(), b"/y/x");
        }
        assert_eq!(rewrites.0.len(), Rewrites::MOST);
        rewrites.learn(b"/used/1", b"/new/1");
        rewrites.learn(b"/used/2", b"/new/2");
        for n in 0..100 {
            rewrites.learn(format!("/once/{n}/x").as_bytes(), b"/z/x");
        }
        assert_eq!(rewrites.0.len(), Rewrites::MOST);
        assert_eq!(only(&rewrites, &["/used/5", "/r/0"], "/new/5"), Some(0), "what is used stays");
        rewrites.learn(b"", b"");
        rewrites.learn(b"*", b"/");
    }
}
