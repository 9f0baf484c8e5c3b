//! Times and sizes as people write them in a configuration: `500ms`, `5m`, `8MiB`.

#![forbid(unsafe_code)]

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time: a number and `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Time(pub Duration);

/// A number of bytes: a number, alone or with `KiB`, `MiB`, `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Size(pub u64);

const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];

/// Longest time, milliseconds: a year. Instants can be that far apart.
const LONGEST: u64 = 365 * 24 * 3_600_000;
/// Largest size: what the address space of a process holds.
const LARGEST: u64 = 1 << 47;

/// The number before a unit, times the unit.
fn scaled(text: &str, units: &[(&str, u64)], most: u64) -> Result<u64, Scaling> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = units.iter().find(|(name, _)| *name == unit.trim());
    let (_, scale) = unit.filter(|_| !number.is_empty()).ok_or(Scaling::Malformed)?;
    // A number of digits that does not fit is too large.
    let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*scale));
    value.filter(|value| *value <= most).ok_or(Scaling::TooLarge)
}

/// Why a text is no value.
enum Scaling {
    Malformed,
    TooLarge,
}

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match scaled(text.trim(), &TIMES, LONGEST) {
            Ok(ms) => Ok(Self(Duration::from_millis(ms))),
            Err(Scaling::Malformed) => Err(format!("{text:?} is not a time such as 500ms, 5s, 5m or 1h")),
            Err(Scaling::TooLarge) => {
                Err(format!("{text:?} is too long: at most {} is allowed", Self::LONGEST))
            }
        }
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match scaled(text.trim(), &SIZES, LARGEST) {
            Ok(bytes) => Ok(Self(bytes)),
            Err(Scaling::Malformed) => {
                Err(format!("{text:?} is not a size such as 65536 (bytes), 64KiB, 8MiB or 1GiB"))
            }
            Err(Scaling::TooLarge) => {
                Err(format!("{text:?} is too large: at most {} is allowed", Self(LARGEST)))
            }
        }
    }
}

impl TryFrom<String> for Time {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn shown(value: u64, units: &[(&str, u64)], smallest: &str) -> String {
    let fits = units
        .iter()
        .rev()
        .filter(|(name, _)| !name.is_empty())
        .find(|(_, scale)| value >= *scale && value.is_multiple_of(*scale));
    fits.map_or_else(|| format!("{value}{smallest}"), |(name, scale)| format!("{}{name}", value / scale))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0.as_millis().try_into().unwrap_or(u64::MAX), &TIMES, "ms"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0, &SIZES, ""))
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl Time {
    /// The longest that is allowed.
    pub const LONGEST: Self = Self::from_ms(LONGEST);

    /// From milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// In nanoseconds.
    pub fn as_ns(self) -> u64 {
        self.0.as_nanos().try_into().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_and_written() {
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Time::from_ms(ms)));
        }
        assert_eq!(Time::from_ms(300_000).to_string(), "5m");
        assert_eq!(Time::from_ms(1_500).to_string(), "1500ms");
        assert_eq!("8MiB".parse(), Ok(Size(8 << 20)));
        assert_eq!(Size(65_537).to_string(), "65537");
        assert_eq!(Size(1 << 16).to_string(), "64KiB");
        for bad in ["", "5", "s", "-1s", "5 weeks", "ä"] {
            assert!(bad.parse::<Time>().expect_err(bad).contains("not a time such as"), "{bad}");
        }
        for long in ["8761h", "99999999999999999999h", "18446744073709551615ms"] {
            let error = long.parse::<Time>().expect_err(long);
            assert_eq!(error, format!("{long:?} is too long: at most 8760h is allowed"));
        }
        for large in ["1000000GiB", "99999999999999999999"] {
            let error = large.parse::<Size>().expect_err(large);
            assert_eq!(error, format!("{large:?} is too large: at most 131072GiB is allowed"));
        }
    }
}
