//! The library of faults: what is done to the world, and what must be found.

use serde_json::{Value, json};

use super::{
    load::Mix,
    world::{Release, Setting},
};

/// What is done to a world, and undone.
pub(super) enum Fault {
    None,
    /// A setting of a service changes to the first value, and back to the second.
    Switch(&'static str, &'static str, Value, Value),
    /// Statements run in PostgreSQL.
    Statement {
        begin: &'static str,
        end: &'static str,
    },
    /// The process of a service is stopped (SIGSTOP), and goes on (SIGCONT).
    Stop(&'static str),
    /// A service ends, and its port is closed from then on.
    End(&'static str),
    /// The requests move to the new release step by step, and the mix of operations changes if one is given.
    Release {
        then: Option<Mix>,
    },
}

/// How long a fault lasts.
pub(super) enum Lasts {
    Seconds(u64),
    /// Most of the time that is left.
    Long,
    /// It is not undone.
    Always,
}

/// What the analysis must say. A field that is none may have any value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding {
    /// Kinds, as `tracer report --json` names them.
    pub(super) kinds: &'static [&'static str],
    /// The service that is the cause. A finding about the edge need not name it.
    pub(super) service: &'static str,
    /// Words of which the operation's name has one.
    pub(super) operations: &'static [&'static str],
    /// The edge, if the finding names one.
    pub(super) edge: Option<(&'static str, &'static str)>,
    pub(super) says: &'static str,
}

/// How the fault must show in the spans themselves: the time of it is compared with the time before.
pub(super) enum Shows {
    /// The median of server spans of a service rises by this many milliseconds, in operations with this word.
    Slower { service: &'static str, word: &'static str, by_ms: f64 },
    /// A call of a service takes this long. A stopped callee reads it late: its own span begins then.
    Longest { service: &'static str, ms: f64 },
    /// The share of server spans with an error of a service rises by this.
    Errors { service: &'static str, by: f64 },
    /// Calls of an edge for each request that comes into nginx become this many times as many.
    Calls { from: &'static str, to: &'static str, times: f64 },
    /// Client requests of a service fail after the fault is over, at this share.
    FailsAfter { service: &'static str, share: f64 },
    /// The calls of an edge end.
    Gone { from: &'static str, to: &'static str },
    /// The median of a version of a service is above that of the other, by this share.
    SlowerVersion { word: &'static str, by: f64 },
    /// All medians by service and operation stay within this share and a millisecond, in each version.
    Same { within: f64 },
}

pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Settings from the start on.
    pub(super) settings: Vec<Setting>,
    pub(super) release: Option<Release>,
    pub(super) mix: Mix,
    pub(super) per_second: u32,
    pub(super) fault: Fault,
    pub(super) lasts: Lasts,
    pub(super) shows: Shows,
    /// None: nothing may be found.
    pub(super) finding: Option<Finding>,
    pub(super) repetitions: u32,
    pub(super) seconds: u64,
}

const USUAL: Mix = &[
    ("item", 20),
    ("order", 20),
    ("list", 10),
    ("price", 8),
    ("offer", 7),
    ("review", 7),
    ("image", 7),
    ("brand", 7),
    ("similar", 7),
    ("search", 7),
];
/// More of what takes long, and less of what does not.
const HEAVY: Mix = &[
    ("item", 10),
    ("order", 10),
    ("list", 5),
    ("price", 3),
    ("offer", 5),
    ("review", 14),
    ("image", 3),
    ("brand", 5),
    ("similar", 25),
    ("search", 20),
];
const COMPARED: Mix = &[
    ("item", 10),
    ("order", 10),
    ("list", 10),
    ("price", 10),
    ("offer", 10),
    ("review", 10),
    ("image", 10),
    ("brand", 10),
    ("similar", 10),
    ("search", 10),
];
/// Enough for one connection of the stock to be in use three quarters of the time.
const MANY_ITEMS: Mix = &[("item", 45), ("order", 10), ("price", 15), ("offer", 15), ("brand", 15)];
const MOSTLY_ITEMS: Mix = &[("item", 60), ("price", 10), ("offer", 10), ("review", 10), ("brand", 10)];

impl Scenario {
    /// A world in which one setting changes for a long time.
    fn usual(
        name: &'static str,
        about: &'static str,
        fault: Fault,
        shows: Shows,
        finding: Option<Finding>,
    ) -> Self {
        Self {
            name,
            about,
            settings: Vec::new(),
            release: None,
            mix: USUAL,
            per_second: 40,
            fault,
            lasts: Lasts::Long,
            shows,
            finding,
            repetitions: 20,
            seconds: 90,
        }
    }
}

const fn finding(
    kinds: &'static [&'static str],
    service: &'static str,
    operations: &'static [&'static str],
    edge: Option<(&'static str, &'static str)>,
    says: &'static str,
) -> Option<Finding> {
    Some(Finding { kinds, service, operations, edge, says })
}

/// The scenarios, as they are at this repetition, from 1 on: each of several services has the fault in turn.
pub(super) fn all(repetition: u32) -> Vec<Scenario> {
    let service = ["catalog", "stock", "depot"][repetition.saturating_sub(1) as usize % 3];
    [slow(service), waiting(), failing(service), retrying(), released(), vec![none()]]
        .into_iter()
        .flatten()
        .collect()
}

fn slow(service: &'static str) -> Vec<Scenario> {
    vec![
        Scenario::usual(
            "delay",
            "every response of one service comes 50 ms later",
            Fault::Switch(service, "delay_ms", json!(50), json!(0)),
            Shows::Slower { service, word: "", by_ms: 40.0 },
            finding(
                &["slower"],
                service,
                &[],
                None,
                "that service is slow by its own work, in all operations",
            ),
        ),
        Scenario::usual(
            "index",
            "an index of the table that the stock reads levels from is dropped",
            Fault::Statement {
                begin: "DROP INDEX levels_by_sku",
                end: "CREATE INDEX levels_by_sku ON levels (sku)",
            },
            Shows::Slower { service: "stock", word: "level", by_ms: 8.0 },
            finding(
                &["slower"],
                "stock",
                &["level"],
                None,
                "stock is slow at GET /level/{id} by its own time (PostgreSQL is not decoded yet)",
            ),
        ),
        Scenario {
            lasts: Lasts::Seconds(5),
            ..Scenario::usual(
                "stopped",
                "the process of the depot is stopped for 5 s",
                Fault::Stop("depot"),
                Shows::Longest { service: "stock", ms: 3_000.0 },
                finding(&["stalled"], "depot", &[], None, "depot answered nothing for 5 s"),
            )
        },
        Scenario::usual(
            "n-plus-1",
            "the shop asks the catalogue for each of ten items of a list, not for all at once",
            Fault::Switch("shop", "each_item", json!(true), json!(false)),
            Shows::Calls { from: "shop", to: "catalog", times: 1.5 },
            finding(
                &["repeated_calls"],
                "shop",
                &["list"],
                Some(("shop", "catalog")),
                "shop makes 10 calls to catalog for each GET /list/{id}, it made 1",
            ),
        ),
    ]
}

fn waiting() -> Vec<Scenario> {
    vec![
        Scenario {
            mix: MANY_ITEMS,
            ..Scenario::usual(
                "pool",
                "the stock has one connection to PostgreSQL, not 16, and holds it for 40 ms at each request",
                Fault::Switch("stock", "pool", json!(1), json!(16)),
                Shows::Slower { service: "stock", word: "level", by_ms: 10.0 },
                finding(
                    &["queueing"],
                    "stock",
                    &[],
                    None,
                    "requests wait in stock: more of them are open at once, each works as before",
                ),
            )
        },
        Scenario::usual(
            "lock",
            "a background job of the stock holds the lock of the levels for 400 ms in each half second",
            Fault::Switch("stock", "lock_ms", json!(400), json!(0)),
            Shows::Slower { service: "stock", word: "level", by_ms: 50.0 },
            finding(&["queueing"], "stock", &["level"], None, "requests for GET /level/{id} wait in stock"),
        ),
    ]
}

fn failing(service: &'static str) -> Vec<Scenario> {
    vec![
        Scenario::usual(
            "errors",
            "one service answers 20 % of the requests with 500",
            Fault::Switch(service, "error_share", json!(0.2), json!(0)),
            Shows::Errors { service, by: 0.12 },
            finding(
                &["errors"],
                service,
                &[],
                None,
                "that service answers 20 % of all requests with 500 by itself",
            ),
        ),
        Scenario {
            lasts: Lasts::Always,
            ..Scenario::usual(
                "dead",
                "the depot ends: nothing listens on its port",
                Fault::End("depot"),
                Shows::Gone { from: "stock", to: "depot" },
                finding(
                    &["unreachable"],
                    "depot",
                    &[],
                    Some(("stock", "depot")),
                    "depot does not answer any more: stock fails at GET /reserve/{id} since its calls to depot ended",
                ),
            )
        },
    ]
}

fn retrying() -> Vec<Scenario> {
    vec![
        Scenario {
            settings: vec![
                ("shop", "attempts", json!(3)),
                ("catalog", "attempts", json!(3)),
                ("stock", "attempts", json!(3)),
                ("stock", "timeout_ms", json!(150)),
                // Requests that wait for the depot keep their connections: the pool is not the fault here.
                ("stock", "pool", json!(64)),
            ],
            per_second: 30,
            ..Scenario::usual(
                "retries",
                "the depot answers after 1 s; the stock gives up after 150 ms, and stock, catalogue and shop try three times each",
                Fault::Switch("depot", "delay_ms", json!(1_000), json!(0)),
                Shows::Calls { from: "stock", to: "depot", times: 10.0 },
                finding(
                    &["retry_storm", "timeouts"],
                    "depot",
                    &[],
                    Some(("stock", "depot")),
                    "27 calls to depot for each order: shop, catalog and stock multiply by 3 each; depot is slower than the timeout of stock",
                ),
            )
        },
        Scenario {
            settings: vec![
                ("shop", "attempts", json!(3)),
                ("shop", "timeout_s", json!(0.4)),
                ("stock", "few_workers", json!(true)),
            ],
            mix: MOSTLY_ITEMS,
            lasts: Lasts::Seconds(5),
            ..Scenario::usual(
                "metastable",
                "requests for levels take 400 ms, not 40, for 5 s; two workers serve them, and the retries of the shop keep them busy",
                Fault::Switch("stock", "level_ms", json!(400), json!(40)),
                Shows::FailsAfter { service: "shop", share: 0.3 },
                finding(
                    &["retry_storm"],
                    "stock",
                    &[],
                    Some(("shop", "stock")),
                    "a retry storm from shop to stock that goes on after its trigger is over",
                ),
            )
        },
    ]
}

fn released() -> Vec<Scenario> {
    let release = |name, about, slower_similar, then, shows| Scenario {
        release: Some(Release { slower_similar }),
        mix: COMPARED,
        lasts: Lasts::Always,
        ..Scenario::usual(
            name,
            about,
            Fault::Release { then },
            shows,
            finding(
                &["regression"],
                "catalog",
                &["similar"],
                None,
                "version 1.1.0 of catalog is 15 % slower at GET /similar/{id}, and at nothing else",
            ),
        )
    };
    vec![
        release(
            "release",
            "a new version of the catalogue takes over step by step; it is 15 % slower at one operation of ten",
            0.15,
            None,
            Shows::SlowerVersion { word: "similar", by: 0.08 },
        ),
        Scenario {
            finding: None,
            ..release(
                "mix",
                "a new version of the catalogue takes over step by step, as fast as the old one, while more requests are for slow operations",
                0.0,
                Some(HEAVY),
                Shows::Same { within: 0.1 },
            )
        },
    ]
}

fn none() -> Scenario {
    Scenario {
        repetitions: 1,
        seconds: 3_600,
        // The spans of an hour are less than the GiB that `tracer report` reads of a file.
        per_second: 15,
        ..Scenario::usual("none", "no fault", Fault::None, Shows::Same { within: 0.1 }, None)
    }
}
