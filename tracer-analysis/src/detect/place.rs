//! Where and when something is, in the words of findings.

use crate::{
    answer::Exemplar,
    corpus::{Corpus, PartyId, Trace},
    statistics::ChangePoint,
};

use super::series::{Buckets, Series};

/// A stretch of buckets in which a series was worse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Episode {
    pub(super) begin: usize,
    /// First bucket after it; that after the last if it goes on.
    pub(super) end: usize,
    pub(super) before: f64,
    pub(super) during: f64,
    pub(super) p_value: f64,
}

impl Episode {
    pub(super) fn onset_us(&self, buckets: Buckets) -> u64 {
        buckets.begin_us(self.begin)
    }

    /// When it ended; none if it goes on.
    pub(super) fn end_us(&self, buckets: Buckets) -> Option<u64> {
        (self.end < buckets.count).then(|| buckets.begin_us(self.end))
    }

    /// The time of it, up to the end of all at most, microseconds.
    pub(super) fn window_us(&self, buckets: Buckets) -> (u64, u64) {
        (self.onset_us(buckets), self.end_us(buckets).unwrap_or_else(|| buckets.end_us()))
    }
}

/// The episodes in which a series was worse than before: from a change for the worse on until it is better again. `is_worse`
/// compares levels: before, and then.
pub(super) fn episodes(
    changes: &[ChangePoint],
    buckets: usize,
    is_worse: impl Fn(f64, f64) -> bool,
) -> Vec<Episode> {
    let mut found: Vec<Episode> = Vec::new();
    let mut open: Option<Episode> = None;
    for change in changes {
        if let Some(episode) = &mut open {
            if is_worse(episode.before, change.after) {
                // It goes on, on another level.
                episode.during = episode.during.max(change.after);
                continue;
            }
            episode.end = change.index;
            found.extend(open.take());
            continue;
        }
        if is_worse(change.before, change.after) {
            open = Some(Episode {
                begin: change.index,
                end: buckets,
                before: change.before,
                during: change.after,
                p_value: change.p_value,
            });
        }
    }
    found.extend(open);
    found
}

impl Episode {
    /// The same, ended where the level was as before again and stayed so to the end: a level that is noisy while it is worse
    /// hides that it is better again.
    pub(super) fn settled(self, levels: &[Option<f64>], is_worse: impl Fn(f64, f64) -> bool) -> Self {
        const LEAST: usize = 4;
        /// Part of the levels after the end that may be out of line: those of few requests are.
        const ODD: f64 = 0.15;
        if self.end < levels.len() {
            return self;
        }
        let is_over = |level: f64| !is_worse(self.before, level);
        let (mut known, mut over, mut end) = (0usize, 0usize, None);
        for (place, level) in levels.iter().enumerate().skip(self.begin + 1).rev() {
            let Some(level) = level else { continue };
            known += 1;
            over += usize::from(is_over(*level));
            let odd = known - over;
            if odd as f64 > known.max(LEAST) as f64 * ODD + 1.0 {
                break;
            }
            if is_over(*level) && known >= LEAST && odd as f64 <= (known as f64 * ODD).max(1.0) {
                end = Some(place);
            }
        }
        end.map_or(self, |end| Self { end, ..self })
    }
}

/// Requests that a service served in an episode.
pub(super) fn requests_of(corpus: &Corpus, series: &Series, service: PartyId, episode: &Episode) -> u64 {
    let mine = series.operations.iter();
    let mine = mine.filter(|(operation, _)| corpus.dictionary.operation(**operation).service == service);
    mine.flat_map(|(_, served)| &served[episode.begin..episode.end.min(served.len())])
        .map(|served| served.requests)
        .sum()
}

/// Services that wait for one, the nearest first, at most so many.
pub(super) fn callers(corpus: &Corpus, series: &Series, service: PartyId) -> Vec<String> {
    const MOST: usize = 20;
    let mut found = vec![service];
    let mut next = 0;
    while next < found.len() && found.len() <= MOST {
        let called = found[next];
        let mut above: Vec<PartyId> =
            series.edges.keys().filter(|(_, to)| *to == called).map(|(from, _)| *from).collect();
        above.sort_unstable();
        above.retain(|caller| !found.contains(caller));
        found.extend(above);
        next += 1;
    }
    found[1..].iter().take(MOST).map(|caller| corpus.dictionary.name(*caller).to_owned()).collect()
}

/// The spans of most weight that start in a window of microseconds, of different traces; a span without weight is none.
pub(super) fn exemplars(
    corpus: &Corpus,
    window_us: (u64, u64),
    weight: impl Fn(Trace<'_>, usize) -> Option<u64>,
) -> Vec<Exemplar> {
    const MOST: usize = 3;
    let window_ns = (window_us.0.saturating_mul(1000), window_us.1.saturating_mul(1000));
    let mut best: Vec<(u64, usize, usize)> = Vec::new();
    for trace in corpus.traces() {
        let spans = (0..trace.len()).filter(|at| {
            let start_ns = trace.time(*at).start_ns;
            start_ns >= window_ns.0 && start_ns < window_ns.1
        });
        let heaviest = spans.filter_map(|at| Some((weight(trace, at)?, at))).max();
        let Some((weight, at)) = heaviest else { continue };
        best.push((weight, trace.place(), at));
        if best.len() > 64 {
            best.sort_unstable_by(|one, other| other.cmp(one));
            best.truncate(MOST);
        }
    }
    best.sort_unstable_by(|one, other| other.cmp(one));
    best.iter().take(MOST).map(|(_, place, at)| Exemplar::of(corpus.trace(*place), *at)).collect()
}

/// A p-value as evidence.
pub(super) fn chance(p_value: f64) -> String {
    if p_value < 1e-6 {
        "Chance alone shows as much less than once in a million.".to_owned()
    } else {
        format!("Chance alone shows as much with a probability of {p_value:.1e}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_ends_where_the_level_is_as_before_also_if_a_late_bucket_is_odd() {
        let end = |levels: &[f64]| {
            let levels: Vec<Option<f64>> = levels.iter().map(|level| Some(*level)).collect();
            let episode = Episode { begin: 2, end: levels.len(), before: 40.0, during: 80.0, p_value: 0.0 };
            episode.settled(&levels, |before, then| then > before * 1.2).end
        };
        assert_eq!(end(&[40.0, 40.0, 80.0, 80.0, 80.0, 41.0, 42.0, 40.0, 43.0, 41.0]), 5);
        assert_eq!(end(&[40.0, 40.0, 80.0, 80.0, 80.0, 41.0, 42.0, 40.0, 43.0, 41.0, 51.0]), 5);
        assert_eq!(end(&[40.0, 40.0, 80.0, 80.0, 80.0, 80.0, 80.0, 41.0, 80.0, 80.0]), 10);
        assert_eq!(end(&[40.0, 40.0, 80.0, 80.0, 80.0, 41.0, 42.0]), 7, "too short to tell");
    }
}
