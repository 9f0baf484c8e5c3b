//! A command line without what its program's name does not need: arguments may be secrets.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::derived;
use crate::process::facts::ProcessFacts;

/// What stands for an argument, or a part of one.
const HIDDEN: &str = "*";
/// Most names that are derived for one command line; what is not looked at by then is hidden.
const MOST: usize = 256;

/// The command line, with [`HIDDEN`] in place of each argument that the name is not derived from. The name that is
/// derived from it is the same, as is the number of arguments.
pub fn reduced(facts: &ProcessFacts) -> Vec<String> {
    let mut reducer = Reducer { name: derived(facts), facts: facts.clone(), left: MOST };
    reducer.arguments(0..facts.command_line.len());
    reducer.facts.command_line
}

struct Reducer {
    name: String,
    facts: ProcessFacts,
    left: usize,
}

impl Reducer {
    /// Hides all of these arguments that can be.
    fn arguments(&mut self, range: Range<usize>) {
        let Some(arguments) = self.facts.command_line.get(range.clone()).filter(|all| !all.is_empty()) else {
            return;
        };
        let before = arguments.to_vec();
        let hidden = before.iter().map(|argument| hidden(argument)).collect();
        if self.fits(range.start, hidden) {
            return;
        }
        if let [argument] = before.as_slice() {
            return self.argument(range.start, argument);
        }
        // The name needs one of them: the others are found by halves.
        self.put(range.start, before);
        let middle = range.start.midpoint(range.end);
        self.arguments(range.start..middle);
        self.arguments(middle..range.end);
    }

    /// Hides what can be of an argument that the name needs something of.
    fn argument(&mut self, at: usize, argument: &str) {
        let last_part = argument.rsplit_once('/').map(|(_, part)| format!("{HIDDEN}/{part}"));
        let option = argument.split_once('=').map(|(option, _)| format!("{option}={HIDDEN}"));
        if last_part.into_iter().chain(option).any(|text| self.fits(at, vec![text])) {
            return;
        }
        let mut words: Vec<String> = argument.split(' ').map(str::to_owned).collect();
        for index in 0..words.len() {
            let Some(word) = words.get_mut(index) else { break };
            let before = std::mem::replace(word, hidden(word));
            if words.len() > 1 && self.fits(at, vec![words.join(" ")]) {
                continue;
            }
            words[index] = before;
        }
        self.put(at, vec![words.join(" ")]);
    }

    /// Puts arguments in place of those that are there; returns whether the name is the same. If nobody may look any
    /// more, it is taken for that.
    fn fits(&mut self, at: usize, arguments: Vec<String>) -> bool {
        self.put(at, arguments);
        let Some(left) = self.left.checked_sub(1) else { return true };
        self.left = left;
        derived(&self.facts) == self.name
    }

    fn put(&mut self, at: usize, arguments: Vec<String>) {
        for (place, argument) in self.facts.command_line.iter_mut().skip(at).zip(arguments) {
            *place = argument;
        }
    }
}

/// An option stays one.
fn hidden(argument: &str) -> String {
    let dashes = argument.len() - argument.trim_start_matches('-').len();
    format!("{}{HIDDEN}", argument.get(..dashes.min(2)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(exe: &str, arguments: &[&str]) -> ProcessFacts {
        ProcessFacts {
            exe: exe.to_owned(),
            command_line: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            directory: "/srv/somewhere".to_owned(),
            ..ProcessFacts::default()
        }
    }

    #[test]
    fn only_what_the_name_needs_is_left() {
        for (exe, arguments, name, expected) in [
            (
                "/usr/bin/python3",
                &["python3", "-u", "/srv/shop/orders.py", "--password=hunter2", "hunter2"][..],
                "orders",
                &["*", "-*", "*/orders.py", "--*", "*"][..],
            ),
            (
                "/usr/bin/python3",
                &["python3", "-m", "shop", "--token", "hunter2"],
                "shop",
                &["*", "-*", "shop", "--*", "*"],
            ),
            (
                "/usr/bin/java",
                &["java", "-Dpassword=hunter2", "-jar", "/opt/shop.jar", "hunter2"],
                "shop",
                &["*", "-*", "-jar", "*/shop.jar", "*"],
            ),
            ("/usr/bin/ruby", &["puma 6.4 (tcp://u:hunter2@h) [shop]"], "shop", &["puma * * [shop]"]),
            ("/opt/billing", &["billing", "--key", "hunter2"], "billing", &["*", "--*", "*"]),
            ("/opt/billing", &[], "billing", &[]),
        ] {
            let facts = facts(exe, arguments);
            assert_eq!(derived(&facts), name);
            let reduced = reduced(&facts);
            assert_eq!(reduced, expected);
            assert_eq!(derived(&ProcessFacts { command_line: reduced, ..facts }), name);
        }
    }

    #[test]
    fn a_command_line_without_end_is_hidden_in_bounded_time() {
        let mut arguments = vec!["hunter2"; 100_000];
        arguments[0] = "node";
        arguments[50_000] = "server.js";
        let reduced = reduced(&facts("/usr/bin/node", &arguments));
        assert_eq!(reduced.len(), arguments.len());
        assert!(reduced.iter().skip(2).all(|argument| argument == HIDDEN), "{:?}", &reduced[..2]);
    }

    proptest::proptest! {
        #[test]
        fn the_name_stays(
            exe in "(/usr/bin/)?(python3|node|java|ruby|php|sh|perl|beam.smp|dotnet|deno|x)",
            arguments in proptest::collection::vec(r"(-[a-zA-Z]|--[a-z]{1,4}(=[a-z/]{0,4})?|[a-z/.: =]{0,12}|server|-jar|-m|[a-z]{1,5}\.(py|js|rb|jar))", 0..8),
        ) {
            let facts = ProcessFacts { exe, command_line: arguments, directory: "/srv/a".to_owned(), ..ProcessFacts::default() };
            let again = ProcessFacts { command_line: reduced(&facts), ..facts.clone() };
            proptest::prop_assert_eq!(derived(&again), derived(&facts), "{:?}", again.command_line);
        }
    }
}
