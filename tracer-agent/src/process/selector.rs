//! Which processes the operator wants.

#![forbid(unsafe_code)]

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracer_common::NAME_BYTES;

use super::glob::Glob;
use crate::{one_or_list, outside::escaped, ports::Ports, problem::Problem};

/// Processes to trace, and processes to leave alone. Children of a traced process are traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// A process that matches any of these is traced.
    pub include: Vec<Rule>,
    /// A process that matches any of these is not, whatever else matches.
    pub exclude: Vec<Rule>,
}

/// One rule: all kinds that are given must match; of the values of one kind, any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Process ids, in the initial pid namespace.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<u32>")]
    pub pid: Vec<u32>,
    /// TCP ports that the process listens on: `8080`, `8080-8090`, or a list of such.
    pub port: Ports,
    /// Globs of the executable's whole path: `/usr/sbin/nginx`, `*/node`.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<String>")]
    pub exe: Vec<String>,
    /// Globs of the whole command line, arguments joined by spaces: `*gunicorn*shop*`.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<String>")]
    pub command: Vec<String>,
    /// `service.name` of the processes that match.
    pub service_name: Option<String>,
}

/// `port 8080, exe */nginx`: all kinds must match.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pids = self.pid.iter().map(u32::to_string).collect();
        let kinds: [(&str, Vec<String>); 4] = [
            ("pid", pids),
            ("port", self.port.texts()),
            ("exe", self.exe.clone()),
            ("command", self.command.clone()),
        ];
        let mut separator = "";
        for (kind, values) in kinds.iter().filter(|(_, values)| !values.is_empty()) {
            write!(f, "{separator}{kind} {}", escaped(&values.join(" or ")))?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Selection {
    /// The rules that cannot be used.
    pub fn problems(&self) -> Vec<Problem> {
        let lists = [(&self.include, "include"), (&self.exclude, "exclude")];
        let rules = lists.into_iter().flat_map(|(rules, list)| {
            rules.iter().enumerate().map(move |(index, rule)| compile(rule, list, index))
        });
        rules.filter_map(Result::err).map(|problem| problem.within("select")).collect()
    }

    /// What has no effect: globs that can match nothing, since every path of an executable has a `/`, and names for what is
    /// excluded.
    pub fn unused(&self) -> Vec<String> {
        let globs = self.include.iter().chain(&self.exclude).flat_map(|rule| &rule.exe);
        let names = globs.filter(|glob| !glob.contains(['/', '*', '?', '[']));
        let named = self.exclude.iter().enumerate().filter(|(_, rule)| rule.service_name.is_some());
        let ignored = named.map(|(at, _)| {
            format!("select.exclude[{at}].service_name is ignored: what is excluded has no name")
        });
        names
            .map(|name| {
                format!(
                    "exe {name:?} matches no process: it is compared with the whole path of the executable, as in \
                     '*/{}'",
                    escaped(name)
                )
            })
            .chain(ignored)
            .collect()
    }
}

impl Rule {
    fn is_empty(&self) -> bool {
        self.pid.is_empty() && self.port.is_empty() && self.exe.is_empty() && self.command.is_empty()
    }
}

/// What a person reads who named no process.
pub const EXAMPLES: &str = "name the processes to trace, for example:
  tracer run -- python3 app.py      start a program and trace it
  tracer --port 8080                trace whoever listens on port 8080
  tracer --exe '*/nginx'            trace every nginx
  tracer agent --config FILE        trace what select.include of the file names";

/// What rules ask of a process. It is not asked for more than it takes to decide.
pub trait Candidate {
    /// Its id.
    fn pid(&self) -> u32;
    /// Path of its executable; none if that cannot be told.
    fn exe(&self) -> Option<&str>;
    /// Its whole command line, joined by spaces.
    fn command(&self) -> Option<&str>;
    /// TCP ports that it listens on.
    fn ports(&self) -> &[u16];
}

/// What is decided of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No rule names it.
    No,
    /// This rule of `include` does.
    Included(usize),
    /// A rule of `exclude` does.
    Excluded,
}

/// What the kernel can decide alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelRules {
    /// Executables whose execution selects (true) or excludes (false).
    pub paths: Vec<(PathBuf, bool)>,
    /// File names of executables, likewise.
    pub names: Vec<(Vec<u8>, bool)>,
    /// Ports whose listeners are selected at once; userspace then decides by the whole rule.
    pub ports: Vec<u16>,
    /// Some rule needs userspace: every exec must be reported.
    pub needs_every_exec: bool,
}

/// Compiled rules.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    include: Vec<Compiled>,
    exclude: Vec<Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    pid: Vec<u32>,
    port: Ports,
    exe: Vec<Glob>,
    command: Vec<Glob>,
    service_name: Option<String>,
}

impl Selectors {
    /// Compiles the rules.
    ///
    /// # Errors
    /// A rule without a kind, or a pattern that is not one.
    pub fn new(selection: &Selection) -> Result<Self, Problem> {
        let compiled = |rules: &[Rule], list: &str| -> Result<Vec<Compiled>, Problem> {
            let rules = rules.iter().enumerate().map(|(index, rule)| compile(rule, list, index));
            rules.collect::<Result<_, _>>().map_err(|problem: Problem| problem.within("select"))
        };
        let include = compiled(&selection.include, "include")?;
        let exclude = compiled(&selection.exclude, "exclude")?;
        Ok(Self { include, exclude })
    }

    /// Whether nothing can ever match.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty()
    }

    /// What is decided of a process; `inherits` if it is traced unless a rule excludes it, as the child of a traced
    /// process is.
    pub fn decide(&self, process: &impl Candidate, inherits: bool) -> Decision {
        let included = self.include.iter().position(|rule| rule.matches(process));
        if included.is_none() && !inherits {
            return Decision::No;
        }
        if self.exclude.iter().any(|rule| rule.matches(process)) {
            return Decision::Excluded;
        }
        included.map_or(Decision::No, Decision::Included)
    }

    /// Whether a rule of `include` selects by the port alone.
    pub fn is_by_port_alone(&self, index: usize) -> bool {
        self.include.get(index).is_some_and(|rule| {
            !rule.port.is_empty() && rule.pid.is_empty() && rule.exe.is_empty() && rule.command.is_empty()
        })
    }

    /// Service name of a rule of `include`.
    pub fn service_name(&self, index: usize) -> Option<&str> {
        self.include.get(index)?.service_name.as_deref()
    }

    /// Pids that rules name.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.include.iter().flat_map(|rule| rule.pid.iter().copied())
    }

    /// What the kernel can decide alone.
    pub fn kernel_rules(&self) -> KernelRules {
        let mut rules = KernelRules::default();
        for (compiled, select) in
            self.include.iter().map(|rule| (rule, true)).chain(self.exclude.iter().map(|rule| (rule, false)))
        {
            compiled.add_to(&mut rules, select);
        }
        rules
    }
}

/// Compiles one rule of a list. The key of a problem begins below `select`.
fn compile(rule: &Rule, list: &str, index: usize) -> Result<Compiled, Problem> {
    let wrong = |kind: &str, message: String| Problem::new(format!("{list}[{index}]{kind}"), message);
    if rule.is_empty() {
        return Err(wrong("", "a rule needs at least one of pid, port, exe, command".to_owned()));
    }
    if rule.service_name.as_deref().is_some_and(|name| name.trim().is_empty()) {
        let message = "the name is empty: give one, or leave the key out to have a name derived";
        return Err(wrong(".service_name", message.to_owned()));
    }
    if let Some(at) = rule.pid.iter().position(|pid| *pid == 0) {
        let message = "there is no process 0: give the number that `ps` shows";
        return Err(wrong(&format!(".pid[{at}]"), message.to_owned()));
    }
    let globs = |patterns: &[String], kind: &str| {
        let compile = |(at, pattern): (usize, &String)| {
            Glob::new(pattern)
                .map_err(|error| wrong(&format!(".{kind}[{at}]"), format!("{pattern:?}: {error}")))
        };
        patterns.iter().enumerate().map(compile).collect::<Result<Vec<_>, _>>()
    };
    Ok(Compiled {
        pid: rule.pid.clone(),
        port: rule.port.clone(),
        exe: globs(&rule.exe, "exe")?,
        command: globs(&rule.command, "command")?,
        service_name: rule.service_name.clone(),
    })
}

impl Compiled {
    /// Kinds that cost nothing to ask for come first.
    fn matches(&self, process: &impl Candidate) -> bool {
        let is_any = |globs: &[Glob], text: Option<&str>| {
            text.is_some_and(|text| globs.iter().any(|glob| glob.matches(text)))
        };
        (self.pid.is_empty() || self.pid.contains(&process.pid()))
            && (self.exe.is_empty() || is_any(&self.exe, process.exe()))
            && (self.command.is_empty() || is_any(&self.command, process.command()))
            && (self.port.is_empty() || process.ports().iter().any(|port| self.port.contains(*port)))
    }

    fn add_to(&self, rules: &mut KernelRules, select: bool) {
        let only_exe =
            !self.exe.is_empty() && self.pid.is_empty() && self.port.is_empty() && self.command.is_empty();
        let only_port =
            !self.port.is_empty() && self.pid.is_empty() && self.exe.is_empty() && self.command.is_empty();
        // Before it listens nobody knows of a process whether it will: the kernel tells when it does,
        // and userspace looks at the rule's other kinds. It must be told of excluded ports as well.
        rules.ports.extend(self.port.iter());
        if only_port {
            return;
        }
        if !only_exe {
            // A rule that names pids only is settled when the agent starts.
            let waits_for_listen = select && !self.port.is_empty();
            rules.needs_every_exec |= (!self.exe.is_empty() || !self.command.is_empty()) && !waits_for_listen;
            return;
        }
        for glob in &self.exe {
            let name = glob.suffix().and_then(|suffix| suffix.strip_prefix('/').map(str::to_owned));
            match (glob.literal(), name) {
                (Some(path), _) => rules.paths.push((PathBuf::from(path), select)),
                (None, Some(name)) if !name.contains('/') && name.len() < NAME_BYTES => {
                    rules.names.push((name.into_bytes(), select));
                }
                _ => rules.needs_every_exec = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process, with what rules may ask for.
    struct Known<'a> {
        pid: u32,
        exe: &'a str,
        command: &'a str,
        /// None if they must not be asked for.
        ports: Option<&'a [u16]>,
    }

    impl Candidate for Known<'_> {
        fn pid(&self) -> u32 {
            self.pid
        }
        fn exe(&self) -> Option<&str> {
            Some(self.exe)
        }
        fn command(&self) -> Option<&str> {
            Some(self.command)
        }
        fn ports(&self) -> &[u16] {
            self.ports.expect("no rule that matches names a port")
        }
    }

    fn known<'a>(exe: &'a str, command: &'a str) -> Known<'a> {
        Known { pid: 1, exe, command, ports: None }
    }

    fn listening<'a>(exe: &'a str, ports: &'a [u16]) -> Known<'a> {
        Known { pid: 1, exe, command: "x", ports: Some(ports) }
    }

    fn rule(exe: &[&str], command: &[&str]) -> Rule {
        Rule {
            exe: exe.iter().map(|text| (*text).to_owned()).collect(),
            command: command.iter().map(|text| (*text).to_owned()).collect(),
            ..Rule::default()
        }
    }

    #[test]
    fn a_rule_is_told_in_words() {
        let rule = Rule {
            port: [80, 8080].into(),
            exe: vec!["*/nginx".to_owned(), "/a\nb".to_owned()],
            ..Rule::default()
        };
        assert_eq!(rule.to_string(), "port 80 or 8080, exe */nginx or /a\\u{a}b");
    }

    #[test]
    fn kinds_are_anded_values_ored_and_exclusion_wins() {
        let selectors = Selectors::new(&Selection {
            include: vec![rule(&["*/python3*", "*/node"], &["*app*"])],
            exclude: vec![rule(&[], &["*--internal*"])],
        })
        .expect("valid");
        let decide = |exe, command| selectors.decide(&known(exe, command), false);
        assert_eq!(decide("/usr/bin/python3.11", "python3 app.py"), Decision::Included(0));
        assert_eq!(decide("/usr/bin/node", "node app.js"), Decision::Included(0));
        assert_eq!(decide("/usr/bin/node", "node other.js"), Decision::No);
        assert_eq!(decide("/usr/bin/ruby", "ruby app.rb"), Decision::No);
        assert_eq!(decide("/usr/bin/node", "node app.js --internal"), Decision::Excluded);
        let inherited = selectors.decide(&known("/usr/bin/ruby", "ruby --internal"), true);
        assert_eq!(inherited, Decision::Excluded);
    }

    #[test]
    fn ports_are_asked_for_only_when_a_rule_names_them() {
        let by_port = Rule { port: [80, 8080].into(), ..Rule::default() };
        let selectors =
            Selectors::new(&Selection { include: vec![by_port], ..Selection::default() }).expect("valid");
        assert_eq!(selectors.decide(&listening("/x", &[443, 8080]), false), Decision::Included(0));
        assert_eq!(selectors.decide(&listening("/x", &[443]), false), Decision::No);
        let by_exe = Selection { include: vec![rule(&["/x"], &[])], ..Selection::default() };
        let selectors = Selectors::new(&by_exe).expect("valid");
        assert_eq!(selectors.decide(&known("/x", "x"), false), Decision::Included(0));
    }

    #[test]
    fn a_process_that_no_rule_includes_is_not_asked_for_what_excludes_it() {
        let other = Rule { pid: vec![7], ..Rule::default() };
        let listeners = Rule { port: [80].into(), ..Rule::default() };
        let selection = Selection { include: vec![other], exclude: vec![listeners] };
        let selectors = Selectors::new(&selection).expect("valid");
        assert_eq!(selectors.decide(&known("/x", "x"), false), Decision::No);
        assert_eq!(selectors.decide(&listening("/x", &[80]), true), Decision::Excluded);
    }

    #[test]
    fn the_kernel_decides_paths_names_and_ports() {
        let selection = Selection {
            include: vec![
                rule(&["/usr/sbin/nginx", "*/node"], &[]),
                Rule { port: [80].into(), ..Rule::default() },
                Rule { pid: vec![5], ..Rule::default() },
            ],
            exclude: vec![rule(&["*/curl"], &[])],
        };
        let rules = Selectors::new(&selection).expect("valid").kernel_rules();
        assert_eq!(rules.paths, [(PathBuf::from("/usr/sbin/nginx"), true)]);
        assert_eq!(rules.names, [(b"node".to_vec(), true), (b"curl".to_vec(), false)]);
        assert_eq!(rules.ports, [80]);
        assert!(!rules.needs_every_exec);
        let globs = Selection { include: vec![rule(&["/opt/*/app"], &[])], ..Selection::default() };
        assert!(Selectors::new(&globs).expect("valid").kernel_rules().needs_every_exec);
    }

    #[test]
    fn listening_is_told_where_a_rule_has_other_kinds_too() {
        let by_both = Rule { port: [80].into(), ..rule(&["*/node"], &[]) };
        let not_there = Rule { port: [81].into(), ..Rule::default() };
        let selection = Selection { include: vec![by_both], exclude: vec![not_there] };
        let selectors = Selectors::new(&selection).expect("valid");
        let rules = selectors.kernel_rules();
        assert_eq!((rules.ports.as_slice(), rules.needs_every_exec), ([80, 81].as_slice(), false));
        assert_eq!(selectors.decide(&listening("/bin/node", &[80]), false), Decision::Included(0));
        assert_eq!(selectors.decide(&listening("/bin/other", &[80]), false), Decision::No);
        assert_eq!(selectors.decide(&listening("/bin/node", &[80, 81]), false), Decision::Excluded);
    }

    #[test]
    fn an_error_names_the_rule() {
        let selection =
            Selection { include: vec![rule(&["/a"], &[]), rule(&["[x"], &[])], ..Selection::default() };
        let error = Selectors::new(&selection).expect_err("a set without end").to_string();
        assert!(error.starts_with("select.include[1].exe[0]: \"[x\""), "{error}");
        let empty = Selection { include: vec![Rule::default()], ..Selection::default() };
        assert!(Selectors::new(&empty).expect_err("no kind").message.contains("at least one"));
        let nameless = Rule { service_name: Some(" ".to_owned()), ..rule(&["/a"], &[]) };
        let nameless = Selection { exclude: vec![nameless], ..Selection::default() };
        let error = Selectors::new(&nameless).expect_err("an empty name").to_string();
        assert!(error.starts_with("select.exclude[0].service_name: the name is empty"), "{error}");
        let zero = Rule { pid: vec![5, 0], ..Rule::default() };
        let zero = Selection { include: vec![zero], ..Selection::default() };
        assert_eq!(Selectors::new(&zero).expect_err("zero").key, "select.include[0].pid[1]");
    }
}
