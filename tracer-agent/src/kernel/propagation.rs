//! Trace headers as the agent sees them: who may get one, and what it tells the kernel programs.

use std::{
    fs,
    io::{self, Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustc_hash::FxHashMap;

use aya::{
    Ebpf,
    maps::{HashMap, MapData, SockHash, lpm_trie},
    programs::{CgroupAttachMode, SkMsg, SockOps},
};
use tracer_common::{
    AUTHORITY_BYTES, BOUNDARY_HERE, BOUNDARY_NEVER, POLICY_SLOTS, PORT_WORDS, policy_slot, policy_tag,
};

use super::{
    error::{KernelError, load_error, refused},
    maps::{map, map_mut, take},
    mmap::Words,
    preexisting::{self, Entered, Search, Wanted},
};
use crate::exchange::ConnectionFacts;

/// What requests get headers, as the kernel programs need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropagationPlan {
    /// Address ranges with the length of their prefix, and whether headers may go there. The longest
    /// prefix that fits an address decides.
    pub destinations: Vec<(IpAddr, u8, bool)>,
    /// Hosts that the targets of requests may name, as a forward proxy gets them.
    pub proxied_hosts: Vec<ProxiedHost>,
    /// Ports that are known to speak HTTP/1.
    pub http_ports: Vec<u16>,
}

/// A host that the target of a request may name: `HOST`, or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedHost(String);

impl ProxiedHost {
    /// None if no target can name it so.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        (!text.is_empty() && text.len() < AUTHORITY_BYTES && text.bytes().all(is_plain))
            .then(|| Self(text.to_ascii_lowercase()))
    }

    /// In small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the kernel programs look it up: they set this bit in every byte, which makes letters small.
    fn key(&self) -> [u8; AUTHORITY_BYTES] {
        let mut key = [0; AUTHORITY_BYTES];
        for (to, from) in key.iter_mut().zip(self.0.bytes()) {
            *to = from | 0x20;
        }
        key
    }
}

type Sockets = SockHash<MapData, u64>;

/// The socket of a connection that is older than the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preexisting {
    /// It is looked for, or was not found.
    Wanted,
    /// It has entered the map, under this key.
    Entered(u64),
    /// It must not enter the map again.
    Left,
}

/// How long the kernel programs go on when the agent says nothing.
const LEASE_NS: u64 = 2_000_000_000;

/// Tells the kernel programs of requests and processes.
pub struct Propagation {
    boundaries: Words,
    http_ports: Words,
    lease: Words,
    profiles: HashMap<MapData, u32, u8>,
    /// The thread that looks for sockets puts them in.
    sockets: Arc<Mutex<Sockets>>,
    /// Connections that are older than the agent.
    preexisting: FxHashMap<u64, Preexisting>,
    wanted: Vec<Wanted>,
    search: Search,
    /// Sockets leave the map within their first send: see [`Self::verify`].
    first_only: bool,
}

impl Propagation {
    /// Attaches the programs.
    pub(super) fn start(ebpf: &mut Ebpf, plan: &PropagationPlan) -> Result<Self, KernelError> {
        let boundaries = Words::map(map(ebpf, "BOUNDARIES")?, POLICY_SLOTS)?;
        let http_ports = Words::map(map(ebpf, "HTTP_PORTS")?, PORT_WORDS)?;
        let lease = Words::map(map(ebpf, "LEASE")?, 2)?;
        let mut destinations: lpm_trie::LpmTrie<&mut MapData, [u8; 16], u8> =
            map_mut(ebpf, "DESTINATIONS").and_then(|map| map.try_into().map_err(load_error))?;
        for (address, length, allowed) in &plan.destinations {
            let (bytes, length) = match address {
                IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), length + 96),
                IpAddr::V6(address) => (address.octets(), *length),
            };
            let key = lpm_trie::Key::new(u32::from(length), bytes);
            destinations.insert(&key, u8::from(*allowed), 0).map_err(load_error)?;
        }
        let mut hosts: HashMap<&mut MapData, [u8; AUTHORITY_BYTES], u8> =
            map_mut(ebpf, "PROXIED_HOSTS").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
        for host in &plan.proxied_hosts {
            hosts.insert(host.key(), 1, 0).map_err(load_error)?;
        }
        let profiles = take(ebpf, "PROFILES").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
        let sockets: Sockets =
            take(ebpf, "SOCKETS").and_then(|map| SockHash::try_from(map).map_err(load_error))?;
        let map = sockets.fd().try_clone().map_err(load_error)?;
        let this = Self {
            boundaries,
            http_ports,
            lease,
            profiles,
            sockets: Arc::new(Mutex::new(sockets)),
            preexisting: FxHashMap::default(),
            wanted: Vec::new(),
            search: Search::new(),
            first_only: false,
        };
        for port in &plan.http_ports {
            this.http_port(*port);
        }

        let messages: &mut SkMsg = program(ebpf, "tracer_sk_msg")?;
        messages
            .load()
            .and_then(|()| messages.attach(&map).map(drop))
            .map_err(|error| headers_refused("sk_msg", error))?;
        let root = root_cgroup().map_err(|error| {
            KernelError::Headers(format!("they need the cgroup2 hierarchy, which cannot be opened: {error}"))
        })?;
        // A link stands beside the programs of others whatever the mode, and the kernel takes no other.
        let connections: &mut SockOps = program(ebpf, "tracer_sock_ops")?;
        connections
            .load()
            .and_then(|()| connections.attach(root, CgroupAttachMode::Single).map(drop))
            .map_err(|error| headers_refused("sock_ops", error))?;
        Ok(this)
    }

    /// Sends requests to itself and looks at what arrives: a kernel that pushes wrongly is not trusted with
    /// anybody's stream. `select` makes this process a selected one, and lets it go.
    ///
    /// Since 6.6.128, 6.12.75 and 6.18.14 (929e30f93125) `FIONREAD` tells of no byte on a socket that is in a
    /// sockmap, until a later kernel repairs it (04af4efde58a), and nginx then waits for ever. Where that is
    /// so, sockets leave the map within their first send.
    pub(super) fn verify(&mut self, select: impl Fn(bool), is_trusted: bool) -> Result<(), KernelError> {
        /// Bytes of head and body, written at once.
        const MESSAGES: [(usize, usize); 4] = [(60, 0), (700, 0), (3_000, 0), (500, 2_000)];
        let listener = TcpListener::bind("127.0.0.1:0").map_err(cannot_verify)?;
        let address = listener.local_addr().map_err(cannot_verify)?;
        self.http_port(address.port());
        select(true);
        let outcome = MESSAGES.iter().try_fold(true, |is_right, (head, body)| {
            self.renew(crate::clock::monotonic_ns());
            verify_one(&listener, address, *head, *body).map(|now| now && is_right)
        });
        select(false);
        let (word, bit) = (u32::from(address.port()) / 64, 1u64 << (address.port() % 64));
        self.http_ports.clear_bits(word, bit);
        self.first_only = !outcome? && !is_trusted;
        self.lease.store(1, u64::from(self.first_only));
        if self.first_only {
            tracing::warn!(
                "this kernel has a fault in FIONREAD: only the first request of a connection gets a trace header, \
                 and only to ports known to speak HTTP/1 (--propagation-http-ports adds some). `tracer doctor` says more; \
                 --propagation off adds no header"
            );
        }
        Ok(())
    }

    /// Whether only the first request on a connection can get a header.
    pub(super) fn first_only(&self) -> bool {
        self.first_only
    }

    /// The agent lives: headers may be pushed for a while.
    pub fn renew(&self, now_ns: u64) {
        self.lease.store(0, now_ns + LEASE_NS);
    }

    /// A request begins on a connection at this place of what its process sends, if one follows.
    pub fn boundary(&self, connection: u64, position: u32) {
        let word = policy_tag(connection) | BOUNDARY_HERE | u64::from(position);
        self.boundaries.store(policy_slot(connection), word);
    }

    /// A process makes calls on a connection that is older than the agent: its socket is looked for soon.
    pub fn want_preexisting(&mut self, pid: u32, facts: &ConnectionFacts) {
        /// Connections that are looked for at once, and that are remembered.
        const MOST: (usize, usize) = (256, 65_536);
        if !self.first_only
            && self.wanted.len() < MOST.0
            && self.preexisting.len() < MOST.1
            && !self.preexisting.contains_key(&facts.number)
        {
            // Only TCP connections get headers.
            let (Some(local), Some(remote)) = (facts.local.ip(), facts.remote.ip()) else { return };
            self.preexisting.insert(facts.number, Preexisting::Wanted);
            let wanted = Wanted { pid, netns: facts.netns, connection: facts.number, local, remote };
            self.wanted.push(wanted);
        }
    }

    /// Begins to put the sockets that are looked for into the map, on a thread of its own. What is not found, or may
    /// not enter, stays as it is: the calls on it are counted without a header.
    pub fn admit_wanted(&mut self) {
        for Entered { connection, key } in self.search.entered() {
            match self.preexisting.get_mut(&connection) {
                Some(state @ Preexisting::Wanted) => *state = Preexisting::Entered(key),
                // No header will follow, or it has ended.
                _ => self.take_out(key),
            }
        }
        if self.wanted.is_empty() || !self.search.is_due() {
            return;
        }
        // TCP's minimum for each socket does not hold in the map.
        if preexisting::is_short_of_memory() {
            self.search.rest(Duration::from_secs(1));
            return;
        }
        let sockets = Arc::downgrade(&self.sockets);
        self.search.begin(Path::new("/proc"), std::mem::take(&mut self.wanted), move |wanted, socket| {
            let key = preexisting::cookie(socket)?;
            // No requests get headers any more.
            let sockets = sockets.upgrade()?;
            if preexisting::is_short_of_memory() {
                return None;
            }
            let entered = locked(&sockets).insert(key, socket.as_raw_fd(), 0);
            match entered {
                Ok(()) => Some(key),
                Err(error) => {
                    tracing::debug!(pid = wanted.pid, %error, "a socket cannot enter the map");
                    None
                }
            }
        });
    }

    /// No header will follow on a connection, or no request (`gone`): an old socket leaves the map. Others
    /// leave it by themselves, with the next send.
    pub fn leave(&mut self, connection: u64, gone: bool) {
        let known = if gone {
            self.boundaries.store(policy_slot(connection), policy_tag(connection) | BOUNDARY_NEVER);
            self.preexisting.remove(&connection)
        } else {
            self.preexisting.get_mut(&connection).map(|state| std::mem::replace(state, Preexisting::Left))
        };
        if let Some(Preexisting::Entered(key)) = known {
            self.take_out(key);
        }
    }

    /// The socket of this key leaves the map.
    pub fn take_out(&mut self, key: u64) {
        // The kernel takes out what is closed.
        let _ = locked(&self.sockets).remove(&key);
    }

    /// This port speaks HTTP/1.
    pub fn http_port(&self, port: u16) {
        let (word, bit) = (u32::from(port) / 64, 1u64 << (port % 64));
        if self.http_ports.load(word) & bit == 0 {
            self.http_ports.set_bits(word, bit);
        }
    }

    /// How a process works: `PROFILE_*`; none if it is gone.
    pub fn profile(&mut self, pid: u32, profile: Option<u8>) {
        // A full map, or a process that was not in it: its calls are counted, `headers.later`, while it serves.
        let _ = match profile {
            Some(profile) => self.profiles.insert(pid, profile, 0),
            None => self.profiles.remove(&pid),
        };
    }
}

fn locked(sockets: &Mutex<Sockets>) -> MutexGuard<'_, Sockets> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn headers_refused(hook: &str, error: aya::programs::ProgramError) -> KernelError {
    KernelError::Headers(refused(hook, error).to_string())
}

fn cannot_verify(error: io::Error) -> KernelError {
    KernelError::Headers(format!("they could not be tried: {error}"))
}

/// How many bytes the kernel says can be read at once, when there are some.
fn readable(client: &TcpStream) -> io::Result<libc::c_int> {
    let mut ready = libc::pollfd { fd: client.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut count = 0;
    // SAFETY: one structure, and room for one number.
    let done = unsafe {
        libc::poll(&raw mut ready, 1, 1000) >= 0
            && libc::ioctl(client.as_raw_fd(), libc::FIONREAD, &raw mut count) == 0
    };
    if done { Ok(count) } else { Err(io::Error::last_os_error()) }
}

/// One request on a connection of its own. Returns whether the kernel tells rightly of the answer.
fn verify_one(
    listener: &TcpListener,
    address: std::net::SocketAddr,
    head: usize,
    body: usize,
) -> Result<bool, KernelError> {
    /// For what takes microseconds, unless loopback is down or filtered; shorter than the lease.
    const PATIENCE: Duration = Duration::from_millis(1500);
    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    const LINE: &str = "POST /self-test HTTP/1.1\r\n";
    let rest = format!("Host: tracer\r\nContent-Length: {body}\r\nX-Pad: ");
    let pad = "p".repeat(head.saturating_sub(LINE.len() + rest.len() + 4));
    let rest = format!("{rest}{pad}\r\n\r\n{}", "b".repeat(body));
    let mut client = TcpStream::connect_timeout(&address, PATIENCE).map_err(cannot_verify)?;
    client.set_nonblocking(true).map_err(cannot_verify)?;
    let own = client.local_addr().map_err(cannot_verify)?;
    let mut server = accept_from(listener, own).map_err(cannot_verify)?;
    server.set_read_timeout(Some(PATIENCE)).map_err(cannot_verify)?;
    let message = [LINE, &rest].concat();
    let sent = client.write(message.as_bytes()).map_err(cannot_verify)?;
    client.shutdown(std::net::Shutdown::Write).map_err(cannot_verify)?;
    let mut received = Vec::new();
    server.read_to_end(&mut received).map_err(cannot_verify)?;
    let header = received
        .strip_prefix(LINE.as_bytes())
        .and_then(|received| received.strip_suffix(rest.as_bytes()))
        .and_then(|header| std::str::from_utf8(header).ok());
    match header {
        Some(header) if sent == message.len() && is_header(header) => {
            server.write_all(ANSWER).map_err(cannot_verify)?;
            Ok(readable(&client).map_err(cannot_verify)? == ANSWER.len() as libc::c_int)
        }
        _ => Err(KernelError::Headers(format!(
            "of a request of {} bytes that got one, {} were sent and {} arrived, not as they must",
            message.len(),
            sent,
            received.len()
        ))),
    }
}

/// Accepts the connection of this peer, which has connected; strangers that came before it are hung up on.
fn accept_from(listener: &TcpListener, peer: std::net::SocketAddr) -> io::Result<TcpStream> {
    /// More than a backlog holds.
    const STRANGERS: usize = 10_000;
    for _ in 0..STRANGERS {
        let (stream, from) = listener.accept()?;
        if from == peer {
            return Ok(stream);
        }
    }
    Err(io::Error::other("others connect to its port all the time"))
}

/// Whether this is the line that the kernel programs push.
fn is_header(line: &str) -> bool {
    let value = line.strip_prefix("traceparent: 00-").and_then(|line| line.strip_suffix("\r\n"));
    let parts: Vec<&str> = value.unwrap_or_default().split('-').collect();
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    matches!(parts[..], [trace, span, flags]
        if (trace.len(), span.len(), flags.len()) == (32, 16, 2) && hex(trace) && hex(span) && hex(flags))
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut T, KernelError>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| KernelError::Load(format!("the object has no program {name}")))?;
    program.try_into().map_err(load_error)
}

/// The root of the cgroup2 hierarchy that this cgroup namespace shows, wherever and whether it is mounted:
/// a mount of our own that no path leads to. Without `CAP_SYS_ADMIN`, where it is usually mounted.
fn root_cgroup() -> io::Result<OwnedFd> {
    mounted_cgroup().or_else(|error| {
        let usual = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        usual.into_iter().find_map(opened_cgroup).ok_or(error)
    })
}

/// A folder, if it is of a cgroup2 hierarchy.
fn opened_cgroup(path: &str) -> Option<OwnedFd> {
    let folder = OwnedFd::from(fs::File::open(path).ok()?);
    let mut about = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a descriptor that is open, and room for what is said of it.
    let done = unsafe { libc::fstatfs(folder.as_raw_fd(), about.as_mut_ptr()) };
    // SAFETY: it was filled.
    (done == 0 && unsafe { about.assume_init() }.f_type == libc::CGROUP2_SUPER_MAGIC).then_some(folder)
}

/// The hierarchy, mounted nowhere.
fn mounted_cgroup() -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    let checked = |result: libc::c_long| -> io::Result<libc::c_int> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
    };
    // SAFETY: the strings end with zero; each descriptor that is returned is new and ours.
    unsafe {
        let context = OwnedFd::from_raw_fd(checked(libc::syscall(
            libc::SYS_fsopen,
            c"cgroup2".as_ptr(),
            FSOPEN_CLOEXEC,
        ))?);
        let none = std::ptr::null::<libc::c_char>();
        checked(libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0))?;
        let mount = libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0);
        Ok(OwnedFd::from_raw_fd(checked(mount)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_that_connect_first_are_not_taken_for_the_client() {
        use std::io::Read;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut strangers: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(address).expect("connected")).collect();
        let client = TcpStream::connect(address).expect("connected");
        let own = client.local_addr().expect("connected");
        let server = accept_from(&listener, own).expect("it has connected");
        assert_eq!(server.peer_addr().expect("connected"), own);
        for stranger in &mut strangers {
            assert_eq!(stranger.read(&mut [0]).expect("closed"), 0);
        }
    }
}
