//! `openapi.json`, from which the front end's types are generated, says what the server does.

use std::{env, fs, path::Path};

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
