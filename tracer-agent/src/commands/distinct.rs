//! Files of one command that must not be the same file: an output would empty a recording.

#![forbid(unsafe_code)]

use std::{os::unix::fs::MetadataExt, path::Path};

use super::outcome::{Failure, USAGE};

/// Refuses a command that uses one file for two purposes. Each path comes with its purpose; a purpose without a path
/// is left out.
pub(super) fn check(files: &[(&str, Option<&Path>)]) -> Result<(), Failure> {
    let named: Vec<(&str, &Path)> =
        files.iter().filter_map(|(purpose, path)| path.map(|path| (*purpose, path))).collect();
    for (index, (purpose, path)) in named.iter().enumerate() {
        if let Some((other, _)) = named[..index].iter().find(|(_, before)| is_same(before, path)) {
            let message = format!("the {other} and the {purpose} are the same file: {}", path.display());
            return Err(Failure::new(USAGE, message));
        }
    }
    Ok(())
}

/// Whether both paths name one regular file, by any of its names, or would make one.
fn is_same(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(_), Err(_)) => place(one).is_some_and(|at| place(other) == Some(at)),
        _ => false,
    }
}

/// Where a file would be made.
fn place(path: &Path) -> Option<std::path::PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_purpose_whatever_its_names_are() {
        let folder = std::env::temp_dir().join(format!("tracer-distinct-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("created");
        let path = |name: &str| folder.join(name);
        std::fs::write(path("file"), "x").expect("written");
        std::fs::hard_link(path("file"), path("second")).expect("linked");
        std::os::unix::fs::symlink(path("file"), path("link")).expect("linked");
        for (one, other, is_refused) in [
            ("file", "file", true),
            ("file", "./file", true),
            ("file", "second", true),
            ("file", "link", true),
            ("none", "none", true),
            ("none", "../none", false),
            ("none", "./none", true),
            ("file", "none", false),
            ("/dev/null", "/dev/null", false),
            ("/no/such/folder/a", "/no/such/folder/a", false),
        ] {
            let files = [("output", Some(path(one))), ("input", None), ("recording", Some(path(other)))];
            let checked = check(&files.each_ref().map(|(purpose, path)| (*purpose, path.as_deref())));
            let error = checked.err().map(|failure| failure.message);
            assert_eq!(error.is_some(), is_refused, "{one} and {other}");
            if let Some(error) = error {
                assert!(error.starts_with("the output and the recording are the same file: "), "{error}");
            }
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
