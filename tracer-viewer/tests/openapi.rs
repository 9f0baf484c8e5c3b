//! `openapi.json`, from which the front end's types are generated, says what the server does.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

#[test]
fn the_description_on_disk_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let written = tracer_viewer::api::openapi::description();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &written).expect("openapi.json cannot be written");
    }
    let on_disk = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        on_disk == written,
        "openapi.json differs from the code: `UPDATE=1 cargo test -p tracer-viewer --test openapi` writes it"
    );
}

/// Two types of one name would be one schema: the one that is collected last.
#[test]
fn no_two_types_of_the_api_have_one_name() {
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut folders: Vec<PathBuf> = ["model", "store", "analysis", "viewer"]
        .map(|name| workspace.join(format!("tracer-{name}/src")))
        .into();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("source");
            // Attributes of a type stand between its derives and its name.
            for part in text.split("#[derive(").skip(1) {
                let (derived, rest) = part.split_once(")]").unwrap_or((part, ""));
                let line = rest
                    .lines()
                    .find(|line| line.starts_with("pub struct ") || line.starts_with("pub enum "));
                let name = line.and_then(|line| line.split([' ', '<', '(', ';']).nth(2));
                if let Some(name) = name.filter(|_| derived.contains("ToSchema")) {
                    let other = seen.insert(name.to_owned(), path.clone());
                    assert_eq!(other, None, "{name} is in {} too", path.display());
                }
            }
        }
    }
    assert!(seen.len() > 100, "{}", seen.len());
}
