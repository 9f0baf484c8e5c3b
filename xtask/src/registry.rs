//! Packages from the registries of languages, each set in a folder of its own, and installed once.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::stage;

/// A package and its version.
pub(crate) type Package = (&'static str, &'static str);

/// Installs what `wanted` says, unless the folder has it.
fn once(folder: &Path, wanted: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    install()?;
    fs::write(stamp, wanted).with_context(|| format!("cannot write to {}", folder.display()))
}

/// Python's packages, as a file of requirements lists them.
pub(crate) fn pip(folder: &Path, requirements: &str) -> Result<()> {
    once(folder, requirements, || {
        println!("installing for Python: {}", folder.display());
        let file = folder.join("requirements.txt");
        fs::write(&file, requirements)?;
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--only-binary", ":all:", "--root-user-action", "ignore", "--target"])
            .arg(folder)
            .arg("--requirement")
            .arg(file);
        stage::silent(&mut command)
    })
}

/// Node's packages.
pub(crate) fn npm(folder: &Path, packages: &[Package]) -> Result<()> {
    let wanted: Vec<String> = packages.iter().map(|(name, version)| format!("{name}@{version}")).collect();
    once(folder, &wanted.join("\n"), || {
        println!("installing for Node: {}", wanted.join(" "));
        let mut command = Command::new("npm");
        command
            .args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"])
            .arg(folder)
            .args(&wanted);
        stage::silent(&mut command)
    })
}

/// A program in Go of these files, which needs these modules, built by a toolchain (`auto`, `go1.20.14`): `service` in
/// the folder.
pub(crate) fn go(folder: &Path, toolchain: &str, files: &[&Path], modules: &[Package]) -> Result<()> {
    let requirements: Vec<String> =
        modules.iter().map(|(name, version)| format!("require {name} {version}\n")).collect();
    let language = if modules.is_empty() { "1.18" } else { "1.25" };
    let wanted = format!("module service\n\ngo {language}\n\n{}", requirements.concat());
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.args(arguments).current_dir(folder);
        stage::silent(command.envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", toolchain)]))
    };
    let copy = || -> Result<()> {
        for file in files {
            fs::copy(file, folder.join(file.file_name().context("a file")?))?;
        }
        Ok(())
    };
    once(folder, &wanted, || {
        println!("installing for Go: {}", requirements.concat().trim_end());
        copy()?;
        fs::write(folder.join("go.mod"), &wanted)?;
        go(&["mod", "tidy"])
    })?;
    copy()?;
    go(&["build", "-o", "service", "."])
}

/// A program of a Go module with `replace` or `tool` lines, which `go install` refuses: `program` in the folder. And one of our
/// own in a module of this name that uses the same modules: `service`. Building takes minutes, and leaves the machine to
/// others.
pub(crate) fn go_tool(
    folder: &Path,
    module: &str,
    (package, version): Package,
    files: &[&Path],
) -> Result<()> {
    let go = |arguments: &[&str]| {
        let mut command = Command::new("nice");
        command.arg("go").args(arguments).current_dir(folder).env("CGO_ENABLED", "0");
        stage::silent(&mut command)
    };
    once(folder, &format!("{module} {package}@{version}"), || {
        println!("building {package} {version}: the first time takes about ten minutes");
        fs::write(folder.join("go.mod"), format!("module {module}\n\ngo 1.25\n"))?;
        go(&["get", "-tool", &format!("{package}@{version}")])?;
        go(&["build", "-o", "program", package])
    })?;
    for file in files {
        fs::copy(file, folder.join(file.file_name().context("a file")?))?;
    }
    go(&["build", "-o", "service", "."])
}

/// Java's packages, at the versions that a bill of materials (`GROUP:ARTIFACT`) says: `lib` in the folder.
pub(crate) fn maven(folder: &Path, bill: Package, artifacts: &[&str]) -> Result<()> {
    let coordinates = |name: &str| {
        let (group, artifact) = name.split_once(':').unwrap_or((name, name));
        format!("<groupId>{group}</groupId><artifactId>{artifact}</artifactId>")
    };
    let dependencies: Vec<String> = artifacts
        .iter()
        .map(|artifact| format!("<dependency>{}</dependency>\n", coordinates(artifact)))
        .collect();
    let wanted = format!(
        "<project><modelVersion>4.0.0</modelVersion>\n{}\
         <version>1</version>\n<dependencyManagement><dependencies><dependency>{}<version>{}</version>\
         <type>pom</type><scope>import</scope></dependency></dependencies></dependencyManagement>\n\
         <dependencies>\n{}</dependencies></project>\n",
        coordinates("service:service"),
        coordinates(bill.0),
        bill.1,
        dependencies.concat()
    );
    once(folder, &wanted, || {
        println!("installing for Java: {} {}", artifacts.join(" "), bill.1);
        fs::write(folder.join("pom.xml"), &wanted)?;
        let mut command = Command::new("mvn");
        command
            .args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "-DoutputDirectory=lib"])
            .current_dir(folder);
        stage::silent(&mut command)
    })
}

/// Compiles these files against `lib` of the folder: `classes` in it.
pub(crate) fn javac(folder: &Path, files: &[&Path], flags: &[&str]) -> Result<()> {
    let mut command = Command::new("javac");
    command
        .args(flags)
        .arg("-cp")
        .arg(folder.join("lib/*"))
        .arg("-d")
        .arg(folder.join("classes"))
        .args(files);
    stage::silent(&mut command)
}
