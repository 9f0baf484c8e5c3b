use std::{fs, os::unix::fs::symlink, path::PathBuf};

use super::*;
use crate::{
    event::input::OwnedInput,
    process::selector::{Rule, Selection},
};

/// A proc file system of its own, removed with it.
struct Fake {
    root: PathBuf,
}

impl Fake {
    /// One with three processes: 7 and 8 are children of 1.
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("tracer-discovery-{}-{name}", std::process::id()));
        let fake = Self { root };
        for (pid, parent, exe) in [(1, 0, "/sbin/init"), (7, 1, "/bin/shop"), (8, 1, "/bin/other")] {
            fake.add(pid, parent, exe, 50);
        }
        fake
    }

    /// A process that began at this time, clock ticks since boot.
    fn add(&self, pid: u32, parent: u32, exe: &str, start: u64) {
        self.add_running(pid, parent, exe, "--serve", start);
    }

    /// A process that executes a file with this argument.
    fn add_running(&self, pid: u32, parent: u32, exe: &str, argument: &str, start: u64) {
        let folder = self.root.join(pid.to_string());
        fs::create_dir_all(folder.join("fd")).expect("created");
        self.write_stat(pid, parent, false, start);
        fs::write(folder.join("cmdline"), format!("{exe}\0{argument}\0")).expect("written");
        fs::write(folder.join("environ"), "OTEL_SERVICE_NAME=named\0").expect("written");
        symlink(exe, folder.join("exe")).expect("linked");
    }

    /// Addresses are the same for all, as they are where they are not drawn at random.
    fn write_stat(&self, pid: u32, parent: u32, is_forked: bool, start: u64) {
        let flags = if is_forked { 0x0040_0040 } else { 0x0040_0000 };
        let stat =
            format!("{pid} (x) S {parent} 1 1 0 0 {flags} 0 0 0 0 0 0 0 0 0 0 1 0 {start} 0 0 0 10 20 30");
        fs::write(self.root.join(pid.to_string()).join("stat"), stat).expect("written");
    }

    /// A process that its parent forked.
    fn fork(&self, pid: u32, parent: u32, exe: &str, start: u64) {
        self.add(pid, parent, exe, start);
        self.write_stat(pid, parent, true, start);
    }

    fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.root.join(pid.to_string())).expect("removed");
    }

    fn discovery(&self, include: Rule) -> Discovery {
        let selection = Selection { include: vec![include], ..Selection::default() };
        let selectors = Selectors::new(&selection).expect("valid");
        Discovery::of(Proc::at(&self.root), selectors, SelectionSwitch::detached())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// What was told, in short.
#[derive(Default)]
struct Told(Vec<String>);

impl Tell for Told {
    fn tell(&mut self, input: Input<'_>) {
        self.0.push(match OwnedInput::from(&input) {
            OwnedInput::Facts(facts, _) => format!("{} is {}", facts.pid, facts.exe),
            OwnedInput::Excluded(pid) => format!("{pid} is excluded"),
            OwnedInput::SelectedLate(pid) => format!("{pid} is late"),
            OwnedInput::Record(_) => match input {
                Input::Event(Event::Exit(process)) => format!("{} has ended", process.pid),
                Input::Event(Event::Fork(process)) => format!("{} made {}", process.parent, process.pid),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        });
    }
}

fn looked_at(discovery: &Discovery) -> Vec<String> {
    let mut paths = std::mem::take(&mut *discovery.proc.looked_at.lock().expect("free"));
    paths.sort_unstable();
    paths
}

/// What came out of the ring for an exec of `pid`.
fn exec(discovery: &mut Discovery, pid: u32, selected: u8, told: &mut Told) {
    let process = ProcessRecord { kind: Kind::Exec as u8, selected, pid, ..ProcessRecord::default() };
    let mut record = zerocopy::IntoBytes::as_bytes(&process).to_vec();
    record.resize(record.len() + tracer_common::NAME_BYTES, 0);
    discovery.record(Event::decode(&record), told);
}

#[test]
fn of_a_process_that_no_selector_names_only_its_parent_is_read() {
    let fake = Fake::new("pid");
    let mut discovery = fake.discovery(Rule { pid: vec![7], ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("there");
    assert_eq!(told.0, ["7 is /bin/shop"]);
    let others: Vec<String> =
        looked_at(&discovery).into_iter().filter(|path| !path.starts_with("7/")).collect();
    assert!(others.iter().all(|path| path.ends_with("/stat")), "{others:?}");
}

#[test]
fn an_exec_costs_what_a_selector_asks_for() {
    let fake = Fake::new("exec");
    let mut discovery =
        fake.discovery(Rule { command: vec!["*shop --serve*".to_owned()], ..Rule::default() });
    let mut told = Told::default();
    exec(&mut discovery, 8, 0, &mut told);
    assert_eq!((looked_at(&discovery), told.0.len()), (vec!["8/cmdline".to_owned()], 0));
    exec(&mut discovery, 7, 0, &mut told);
    assert!(told.0.contains(&"7 is /bin/shop".to_owned()) && told.0.contains(&"7 is late".to_owned()));
    assert!(looked_at(&discovery).contains(&"7/environ".to_owned()), "a selected process is described");
}

#[test]
fn the_successor_of_a_pid_is_not_selected_for_its_predecessor() {
    let fake = Fake::new("successor");
    let mut discovery = fake.discovery(Rule { exe: vec!["/bin/s*".to_owned()], ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    assert_eq!(told.0, ["7 is /bin/shop"]);
    // Its end was lost, and its pid is used again.
    fake.remove(7);
    fake.add(7, 1, "/bin/other", clock::boot_ticks() + 100);
    fake.add(9, 7, "/bin/child", clock::boot_ticks() + 100);
    told.0.clear();
    exec(&mut discovery, 7, 0, &mut told);
    discovery.take_descendants(&mut told);
    assert_eq!(told.0, Vec::<String>::new());
}

#[test]
fn an_exit_that_was_lost_is_told_when_that_is_noticed() {
    let fake = Fake::new("lost");
    let mut discovery = fake.discovery(Rule { exe: vec!["/bin/*".to_owned()], ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    assert_eq!(discovery.alive(), 2);
    fake.remove(8);
    fake.remove(7);
    fake.add(7, 1, "/bin/third", clock::boot_ticks() + 100);
    told.0.clear();
    discovery.recover(&mut told);
    told.0.sort_unstable();
    assert_eq!(told.0, ["7 has ended", "7 is /bin/third", "8 has ended"]);
}

#[test]
fn a_child_that_executed_the_same_program_is_no_worker() {
    let fake = Fake::new("worker");
    fake.add(9, 7, "/bin/shop", 60);
    fake.fork(10, 7, "/bin/shop", 60);
    let mut discovery = fake.discovery(Rule { pid: vec![7], ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("there");
    assert_eq!(told.0, ["7 is /bin/shop", "9 is /bin/shop", "7 made 10"]);
}

#[test]
fn a_pid_without_a_program_is_an_error() {
    let fake = Fake::new("thread");
    fs::remove_file(fake.root.join("7/exe")).expect("removed");
    let mut discovery = fake.discovery(Rule { pid: vec![7], ..Rule::default() });
    let error = discovery.scan(&mut Told::default()).expect_err("a kernel thread");
    assert!(matches!(error, DiscoveryError::NoProgram(7)), "{error}");
}

/// Lets processes listen on port 80 with the socket of this inode.
fn listen(fake: &Fake, pids: &[u32], inode: u64) {
    for pid in pids {
        let folder = fake.root.join(pid.to_string());
        fs::create_dir_all(folder.join("net")).expect("created");
        let line = format!("  0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 {inode} 1 0");
        fs::write(folder.join("net/tcp"), format!("head\n{line}\n")).expect("written");
        symlink(format!("socket:[{inode}]"), folder.join("fd/3")).expect("linked");
    }
}

#[test]
fn a_supervisor_that_only_holds_the_socket_is_not_selected_by_its_port() {
    let fake = Fake::new("supervisor");
    fake.add(20, 7, "/srv/service", 60);
    fake.add(21, 7, "/srv/unrelated", 60);
    listen(&fake, &[7, 20], 5);
    let mut discovery = fake.discovery(Rule { port: [80].into(), ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    assert_eq!(told.0, ["20 is /srv/service", "Listening(20, [80])"]);
    // It starts the service again.
    fake.remove(20);
    discovery.forget(20);
    fake.add(22, 7, "/srv/service", 70);
    listen(&fake, &[22], 5);
    told.0.clear();
    discovery.look_at_holders(&[], &mut told);
    assert_eq!(told.0, ["22 is /srv/service", "Listening(22, [80])", "22 is late"]);
    told.0.clear();
    discovery.look_at_holders(&[], &mut told);
    assert_eq!(told.0, Vec::<String>::new());
}

#[test]
fn children_serve_with_a_server_if_they_run_its_program_or_use_its_socket() {
    let fake = Fake::new("prefork");
    fake.add(20, 7, "/bin/shop", 60);
    fake.add(21, 7, "/bin/cgi", 60);
    listen(&fake, &[7], 5);
    let mut discovery = fake.discovery(Rule { port: [80].into(), ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    assert_eq!(told.0, ["7 is /bin/shop", "Listening(7, [80])", "20 is /bin/shop"]);
}

/// What came out of the ring for a fork.
fn forks(discovery: &mut Discovery, parent: u32, pid: u32, told: &mut Told) {
    discovery.record(Ok(Event::Fork(forked(pid, parent))), told);
}

#[test]
fn services_of_one_interpreter_are_told_apart_and_workers_belong_to_their_parents() {
    let fake = Fake::new("interpreter");
    let python = "/usr/bin/python3.11";
    fake.add_running(20, 1, python, "/usr/bin/supervisord", 60);
    fake.add_running(21, 20, python, "/srv/orders.py", 70);
    fake.add_running(22, 20, python, "/srv/stock.py", 70);
    // The worker's pid is the lower one: numbers have begun again.
    fake.fork(9, 21, python, 80);
    for include in [
        Rule { pid: vec![20], ..Rule::default() },
        Rule { exe: vec!["*/python3*".to_owned()], ..Rule::default() },
    ] {
        let mut discovery = fake.discovery(include);
        let mut told = Told::default();
        discovery.scan(&mut told).expect("readable");
        let worker = told.0.iter().position(|line| line == "21 made 9").expect("a worker");
        let parent = told.0.iter().position(|line| line == "21 is /usr/bin/python3.11");
        assert!(parent.is_some_and(|parent| parent < worker), "{:?}", told.0);
        assert_eq!(told.0.len(), 4, "{:?}", told.0);
    }
}

#[test]
fn processes_that_multiprocessing_starts_belong_to_their_parent() {
    let fake = Fake::new("multiprocessing");
    let python = "/usr/bin/python3.11";
    let code = "-c\0from multiprocessing.spawn import spawn_main; spawn_main(pipe_handle=8)";
    fake.add_running(20, 1, python, "/usr/bin/uvicorn", 60);
    fake.add_running(21, 20, python, code, 70);
    listen(&fake, &[20, 21], 5);
    let mut discovery = fake.discovery(Rule { port: [80].into(), ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    assert_eq!(told.0, ["20 is /usr/bin/python3.11", "Listening(20, [80])", "20 made 21"]);
    forks(&mut discovery, 20, 22, &mut told);
    fake.add_running(22, 20, python, code, 80);
    told.0.clear();
    exec(&mut discovery, 22, 1, &mut told);
    assert_eq!(told.0.last().map(String::as_str), Some("20 made 22"), "{:?}", told.0);
}

#[test]
fn of_the_children_that_a_server_starts_those_are_traced_that_serve() {
    let fake = Fake::new("starts");
    let mut discovery = fake.discovery(Rule { port: [80].into(), ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    listen(&fake, &[7], 5);
    let process = ProcessRecord { kind: Kind::Listen as u8, pid: 7, port: 80, ..ProcessRecord::default() };
    discovery.record(Ok(Event::Listen(process)), &mut told);
    told.0.clear();
    for pid in [20, 21, 22] {
        forks(&mut discovery, 7, pid, &mut told);
    }
    // One executes the server's program, one another, which makes a process before it is let go.
    fake.add(20, 7, "/bin/shop", 60);
    fake.add(21, 7, "/bin/cgi", 60);
    exec(&mut discovery, 20, 1, &mut told);
    exec(&mut discovery, 21, 1, &mut told);
    forks(&mut discovery, 21, 23, &mut told);
    told.0.retain(|line| !line.starts_with("Record"));
    let made = ["7 made 20", "7 made 21", "7 made 22"];
    let expected = ["20 is /bin/shop", "21 is excluded", "23 is excluded"];
    assert_eq!(
        told.0.iter().filter(|line| !line.contains("Exec")).collect::<Vec<_>>(),
        made.iter().chain(&expected).collect::<Vec<_>>()
    );
    assert_eq!(discovery.alive(), 3, "the server, a worker, and who runs the server's program");
    discovery.look_at_holders(&[], &mut told);
    assert!(discovery.serving.is_member(7), "it serves");
}

#[test]
fn a_supervisor_that_starts_later_is_let_go_when_a_service_has_its_socket() {
    let fake = Fake::new("later");
    let python = "/usr/bin/python3.11";
    fake.add_running(20, 1, python, "/usr/bin/supervisord", 60);
    listen(&fake, &[20], 5);
    let mut discovery = fake.discovery(Rule { port: [80].into(), ..Rule::default() });
    let mut told = Told::default();
    let process = ProcessRecord { kind: Kind::Listen as u8, pid: 20, port: 80, ..ProcessRecord::default() };
    discovery.record(Ok(Event::Listen(process)), &mut told);
    forks(&mut discovery, 20, 21, &mut told);
    fake.add_running(21, 20, python, "/srv/orders.py", 70);
    listen(&fake, &[21], 5);
    exec(&mut discovery, 21, 1, &mut told);
    assert_eq!(discovery.suspects().collect::<Vec<_>>(), [20]);
    told.0.clear();
    // The next service is not there yet.
    forks(&mut discovery, 20, 22, &mut told);
    fake.fork(22, 20, python, 70);
    listen(&fake, &[22], 5);
    discovery.look_at_holders(&[], &mut told);
    assert_eq!(told.0, ["20 made 22"]);
    fake.remove(22);
    fake.add_running(22, 20, python, "/srv/mailer.py", 70);
    exec(&mut discovery, 22, 1, &mut told);
    discovery.look_at_holders(&[], &mut told);
    assert_eq!(told.0, ["20 made 22", "22 is excluded", "20 is excluded"]);
}

#[test]
fn a_server_that_has_served_stays_though_a_helper_has_its_socket() {
    let fake = Fake::new("helper");
    listen(&fake, &[7], 5);
    let mut discovery = fake.discovery(Rule { port: [80].into(), ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    forks(&mut discovery, 7, 20, &mut told);
    fake.add(20, 7, "/bin/helper", 60);
    listen(&fake, &[20], 5);
    exec(&mut discovery, 20, 1, &mut told);
    told.0.clear();
    discovery.look_at_holders(&[7], &mut told);
    discovery.look_at_holders(&[], &mut told);
    assert_eq!(told.0, Vec::<String>::new());
}

#[test]
fn the_successor_of_a_pid_does_not_continue_its_predecessor() {
    let fake = Fake::new("successors");
    let mut discovery = fake.discovery(Rule { pid: vec![7], ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    fake.fork(20, 7, "/bin/shop", 60);
    for _ in 0..2 {
        // Found by a scan before its record came.
        told.0.clear();
        forks(&mut discovery, 7, 20, &mut told);
        assert_eq!(told.0, ["7 made 20"]);
    }
    fake.write_stat(20, 7, true, clock::boot_ticks() + 100);
    told.0.clear();
    forks(&mut discovery, 7, 20, &mut told);
    assert_eq!(told.0, ["20 has ended", "7 made 20"]);
}

#[test]
fn an_end_that_nothing_told_is_found_in_time_and_one_that_is_told_is_told_once() {
    let fake = Fake::new("sweep");
    let mut discovery = fake.discovery(Rule { pid: vec![7], ..Rule::default() });
    let mut told = Told::default();
    discovery.scan(&mut told).expect("readable");
    for pid in 100..400 {
        fake.fork(pid, 7, "/bin/shop", 60);
        forks(&mut discovery, 7, pid, &mut told);
    }
    told.0.clear();
    for pid in [100, 200, 300] {
        fake.remove(pid);
    }
    // The pid of one is another's, and the record of another comes late.
    fake.add(200, 1, "/bin/other", clock::boot_ticks() + 100);
    let round = 301_usize.div_ceil(Discovery::LOOKS);
    for _ in 0..round {
        discovery.sweep(&mut told);
    }
    if discovery.alive.contains_key(&300) {
        discovery.record(Ok(Event::Exit(ended(300))), &mut told);
    }
    discovery.sweep(&mut told);
    told.0.sort_unstable();
    assert_eq!(told.0, ["100 has ended", "200 has ended", "300 has ended"]);
    assert_eq!(discovery.alive(), 298);
}
