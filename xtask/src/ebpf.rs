//! Builds the kernel programs. They need `core` for a target that no toolchain ships: a rustup
//! toolchain with rust-src builds it, else Debian's newest Rust does.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::stage;

/// Minor versions of Rust 1 whose intrinsics the programs are written against and whose LLVM
/// bpf-linker reads.
const VERSIONS: std::ops::RangeInclusive<u32> = 95..=96;
const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A rustup toolchain that has the sources of `core`.
pub(crate) fn rustup_toolchain() -> Option<String> {
    let list = Command::new("rustup").args(["toolchain", "list"]).stderr(Stdio::null()).output().ok()?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| is_usable(name))
        .map(str::to_owned)
}

fn is_usable(toolchain: &str) -> bool {
    can_build_core(|| {
        let mut rustc = Command::new("rustc");
        rustc.env("RUSTUP_TOOLCHAIN", toolchain);
        rustc
    })
}

/// Whether Debian's Rust, as it is installed, can build the programs.
pub(crate) fn is_debian_rust_usable() -> bool {
    can_build_core(|| Command::new(DEBIAN_RUSTC))
}

/// Its version fits, and it has the sources of `core`.
fn can_build_core(rustc: impl Fn() -> Command) -> bool {
    let ask = |arguments: &[&str]| {
        let output = rustc().args(arguments).stderr(Stdio::null()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let version = ask(&["--version"]);
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    let sources =
        PathBuf::from(ask(&["--print", "sysroot"])).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    minor.is_some_and(|minor| VERSIONS.contains(&minor)) && sources.exists()
}

/// Builds the programs into `target/ebpf/tracer.bpf.o`; with `lint`, warnings are errors.
pub(crate) fn build(lint: bool) -> Result<()> {
    stage::run("kernel programs", || compile(lint))
}

fn compile(lint: bool) -> Result<()> {
    let linker = stage::tools().join("bin/bpf-linker");
    let mut flags = vec![
        format!("-Clinker={}", linker.display()),
        // Atomics of 64 bits, 32-bit jumps: every kernel since 5.12.
        "-Ctarget-cpu=v3".to_owned(),
        // Types of map values: socket storage needs them.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    if lint {
        flags.push("-Dwarnings".to_owned());
    }
    let mut command = match rustup_toolchain() {
        Some(toolchain) => {
            let mut command = Command::new("cargo");
            command.env("RUSTUP_TOOLCHAIN", toolchain);
            command
        }
        None => {
            let mut command = Command::new("/usr/bin/cargo");
            command.env("RUSTC", DEBIAN_RUSTC).env_remove("RUSTUP_TOOLCHAIN");
            command
        }
    };
    let folder = stage::root().join("tracer-ebpf");
    // What cargo set for us is not for another cargo.
    for name in ["CARGO", "RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTC_WRAPPER", "RUSTDOC"] {
        command.env_remove(name);
    }
    command
        .current_dir(&folder)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .args(["build", "--quiet", "--locked", "--release", "--target", TARGET, "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(stage::target().join("ebpf-build"));
    stage::command(&mut command).context("cannot build the kernel programs")?;
    let built = stage::target().join("ebpf-build").join(TARGET).join("release/tracer");
    let object = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    // A panic path means that an index could not be proven: the verifier would refuse it on some kernel.
    if object.windows(b"panic_bounds_check".len()).any(|window| window == b"panic_bounds_check") {
        bail!("the kernel programs contain a bounds check that panics");
    }
    let folder = stage::target().join("ebpf");
    let destination = folder.join("tracer.bpf.o");
    fs::create_dir_all(&folder)?;
    // The agent is built again only if they have changed.
    if fs::read(&destination).ok().as_deref() != Some(&object[..]) {
        fs::write(&destination, &object)?;
    }
    Ok(())
}
