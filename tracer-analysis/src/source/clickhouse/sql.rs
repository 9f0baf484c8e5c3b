//! What ClickHouse is asked. Nothing from outside stands in it but numbers, ids in hexadecimal, and names without a character
//! that could end a quotation ([`Name`]): no value needs an escape.

use std::fmt::Write;

use tracer_model::{
    answer::Window,
    facts::{Facts, Maker},
    peer::Peer,
    span::TraceId,
};

use super::super::address::Name;

/// Traces are whole if no span of them begins later after the window, or earlier before it.
const MARGIN_US: u64 = 3_600_000_000;

/// Characters of a query of a database that are fetched: more than are looked at.
const MOST_QUERY: usize = 200;

/// Operations, and minutes of services, that an overview has at most.
pub(super) const MOST_COUNTS: usize = 20_000;

/// A table, and the traces of it that begin in a window.
pub(super) struct Traces<'a> {
    pub(super) database: &'a Name,
    pub(super) table: &'a Name,
    pub(super) window: Window,
    /// One of how many traces is wanted.
    pub(super) one_of: u64,
}

impl Traces<'_> {
    fn table(&self) -> String {
        table(self.database, self.table)
    }

    /// Spans that traces of the window can have.
    fn near(&self) -> String {
        let Window { start_unix_us, end_unix_us } = self.window;
        let near = between(start_unix_us.saturating_sub(MARGIN_US), end_unix_us.saturating_add(MARGIN_US));
        let Self { one_of, .. } = self;
        if *one_of > 1 { format!("{near} AND cityHash64(TraceId) % {one_of} = 0") } else { near }
    }

    /// The traces, one a row, with how many spans each has.
    fn ids(&self) -> String {
        let Window { start_unix_us, end_unix_us } = self.window;
        format!(
            "SELECT TraceId, count() AS spans FROM {} WHERE {} GROUP BY TraceId HAVING min(Timestamp) >= {} AND \
             min(Timestamp) < {}",
            self.table(),
            self.near(),
            time(start_unix_us),
            time(end_unix_us),
        )
    }

    /// How many traces and spans there are.
    pub(super) fn count(&self) -> String {
        format!("SELECT count(), sum(spans) FROM ({}) FORMAT RowBinary", self.ids())
    }

    /// Their spans, each with the code of its facts.
    pub(super) fn rows(&self, most: usize) -> String {
        format!(
            "SELECT reinterpretAsUInt64(reverse(unhex(substring(TraceId, 1, 16)))), \
             reinterpretAsUInt64(reverse(unhex(substring(TraceId, 17, 16)))), \
             reinterpretAsUInt64(reverse(unhex(SpanId))), reinterpretAsUInt64(reverse(unhex(ParentSpanId))), \
             toUnixTimestamp64Nano(Timestamp), toInt64(Duration), {} FROM {} WHERE {} LIMIT {most} FORMAT RowBinary",
            code(),
            self.table(),
            self.chosen(),
        )
    }

    /// Each code with the facts, once.
    pub(super) fn facts(&self, most: usize) -> String {
        format!(
            "SELECT {} AS code, any(ServiceName), any(SpanName), any(SpanKind), any(StatusCode), any({}), any({}) FROM {} \
             WHERE {} GROUP BY code LIMIT {most} FORMAT RowBinary",
            code(),
            resource(),
            attributes(),
            self.table(),
            self.chosen(),
        )
    }

    fn chosen(&self) -> String {
        format!("{} AND TraceId IN (SELECT TraceId FROM ({}))", self.near(), self.ids())
    }

    /// Operations with their counts.
    pub(super) fn operations(&self) -> String {
        let Window { start_unix_us, end_unix_us } = self.window;
        format!(
            "SELECT ServiceName, SpanName, SpanKind, {} AS peer, count() AS spans, countIf({IS_ERROR}), \
             arrayMap(time -> toUInt64(greatest(time, 0)), quantilesTDigest(0.5, 0.95, 0.99)(toInt64(Duration))) FROM {} \
             WHERE {} GROUP BY ServiceName, SpanName, SpanKind, peer ORDER BY spans DESC LIMIT {} FORMAT RowBinary",
            peer(),
            self.table(),
            between(start_unix_us, end_unix_us),
            MOST_COUNTS + 1,
        )
    }

    /// Services with their counts, minute by minute.
    pub(super) fn minutes(&self) -> String {
        let Window { start_unix_us, end_unix_us } = self.window;
        format!(
            "SELECT toInt64(toUnixTimestamp(toStartOfMinute(Timestamp))) AS minute, ServiceName, count(), \
             countIf({IS_ERROR}), toUInt64(greatest(quantileTDigest(0.95)(toInt64(Duration)), 0)) FROM {} WHERE {} \
             GROUP BY minute, ServiceName ORDER BY minute, ServiceName LIMIT {} FORMAT RowBinary",
            self.table(),
            between(start_unix_us, end_unix_us),
            MOST_COUNTS + 1,
        )
    }
}

/// How many spans there are, and when the first and the last begin.
pub(super) fn extent(database: &Name, name: &Name) -> String {
    format!(
        "SELECT count(), toUnixTimestamp64Nano(min(Timestamp)), toUnixTimestamp64Nano(max(Timestamp)) FROM {} \
         FORMAT RowBinary",
        table(database, name)
    )
}

/// All columns of the spans of some traces.
pub(super) fn traces(database: &Name, name: &Name, ids: &[TraceId], most: usize) -> String {
    let mut list = String::new();
    for id in ids {
        let _ = write!(list, "{}'{}'", if list.is_empty() { "" } else { ", " }, id.hex());
    }
    format!(
        "SELECT TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes, \
         ScopeName, ScopeVersion, SpanAttributes, toUnixTimestamp64Nano(Timestamp), toInt64(Duration), StatusCode, \
         StatusMessage, arrayMap(time -> toUnixTimestamp64Nano(time), Events.Timestamp), Events.Name, \
         Events.Attributes, Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes FROM {} WHERE TraceId IN \
         ({list}) ORDER BY TraceId, Timestamp LIMIT {most} FORMAT RowBinary",
        table(database, name)
    )
}

/// Both ways in which versions of the exporter write it.
const IS_ERROR: &str = "StatusCode IN ('Error', 'STATUS_CODE_ERROR')";

/// The kinds of which a peer is told ([`Facts::have_peer`]).
const HAS_PEER: &str = "SpanKind IN ('Client', 'Producer', 'Consumer', 'SPAN_KIND_CLIENT', 'SPAN_KIND_PRODUCER', \
                        'SPAN_KIND_CONSUMER')";

fn table(database: &Name, table: &Name) -> String {
    format!("{}.{}", database.quoted(), table.quoted())
}

/// The last moment that `DateTime64(9)` has, in the year 2262, microseconds since 1970.
const LAST_US: u64 = i64::MAX.unsigned_abs() / 1000;

fn time(unix_us: u64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({}))", unix_us.min(LAST_US) * 1000)
}

fn between(start_unix_us: u64, end_unix_us: u64) -> String {
    format!("Timestamp >= {} AND Timestamp < {}", time(start_unix_us), time(end_unix_us))
}

/// The code of a span's facts.
fn code() -> String {
    format!("cityHash64(ServiceName, SpanName, SpanKind, StatusCode, {}, {})", resource(), attributes())
}

/// Attributes of a resource that tell a maker.
fn resource() -> String {
    let rest = ["service.namespace", "host.id", "host.name"];
    let names = Maker::VERSION_KEYS.iter().chain(&Maker::INSTANCE_KEYS).chain(&rest);
    format!("mapFilter((name, value) -> name IN ({}), ResourceAttributes)", quoted(names))
}

/// Attributes of a span that tell facts.
fn attributes() -> String {
    format!(
        "mapApply((name, value) -> (name, if(name IN ('db.query.text', 'db.statement'), substringUTF8(value, 1, \
         {MOST_QUERY}), value)), mapFilter((name, value) -> name IN ({}) OR ({HAS_PEER} AND name IN ({})), \
         SpanAttributes))",
        quoted(&Facts::KEYS),
        quoted(&Peer::KEYS),
    )
}

/// Who is asked, in one text.
fn peer() -> String {
    let of = |name: &str| format!("SpanAttributes['{name}']");
    let first = |names: &[&str]| {
        let told: Vec<String> = names.iter().map(|name| format!("{0} != '', {0}", of(name))).collect();
        format!("multiIf({}, '')", told.join(", "))
    };
    let host = first(&[
        "messaging.system",
        "server.address",
        "net.peer.name",
        "peer.service",
        "network.peer.address",
        "db.system.name",
        "db.system",
    ]);
    format!("if({HAS_PEER}, {host}, '')")
}

fn quoted<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> String {
    names.into_iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect(text)
    }

    #[test]
    fn attribute_names_of_ours_need_no_escape() {
        let all =
            Facts::KEYS.iter().chain(&Peer::KEYS).chain(&Maker::VERSION_KEYS).chain(&Maker::INSTANCE_KEYS);
        for key in all {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
            assert!(key.bytes().all(is_plain), "{key}");
        }
    }

    #[test]
    fn any_window_is_one_that_clickhouse_has() {
        let (database, table) = (name("otel"), name("otel_traces"));
        let window = Window { start_unix_us: 0, end_unix_us: u64::MAX };
        let traces = Traces { database: &database, table: &table, window, one_of: 3 };
        let count = traces.count();
        assert!(count.contains("FROM `otel`.`otel_traces`") && count.contains("% 3 = 0"), "{count}");
        assert!(count.contains("< fromUnixTimestamp64Nano(toInt64(9223372036854775000))"), "{count}");
    }

    #[test]
    fn ids_of_traces_are_hexadecimal() {
        let id = TraceId(*b"'; DROP TABLE x;");
        let text = traces(&name("a"), &name("b"), &[id, id], 9);
        assert!(text.contains(&format!("('{0}', '{0}')", id.hex())) && !text.contains("DROP"), "{text}");
    }
}
