//! The ledger in words.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::{counters::Counter, counts::Ledger, singular::meaning_of};
use crate::outside::escaped;

/// Counters that mean that something is missing.
const LOSSES: &[Counter] = &[
    Counter::EventsLost,
    Counter::EventsSkipped,
    Counter::EventsMalformed,
    Counter::BytesLost,
    Counter::BytesFault,
    Counter::ConnectionsUnknownStart,
    Counter::ConnectionsEndUnseen,
    Counter::ConnectionsEvicted,
    Counter::ExchangesResponseUnseen,
    Counter::ExchangesOpen,
    Counter::ExchangesUnpaired,
    Counter::ExchangesUnparsed,
    Counter::ExchangesForgotten,
    Counter::AttachFailed,
    Counter::SpansNotExported,
    Counter::SpansUnconfirmed,
    Counter::SpansNotWritten,
    Counter::SpansNotStored,
    Counter::EventsNotRecorded,
    Counter::MessagesLost,
];

/// Services that an entry names.
const MOST_SERVICES: usize = 4;
/// What stands for the others.
const OTHERS: &str = "(other)";

/// What was seen and what is missing: sentences for people, and one object for programs.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerSummary {
    exchanges: u64,
    connections: u64,
    bytes_seen: u64,
    bytes_copied: u64,
    bytes_skipped: u64,
    missing: Vec<Entry>,
    also: Vec<Entry>,
}

/// A counter that is not zero.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    name: &'static str,
    meaning: &'static str,
    count: u64,
    /// The largest parts of it, by the name of the service, and that of the [`OTHERS`]. What belongs to none is not among
    /// them.
    services: IndexedCounts,
}

/// Names with their counts, in this order.
#[derive(Clone, Debug)]
struct IndexedCounts(Vec<(String, u64)>);

impl Serialize for IndexedCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

impl LedgerSummary {
    /// Of all that was counted. `names` tells the service of an instance.
    pub fn new(ledger: &Ledger, names: &dyn Fn(u32) -> Option<String>) -> Self {
        const TOLD: [Counter; 7] = [
            Counter::BytesSeen,
            Counter::BytesCopied,
            Counter::BytesSkipped,
            Counter::Connections,
            Counter::ExchangesPaired,
            Counter::ExchangesOneWay,
            Counter::SpansQueued,
        ];
        let total = ledger.total();
        let n = |counter| total.get(counter);
        let entry = |counter: Counter| Entry {
            name: counter.name(),
            meaning: counter.meaning(),
            count: n(counter),
            services: by_service(ledger, counter, names),
        };
        let is_told = |counter: &Counter| LOSSES.contains(counter) || TOLD.contains(counter);
        Self {
            exchanges: n(Counter::ExchangesPaired)
                + n(Counter::ExchangesUnanswered)
                + n(Counter::ExchangesResponseUnseen)
                + n(Counter::ExchangesEndUnseen)
                + n(Counter::ExchangesOneWay),
            connections: n(Counter::Connections),
            bytes_seen: n(Counter::BytesSeen),
            bytes_copied: n(Counter::BytesCopied),
            bytes_skipped: n(Counter::BytesSkipped),
            missing: LOSSES.iter().copied().filter(|counter| n(*counter) > 0).map(entry).collect(),
            also: total.nonzero().map(|(counter, _)| counter).filter(|it| !is_told(it)).map(entry).collect(),
        }
    }

    /// Whether anything is missing.
    pub fn has_losses(&self) -> bool {
        !self.missing.is_empty()
    }
}

impl fmt::Display for LedgerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Seen: {} on {}; {} moved, {} copied, {} left out as bodies.",
            counted(self.exchanges, "exchange"),
            counted(self.connections, "connection"),
            counted(self.bytes_seen, "byte"),
            self.bytes_copied,
            self.bytes_skipped,
        )?;
        if !self.has_losses() {
            writeln!(f, "Nothing was lost.")?;
        }
        for (title, entries) in [("Missing", &self.missing), ("Also", &self.also)] {
            if !entries.is_empty() {
                writeln!(f, "{title}:")?;
            }
            for entry in entries {
                writeln!(f, "{entry}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:>10}  {}", self.count, meaning_of(self.count, self.meaning))?;
        let services = &self.services.0;
        if services.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = services
            .iter()
            .map(
                |(name, count)| {
                    if name == OTHERS { "…".to_owned() } else { format!("{} {count}", escaped(name)) }
                },
            )
            .collect();
        write!(f, " ({})", shown.join(", "))
    }
}

/// `1 byte`, `2 bytes`.
fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn by_service(ledger: &Ledger, counter: Counter, names: &dyn Fn(u32) -> Option<String>) -> IndexedCounts {
    // Instances of one name are one part: each run of curl is an instance.
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for (pid, counts) in ledger.processes() {
        let count = counts.get(counter);
        if count > 0 && pid != 0 {
            *by_name.entry(names(pid).unwrap_or_else(|| format!("process {pid}"))).or_default() += count;
        }
    }
    for (name, counts) in ledger.ended() {
        let count = counts.get(counter);
        if count > 0 {
            *by_name.entry(name.clone()).or_default() += count;
        }
    }
    let mut parts: Vec<(String, u64)> = by_name.into_iter().collect();
    parts.sort_by(|(name, count), (other, more)| (more, other).cmp(&(count, name)));
    let others: u64 = parts.iter().skip(MOST_SERVICES).map(|(_, count)| count).sum();
    parts.truncate(MOST_SERVICES);
    if others > 0 {
        parts.push((OTHERS.to_owned(), others));
    }
    IndexedCounts(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_ledger(ledger: &Ledger, names: &dyn Fn(u32) -> Option<String>) -> String {
        LedgerSummary::new(ledger, names).to_string()
    }

    fn has_losses(ledger: &Ledger) -> bool {
        LedgerSummary::new(ledger, &|_| None).has_losses()
    }

    #[test]
    fn losses_are_named_and_their_absence_too() {
        let mut ledger = Ledger::default();
        ledger.add(7, Counter::ExchangesPaired, 3);
        let names = |pid| (pid == 7).then(|| "shop".to_owned());
        ledger.add(7, Counter::Connections, 1);
        let text = write_ledger(&ledger, &names);
        assert!(text.starts_with("Seen: 3 exchanges on 1 connection; 0 bytes moved, "), "{text}");
        assert!(text.contains("Nothing was lost.") && !has_losses(&ledger), "{text}");
        ledger.add(7, Counter::BytesLost, 10);
        assert!(has_losses(&ledger));
        ledger.add(0, Counter::EventsLost, 2);
        let text = write_ledger(&ledger, &names);
        assert!(text.contains("10  bytes that moved unseen") && text.contains("(shop 10)"), "{text}");
        assert!(text.contains("2  records for which the ring had no space\n"), "{text}");
    }

    #[test]
    fn instances_of_one_name_are_one_part() {
        let mut ledger = Ledger::default();
        for pid in 1..=6 {
            ledger.add(pid, Counter::LinksNoRequest, 1);
        }
        ledger.add(9, Counter::LinksNoRequest, 2);
        let text = write_ledger(&ledger, &|pid| Some(if pid == 9 { "shop" } else { "curl" }.to_owned()));
        assert!(text.contains(" (curl 6, shop 2)\n"), "{text}");
    }

    #[test]
    fn programs_get_one_object_with_the_same_numbers() {
        let mut ledger = Ledger::default();
        ledger.add(7, Counter::ExchangesPaired, 3);
        ledger.add(0, Counter::EventsLost, 2);
        for pid in 1..=7 {
            ledger.add(pid, Counter::LinksNoRequest, pid.into());
        }
        let told =
            serde_json::to_value(LedgerSummary::new(&ledger, &|pid| Some(format!("s{pid}")))).expect("JSON");
        assert_eq!((&told["exchanges"], &told["bytes_seen"]), (&3.into(), &0.into()));
        let missing = serde_json::json!([{
            "name": "events.lost", "meaning": Counter::EventsLost.meaning(), "count": 2, "services": {}
        }]);
        assert_eq!(told["missing"], missing);
        let services = serde_json::json!({"s7": 7, "s6": 6, "s5": 5, "s4": 4, "(other)": 6});
        assert_eq!(told["also"][0]["services"], services);
    }

    #[test]
    fn responses_that_were_not_seen_are_missing_and_their_requests_seen() {
        let mut ledger = Ledger::default();
        ledger.add(7, Counter::ExchangesPaired, 845);
        ledger.add(7, Counter::ExchangesResponseUnseen, 155);
        let text = write_ledger(&ledger, &|_| None);
        assert!(text.starts_with("Seen: 1000 exchanges on "), "{text}");
        let missing = "Missing:\n         155  requests whose responses were not seen (process 7 155)\n";
        assert!(text.contains(missing) && has_losses(&ledger), "{text}");
    }

    #[test]
    fn the_name_of_a_service_forges_no_line() {
        let mut ledger = Ledger::default();
        ledger.add(7, Counter::EventsLost, 2);
        let text = write_ledger(&ledger, &|_| Some("x 1)\nNothing was lost.\u{1b}[2J".to_owned()));
        assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("Nothing")), "{text}");
    }
}
