//! The screen: what is drawn on it, and how it is given back.

use std::{
    io,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyEventKind},
    style::{Color, Modifier, Style as Face},
    text::{Line, Span},
    widgets::Paragraph,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, getpid, kill_process},
};

use super::{
    super::{
        outcome::{FAILURE, Failure},
        source::Source,
    },
    feed::{Feed, Seen, nothing},
    rows::shown,
    state::{State, Wish},
    table::{Look, Table},
};
use crate::{
    agent::signals,
    sink::terminal::{
        Style,
        escape::{ascii, columns, fit, printable},
        row::clock_time,
    },
    units::Time,
};

/// So long a key or a signal may wait.
const TICK: Duration = Duration::from_millis(100);
/// Lines that are not rows: title, heads, keys.
const FRAME_LINES: usize = 3;
/// Answers that are older than this are told with their age.
const OLD: Duration = Duration::from_secs(5);

/// Shows the numbers until a person or a signal ends it.
pub(super) fn show(
    source: Source,
    window: Time,
    state: State,
    seen: Seen,
    style: Style,
) -> Result<(), Failure> {
    let mut screen =
        Screen { source: source.name(), window, state, seen, seen_at: Instant::now(), error: None, style };
    let feed = Feed::start(source, screen.state.service.clone(), window.as_ns() / 1000)
        .map_err(|error| unusable(&error))?;
    // No signal ends the process before the terminal is as it was.
    signals::relay(true);
    let shown = Taken::take().and_then(|mut taken| screen.run(&mut taken, &feed));
    signals::stop_relaying();
    match shown {
        // Nobody is there to be told.
        Err(_) if has_gone(Duration::ZERO) => Ok(()),
        shown => shown.map_err(|error| unusable(&error)),
    }
}

/// Whether the terminal has gone. Waits so long for that, for a key, or for a signal.
fn has_gone(limit: Duration) -> bool {
    let input = io::stdin();
    let mut keys = [PollFd::new(&input, PollFlags::IN)];
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    // It fails if a signal comes.
    let is_there = poll(&mut keys, Some(&limit)).is_ok_and(|ready| ready > 0);
    is_there && keys[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

/// The terminal while it is ours: it is given back whatever happens. A panic gives it back before it is told.
struct Taken {
    /// None while it is given back.
    terminal: Option<DefaultTerminal>,
}

impl Taken {
    fn take() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal: Some(terminal) }),
            Err(error) => {
                // It may be ours by half.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        terminal.draw(|frame| screen.draw(frame))?;
        Ok(())
    }

    fn give_back(&mut self) {
        if let Some(mut terminal) = self.terminal.take()
            && terminal.show_cursor().is_err()
        {
            // It has gone, and standard error with it: the library would tell that there, and fail at it.
            std::mem::forget(terminal);
        }
        // A terminal that has gone needs nothing.
        let _ = ratatui::try_restore();
    }

    /// Gives the terminal back and stops, until a shell goes on with us.
    fn stand_still(&mut self) -> io::Result<()> {
        self.give_back();
        kill_process(getpid(), Signal::STOP)?;
        // A new one draws all of the screen.
        self.terminal = Some(ratatui::try_init()?);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.give_back();
    }
}

struct Screen {
    source: String,
    window: Time,
    state: State,
    seen: Seen,
    seen_at: Instant,
    /// Why there is no newer answer.
    error: Option<String>,
    style: Style,
}

impl Screen {
    fn run(&mut self, taken: &mut Taken, feed: &Feed) -> io::Result<()> {
        loop {
            taken.draw(self)?;
            let wish = self.wait(feed)?;
            match wish {
                Wish::Nothing => {}
                Wish::Other => feed.want(self.state.service.clone()),
                Wish::Stop => taken.stand_still()?,
                Wish::End => return Ok(()),
            }
        }
    }

    /// Waits until there is something new to draw.
    fn wait(&mut self, feed: &Feed) -> io::Result<Wish> {
        loop {
            while let Some(signal) = signals::take() {
                if signals::is_ending(signal) || signal == libc::SIGQUIT {
                    return Ok(Wish::End);
                }
                if signal == libc::SIGTSTP {
                    return Ok(Wish::Stop);
                }
            }
            match feed.take()? {
                // An answer to what was wanted before comes too late.
                Some(Ok(seen)) if seen.service == self.state.service => {
                    self.seen = seen;
                    self.seen_at = Instant::now();
                    self.error = None;
                    return Ok(Wish::Nothing);
                }
                Some(Err(error)) => {
                    self.error = Some(error);
                    return Ok(Wish::Nothing);
                }
                Some(Ok(_)) | None => {}
            }
            // A terminal that has gone is never read: crossterm would try again and again.
            if has_gone(Duration::ZERO) {
                return Ok(Wish::End);
            }
            if !event::poll(Duration::ZERO)? {
                has_gone(TICK);
                if self.seen_at.elapsed() > OLD {
                    return Ok(Wish::Nothing);
                }
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let rows = shown(&self.seen.rows, &self.state.filter, self.state.sort);
                    // While the answer is awaited, there are no rows to choose from.
                    let rows = if self.seen.service == self.state.service { rows } else { Vec::new() };
                    return Ok(self.state.press(key, &rows));
                }
                Event::Resize(..) => return Ok(Wish::Nothing),
                _ => {}
            }
        }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let lines = self.lines(usize::from(area.width), usize::from(area.height));
        frame.render_widget(Paragraph::new(lines), area);
    }

    /// All lines of the screen, from its first to its last.
    fn lines(&mut self, width: usize, height: usize) -> Vec<Line<'static>> {
        let is_awaited = self.seen.service != self.state.service;
        let rows = shown(&self.seen.rows, &self.state.filter, self.state.sort);
        let at = self.state.place(if is_awaited { &[] } else { &rows });
        let room = height.saturating_sub(FRAME_LINES);
        let title = title(&self.source, self.window, &self.state, &self.seen, is_awaited);
        let mut lines = vec![self.line(vec![(fit(&title, width), Modifier::BOLD.into())])];
        if is_awaited || rows.is_empty() {
            let message = match () {
                () if is_awaited => "…".to_owned(),
                () if self.seen.rows.is_empty() => {
                    printable(&nothing(&self.source, &self.window.to_string(), &self.seen), 400)
                }
                () => "no name holds the filter: Esc clears it".to_owned(),
            };
            lines.push(Line::default());
            let told = wrapped(&message, width);
            lines.extend(told.into_iter().map(|text| self.line(vec![(text, Face::default())])));
        } else {
            let table = Table::new(&rows, self.state.sort, self.state.service.is_some(), width);
            lines.push(self.line(vec![(fit(&table.head(), width), Modifier::DIM.into())]));
            // The chosen row is on the screen.
            let first = (at + 1).saturating_sub(room);
            for (index, row) in rows.iter().enumerate().skip(first).take(room) {
                let cells = table.row(row).into_iter().map(|(text, look)| (text, self.face(look))).collect();
                let mut line = self.line(cells);
                if index == at {
                    line = line.style(Modifier::REVERSED);
                }
                lines.push(line);
            }
        }
        lines.resize(height.saturating_sub(1), Line::default());
        lines.push(self.foot(width));
        lines
    }

    /// The last line: what is typed, what is wrong, or the keys.
    fn foot(&self, width: usize) -> Line<'static> {
        let age = self.seen_at.elapsed();
        let (text, face) = match &self.error {
            _ if self.state.is_typing => (
                format!("filter: {}█  Enter keeps it, Esc clears it", printable(&self.state.filter, 400)),
                Face::default(),
            ),
            Some(error) => {
                let text = format!("{} s old: {}", age.as_secs(), printable(error, 400));
                (text, self.face(Look::Error))
            }
            None if age > OLD => (
                format!("these numbers are {} s old: waiting for an answer", age.as_secs()),
                self.face(Look::Error),
            ),
            None => (keys(width, self.state.service.is_some()), Modifier::DIM.into()),
        };
        self.line(vec![(fit(&text, width), face)])
    }

    fn line(&self, cells: Vec<(String, Face)>) -> Line<'static> {
        let cells = cells
            .into_iter()
            .map(|(text, face)| Span::styled(if self.style.ascii { ascii(&text) } else { text }, face));
        Line::from_iter(cells)
    }

    fn face(&self, look: Look) -> Face {
        match look {
            Look::Error if self.style.color => Face::new().fg(Color::Red),
            Look::Plain | Look::Error => Face::default(),
            Look::Dim => Modifier::DIM.into(),
        }
    }
}

/// What is shown: of where, of when.
fn title(source: &str, window: Time, state: &State, seen: &Seen, is_awaited: bool) -> String {
    let what = match &state.service {
        Some(service) => format!("operations of {}", printable(service, 40)),
        None => "services".to_owned(),
    };
    let until = clock_time(seen.window.end_unix_us.saturating_mul(1000));
    let until = until.split('.').next().unwrap_or_default();
    let filter = match state.filter.as_str() {
        "" => String::new(),
        filter => format!("  with {:?}", printable(filter, 40)),
    };
    let count = if is_awaited { String::new() } else { format!(": {}", seen.rows.len()) };
    format!("{what}{count}{filter}  {window} until {until}  {}", printable(source, 80))
}

/// A text in lines of so many columns, broken between words. A word that is longer than a line is cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| fit(&line, width)).collect()
}

/// The keys, as many as there is room for.
fn keys(width: usize, has_service: bool) -> String {
    let go = if has_service { "Esc back" } else { "Enter operations" };
    let all = [
        "q quit",
        go,
        "/ filter",
        "sort: r req/s",
        "e errors",
        "5 p50",
        "9 p95",
        "p p99",
        "n name",
        "again: reverse",
    ];
    let mut text = String::new();
    for key in all {
        let gap = if text.is_empty() { "" } else { "  " };
        if columns(&text) + gap.len() + key.len() > width {
            break;
        }
        text = text + gap + key;
    }
    text
}

/// The terminal cannot be used.
fn unusable(error: &io::Error) -> Failure {
    Failure::new(FAILURE, format!("cannot draw on this terminal: {error}; --json prints the numbers once"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::flags::SortKey,
            rows::{Row, Sort, tests::row},
        },
        *,
    };

    fn screen(rows: Vec<Row>) -> Screen {
        Screen {
            source: "http://127.0.0.1:8377".to_owned(),
            window: Time::from_ms(60_000),
            state: State::new(Sort::new(SortKey::Rate), None),
            seen: Seen::of(None, rows),
            seen_at: Instant::now(),
            error: None,
            style: Style { color: false, ascii: false, columns: || 80 },
        }
    }

    /// The lines, and the place of the one that is chosen.
    fn drawn(screen: &mut Screen, width: usize, height: usize) -> (Vec<String>, Option<usize>) {
        let lines = screen.lines(width, height);
        let chosen = lines.iter().position(|line| line.style.add_modifier.contains(Modifier::REVERSED));
        (lines.iter().map(ToString::to_string).collect(), chosen)
    }

    #[test]
    fn a_narrow_screen_without_rows_still_tells_all_of_what_to_do() {
        let (lines, _) = drawn(&mut screen(Vec::new()), 30, 12);
        assert!(lines.iter().all(|line| columns(line) <= 30), "{lines:?}");
        let text: Vec<&str> = lines[2..].iter().map(|line| line.trim_end()).collect();
        assert!(
            text.join(" ").contains("no spans of the last 1m: --window 1h looks further back"),
            "{text:?}"
        );
    }

    fn many(rows: u32) -> Vec<Row> {
        (0..rows).map(|n| row(&format!("service-{n:03}"), f64::from(rows - n), u64::from(n % 2), 5)).collect()
    }

    #[test]
    fn every_size_of_the_terminal_is_filled_and_no_more() {
        for (width, height) in [(200, 50), (120, 30), (80, 24), (60, 10), (20, 4), (5, 2), (1, 1)] {
            let (lines, _) = drawn(&mut screen(many(100)), width, height);
            assert_eq!(lines.len(), height.max(1), "{width}x{height}");
            // What is wider than the terminal is cut by the screen; titles and keys are not.
            assert!(columns(&lines[0]) <= width, "{width}x{height}: {lines:?}");
            assert!(columns(&lines[lines.len() - 1]) <= width, "{width}x{height}: {lines:?}");
        }
    }

    #[test]
    fn the_chosen_row_is_on_the_screen() {
        let mut screen = screen(many(100));
        assert_eq!(drawn(&mut screen, 80, 10).1, Some(2));
        let rows = shown(&screen.seen.rows, "", screen.state.sort);
        let end = ratatui::crossterm::event::KeyCode::End.into();
        screen.state.press(end, &rows);
        let (lines, chosen) = drawn(&mut screen, 80, 10);
        assert_eq!(chosen, Some(8));
        assert!(lines[8].starts_with("service-099 "), "{lines:?}");
    }

    #[test]
    fn nothing_to_show_says_what_to_do() {
        let (lines, chosen) = drawn(&mut screen(Vec::new()), 120, 5);
        assert_eq!(chosen, None);
        let expected = "http://127.0.0.1:8377 has no spans of the last 1m: --window 1h looks further back";
        assert_eq!(lines[2].trim_end(), expected);
        assert!(
            lines[4].starts_with("q quit  Enter operations  / filter  sort: r req/s  e errors"),
            "{lines:?}"
        );
        let mut filtered = screen(many(1));
        filtered.state.filter = "x".to_owned();
        assert_eq!(drawn(&mut filtered, 80, 5).0[2].trim_end(), "no name holds the filter: Esc clears it");
    }

    #[test]
    fn an_answer_that_fails_is_told_and_the_numbers_stay() {
        let mut screen = screen(many(2));
        screen.error = Some("no viewer answers\u{1b}[2J".to_owned());
        let (lines, _) = drawn(&mut screen, 80, 6);
        assert!(lines[2].starts_with("service-000 "), "{lines:?}");
        assert_eq!(lines[5].trim_end(), "0 s old: no viewer answers\\u{1b}[2J");
    }

    #[test]
    fn rows_of_another_service_are_not_shown_while_its_own_are_awaited() {
        let mut screen = screen(many(2));
        screen.state.service = Some("\u{1b}shop".to_owned());
        let (lines, chosen) = drawn(&mut screen, 80, 6);
        assert!(lines[0].starts_with("operations of \\u{1b}shop  1m until "), "{lines:?}");
        assert_eq!((lines[2].trim_end(), chosen), ("…", None));
    }
}
