//! Compiles the programs in C that tests run.

use std::{env, path::Path, process::Command};

fn main() {
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    let programs: [(&str, &str, &[&str]); 3] = [
        ("io_uring", "TRACER_TEST_IO_URING", &["-lpthread"]),
        ("flood", "TRACER_TEST_FLOOD", &["-lpthread"]),
        ("nginx", "TRACER_TEST_NGINX", &["-shared", "-fPIC"]),
    ];
    for (name, variable, flags) in programs {
        let source = format!("apps/raw/{name}.c");
        println!("cargo::rerun-if-changed={source}");
        let program = Path::new(&folder).join(name);
        let status = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", &source, "-o"])
            .arg(&program)
            .args(flags)
            .status()
            .expect("a C compiler: `cargo xtask setup` installs it");
        assert!(status.success(), "{source} does not compile");
        println!("cargo::rustc-env={variable}={}", program.display());
    }
}
