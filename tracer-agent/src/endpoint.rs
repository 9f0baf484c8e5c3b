//! The two ends of a connection: where each is, and by what they find each other on one host.

#![forbid(unsafe_code)]

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use rustc_hash::FxHasher;
use tracer_common::{
    IDENTITY_SEQUENCE, IDENTITY_SOCKETS, OPEN_CLIENT, OPEN_SERVER, OpenRecord, TRANSPORT_UNIX_MESSAGES,
    TRANSPORT_UNIX_STREAM,
};

/// The address of one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket. Shared: every span has both ends of its connection, and most connections are IP.
    Unix(Arc<UnixEndpoint>),
}

/// The address of a Unix socket.
#[derive(Debug, PartialEq, Eq)]
pub struct UnixEndpoint {
    /// What it is bound to.
    pub name: UnixName,
    /// Number of the socket, unique on the host.
    pub socket: u64,
}

/// What a Unix socket is bound to (`unix(7)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixName {
    /// A path in the file system.
    Path(Arc<[u8]>),
    /// A name in the abstract namespace, without the zero byte before it.
    Abstract(Arc<[u8]>),
    /// Nothing: a client's end, or one of a pair (`socketpair(2)`).
    Unnamed,
}

impl UnixName {
    /// The name as the kernel keeps it (`sun_path`): an abstract one begins with a zero byte, a path may end with
    /// zero bytes.
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::Unnamed,
            [0, name @ ..] => Self::Abstract(name.into()),
            path => Self::Path(path.split(|byte| *byte == 0).next().unwrap_or_default().into()),
        }
    }
}

impl Endpoint {
    /// The local and the remote end that a record tells. `name` is the socket's name, which follows the record.
    pub fn both_of(record: &OpenRecord, name: &[u8]) -> (Self, Self) {
        if !is_unix(record) {
            let ip = |bytes, port| Self::Ip(SocketAddr::new(ip_address(record.family, bytes), port));
            return (
                ip(&record.local_address, record.local_port),
                ip(&record.remote_address, record.remote_port),
            );
        }
        let (own, other) = sockets(record);
        let name = UnixName::of(name);
        // The socket that listens gives its name to the end that accepts.
        let (own_name, other_name) = if record.flags & OPEN_CLIENT != 0 {
            (UnixName::Unnamed, name)
        } else if record.flags & OPEN_SERVER != 0 {
            (name, UnixName::Unnamed)
        } else {
            (name.clone(), name)
        };
        let unix = |name, socket| Self::Unix(Arc::new(UnixEndpoint { name, socket }));
        (unix(own_name, own), unix(other_name, other))
    }

    /// The IP address and port, if it has them.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.ip().map(|address| address.port())
    }

    /// The address as text, without the port.
    pub fn address(&self) -> String {
        self.ip().map_or_else(|| self.to_string(), |address| address.ip().to_string())
    }

    /// Whether a connection from `other` to this address stays on the host, if the addresses tell.
    pub fn is_local_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(own), Self::Ip(other)) => own.ip().is_loopback() || own.ip() == other.ip(),
            _ => true,
        }
    }

    /// A hash of the address that is the same for all connections to it: the number of the socket is left out.
    pub fn address_hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        match self {
            Self::Ip(address) => address.hash(&mut hasher),
            Self::Unix(unix) => match &unix.name {
                UnixName::Path(name) | UnixName::Abstract(name) => name.hash(&mut hasher),
                UnixName::Unnamed => unix.socket.hash(&mut hasher),
            },
        }
        hasher.finish()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// `127.0.0.1:80`, `[::1]:80`, `/run/app.sock`, `@name` for an abstract name, `unix:[7]` for a socket without a name.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(unix) => match &unix.name {
                UnixName::Path(path) => String::from_utf8_lossy(path).fmt(f),
                UnixName::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
                UnixName::Unnamed => write!(f, "unix:[{}]", unix.socket),
            },
        }
    }
}

/// A value by which the two ends of a connection know each other on one host, whatever stands between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerIdentity {
    /// TCP: the sequence numbers of the first byte in each direction. Nothing changes them on the way, as
    /// translation changes addresses.
    Sequence {
        /// Of the first byte that this end sent.
        sent: u32,
        /// Of the first byte that it received.
        received: u32,
    },
    /// Unix sockets: the numbers of the two.
    Sockets {
        /// This end's.
        own: u64,
        /// The other end's.
        other: u64,
    },
    /// The other end cannot be told.
    Unknown,
}

impl PeerIdentity {
    /// That of the end that a record tells of.
    pub fn of(record: &OpenRecord) -> Self {
        match record.identity {
            IDENTITY_SEQUENCE => Self::Sequence { sent: record.send_first, received: record.receive_first },
            IDENTITY_SOCKETS => {
                let (own, other) = sockets(record);
                Self::Sockets { own, other }
            }
            _ => Self::Unknown,
        }
    }

    /// That of the other end; none if it cannot be told.
    pub fn opposite(self) -> Option<Self> {
        match self {
            Self::Sequence { sent, received } => Some(Self::Sequence { sent: received, received: sent }),
            Self::Sockets { own, other } => Some(Self::Sockets { own: other, other: own }),
            Self::Unknown => None,
        }
    }
}

fn is_unix(record: &OpenRecord) -> bool {
    matches!(record.transport, TRANSPORT_UNIX_STREAM | TRANSPORT_UNIX_MESSAGES)
}

/// The numbers of the two sockets: those of the local and the remote end.
fn sockets(record: &OpenRecord) -> (u64, u64) {
    let number = |bytes: &[u8; 16]| bytes.first_chunk().copied().map_or(0, u64::from_ne_bytes);
    (number(&record.local_address), number(&record.remote_address))
}

/// An address of the kernel's; IPv4 in IPv6 becomes IPv4.
fn ip_address(family: u16, bytes: &[u8; 16]) -> IpAddr {
    if family == libc::AF_INET6 as u16 {
        IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()
    } else {
        let [a, b, c, d, ..] = *bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(flags: u8, own: u64, other: u64) -> OpenRecord {
        let mut record = OpenRecord {
            flags,
            transport: TRANSPORT_UNIX_STREAM,
            identity: IDENTITY_SOCKETS,
            ..OpenRecord::default()
        };
        record.local_address[..8].copy_from_slice(&own.to_ne_bytes());
        record.remote_address[..8].copy_from_slice(&other.to_ne_bytes());
        record
    }

    #[test]
    fn the_end_that_accepts_has_the_name() {
        let texts = |flags, name: &[u8]| {
            let (local, remote) = Endpoint::both_of(&unix(flags, 7, 8), name);
            [local.to_string(), remote.to_string()]
        };
        assert_eq!(texts(OPEN_CLIENT, b"/run/app.sock\0"), ["unix:[7]", "/run/app.sock"]);
        assert_eq!(texts(OPEN_SERVER, b"\0app"), ["@app", "unix:[8]"]);
        assert_eq!(texts(0, b""), ["unix:[7]", "unix:[8]"], "a pair");
    }

    #[test]
    fn ip_addresses_read_as_those_of_the_standard_library() {
        let record = OpenRecord {
            family: libc::AF_INET6 as u16,
            local_port: 80,
            remote_port: 4000,
            local_address: Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(),
            remote_address: Ipv6Addr::LOCALHOST.octets(),
            ..OpenRecord::default()
        };
        let (local, remote) = Endpoint::both_of(&record, b"");
        assert_eq!([local.to_string(), remote.to_string()], ["127.0.0.1:80", "[::1]:4000"]);
        assert_eq!((local.port(), remote.is_local_to(&local)), (Some(80), true));
    }

    #[test]
    fn each_end_is_the_opposite_of_the_other() {
        let (own, other) = (PeerIdentity::of(&unix(0, 7, 8)), PeerIdentity::of(&unix(0, 8, 7)));
        assert_eq!(own.opposite(), Some(other));
        let record = OpenRecord { send_first: 1, receive_first: 2, ..OpenRecord::default() };
        let sequence = PeerIdentity::of(&record);
        assert_eq!(sequence.opposite(), Some(PeerIdentity::Sequence { sent: 2, received: 1 }));
        let record = OpenRecord { identity: tracer_common::IDENTITY_NONE, ..record };
        assert_eq!(PeerIdentity::of(&record).opposite(), None);
    }

    #[test]
    fn connections_to_one_name_have_one_address() {
        let (_, one) = Endpoint::both_of(&unix(OPEN_CLIENT, 1, 2), b"/run/app.sock");
        let (_, other) = Endpoint::both_of(&unix(OPEN_CLIENT, 3, 4), b"/run/app.sock");
        assert_ne!(one, other);
        assert_eq!(one.address_hash(), other.address_hash());
    }
}
