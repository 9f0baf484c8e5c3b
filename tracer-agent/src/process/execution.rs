//! What a process executes, and whether that is its parent's program.

#![forbid(unsafe_code)]

use std::io;

use super::{
    facts::{Proc, ProcessFacts, ProcessStat},
    name::derived,
};

/// What a process executes, as far as it tells one program from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// Path of the executable.
    pub exe: String,
    /// What a person would call the program: an interpreter runs many.
    name: String,
    /// See [`is_of_multiprocessing`].
    is_of_multiprocessing: bool,
    stat: ProcessStat,
}

impl Execution {
    /// What a process executes now.
    ///
    /// # Errors
    /// It is gone, or may not be looked at.
    pub fn read(proc: &Proc, pid: u32) -> io::Result<Self> {
        let (exe, _) = proc.exe(pid)?;
        Ok(Self::new(exe, proc.command_line(pid)?, proc.directory(pid), proc.stat(pid)?))
    }

    /// From what is known of a process.
    pub(super) fn new(exe: String, command_line: Vec<String>, directory: String, stat: ProcessStat) -> Self {
        let is_of_multiprocessing = is_of_multiprocessing(&command_line);
        let facts = ProcessFacts { exe, command_line, directory, ..ProcessFacts::default() };
        Self { name: derived(&facts), exe: facts.exe, is_of_multiprocessing, stat }
    }

    /// Whether it continues the program of an ancestor: it was forked and has executed nothing since, or Python's
    /// `multiprocessing` has started it. The layout differs if the ancestor has executed its program again since.
    pub fn continues(&self, ancestor: &Self) -> bool {
        let is_forked = self.stat.is_forked && self.stat.layout == ancestor.stat.layout;
        self.exe == ancestor.exe && (is_forked || self.is_of_multiprocessing)
    }

    /// Whether it runs the same program: the same executable, and, of an interpreter, the same script.
    pub fn runs_program_of(&self, ancestor: &Self) -> bool {
        self.continues(ancestor) || self.exe == ancestor.exe && self.name == ancestor.name
    }
}

/// Whether a process continues the program of another: see [`Execution::continues`].
pub fn continues(proc: &Proc, pid: u32, ancestor: u32) -> bool {
    match (Execution::read(proc, pid), Execution::read(proc, ancestor)) {
        (Ok(process), Ok(ancestor)) => process.continues(&ancestor),
        _ => false,
    }
}

/// Whether a command line is that of a process of Python's `multiprocessing`: `python3 -c "from multiprocessing.spawn
/// import spawn_main; …" --multiprocessing-fork`. It runs the modules of its parent.
pub fn is_of_multiprocessing(command_line: &[String]) -> bool {
    command_line.iter().skip(1).any(|argument| argument.starts_with("from multiprocessing."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(arguments: &str, is_forked: bool) -> Execution {
        let command = ["/usr/bin/python3"].into_iter().chain(arguments.split(' '));
        let stat = ProcessStat { is_forked, ..ProcessStat::default() };
        let command = command.map(str::to_owned).collect();
        Execution::new("/usr/bin/python3.11".to_owned(), command, "/srv".to_owned(), stat)
    }

    #[test]
    fn scripts_of_one_interpreter_are_programs_of_their_own_unless_they_are_forks() {
        let supervisor = python("/usr/bin/supervisord -c /etc/supervisord.conf", false);
        // Where addresses are not drawn anew, an exec has the layout of its parent.
        let service = python("/srv/orders.py", false);
        assert!(!service.runs_program_of(&supervisor) && !service.continues(&supervisor));
        let fork = python("/usr/bin/supervisord -c /etc/supervisord.conf", true);
        assert!(fork.runs_program_of(&supervisor) && fork.continues(&supervisor));
        let again = python("/usr/bin/supervisord -n", false);
        assert!(again.runs_program_of(&supervisor) && !again.continues(&supervisor));
        let titled = python("worker", true);
        assert!(titled.continues(&supervisor));
    }

    #[test]
    fn processes_of_multiprocessing_continue_their_parent() {
        let command =
            ["python3", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)"];
        let command = command.map(str::to_owned).to_vec();
        let spawned = Execution::new(
            "/usr/bin/python3.11".to_owned(),
            command,
            "/srv".to_owned(),
            ProcessStat::default(),
        );
        assert!(spawned.continues(&python("-m uvicorn --workers 2 shop:app", false)));
        let other = Execution { exe: "/usr/bin/python3.12".to_owned(), ..Execution::default() };
        assert!(!spawned.continues(&other));
    }
}
