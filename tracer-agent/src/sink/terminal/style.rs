//! Colours, where they are wanted.

use super::row::Tone;

pub(crate) const DIM: &str = "\x1b[2m";
pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const RED: &str = "\x1b[31m";
pub(crate) const GREEN: &str = "\x1b[32m";
pub(crate) const YELLOW: &str = "\x1b[33m";
/// Of services, in the order in which a trace reaches them; red is for errors.
pub(super) const SERVICES: [&str; 5] = ["\x1b[36m", "\x1b[35m", "\x1b[34m", GREEN, YELLOW];

/// Whether the output has colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette(pub(crate) bool);

impl Palette {
    /// The text in a colour.
    pub(crate) fn text(self, color: &str, text: &str) -> String {
        if self.0 && !text.trim().is_empty() { format!("{color}{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The text of a status.
    pub(crate) fn status(self, tone: Tone, text: &str) -> String {
        let color = match tone {
            Tone::Fine => GREEN,
            Tone::Odd => YELLOW,
            Tone::Error => RED,
        };
        self.text(color, text)
    }
}
