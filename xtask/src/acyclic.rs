//! `cargo xtask acyclic`: no circle of imports between the modules of a crate.
//!
//! A module *imports* another one if a path in its code leads there: a `use`, a path in an expression, a type or a
//! macro's arguments, or a path in a string of an attribute (serde's `with`). Code of tests (`#[cfg(test)]`) is left
//! out. Methods that are called without a path are not seen.
//!
//! The graph is checked on each level by itself: between the top-level modules of a crate, and between the children of
//! each module. On its level, a module stands for all modules below it. The level of a module's children has one more
//! node: the module's *own code*, which stands in `mod.rs`. Children may use the module's own code, or the own code
//! may use children, but not both. So a `mod.rs` is either the floor of its children (the types that they share) or
//! the roof (what puts them together). Two things in a `mod.rs` are not its own code:
//!
//! - a declaration, `mod child;`
//! - a re-export, `pub use child::Thing`, unless the own code mentions `Thing` elsewhere. A path that ends at a
//!   re-export leads to the module that defines the thing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Crates that are checked: their root files.
const ROOTS: &[&str] = &[
    "tracer-common/src/lib.rs",
    "tracer-agent/src/lib.rs",
    "tracer-ebpf/src/main.rs",
    "bench/src/main.rs",
    "xtask/src/main.rs",
];

/// Places of an edge that are printed.
const PLACES: usize = 3;

/// Checks all crates. Circles are an error.
pub(crate) fn run() -> Result<()> {
    let mut report = String::new();
    let mut circles = 0;
    for root in ROOTS {
        let found = Crate::read(Path::new(root))?.circles();
        circles += found.len();
        for circle in found {
            report += &circle;
        }
    }
    print!("{report}");
    ensure!(circles == 0, "{circles} groups of modules import each other in a circle");
    println!("no module imports itself by a circle");
    Ok(())
}

/// A module by its names from the crate's root on; empty for the root itself.
type Name = Vec<String>;

/// A place in a file: its path and line.
type Place = (PathBuf, usize);

/// A path as it is written, and the line of its first name.
#[derive(Clone)]
struct Written {
    names: Vec<String>,
    line: usize,
}

/// A name that a `use` declares.
struct Import {
    /// The name; `*` for all.
    name: String,
    path: Written,
    /// Others can use it too.
    is_public: bool,
}

/// A module's own code.
#[derive(Default)]
struct Module {
    file: PathBuf,
    imports: Vec<Import>,
    /// Paths outside of `use`.
    paths: Vec<Written>,
    /// Names that it defines.
    defined: HashSet<String>,
    /// Names that its code mentions outside of `use`, with the first line.
    mentioned: HashMap<String, usize>,
}

/// A crate: its modules.
struct Crate {
    title: String,
    modules: BTreeMap<Name, Module>,
}

/// Which modules each node of a level imports, and where.
type Edges = BTreeMap<String, BTreeMap<String, BTreeSet<Place>>>;

impl Crate {
    /// Reads a crate from its root file on.
    fn read(root: &Path) -> Result<Self> {
        let folder = root.parent().context("a root file lies in a folder")?;
        let title = folder.parent().unwrap_or(folder).display().to_string();
        let mut this = Self { title, modules: BTreeMap::new() };
        this.read_file(Name::new(), root, folder)?;
        Ok(this)
    }

    /// Reads a module's file; its children lie in `folder`.
    fn read_file(&mut self, name: Name, file: &Path, folder: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let tokens: TokenStream =
            text.parse().map_err(|error| anyhow!("cannot read {} as Rust: {error}", file.display()))?;
        self.read_module(name, file, folder, tokens)
    }

    fn read_module(&mut self, name: Name, file: &Path, folder: &Path, tokens: TokenStream) -> Result<()> {
        let mut reader =
            Reader { module: Module { file: file.to_owned(), ..Module::default() }, children: Vec::new() };
        reader.read(&tokens.into_iter().collect::<Vec<_>>(), true);
        let Reader { module, children } = reader;
        self.modules.insert(name.clone(), module);
        for (child, body) in children {
            let below = folder.join(&child);
            let full = [&name[..], std::slice::from_ref(&child)].concat();
            match body {
                Some(body) => self.read_module(full, file, &below, body)?,
                None => {
                    let candidates = [folder.join(format!("{child}.rs")), below.join("mod.rs")];
                    let found = candidates.iter().find(|path| path.exists());
                    let found =
                        found.with_context(|| format!("{}: no file of `mod {child}`", file.display()))?;
                    self.read_file(full, found, &below)?;
                }
            }
        }
        Ok(())
    }

    /// Each circle as text.
    fn circles(&self) -> Vec<String> {
        // By level: the module whose children the nodes are.
        let mut levels: BTreeMap<Name, Edges> = BTreeMap::new();
        for (from, module) in &self.modules {
            let mut add = |to: &Name, line: usize| {
                let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
                if from == to {
                    return;
                }
                let node = |name: &Name| name.get(shared).map_or("(own code)".to_owned(), Clone::clone);
                let edges = levels.entry(from[..shared].to_vec()).or_default();
                let places = edges.entry(node(from)).or_default().entry(node(to)).or_default();
                places.insert((module.file.clone(), line));
            };
            for path in &module.paths {
                for to in self.targets(from, path) {
                    add(&to, path.line);
                }
            }
            for import in &module.imports {
                let targets = self.targets(from, &import.path);
                let is_re_export = import.is_public && targets.iter().all(|to| to.starts_with(from));
                match (is_re_export, module.mentioned.get(&import.name)) {
                    (false, _) => targets.iter().for_each(|to| add(to, import.path.line)),
                    (true, Some(line)) => targets.iter().for_each(|to| add(to, *line)),
                    (true, None) => {}
                }
            }
        }
        levels.iter().flat_map(|(level, edges)| self.circles_of(level, edges)).collect()
    }

    fn circles_of(&self, level: &Name, edges: &Edges) -> Vec<String> {
        let title = [std::slice::from_ref(&self.title), &level[..]].concat().join("::");
        let of = |group: BTreeSet<&String>| {
            let names: Vec<&str> = group.iter().map(|name| name.as_str()).collect();
            let mut text = format!("{title}: circle between {}\n", names.join(", "));
            for from in &group {
                for (to, places) in edges[*from].iter().filter(|(to, _)| group.contains(to)) {
                    let shown = places.iter().take(PLACES);
                    let shown: Vec<String> =
                        shown.map(|(file, line)| format!("{}:{line}", file.display())).collect();
                    let more = places.len().saturating_sub(PLACES);
                    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                    let _ = writeln!(text, "  {from} → {to}  {}{more}", shown.join(" "));
                }
            }
            text
        };
        groups(edges).into_iter().map(of).collect()
    }

    /// Modules that a path written in `from` leads to.
    fn targets(&self, from: &Name, path: &Written) -> Vec<Name> {
        self.resolve(from, &path.names, 0).into_iter().collect()
    }

    /// Where a path leads; `None` if it leaves the crate, or does not begin with a module.
    fn resolve(&self, from: &Name, names: &[String], depth: usize) -> Option<Name> {
        // A module can re-export by a circle of globs.
        const DEEPEST: usize = 16;
        let (first, mut rest) = names.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Name::new(),
            "self" => from.clone(),
            "super" => from.split_last()?.1.to_vec(),
            child => {
                let child = [&from[..], &[child.to_owned()]].concat();
                if !self.modules.contains_key(&child) {
                    return None;
                }
                child
            }
        };
        while let Some((next, later)) = rest.split_first() {
            if next == "super" {
                at.pop();
            } else {
                let child = [&at[..], std::slice::from_ref(next)].concat();
                if !self.modules.contains_key(&child) {
                    break;
                }
                at = child;
            }
            rest = later;
        }
        // What the module re-exports from below is defined there.
        let Some(item) = rest.first() else { return Some(at) };
        if depth < DEEPEST && !self.modules[&at].defined.contains(item) {
            for import in &self.modules[&at].imports {
                let names = match import.name.as_str() {
                    "*" => [&import.path.names[..], rest].concat(),
                    name if name == item => [&import.path.names[..], &rest[1..]].concat(),
                    _ => continue,
                };
                let Some(to) = self.resolve(&at, &names, depth + 1) else { continue };
                let is_below = to.len() > at.len() && to.starts_with(&at);
                if is_below && (import.name != "*" || self.modules[&to].defined.contains(item)) {
                    return Some(to);
                }
            }
        }
        Some(at)
    }
}

/// Nodes that reach each other, by groups of two or more.
fn groups(edges: &Edges) -> Vec<BTreeSet<&String>> {
    let reachable = |from: &'_ String| -> BTreeSet<&String> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(node) = next.pop() {
            for to in edges.get(node).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<&String>> =
        edges.keys().map(|node| (node, reachable(node))).collect();
    let mut found: Vec<BTreeSet<&String>> = Vec::new();
    for (node, reached) in all.iter().filter(|(node, reached)| reached.contains(*node)) {
        if !found.iter().any(|group| group.contains(node)) {
            found.push(
                reached
                    .iter()
                    .copied()
                    .filter(|to| all.get(to).is_some_and(|back| back.contains(node)))
                    .collect(),
            );
        }
    }
    found
}

/// Takes a module's tokens apart.
struct Reader {
    module: Module,
    /// Modules declared in it: their names, and their code if it stands here.
    children: Vec<(String, Option<TokenStream>)>,
}

impl Reader {
    /// Reads tokens of one group; `is_top` for those of the module itself, where definitions stand.
    fn read(&mut self, tokens: &[TokenTree], is_top: bool) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => self.attribute(tokens, at),
                TokenTree::Ident(ident) => match ident.to_string().as_str() {
                    "use" => self.import(tokens, at),
                    // `pub(in path)` says who may see an item, and imports nothing.
                    "pub" => 1 + usize::from(matches!(tokens.get(at + 1), Some(TokenTree::Group(_)))),
                    "mod" if is_top => self.child(tokens, at),
                    word => {
                        if is_top
                            && DEFINING.contains(&word)
                            && let Some(name) = tokens.get(at + 1).and_then(ident_of)
                        {
                            self.module.defined.insert(name);
                        }
                        self.path(tokens, at)
                    }
                },
                TokenTree::Group(group) => {
                    self.group(group);
                    1
                }
                _ => 1,
            };
        }
    }

    fn group(&mut self, group: &Group) {
        self.read(&group.stream().into_iter().collect::<Vec<_>>(), false);
    }

    /// An attribute, and what it is for if that is for tests. Returns how many tokens that is.
    fn attribute(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let skipped = usize::from(is_punct(tokens.get(at + 1), '!'));
        let Some(TokenTree::Group(group)) = tokens.get(at + 1 + skipped) else { return 1 };
        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
        let end = at + 2 + skipped;
        match inner.first().and_then(ident_of).as_deref() {
            Some("doc") => end - at,
            Some("cfg") if is_for_tests(&inner) => item_end(tokens, end) - at,
            _ => {
                self.strings(&inner);
                self.read(&inner, false);
                end - at
            }
        }
    }

    /// Paths in strings of an attribute.
    fn strings(&mut self, tokens: &[TokenTree]) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.strings(&group.stream().into_iter().collect::<Vec<_>>()),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let names: Vec<String> = text.trim_matches('"').split("::").map(str::to_owned).collect();
                    if names.len() > 1 {
                        self.module.paths.push(Written { names, line: literal.span().start().line });
                    }
                }
                _ => {}
            }
        }
    }

    /// `mod name;` or `mod name { … }`.
    fn child(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let Some(name) = tokens.get(at + 1).and_then(ident_of) else { return 1 };
        match tokens.get(at + 2) {
            Some(TokenTree::Group(group)) => self.children.push((name, Some(group.stream()))),
            _ => self.children.push((name, None)),
        }
        3
    }

    /// A `use` up to its semicolon.
    fn import(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let end = (at..tokens.len()).find(|at| is_punct(tokens.get(*at), ';')).unwrap_or(tokens.len());
        let is_public = match at.checked_sub(1).map(|at| &tokens[at]) {
            Some(TokenTree::Ident(word)) => word == "pub",
            Some(TokenTree::Group(group)) => {
                group.delimiter() == Delimiter::Parenthesis
                    && at >= 2
                    && ident_of(&tokens[at - 2]).as_deref() == Some("pub")
            }
            _ => false,
        };
        self.tree(&tokens[at + 1..end], &[], is_public);
        end + 1 - at
    }

    /// A tree of a `use`, below `prefix`.
    fn tree(&mut self, tokens: &[TokenTree], prefix: &[String], is_public: bool) {
        for branch in tokens.split(|token| is_punct(Some(token), ',')) {
            let mut names = prefix.to_vec();
            let mut name = None;
            let mut rest = branch.iter();
            let Some(first) = branch.first() else { continue };
            let line = first.span().start().line;
            while let Some(token) = rest.next() {
                match token {
                    TokenTree::Ident(word) if word == "as" => name = rest.next().and_then(ident_of),
                    TokenTree::Ident(word) => names.push(word.to_string()),
                    TokenTree::Group(group) => {
                        self.tree(&group.stream().into_iter().collect::<Vec<_>>(), &names, is_public);
                        names.clear();
                    }
                    TokenTree::Punct(punct) if punct.as_char() == '*' => name = Some("*".to_owned()),
                    _ => {}
                }
            }
            // `use thing::{self, …}`.
            if names.len() > 1 && names.last().is_some_and(|last| last == "self") {
                names.pop();
            }
            if let Some(last) = names.last().cloned() {
                let name = name.unwrap_or(last);
                self.module.imports.push(Import { name, path: Written { names, line }, is_public });
            }
        }
    }

    /// A name, or a path of several.
    fn path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let mut names = Vec::new();
        let mut end = at;
        while let Some(name) = tokens.get(end).and_then(ident_of) {
            names.push(name);
            if !(is_punct(tokens.get(end + 1), ':') && is_punct(tokens.get(end + 2), ':')) {
                end += 1;
                break;
            }
            end += 3;
        }
        let line = tokens[at].span().start().line;
        if let Some(first) = names.first() {
            self.module.mentioned.entry(first.clone()).or_insert(line);
        }
        if names.len() > 1 {
            self.module.paths.push(Written { names, line });
        }
        end - at
    }
}

/// Words before the name that they define.
const DEFINING: &[&str] = &["struct", "enum", "union", "trait", "fn", "type", "const", "static", "macro"];

fn ident_of(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether a `cfg` holds in tests only: `cfg(test)`, or `cfg(all(test, …))`.
fn is_for_tests(attribute: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(group)) = attribute.get(1) else { return false };
    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
    match inner.first().and_then(ident_of).as_deref() {
        Some("test") => true,
        Some("all") => matches!(inner.get(1), Some(TokenTree::Group(all))
            if all.stream().into_iter().any(|token| ident_of(&token).as_deref() == Some("test"))),
        _ => false,
    }
}

/// The end of what stands behind an attribute: an item, a statement, a field, a variant or an arm.
fn item_end(tokens: &[TokenTree], mut at: usize) -> usize {
    let mut words = Vec::new();
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(ident) => words.push(ident.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == ';' => return at,
            TokenTree::Punct(punct) if punct.as_char() == ',' && !is_item(&words) => return at,
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Brace && !ends_with_semicolon(&words) =>
            {
                return at;
            }
            _ => {}
        }
    }
    at
}

/// Whether words begin an item, in which a comma is not the end.
fn is_item(words: &[String]) -> bool {
    const ITEMS: &[&str] =
        &["fn", "mod", "impl", "struct", "enum", "trait", "use", "const", "static", "type", "let"];
    words.iter().any(|word| ITEMS.contains(&word.as_str()))
}

/// Whether what words begin has its semicolon behind its braces.
fn ends_with_semicolon(words: &[String]) -> bool {
    const STATEMENTS: &[&str] = &["use", "static", "type", "let"];
    let is_constant = words.iter().any(|word| word == "const") && !words.iter().any(|word| word == "fn");
    is_constant || words.iter().any(|word| STATEMENTS.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate of inline modules.
    fn circles(text: &str) -> Vec<String> {
        let mut this = Crate { title: "it".to_owned(), modules: BTreeMap::new() };
        let tokens = text.parse().expect("Rust");
        this.read_module(Name::new(), Path::new("lib.rs"), Path::new("."), tokens)
            .expect("inline modules only");
        this.circles()
    }

    #[test]
    fn modules_that_use_each_other_are_a_circle_with_the_line_of_each_edge() {
        let found = circles(
            "mod a { use crate::b::B;\n fn f() {} }\n mod b { struct B;\n fn g() { format!(\"{}\", crate::a::f()) } }",
        );
        assert_eq!(found, ["it: circle between a, b\n  a → b  lib.rs:1\n  b → a  lib.rs:4\n"]);
        assert!(circles("mod a { use crate::b::B; } mod b { struct B; }").is_empty());
    }

    #[test]
    fn own_code_is_the_floor_of_its_children_or_their_roof_and_not_both() {
        let floor = "mod a { pub struct Shared; mod child { use super::Shared; } }";
        let roof = "mod a { mod child { pub struct Part; } use child::Part; }";
        assert!(circles(floor).is_empty() && circles(roof).is_empty());
        let both = "mod a { pub struct Shared; mod child { use super::Shared; pub struct Part; } fn f(p: child::Part) {} }";
        assert_eq!(circles(both).len(), 1);
    }

    #[test]
    fn a_re_export_is_no_edge_and_leads_to_what_defines_the_thing() {
        let sibling = "mod a { pub use one::One; mod one { pub struct One; } mod two { use super::One; } }";
        assert!(circles(sibling).is_empty());
        let circle = "mod a { pub use one::One; mod one { use super::two::Two; pub struct One; } \
                      mod two { use super::One; pub struct Two; } }";
        assert!(circles(circle)[0].starts_with("it::a: circle between one, two\n"));
        let mentioned = "mod a { pub use one::One; pub struct S; fn f() -> One {} mod one { use super::S; pub struct One; } }";
        assert!(circles(mentioned)[0].starts_with("it::a: circle between (own code), one\n"));
    }

    #[test]
    fn code_of_tests_and_comments_are_left_out() {
        let text = "mod a { /// [`crate::b`]\n #[cfg(test)] use crate::b::{B, C}; #[cfg(test)] mod tests { use crate::b::B; }\n\
                    struct S { #[cfg(test)] x: crate::b::B, y: u8 } #[cfg(all(test, unix))] fn f<T, U>() { crate::b::g() } }\n\
                    mod b { use crate::a::S; }";
        assert!(circles(text).is_empty(), "{:?}", circles(text));
        let behind =
            "mod a { #[cfg(test)] use crate::c::{B, C}; use crate::b::B; } mod b { use crate::a::A; }";
        assert_eq!(circles(behind).len(), 1);
    }

    #[test]
    fn a_path_that_says_who_may_see_an_item_is_no_edge() {
        let text = "mod a { pub struct Shared; fn f(p: child::Part) {} mod child { pub(in crate::a) struct Part; } }";
        assert!(circles(text).is_empty(), "{:?}", circles(text));
    }

    #[test]
    fn paths_in_strings_of_attributes_count() {
        let text = "mod a { #[serde(with = \"crate::b::text\")] struct S; } mod b { use crate::a::S; }";
        assert_eq!(circles(text).len(), 1);
    }
}
