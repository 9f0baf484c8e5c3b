//! The ledger in words.

use std::{collections::BTreeMap, fmt::Write};

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
    Counter::SpansNotWritten,
    Counter::EventsNotRecorded,
    Counter::MessagesLost,
];

/// Whether anything is missing.
pub fn has_losses(ledger: &Ledger) -> bool {
    let total = ledger.total();
    LOSSES.iter().any(|counter| total.get(*counter) > 0)
}

/// What was seen and what is missing, as sentences. `names` tells the service of an instance.
pub fn write_ledger(ledger: &Ledger, names: &dyn Fn(u32) -> Option<String>) -> String {
    let total = ledger.total();
    let n = |counter| total.get(counter);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "Seen: {} on {}; {} moved, {} copied, {} left out as bodies.",
        counted(
            n(Counter::ExchangesPaired)
                + n(Counter::ExchangesUnanswered)
                + n(Counter::ExchangesResponseUnseen)
                + n(Counter::ExchangesEndUnseen)
                + n(Counter::ExchangesOneWay),
            "exchange"
        ),
        counted(n(Counter::Connections), "connection"),
        counted(n(Counter::BytesSeen), "byte"),
        n(Counter::BytesCopied),
        n(Counter::BytesSkipped),
    );
    let lost: Vec<Counter> = LOSSES.iter().copied().filter(|counter| n(*counter) > 0).collect();
    if lost.is_empty() {
        text += "Nothing was lost.\n";
    } else {
        text += "Missing:\n";
        for counter in lost {
            let _ = writeln!(
                text,
                "  {:>10}  {}{}",
                n(counter),
                meaning_of(n(counter), counter.meaning()),
                by_service(ledger, counter, names)
            );
        }
    }
    let told = [
        Counter::BytesSeen,
        Counter::BytesCopied,
        Counter::BytesSkipped,
        Counter::Connections,
        Counter::ExchangesPaired,
        Counter::ExchangesOneWay,
        Counter::SpansQueued,
    ];
    let others: Vec<(Counter, u64)> =
        total.nonzero().filter(|(counter, _)| !LOSSES.contains(counter) && !told.contains(counter)).collect();
    if !others.is_empty() {
        text += "Also:\n";
        for (counter, count) in others {
            let _ = writeln!(
                text,
                "  {count:>10}  {}{}",
                meaning_of(count, counter.meaning()),
                by_service(ledger, counter, names)
            );
        }
    }
    text
}

/// `1 byte`, `2 bytes`.
fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn by_service(ledger: &Ledger, counter: Counter, names: &dyn Fn(u32) -> Option<String>) -> String {
    // Instances of one name are one part: each run of curl is an instance.
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for (pid, counts) in ledger.processes() {
        let count = counts.get(counter);
        if count > 0 && pid != 0 {
            *by_name.entry(names(pid).unwrap_or_else(|| format!("process {pid}"))).or_default() += count;
        }
    }
    let mut parts: Vec<(u64, String)> = by_name.into_iter().map(|(name, count)| (count, name)).collect();
    parts.sort_by(|a, b| b.cmp(a));
    if parts.is_empty() {
        return String::new();
    }
    let shown: Vec<String> =
        parts.iter().take(4).map(|(count, name)| format!("{} {count}", escaped(name))).collect();
    format!(" ({}{})", shown.join(", "), if parts.len() > 4 { ", …" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

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
