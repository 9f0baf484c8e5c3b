//! The counts, by process; of those that have ended, by service.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::counters::Counter;

const COUNTERS: usize = Counter::ALL.len();

/// The counts of one process.
#[derive(Clone, Debug)]
pub struct Counts([u64; COUNTERS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; COUNTERS])
    }
}

impl Counts {
    /// The count of `counter`.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds `n`.
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.0[counter as usize] = self.0[counter as usize].saturating_add(n);
    }

    /// The counters that are not zero.
    pub fn nonzero(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.iter().map(|c| (*c, self.get(*c))).filter(|(_, n)| *n > 0)
    }
}

/// All counts. Bounded: a process that is gone and whose counts were folded counts under its service, or under pid 0.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Of processes that are gone, by service.
    ended: BTreeMap<String, Counts>,
    /// Where the counts of each stand.
    places: FxHashMap<u32, usize>,
    counts: Vec<(u32, Counts)>,
    /// Which were counted for last.
    last: usize,
}

impl Ledger {
    /// Most processes that are counted apart.
    pub const MAX_PROCESSES: usize = 4096;
    /// Most services whose ended processes are counted apart.
    pub const MAX_ENDED: usize = 1024;

    /// Adds `n` to `counter` of the service instance whose first process is `pid`; 0 for the agent
    /// as a whole.
    pub fn add(&mut self, pid: u32, counter: Counter, n: u64) {
        if n == 0 {
            return;
        }
        if let Some((last, counts)) = self.counts.get_mut(self.last)
            && *last == pid
        {
            return counts.add(counter, n);
        }
        let place = match self.places.get(&pid) {
            Some(place) => *place,
            None if self.counts.len() < Self::MAX_PROCESSES => self.place(pid),
            None => self.place(0),
        };
        self.last = place;
        if let Some((_, counts)) = self.counts.get_mut(place) {
            counts.add(counter, n);
        }
    }

    /// Where the counts of a process stand; new ones if it has none.
    fn place(&mut self, pid: u32) -> usize {
        *self.places.entry(pid).or_insert_with(|| {
            self.counts.push((pid, Counts::default()));
            self.counts.len() - 1
        })
    }

    /// Folds the counts of a process that is gone into those of its service, so that the table stays small.
    pub fn fold(&mut self, pid: u32, service: &str) {
        if pid == 0 {
            return;
        }
        let Some(place) = self.places.remove(&pid) else { return };
        let (_, counts) = self.counts.swap_remove(place);
        if let Some((moved, _)) = self.counts.get(place) {
            self.places.insert(*moved, place);
        }
        if self.ended.contains_key(service) || self.ended.len() < Self::MAX_ENDED {
            let ended = self.ended.entry(service.to_owned()).or_default();
            return counts.nonzero().for_each(|(counter, n)| ended.add(counter, n));
        }
        for (counter, n) in counts.nonzero() {
            self.add(0, counter, n);
        }
    }

    /// Counts of processes that are gone, by service.
    pub fn ended(&self) -> &BTreeMap<String, Counts> {
        &self.ended
    }

    /// Counts by process, in the order of their numbers.
    pub fn processes(&self) -> BTreeMap<u32, &Counts> {
        self.counts.iter().map(|(pid, counts)| (*pid, counts)).collect()
    }

    /// The sum over all processes.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.counts.iter().map(|(_, counts)| counts).chain(self.ended.values()) {
            for (counter, n) in counts.nonzero() {
                total.add(counter, n);
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_folded_counts_under_its_service_and_the_others_stay() {
        let mut ledger = Ledger::default();
        for pid in 1..=3 {
            ledger.add(pid, Counter::Connections, u64::from(pid));
        }
        ledger.fold(1, "shop");
        ledger.add(3, Counter::Connections, 10);
        let counts = |ledger: &Ledger| -> Vec<(u32, u64)> {
            ledger.processes().iter().map(|(pid, counts)| (*pid, counts.get(Counter::Connections))).collect()
        };
        assert_eq!(counts(&ledger), [(2, 2), (3, 13)]);
        ledger.add(1, Counter::Connections, 5);
        ledger.fold(0, "shop");
        assert_eq!(counts(&ledger), [(1, 5), (2, 2), (3, 13)]);
        ledger.fold(1, "shop");
        assert_eq!(ledger.ended()["shop"].get(Counter::Connections), 6);
        assert_eq!(ledger.total().get(Counter::Connections), 21);
    }

    #[test]
    fn services_beyond_the_limit_count_under_zero() {
        let mut ledger = Ledger::default();
        let most = Ledger::MAX_ENDED as u32;
        for pid in 1..=most + 10 {
            ledger.add(pid, Counter::BytesSeen, 1);
            ledger.fold(pid, &format!("service {pid}"));
        }
        assert_eq!(ledger.ended().len(), Ledger::MAX_ENDED);
        assert_eq!(ledger.processes()[&0].get(Counter::BytesSeen), 10);
        assert_eq!(ledger.total().get(Counter::BytesSeen), u64::from(most) + 10);
    }

    #[test]
    fn processes_beyond_the_limit_count_under_zero() {
        let mut ledger = Ledger::default();
        let most = Ledger::MAX_PROCESSES as u32;
        for pid in 1..=most + 10 {
            ledger.add(pid, Counter::BytesSeen, 1);
        }
        assert_eq!(ledger.processes().len(), Ledger::MAX_PROCESSES + 1);
        assert_eq!(ledger.processes()[&0].get(Counter::BytesSeen), 10);
        assert_eq!(ledger.total().get(Counter::BytesSeen), u64::from(most) + 10);
    }
}
