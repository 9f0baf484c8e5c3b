//! Debian kernels in QEMU, under emulation: for tests on kernels other than this machine's, and for
//! counting instructions. Kernels and root filesystem are made once, under the tools folder.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::{setup, stage};

/// A kernel that is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Below the floor: the agent refuses it
    #[value(name = "5.10")]
    V5_10,
    /// The floor
    #[value(name = "6.1")]
    V6_1,
    /// The newest of a stable Debian
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    /// As it is called on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The Debian release that ships it.
    fn release(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
        }
    }
}

/// How a guest is run.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) kernel: Kernel,
    /// One CPU on which one instruction takes one fixed time: see [`NANOSECONDS_AN_INSTRUCTION`].
    pub(crate) icount: bool,
    /// After this the guest is ended, and its run an error.
    pub(crate) limit: Duration,
    /// Its output is kept in [`Outcome::output`], for guests that run side by side.
    pub(crate) apart: bool,
}

/// With `icount`, what an instruction takes on the guest's clock.
pub(crate) const NANOSECONDS_AN_INSTRUCTION: u64 = 2;

/// Without `rep movsb` as the fast way to copy: QEMU counts it as an instruction for each byte, which no
/// hardware does.
const CPU: &str = "max,la57=off,erms=off,fsrm=off";

/// Modules that the guest needs before it has a root filesystem.
const EARLY_MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "9pnet_virtio", "9p", "virtio_console"];

/// What the guest runs first; `LOAD` stands for the modules.
const EARLY_SCRIPT: &str = "#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
LOAD
for option in $(cat /proc/cmdline); do
  case $option in repository=*) repository=${option#repository=} ;; esac
done
while [ ! -b /dev/vda ]; do sleep 0.1; done
share=trans=virtio,version=9p2000.L,msize=262144,cache=mmap
mount -t ext4 -o noatime /dev/vda /root &&
mount -t tmpfs tmpfs /root/tmp &&
mount -t tmpfs tmpfs /root/run &&
mkdir -p /root/vm /root/usr/lib/modules \"/root$repository\" &&
mount -t 9p -o $share,ro repository \"/root$repository\" &&
mount -t 9p -o $share vm /root/vm &&
mount -t 9p -o $share,ro modules /root/mnt &&
mount --bind /root/mnt/lib/modules /root/usr/lib/modules &&
mount --move /dev /root/dev &&
umount /proc &&
exec switch_root /root /bin/sh /vm/start
echo the guest cannot start
poweroff -f
";

/// What `cargo xtask vm` is told.
#[derive(Args)]
pub(crate) struct Flags {
    /// Version of the kernel
    #[arg(long, value_name = "VERSION", default_value = "6.12")]
    kernel: Kernel,
    /// One CPU, on which each instruction takes the same time
    #[arg(long)]
    icount: bool,
    /// Program and arguments, or one line for the shell
    #[arg(last = true, required = true, value_name = "COMMAND")]
    words: Vec<String>,
}

/// Runs a command in a guest.
pub(crate) fn command(flags: &Flags) -> Result<ExitStatus> {
    let guest =
        Guest { kernel: flags.kernel, icount: flags.icount, limit: Duration::from_hours(1), apart: false };
    let words: Vec<&str> = flags.words.iter().map(String::as_str).collect();
    // One word is a line for the shell, as with ssh; several are a program and its arguments.
    let line = match words[..] {
        [line] => line.to_owned(),
        _ => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
    };
    setup(&[guest.kernel])?;
    let outcome = run(guest, &line)?;
    Ok(ExitStatusExt::from_raw(outcome.status << 8))
}

use std::os::unix::process::ExitStatusExt;

/// A word that the shell takes as it stands.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What became of a guest's command.
pub(crate) struct Outcome {
    /// Its exit status.
    pub(crate) status: i32,
    /// The folder that guest and host share, called `/vm` in the guest; gone with this.
    pub(crate) folder: Folder,
    /// What it printed, if that was kept apart.
    pub(crate) output: String,
}

/// A folder of this run.
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = stage::target().join("vm").join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn read_lossy(&self, name: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.0.join(name))?).into_owned())
    }

    /// A file that the guest wrote to `/vm`.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let path = self.0.join(name);
        fs::read_to_string(&path).with_context(|| format!("the guest left no file {name}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Boots a kernel, runs a line of shell in the repository's root, and shuts down. What the line
/// prints comes out here as it is printed.
pub(crate) fn run(guest: Guest, line: &str) -> Result<Outcome> {
    let folder = Folder::new()?;
    let root = stage::root();
    let kernel = kernel_folder(guest.kernel);
    fs::write(folder.0.join("command"), format!("{line}\n"))?;
    fs::write(folder.0.join("start"), start_script(&root))?;

    let share = |id: &str, path: &Path, read_only: bool| {
        let access = if read_only { ",readonly=on" } else { "" };
        format!(
            "local,path={},mount_tag={id},security_model=none,multidevs=remap{access}",
            path.display().to_string().replace(',', ",,")
        )
    };
    let console = folder.0.join("console");
    let out = match guest.apart {
        true => format!("file,id=out,path={}", folder.0.join("output").display()),
        false => "stdio,id=out,signal=on".to_owned(),
    };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot"])
        .args(["-machine", "q35", "-cpu", CPU, "-m", "3072"])
        .arg("-kernel")
        .arg(kernel.join("vmlinuz"))
        .arg("-initrd")
        .arg(initrd_image(guest.kernel))
        .args(["-append", &kernel_line(guest, &root)])
        .args(["-chardev", &format!("file,id=console,path={}", console.display())])
        .args(["-serial", "chardev:console"])
        .args(["-chardev", &out])
        .args(["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=out"])
        .args(["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,snapshot=on", root_image()?.display()))
        .args(["-virtfs", &share("repository", &root, true)])
        .args(["-virtfs", &share("vm", &folder.0, false)])
        .args(["-virtfs", &share("modules", &kernel.join("modules"), true)])
        .env("TMPDIR", &folder.0)
        .stdin(Stdio::null());
    if guest.icount {
        // 2^1 ns an instruction; a sleeping guest skips to its next timer.
        qemu.args(["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=1,sleep=off"]);
        qemu.args(["-rtc", "clock=vm"]);
    } else {
        // One thread for both CPUs: with a thread each, QEMU 7.2 may go on with code that the other CPU
        // has patched, and a breakpoint of the kernel's own patching then never ends.
        qemu.args(["-accel", "tcg,thread=single", "-smp", "2"]);
    }
    // For a look inside: `-monitor unix:…` and its `log exec` write down each instruction.
    qemu.args(std::env::var("TRACER_VM_QEMU").unwrap_or_default().split_whitespace());
    let mut child = qemu.spawn().context("cannot run qemu-system-x86_64")?;
    let status = wait(&mut child, guest.limit)?;
    let code = folder.read("status").ok().and_then(|text| text.trim().parse().ok());
    match code {
        Some(code) if status.success() => {
            let output = if guest.apart { folder.read_lossy("output")? } else { String::new() };
            Ok(Outcome { status: code, folder, output })
        }
        _ => {
            let text = fs::read(&console).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(120)..).unwrap_or_default().join("\n");
            bail!("the guest ended ({status}) without its command's exit status; its console:\n{last}")
        }
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("the guest was ended after {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn kernel_line(guest: Guest, root: &Path) -> String {
    let same = if guest.icount { " norandmaps nokaslr" } else { "" };
    // A kernel that stands still ends the guest, and its console tells where.
    let watch = "softlockup_panic=1 watchdog_thresh=20 oops=panic panic=-1";
    format!("console=ttyS0 loglevel=5 {watch} tsc=reliable repository={}{same}", root.display())
}

/// What the guest runs on its root filesystem.
fn start_script(root: &Path) -> String {
    format!(
        "#!/bin/sh
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /dev/shm /dev/pts && mount -t tmpfs tmpfs /dev/shm && mount -t devpts devpts /dev/pts
ip link set lo up
hostname guest
ulimit -n 65536
stty -F /dev/hvc0 raw -echo
cd {} && setsid sh /vm/command </dev/null >/dev/hvc0 2>&1
echo $? >/vm/status
sync
echo o >/proc/sysrq-trigger
sleep 60
",
        quote(&root.display().to_string())
    )
}

/// Makes what these kernels need, if it is not there.
pub(crate) fn setup(kernels: &[Kernel]) -> Result<()> {
    stage::run("setup of the guests", || {
        setup::machine()?;
        for kernel in kernels {
            make_kernel(*kernel).with_context(|| format!("cannot prepare kernel {}", kernel.name()))?;
        }
        make_root().context("cannot make the guests' root filesystem")
    })
}

fn folder() -> PathBuf {
    stage::tools().join("vm")
}

fn kernel_folder(kernel: Kernel) -> PathBuf {
    folder().join(format!("kernel-{}", kernel.name()))
}

/// apt with a state of its own: it reads another release and leaves the machine's alone.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// The state of a release, with its lists read.
    fn of(release: &str) -> Result<Self> {
        let this = Self { folder: folder().join("apt").join(release) };
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(this.folder.join(part))?;
        }
        fs::write(this.folder.join("state/status"), "")?;
        fs::write(this.folder.join("sources.list"), sources(release)?)?;
        stage::command(&mut this.command("apt-get", &["update"]))
            .context("cannot read the release's lists")?;
        Ok(this)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let set = |name: &str, path: &Path| format!("{name}={}", path.display());
        command
            .args(["-qq", "-o", "Dir::Etc::SourceParts=/dev/null", "-o", "APT::Sandbox::User=root"])
            .args(["-o", &set("Dir::Etc::SourceList", &self.folder.join("sources.list"))])
            .args(["-o", &set("Dir::State", &self.folder.join("state"))])
            .args(["-o", &set("Dir::State::status", &self.folder.join("state/status"))])
            .args(["-o", &set("Dir::Cache", &self.folder.join("cache"))])
            .args(arguments);
        command
    }
}

/// The programs and libraries in packages of a Debian release, below a root folder of their own: this machine's are left alone.
pub(crate) fn root_of(release: &str, packages: &[&str], root: &Path) -> Result<()> {
    let marker = root.join("complete");
    if marker.exists() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(root);
    let archives = root.join("archives");
    fs::create_dir_all(&archives)?;
    let apt = Apt::of(release)?;
    stage::command(apt.command("apt-get", &[&["download"], packages].concat()).current_dir(&archives))?;
    for archive in fs::read_dir(&archives)? {
        stage::command(Command::new("dpkg-deb").arg("-x").arg(archive?.path()).arg(root))?;
    }
    fs::remove_dir_all(&archives)?;
    for name in ["bin", "lib", "lib64"] {
        if !root.join(name).exists() {
            std::os::unix::fs::symlink(Path::new("usr").join(name), root.join(name))?;
        }
    }
    Ok(fs::write(marker, "")?)
}

/// Lines for `sources.list` of a release and its security suite, at the mirror that this machine's
/// apt uses.
fn sources(release: &str) -> Result<String> {
    let mirror = |suite: &str| -> Result<Option<String>> {
        let output = Command::new("apt-get")
            .args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"])
            .arg(format!("Release: {suite}"))
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned))
    };
    let own = own_release()?;
    let main = mirror(&own)?.with_context(|| format!("apt names no mirror for Debian {own}"))?;
    let mut text = format!("deb {main} {release} main\n");
    if let Some(security) = mirror(&format!("{own}-security"))? {
        text += &format!("deb {security} {release}-security main\n");
    }
    Ok(text)
}

/// This machine's Debian release: what is built here runs in a guest of the same one.
fn own_release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot tell this machine's release")?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("this machine's release has no code name: the guests need Debian")
}

/// Kernel, modules and a first root filesystem in memory.
fn make_kernel(kernel: Kernel) -> Result<()> {
    let destination = kernel_folder(kernel);
    if destination.join("version").exists() {
        return initrd(kernel);
    }
    println!("fetching Debian's kernel {} for the guests", kernel.name());
    let apt = Apt::of(kernel.release())?;
    let depends = apt.command("apt-cache", &["depends", "linux-image-amd64"]).output()?;
    let depends = String::from_utf8_lossy(&depends.stdout).into_owned();
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("{} has no linux-image-amd64", kernel.release()))?;
    let work = folder().join(format!("new-{}", kernel.name()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    stage::command(apt.command("apt-get", &["download", package]).current_dir(&work))?;
    let archive = only_file(&work, "deb")?;
    stage::command(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(work.join("files")))?;
    fs::remove_file(&archive)?;

    let version = package.trim_start_matches("linux-image-");
    fs::rename(work.join("files/boot").join(format!("vmlinuz-{version}")), work.join("vmlinuz"))?;
    let modules = ["files/lib/modules", "files/usr/lib/modules"]
        .map(|path| work.join(path))
        .into_iter()
        .find(|path| path.exists())
        .context("the package has no modules")?;
    let tree = work.join("modules");
    fs::create_dir_all(tree.join("lib"))?;
    fs::rename(modules, tree.join("lib/modules"))?;
    fs::remove_dir_all(work.join("files"))?;
    stage::command(Command::new("/sbin/depmod").arg("--basedir").arg(&tree).arg(version))?;
    fs::write(work.join("version"), version)?;
    let _ = fs::remove_dir_all(&destination);
    fs::rename(&work, &destination)?;
    initrd(kernel)
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            return Ok(path);
        }
    }
    bail!("there is no .{extension} in {}", folder.display())
}

/// The first root filesystem: busybox, the modules for disk and shares, a script.
fn initrd(kernel: Kernel) -> Result<()> {
    let image = initrd_image(kernel);
    if image.exists() {
        return Ok(());
    }
    let folder = kernel_folder(kernel);
    let tree = folder.join("modules");
    let version = fs::read_to_string(folder.join("version"))?;
    let root = folder.join("early");
    let _ = fs::remove_dir_all(&root);
    for part in ["bin", "modules", "proc", "dev", "root"] {
        fs::create_dir_all(root.join(part))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    let mut loaded: Vec<PathBuf> = Vec::new();
    for module in EARLY_MODULES {
        let output = Command::new("/sbin/modprobe")
            .args(["--show-depends", "--set-version", &version, "--dirname"])
            .arg(&tree)
            .arg(module)
            .output()?;
        // What is built into the kernel prints `builtin`, or is not known: not a file to load.
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(path) = line.strip_prefix("insmod ") {
                let path = PathBuf::from(path.trim());
                if !loaded.contains(&path) {
                    loaded.push(path);
                }
            }
        }
    }
    let mut load = String::new();
    for (index, path) in loaded.iter().enumerate() {
        let to = format!("{index:02}.ko");
        let bytes = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => Command::new("xz").args(["--decompress", "--stdout"]).arg(path).output()?.stdout,
            _ => fs::read(path)?,
        };
        fs::write(root.join("modules").join(&to), bytes)?;
        load += &format!("insmod /modules/{to}\n");
    }
    fs::write(root.join("init"), EARLY_SCRIPT.replace("LOAD\n", &load))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let mut archive = Command::new("cpio")
        .args(["--create", "--format=newc", "--quiet", "--file"])
        .arg(&image)
        .current_dir(&root)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run cpio")?;
    let mut names = String::from(".\nbin\nmodules\nproc\ndev\nroot\ninit\nbin/busybox\n");
    for index in 0..loaded.len() {
        names += &format!("modules/{index:02}.ko\n");
    }
    archive.stdin.take().context("cpio has no input")?.write_all(names.as_bytes())?;
    let status = archive.wait()?;
    ensure!(status.success(), "cpio failed: {status}");
    fs::remove_dir_all(root)?;
    Ok(())
}

/// What a guest boots from; its name tells what is in it.
fn initrd_image(kernel: Kernel) -> PathBuf {
    let print = fingerprint(&[EARLY_SCRIPT, &EARLY_MODULES.join(" ")]);
    kernel_folder(kernel).join(format!("initrd-{print:08x}"))
}

/// The image of the root filesystem; its name tells what is in it.
fn root_image() -> Result<PathBuf> {
    let print = fingerprint(&setup::guest_packages());
    Ok(folder().join(format!("root-{}-{print:08x}.img", own_release()?)))
}

/// FNV-1a: what is made from these texts is made anew when they change.
fn fingerprint(texts: &[&str]) -> u32 {
    texts
        .iter()
        .flat_map(|text| text.bytes())
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A root filesystem of Debian packages: those that the tests use.
fn make_root() -> Result<()> {
    let image = root_image()?;
    if image.exists() {
        return Ok(());
    }
    println!("making the guests' root filesystem from Debian's packages");
    let release = own_release()?;
    fs::create_dir_all(folder())?;
    let tree = folder().join("root");
    let list = folder().join("root.list");
    fs::write(&list, sources(&release)?)?;
    let packages = setup::guest_packages().join(",");
    let bootstrap = || {
        let _ = fs::remove_dir_all(&tree);
        // Its output is shown only if it fails; `--quiet` would hide the reason.
        stage::silent(
            Command::new("mmdebstrap")
                .args(["--variant=minbase", "--format=directory", "--mode=root"])
                .args([&format!("--include={packages}"), &release])
                .arg(&tree)
                .arg(&list),
        )
    };
    // A package that is cut or that the registry replaces at this moment is whole the next time.
    bootstrap().or_else(|error| {
        println!("{error:#}\nonce more:");
        bootstrap()
    })?;
    let new = folder().join("root.new");
    let _ = fs::remove_file(&new);
    stage::command(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
            .arg(&tree)
            .arg(&new)
            .arg("3G")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin"),
    )?;
    fs::remove_dir_all(&tree)?;
    fs::remove_file(&list)?;
    fs::rename(&new, &image)?;
    Ok(())
}
