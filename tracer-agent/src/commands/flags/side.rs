//! A side of a comparison, as a person writes it.

#![forbid(unsafe_code)]

use std::{path::PathBuf, str::FromStr};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracer_model::answer::Window;

use crate::{clock::local_offset_seconds, units::Time};

const SECOND_US: i128 = 1_000_000;
const DAY_S: i64 = 86_400;

/// A side as it was written, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct SideText {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub side: SideSpec,
}

/// Which traces are a side.
#[derive(Clone, Debug, PartialEq)]
pub enum SideSpec {
    /// Those of a file, or of the store in a directory.
    Path(PathBuf),
    /// Those that began between two moments.
    Window(Moment, Moment),
    /// What a version of a service served.
    Version {
        /// The service.
        service: String,
        /// The version.
        version: String,
    },
}

/// A moment as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// It was left out.
    Open,
    /// So long before the end.
    Ago(Time),
    /// Seconds of today's day, on this machine's clock.
    Today(i64),
    /// Microseconds since 1970.
    At(u64),
}

impl FromStr for SideText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let side = if path.exists() {
            SideSpec::Path(path)
        } else if let Some((from, to)) = text.split_once("..") {
            SideSpec::Window(moment(from)?, moment(to)?)
        } else if let Some((service, version)) =
            text.split_once('@').filter(|(a, b)| !a.is_empty() && !b.is_empty())
        {
            SideSpec::Version { service: service.to_owned(), version: version.to_owned() }
        } else {
            return Err(
                "it is no SERVICE@VERSION, no window such as -30m..-15m or 14:00..14:10, and no file"
                    .to_owned(),
            );
        };
        Ok(Self { text: text.to_owned(), side })
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if text.is_empty() {
        return Ok(Moment::Open);
    }
    if let Some(ago) = text.strip_prefix('-') {
        return ago.parse().map(Moment::Ago).map_err(|error: String| format!("{text}: {error}"));
    }
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return u64::try_from(at.unix_timestamp_nanos() / 1000)
            .map(Moment::At)
            .map_err(|_| format!("{text} is before 1970"));
    }
    let mut numbers = text
        .split(':')
        .map(|number| number.parse::<i64>().ok().filter(|number| number.is_positive() || *number == 0));
    let clock = (numbers.next().flatten(), numbers.next().flatten(), numbers.next(), numbers.next());
    match clock {
        (Some(hour), Some(minute), second, None) if hour < 24 && minute < 60 => {
            match second.unwrap_or(Some(0)) {
                Some(second) if second < 60 => Ok(Moment::Today(hour * 3600 + minute * 60 + second)),
                _ => Err(not_a_moment(text)),
            }
        }
        _ => Err(not_a_moment(text)),
    }
}

fn not_a_moment(text: &str) -> String {
    format!("{text:?} is no moment: write -30m, 14:00, 14:00:30 or 2026-12-01T14:00:00Z")
}

/// The window between two moments; `end_us` is now, or the end of what is there.
///
/// # Errors
/// It ends before it begins.
pub fn window_between(from: Moment, to: Moment, end_us: u64) -> Result<Window, String> {
    const DAY_US: u64 = DAY_S as u64 * 1_000_000;
    let mut start_unix_us = resolved(from, end_us).unwrap_or(0);
    let mut end_unix_us = resolved(to, end_us).unwrap_or(u64::MAX);
    let is_time = |moment| matches!(moment, Moment::Today(_));
    if is_time(from) && start_unix_us > end_us {
        // It is not that time yet: yesterday's is meant.
        start_unix_us = start_unix_us.saturating_sub(DAY_US);
        end_unix_us = if is_time(to) { end_unix_us.saturating_sub(DAY_US) } else { end_unix_us };
    }
    if is_time(from) && is_time(to) && start_unix_us >= end_unix_us {
        // Over midnight: to today's time, or to the first after that from yesterday.
        match start_unix_us.checked_sub(DAY_US) {
            Some(earlier) if end_unix_us.saturating_add(DAY_US) > end_us => start_unix_us = earlier,
            _ => end_unix_us = end_unix_us.saturating_add(DAY_US),
        }
    }
    if start_unix_us >= end_unix_us {
        return Err("the window ends before it begins".to_owned());
    }
    Ok(Window { start_unix_us, end_unix_us })
}

fn resolved(moment: Moment, end_us: u64) -> Option<u64> {
    match moment {
        Moment::Open => None,
        Moment::At(us) => Some(us),
        Moment::Ago(time) => Some(end_us.saturating_sub(time.as_ns() / 1000)),
        Moment::Today(second) => {
            let now_s = i64::try_from(end_us / 1_000_000).unwrap_or(i64::MAX / 4);
            let offset = local_offset_seconds(now_s);
            let midnight_s = (now_s + offset).div_euclid(DAY_S) * DAY_S - offset;
            u64::try_from(i128::from(midnight_s + second) * SECOND_US).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(text: &str) -> Result<SideSpec, String> {
        text.parse::<SideText>().map(|side| side.side)
    }

    #[test]
    fn a_side_is_a_version_a_window_or_a_file() {
        let version = |service: &str, version: &str| {
            Ok(SideSpec::Version { service: service.to_owned(), version: version.to_owned() })
        };
        assert_eq!(side("shop@1.4.2"), version("shop", "1.4.2"));
        assert_eq!(side("shop@sha256@x"), version("shop", "sha256@x"));
        let ago = |text: &str| Moment::Ago(text.parse().expect("a time"));
        assert_eq!(side("-30m..-15m"), Ok(SideSpec::Window(ago("30m"), ago("15m"))));
        assert_eq!(side("-30m.."), Ok(SideSpec::Window(ago("30m"), Moment::Open)));
        assert_eq!(
            side("14:00..14:10:30"),
            Ok(SideSpec::Window(Moment::Today(50_400), Moment::Today(51_030)))
        );
        assert_eq!(
            side("1970-01-01T00:00:01Z..1970-01-01T01:00:02+01:00"),
            Ok(SideSpec::Window(Moment::At(1_000_000), Moment::At(2_000_000)))
        );
        assert_eq!(side("/proc/self/exe"), Ok(SideSpec::Path("/proc/self/exe".into())));
        for wrong in ["", "shop", "@1", "shop@", "25:00..26:00", "1:2:3:4..", "-5..", "a..b", "1:-2.."] {
            side(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_window_is_resolved_by_the_end() {
        let ago = |text: &str| Moment::Ago(text.parse().expect("a time"));
        let end_us = 10_000_000_000;
        let of = |from, to| {
            window_between(from, to, end_us).map(|window| (window.start_unix_us, window.end_unix_us))
        };
        assert_eq!(of(ago("2s"), ago("1s")), Ok((9_998_000_000, 9_999_000_000)));
        assert_eq!(of(Moment::Open, Moment::Open), Ok((0, u64::MAX)));
        of(ago("1s"), ago("2s")).expect_err("backward");
        let end_us = 1_700_000_000_000_000;
        let of = |from, to| {
            window_between(from, to, end_us).map(|window| (window.start_unix_us, window.end_unix_us))
        };
        let second = i64::try_from(end_us / 1_000_000).expect("small");
        let now = (second + local_offset_seconds(second)).rem_euclid(DAY_S);
        let clock = |after: i64| Moment::Today((now + after).rem_euclid(DAY_S));
        let minutes = |from: i64, to: i64| {
            let (start, end) = of(clock(from * 60), clock(to * 60)).expect("a window");
            (start as i64 / 60_000_000 - second / 60, (end - start) / 60_000_000)
        };
        for (from, to) in [(-20, -10), (-20, 10), (-600, -590), (-1430, -1420)] {
            assert_eq!(minutes(from, to), (from, (to - from) as u64), "{from} {to}");
        }
        let today = of(Moment::Today(0), Moment::Today(DAY_S - 1)).expect("a day");
        assert!(today.0 <= end_us && today.1 - today.0 == (DAY_S as u64 - 1) * 1_000_000, "{today:?}");
    }
}
