//! Embeds the pages: `ui/dist` and `ui/dist-export`, which `npm run build` makes in `ui`. Without them the viewer says
//! how to build them.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

fn main() {
    if let Err(error) = embed() {
        println!("cargo:error=cannot embed the pages: {error}");
    }
}

fn embed() -> io::Result<()> {
    let ui = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("ui");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let (pages, export) = (ui.join("dist"), ui.join("dist-export"));
    for directory in [&pages, &export] {
        // Cargo runs this program again at each build while a directory that it names is missing.
        let _ = fs::create_dir_all(directory);
        println!("cargo:rerun-if-changed={}", directory.display());
    }
    let mut files = Vec::new();
    list(&pages, &mut files)?;
    files.sort();
    let mut table = "&[\n".to_owned();
    for (number, file) in files.iter().enumerate() {
        let bytes = fs::read(file)?;
        let name = file.strip_prefix(&pages).unwrap_or(file).to_string_lossy().replace('\\', "/");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        let gzip = encoder.finish()?;
        // Images and the like do not get smaller.
        let gzip = if gzip.len() < bytes.len() {
            let path = out.join(format!("{number}.gz"));
            fs::write(&path, gzip)?;
            format!("Some(include_bytes!({path:?}))")
        } else {
            "None".to_owned()
        };
        // The pages may be built anew while this crate is compiled.
        let copy = out.join(format!("{number}.page"));
        fs::write(&copy, &bytes)?;
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let tag = hasher.finish();
        table += &format!(
            "    File {{ name: {name:?}, bytes: include_bytes!({copy:?}), gzip: {gzip}, tag: \"{tag:016x}\" }},\n"
        );
    }
    table += "]\n";
    fs::write(out.join("pages.rs"), table)?;
    let page = export.join("index.html");
    let page = match fs::read(&page) {
        Ok(bytes) => {
            let copy = out.join("export.page");
            fs::write(&copy, bytes)?;
            format!("Some(include_str!({copy:?}))\n")
        }
        Err(_) => "None\n".to_owned(),
    };
    fs::write(out.join("export.rs"), page)
}

/// Every file under a directory.
fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
