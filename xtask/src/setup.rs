//! What a fresh machine lacks: looked for first, installed only if missing, from Debian's packages, the
//! crate registry and Python's.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{ebpf, registry, stage};

/// Something that is needed: how it is recognised, the package that brings it, and why.
struct Need {
    present: fn() -> bool,
    package: &'static str,
    why: &'static str,
}

const BUILD: &[Need] = &[
    Need { present: || runs("cc"), package: "gcc", why: "links Rust programs and builds zstd" },
    Need {
        present: || installed("libc6-dev"),
        package: "libc6-dev",
        why: "links Rust programs and builds zstd",
    },
];

const LINKER: &[Need] = &[
    Need { present: || installed("g++") || runs("c++"), package: "g++", why: "links bpf-linker with LLVM" },
    Need { present: || installed("llvm-22-dev"), package: "llvm-22-dev", why: "bpf-linker is built on it" },
    Need {
        present: || installed("libpolly-22-dev"),
        package: "libpolly-22-dev",
        why: "LLVM needs it to link",
    },
    Need { present: || installed("libzstd-dev"), package: "libzstd-dev", why: "LLVM needs it to link" },
    Need { present: || installed("zlib1g-dev"), package: "zlib1g-dev", why: "LLVM needs it to link" },
];

/// An older Debian Rust may be installed: the packages are then brought up to date.
const EBPF_RUST: &[Need] = &[
    Need { present: ebpf::is_debian_rust_usable, package: "rustc-web", why: "compiles the kernel programs" },
    Need { present: ebpf::is_debian_rust_usable, package: "cargo-web", why: "compiles the kernel programs" },
    Need { present: ebpf::is_debian_rust_usable, package: "rust-web-src", why: "`core` for the BPF target" },
];

const PROGRAMS: &[Need] = &[
    Need { present: || runs("nginx"), package: "nginx-light", why: "a server that tests and demo trace" },
    Need { present: || runs("curl"), package: "curl", why: "a client that tests and demo trace" },
    Need { present: || runs("wrk"), package: "wrk", why: "a load generator" },
    Need { present: || runs("wget"), package: "wget", why: "a client that waits in its calls" },
    Need {
        present: || runs("node"),
        package: "nodejs",
        why: "a server and a client that tests and demo trace",
    },
    Need {
        present: || Path::new("/usr/bin/python3").exists(),
        package: "python3",
        why: "runs the Flask service",
    },
    Need {
        present: || installed("python3-flask"),
        package: "python3-flask",
        why: "a service that tests and demo trace",
    },
    Need { present: || installed("gunicorn"), package: "gunicorn", why: "the server of the Flask service" },
    Need {
        present: || installed("python3-requests"),
        package: "python3-requests",
        why: "a client that tests and demo trace",
    },
    Need {
        present: || runs("bpftool"),
        package: "bpftool",
        why: "a test looks at the kernel's programs with it",
    },
    Need { present: || runs("taskset"), package: "util-linux", why: "pins programs to cores in a test" },
];

/// For tests that are not run in guests.
const HOST: &[Need] = &[
    Need { present: || runs("haproxy"), package: "haproxy", why: "a proxy that a test traces" },
    Need { present: || runs("go"), package: "golang-go", why: "compiles services that a test traces" },
    Need {
        present: || runs("java"),
        package: "default-jdk-headless",
        why: "runs services that a test traces",
    },
    Need { present: || runs("ruby"), package: "ruby", why: "runs a service that a test traces" },
    Need {
        present: || installed("ruby-webrick"),
        package: "ruby-webrick",
        why: "the server of the service in Ruby",
    },
    Need {
        present: || installed("python3-aiohttp"),
        package: "python3-aiohttp",
        why: "a service that a test traces",
    },
    Need {
        present: || installed("python3-pip"),
        package: "python3-pip",
        why: "installs OpenTelemetry's SDK for Python",
    },
    Need { present: || runs("ip"), package: "iproute2", why: "makes network namespaces in a test" },
    Need {
        present: || runs("supervisord"),
        package: "supervisor",
        why: "starts services that a test traces",
    },
    Need { present: || runs("tini"), package: "tini", why: "is the parent of a service that a test traces" },
    Need {
        present: || runs("systemd-socket-activate"),
        package: "systemd",
        why: "holds the sockets of services that a test traces",
    },
    Need { present: || runs("nft"), package: "nftables", why: "translates addresses in a test" },
];

const MACHINE: &[Need] = &[
    Need {
        present: || runs("qemu-system-x86_64"),
        package: "qemu-system-x86",
        why: "runs other kernels, and counts instructions",
    },
    Need { present: || runs("mmdebstrap"), package: "mmdebstrap", why: "makes the guests' root filesystem" },
    Need { present: || runs("mke2fs"), package: "e2fsprogs", why: "makes the guests' disk" },
    Need { present: || installed("busybox-static"), package: "busybox-static", why: "boots the guests" },
    Need { present: || runs("modprobe"), package: "kmod", why: "finds the modules that the guests need" },
    Need { present: || runs("cpio"), package: "cpio", why: "packs what the guests boot from" },
    Need { present: || runs("xz"), package: "xz-utils", why: "unpacks the guests' modules" },
];

/// What the guests have beside [`PROGRAMS`]: the tools of their start, and servers of the benches.
const GUEST: &[&str] = &["nodejs", "iproute2", "kmod", "procps", "redis-server", "strace"];

/// The packages of a guest.
pub(crate) fn guest_packages() -> Vec<&'static str> {
    PROGRAMS.iter().map(|need| need.package).chain(GUEST.iter().copied()).collect()
}

/// What running guests needs.
pub(crate) fn machine() -> Result<()> {
    check_machine()?;
    install(MACHINE)
}

/// What building the viewer's pages needs.
pub(crate) fn npm() -> Result<()> {
    install(&[
        Need { present: || runs("node"), package: "nodejs", why: "builds the viewer's pages" },
        Need {
            present: || runs("npm"),
            package: "npm",
            why: "installs what the viewer's pages are built of",
        },
    ])
}

/// What looks at the viewer's pages.
pub(crate) fn browser() -> Result<()> {
    install(&[Need { present: || runs("chromium"), package: "chromium", why: "tests the viewer's pages" }])
}

/// What sending spans through the Collector needs.
pub(crate) fn collector() -> Result<()> {
    install(&[
        Need { present: || runs("openssl"), package: "openssl", why: "makes certificates for a check" },
        Need { present: || runs("zstd"), package: "zstd", why: "reads the files of a store" },
        Need {
            present: || runs("unshare"),
            package: "util-linux",
            why: "gives a check a network of its own",
        },
    ])
}

/// What counting instructions needs.
pub(crate) fn counting() -> Result<()> {
    install(&[Need {
        present: || runs("valgrind"),
        package: "valgrind",
        why: "counts the agent's instructions",
    }])
}

/// Everything: to build, to test, to demonstrate.
pub(crate) fn all() -> Result<()> {
    building()?;
    stage::run("setup of programs", || {
        install(PROGRAMS)?;
        install(HOST)
    })
}

/// A Debian package of a framework, if the program that it brings is not there.
pub(crate) fn debian(program: &str, package: &'static str) -> Result<()> {
    if runs(program) {
        return Ok(());
    }
    install(&[Need { present: || false, package, why: "a framework whose links are measured" }])
}

/// What building needs.
pub(crate) fn building() -> Result<()> {
    check_machine()?;
    stage::run("setup of the build", || {
        install(BUILD)?;
        if ebpf::rustup_toolchain().is_none() {
            install(EBPF_RUST)?;
            if !ebpf::is_debian_rust_usable() {
                bail!(
                    "Debian's rustc-web is too old or too new for the kernel programs: add the security updates of \
                     Debian 12 (bookworm-security) to the sources of apt, or install Rust 1.95 with rust-src by rustup"
                );
            }
        }
        bpf_linker()
    })
}

/// Root and BTF: without them nothing of this works.
fn check_machine() -> Result<()> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "root is needed, to install packages and to load eBPF programs: run this as root (sudo -E cargo xtask …)"
        );
    }
    if let Err(error) = fs::metadata("/sys/kernel/btf/vmlinux") {
        bail!(
            "this kernel shows no BTF ({error}): use one with CONFIG_DEBUG_INFO_BTF, as distributions ship"
        );
    }
    Ok(())
}

/// Whether a program is on the path.
fn runs(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned()])
        .any(|folder| folder.join(program).is_file())
}

/// Whether a Debian package is installed.
fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        println!("installing {}: {}", need.package, need.why);
    }
    let _no_service = NoService::begin()?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("--quiet=2")
            .args(arguments)
            .stdout(Stdio::null());
        stage::command(&mut command)
    };
    apt(&["update"]).context("cannot read the lists of Debian's packages")?;
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat()).context(
        "cannot install these packages; those that apt cannot locate are in Debian 12 with its security updates \
         (bookworm-security)",
    )
}

/// While it lives, packages that are installed start no service: `policy-rc.d`, as Debian's
/// `invoke-rc.d` asks it.
struct NoService {
    ours: bool,
}

impl NoService {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> Result<Self> {
        match fs::OpenOptions::new().write(true).create_new(true).open(Self::POLICY) {
            Ok(_) => {
                let this = Self { ours: true };
                fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n")?;
                fs::set_permissions(Self::POLICY, fs::Permissions::from_mode(0o755))?;
                Ok(this)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).context("cannot keep packages from starting services"),
        }
    }
}

impl Drop for NoService {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(Self::POLICY)
        {
            eprintln!("cannot remove {}: {error}", Self::POLICY);
        }
    }
}

/// Builds bpf-linker, once: it takes a minute or two.
fn bpf_linker() -> Result<()> {
    /// The newest that works with LLVM 22.
    const VERSION: &str = "0.13";
    let tools = stage::tools();
    let stamp = tools.join("bpf-linker.version");
    if tools.join("bin/bpf-linker").exists() && fs::read_to_string(&stamp).is_ok_and(|text| text == VERSION) {
        return Ok(());
    }
    install(LINKER)?;
    println!("building bpf-linker {VERSION}: it links the kernel programs");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--quiet",
            "--force",
            "--no-default-features",
            "--features",
            "llvm-22",
        ])
        .args(["--version", &format!("^{VERSION}")])
        .arg("--root")
        .arg(&tools)
        .env("LLVM_PREFIX", "/usr/lib/llvm-22")
        .env("CARGO_TARGET_DIR", tools.join("build"));
    stage::command(&mut command)?;
    fs::remove_dir_all(tools.join("build"))?;
    fs::write(stamp, VERSION)?;
    Ok(())
}

/// Packages for Python that services have in them which tests trace: OpenTelemetry's SDK, and frameworks of asyncio. And a
/// JDK with virtual threads, which is one too.
pub(crate) fn sdk() -> Result<()> {
    required("sdk", "python-sdk")?;
    required("labelled", "python-async")?;
    required("jdk", "jdk-21")
}

/// Installs the packages that an app of the tests requires.
fn required(app: &str, folder: &str) -> Result<()> {
    let wanted = stage::root().join("tests/apps").join(app).join("requirements.txt");
    registry::pip(&stage::tools().join(folder), &fs::read_to_string(wanted)?)
}
