//! Compiles the programs in C that tests run.

use std::{env, path::Path, process::Command};

fn main() {
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    for (name, variable) in [("io_uring", "TRACER_TEST_IO_URING"), ("flood", "TRACER_TEST_FLOOD")] {
        let source = format!("apps/raw/{name}.c");
        println!("cargo::rerun-if-changed={source}");
        let program = Path::new(&folder).join(name);
        let status = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", &source, "-lpthread", "-o"])
            .arg(&program)
            .status()
            .expect("a C compiler: `cargo xtask setup` installs it");
        assert!(status.success(), "{source} does not compile");
        println!("cargo::rustc-env={variable}={}", program.display());
    }
}
