//! Compiles the programs in C that tests run.

use std::{env, path::Path, process::Command};

fn main() {
    const SOURCE: &str = "apps/io_uring.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    let program = Path::new(&folder).join("io_uring");
    let status = Command::new("cc")
        .args(["-O1", SOURCE, "-lpthread", "-o"])
        .arg(&program)
        .status()
        .expect("a C compiler: `cargo xtask setup` installs it");
    assert!(status.success(), "{SOURCE} does not compile");
    println!("cargo::rustc-env=TRACER_TEST_IO_URING={}", program.display());
}
