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
        let folder = self.root.join(pid.to_string());
        fs::create_dir_all(folder.join("fd")).expect("created");
        let stat =
            format!("{pid} (x) S {parent} 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {start} 0 0 0 10 20 {pid}");
        fs::write(folder.join("stat"), stat).expect("written");
        fs::write(folder.join("cmdline"), format!("{exe}\0--serve\0")).expect("written");
        fs::write(folder.join("environ"), "OTEL_SERVICE_NAME=named\0").expect("written");
        symlink(exe, folder.join("exe")).expect("linked");
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
    fake.add(10, 7, "/bin/shop", 60);
    // A fork has the layout of its parent.
    let stat = "10 (x) S 7 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 60 0 0 0 10 20 7";
    fs::write(fake.root.join("10/stat"), stat).expect("written");
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
    discovery.look_at_holders(&mut told);
    assert_eq!(told.0, ["22 is /srv/service", "Listening(22, [80])", "22 is late"]);
    told.0.clear();
    discovery.look_at_holders(&mut told);
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
