//! Addresses of sources, as people give them.

use super::{
    Source, SourceError,
    clickhouse::ClickHouse,
    http::{Connect, Server},
    jaeger::Jaeger,
};

/// Longest name of a database or table.
const MOST_NAME: usize = 200;

/// Opens the source of an address: `clickhouse://user@host:8123/database?table=otel_traces`, `clickhouses://…` by TLS,
/// `jaeger+http://host:16686`, or `jaeger+https://…`. A password that is given is used instead of that of the address.
///
/// # Errors
/// The address cannot be used, or there is no client for it. Nothing is asked yet.
pub fn open(
    address: &str,
    password: Option<&str>,
    connect: &Connect<'_>,
) -> Result<Box<dyn Source>, SourceError> {
    let parsed = Address::parse(address, password)?;
    let http = connect(&parsed.server)?;
    Ok(match parsed.engine {
        Engine::ClickHouse { database, table } => {
            Box::new(ClickHouse::new(&parsed.server, http, database, table))
        }
        Engine::Jaeger => Box::new(Jaeger::new(&parsed.server, http)),
    })
}

/// What an address says.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    server: Server,
    engine: Engine,
}

#[derive(Debug, PartialEq, Eq)]
enum Engine {
    ClickHouse { database: Name, table: Name },
    Jaeger,
}

/// Name of a database or a table: letters of ASCII, digits and underscores, so that it can end no quotation in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = (1..=MOST_NAME).contains(&text.len()) && text.bytes().all(is_plain);
        is_name.then(|| Self(text.to_owned()))
    }

    /// It, as it can stand in SQL.
    pub(super) fn quoted(&self) -> String {
        format!("`{}`", self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Address {
    fn parse(text: &str, password: Option<&str>) -> Result<Self, SourceError> {
        // The text may hold a password: it is not told again.
        let wrong = |reason: &str| SourceError::Address(format!("--source: {reason}"));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            wrong("give an address such as clickhouse://user@host:8123/otel or jaeger+http://host:16686")
        })?;
        let (is_clickhouse, is_tls, port) = match scheme {
            "clickhouse" => (true, false, 8123),
            "clickhouses" => (true, true, 8443),
            "jaeger+http" => (false, false, 16686),
            "jaeger+https" => (false, true, 443),
            _ => {
                return Err(wrong(&format!(
                    "{scheme:?} is no kind of source: clickhouse, clickhouses, jaeger+http and jaeger+https are"
                )));
            }
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let authority = with_port(host, port).ok_or_else(|| {
            wrong("its host cannot be used: give one such as db.example.com:8123 or [::1]:8123")
        })?;
        let login = user.map(|user| {
            let (user, told) = user.split_once(':').unwrap_or((user, ""));
            (decoded(user), password.map_or_else(|| decoded(told), str::to_owned))
        });
        let login = login.or_else(|| password.map(|password| ("default".to_owned(), password.to_owned())));
        if login
            .iter()
            .any(|(user, password)| [user, password].iter().any(|text| text.chars().any(char::is_control)))
        {
            return Err(wrong("a user or password with control characters cannot be sent"));
        }
        let path = path.trim_matches('/');
        if !is_clickhouse {
            if !query.is_empty() {
                return Err(wrong("an address of Jaeger has nothing behind a question mark"));
            }
            if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("its path cannot be sent"));
            }
            let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
            return Ok(Self { server: Server { is_tls, authority, prefix, login }, engine: Engine::Jaeger });
        }
        let mut table = "otel_traces";
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("table", name)) => table = name,
                _ => return Err(wrong("behind the question mark only table=NAME is known")),
            }
        }
        let database = if path.is_empty() { "default" } else { path };
        let name = |what: &str, text: &str| {
            Name::parse(text).ok_or_else(|| {
                wrong(&format!("{text:?} is no {what}: its name has letters of ASCII, digits and _ only"))
            })
        };
        let engine =
            Engine::ClickHouse { database: name("database", database)?, table: name("table", table)? };
        Ok(Self { server: Server { is_tls, authority, prefix: String::new(), login }, engine })
    }
}

/// Host and port. None if it is no host.
fn with_port(host: &str, usual: u16) -> Option<String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (format!("[{address}]"), port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?)
        }
        None => {
            let (name, port) = host.split_once(':').unwrap_or((host, ""));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            (!name.is_empty() && name.bytes().all(is_plain)).then_some(())?;
            (name.to_owned(), port)
        }
    };
    let port = if port.is_empty() { usual } else { port.parse().ok()? };
    Some(format!("{name}:{port}"))
}

/// Percent-decoded (RFC 3986, section 2.1); what is no escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|digits| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
        });
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_server_login_database_and_table() {
        let at = |text| Address::parse(text, None).expect(text);
        let address = at("clickhouse://me:p%40ss@db:9000/otel?table=spans");
        let name = |text| Name::parse(text).expect(text);
        assert_eq!(address.engine, Engine::ClickHouse { database: name("otel"), table: name("spans") });
        assert_eq!(address.server.url(), "http://db:9000");
        assert_eq!(address.server.login, Some(("me".to_owned(), "p@ss".to_owned())));
        let usual = at("clickhouses://[::1]");
        assert_eq!(usual.server.url(), "https://[::1]:8443");
        assert_eq!(
            (usual.engine, usual.server.login),
            (Engine::ClickHouse { database: name("default"), table: name("otel_traces") }, None)
        );
        let jaeger = at("jaeger+https://traces.example.com/jaeger/");
        assert_eq!(
            (jaeger.server.url().as_str(), jaeger.engine),
            ("https://traces.example.com:443/jaeger", Engine::Jaeger)
        );
    }

    #[test]
    fn a_password_from_elsewhere_is_used_and_never_told() {
        let server = |text| Address::parse(text, Some("secret")).expect(text).server;
        assert_eq!(server("clickhouse://me@db").login, Some(("me".to_owned(), "secret".to_owned())));
        assert_eq!(server("clickhouse://db").login, Some(("default".to_owned(), "secret".to_owned())));
        assert_eq!(format!("{:?}", server("clickhouse://me:other@db")), "http://db:8123");
        let error = Address::parse("clickhouse://me:other@d b", None).expect_err("no host").to_string();
        assert!(!error.contains("other"), "{error}");
    }

    #[test]
    fn what_is_no_address_or_could_be_sql_is_refused_with_what_to_give() {
        for (text, reason) in [
            ("otel", "give an address such as"),
            ("mysql://db", "is no kind of source"),
            ("clickhouse://", "its host cannot be used"),
            ("clickhouse://db:port", "its host cannot be used"),
            ("clickhouse://[::1", "its host cannot be used"),
            ("clickhouse://a\r\nb", "its host cannot be used"),
            ("clickhouse://u:%0D%0A@db", "control characters"),
            ("clickhouse://db/otel;DROP TABLE x", "is no database"),
            ("clickhouse://db/otel?table=a`; DROP TABLE b --", "is no table"),
            ("clickhouse://db/otel?table=a'", "is no table"),
            ("clickhouse://db/otel?table=", "is no table"),
            ("clickhouse://db/otel?table=a\\", "is no table"),
            ("clickhouse://db/otel?password=x", "only table=NAME is known"),
            ("jaeger+http://db/a b", "its path cannot be sent"),
            ("jaeger+http://db?x=y", "nothing behind a question mark"),
        ] {
            let error = Address::parse(text, None).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
