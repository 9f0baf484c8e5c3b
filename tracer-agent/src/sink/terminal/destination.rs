//! Where the output goes, and how it may look there.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use terminal_size::{Width, terminal_size_of};

use super::Format;
use crate::sink::outlet;

/// Columns of a terminal that does not tell, and of what is none.
const COLUMNS: usize = 120;

/// Where the output goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A file.
    File(PathBuf),
    /// Standard output.
    StandardOutput,
    /// Standard error.
    StandardError,
}

impl Destination {
    /// A file if there is one, else a standard stream.
    pub fn new(file: Option<&Path>, standard_error: bool) -> Self {
        match file {
            Some(path) => Self::File(path.to_owned()),
            None if standard_error => Self::StandardError,
            None => Self::StandardOutput,
        }
    }

    /// The file that the output goes to, if there is any output.
    pub fn path(&self, format: Format) -> Option<&Path> {
        match self {
            _ if format == Format::None => None,
            Self::File(path) => Some(path),
            Self::StandardOutput => Some(Path::new("/dev/stdout")),
            Self::StandardError => Some(Path::new("/dev/stderr")),
        }
    }

    /// Opens it; a FIFO only when something is written, since that waits for its reader. If nothing is written, nothing
    /// is opened: a file stays as it is.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(&self, format: Format) -> Result<Box<dyn Write + Send>, String> {
        if format == Format::None {
            return Ok(Box::new(io::sink()));
        }
        Ok(match self {
            Self::File(path) => outlet::create(path)
                .map_err(|error| format!("cannot write the output to {}: {error}", path.display()))?,
            Self::StandardOutput => Box::new(io::stdout()),
            Self::StandardError => Box::new(io::stderr()),
        })
    }

    /// Opens a file again, which may have been renamed since; none if it is no regular file.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn open_again(&self, format: Format) -> Result<Option<Box<dyn Write + Send>>, String> {
        let Self::File(path) = self else { return Ok(None) };
        if format == Format::None {
            return Ok(None);
        }
        outlet::open_again(path)
            .map_err(|error| format!("cannot open the output file {} again: {error}", path.display()))
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::StandardOutput => io::stdout().is_terminal(),
            Self::StandardError => io::stderr().is_terminal(),
        }
    }

    /// The form for a person who named none.
    pub fn format_for_people(&self) -> Format {
        if self.is_terminal() { Format::Tree } else { Format::Text }
    }

    /// How the output looks there, with colours or without.
    pub fn style(&self, color: bool) -> Style {
        Style {
            color,
            ascii: !is_unicode(&|name| std::env::var(name).ok()),
            columns: match self {
                Self::File(_) => without_terminal,
                Self::StandardOutput => || width_of(terminal_size_of(io::stdout())),
                Self::StandardError => || width_of(terminal_size_of(io::stderr())),
            },
        }
    }
}

/// How the output for people looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// With colours.
    pub color: bool,
    /// Only in ASCII.
    pub ascii: bool,
    /// Tells the columns of the terminal: a person changes them at any time.
    pub columns: fn() -> usize,
}

fn width_of(size: Option<(Width, terminal_size::Height)>) -> usize {
    // A terminal without a window, such as a serial line, has no columns.
    size.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0).unwrap_or_else(without_terminal)
}

fn without_terminal() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(COLUMNS)
}

/// Whether the locale can show more than ASCII. One that nobody set does not tell: containers have none,
/// and terminals have UTF-8.
fn is_unicode(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_counts() {
        let with = |set: &[(&str, &str)]| {
            is_unicode(&|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(&[]));
        assert!(with(&[("LANG", "de_DE.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!with(&[("LANG", "C")]));
        assert!(!with(&[("LC_ALL", "POSIX"), ("LANG", "en_US.UTF-8")]));
    }

    #[test]
    fn a_file_that_gets_no_output_stays_as_it_is() {
        let path = std::env::temp_dir().join(format!("tracer-ignored-{}", std::process::id()));
        std::fs::write(&path, "kept").expect("written");
        let destination = Destination::new(Some(&path), false);
        destination.open(Format::None).expect("nothing to open").write_all(b"lost").expect("ignored");
        assert!(destination.open_again(Format::None).expect("nothing to open").is_none());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "kept");
        destination.open(Format::Text).expect("a file");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_file_is_no_terminal() {
        let destination = Destination::new(Some(Path::new("/tmp/x")), true);
        assert!(!destination.is_terminal());
        assert!(matches!(Destination::new(None, true), Destination::StandardError));
    }
}
