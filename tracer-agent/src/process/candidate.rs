//! A process that selectors look at: each fact is read when a rule first asks for it, and no other.

#![forbid(unsafe_code)]

use std::{
    cell::{Cell, OnceCell},
    io,
};

use super::{facts::Proc, selector::Candidate};

/// A process, looked at in a proc file system.
pub struct Looked<'a> {
    proc: &'a Proc,
    pid: u32,
    exe: OnceCell<Option<String>>,
    command: OnceCell<Option<String>>,
    ports: OnceCell<Vec<u16>>,
    /// A port that it listens on, whatever the file system says.
    listens: Option<u16>,
    denied: Cell<bool>,
}

impl<'a> Looked<'a> {
    /// Nothing is read yet.
    pub fn new(proc: &'a Proc, pid: u32) -> Self {
        Self {
            proc,
            pid,
            exe: OnceCell::new(),
            command: OnceCell::new(),
            ports: OnceCell::new(),
            listens: None,
            denied: Cell::new(false),
        }
    }

    /// A process that has just begun to listen. In a container's proc file system the socket may not be seen yet, or at
    /// all.
    pub fn listening(proc: &'a Proc, pid: u32, port: u16) -> Self {
        Self { listens: Some(port), ..Self::new(proc, pid) }
    }

    /// A process of which only the executable's name is known: it is gone.
    pub fn gone(proc: &'a Proc, pid: u32, name: &str) -> Self {
        let name = || OnceCell::from(Some(name.to_owned()));
        Self { exe: name(), command: name(), ports: OnceCell::from(Vec::new()), ..Self::new(proc, pid) }
    }

    /// Whether something that a rule asked for may not be read.
    pub fn is_denied(&self) -> bool {
        self.denied.get()
    }

    fn noted<T>(&self, read: io::Result<T>) -> Option<T> {
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            self.denied.set(true);
        }
        read.ok()
    }
}

impl Candidate for Looked<'_> {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn exe(&self) -> Option<&str> {
        self.exe.get_or_init(|| self.noted(self.proc.exe(self.pid)).map(|(exe, _)| exe)).as_deref()
    }

    fn command(&self) -> Option<&str> {
        let read = || self.noted(self.proc.command_line(self.pid)).map(|words| words.join(" "));
        self.command.get_or_init(read).as_deref()
    }

    fn ports(&self) -> &[u16] {
        self.ports.get_or_init(|| {
            let mut ports = self.noted(self.proc.listening_ports(self.pid)).unwrap_or_default();
            ports.extend(self.listens);
            ports
        })
    }
}
