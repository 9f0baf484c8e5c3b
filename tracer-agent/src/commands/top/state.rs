//! What a person has chosen, and what keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tracer_model::answer::SpanKind;

use super::{
    super::flags::SortKey,
    rows::{Row, Sort},
};

/// Longest filter, characters.
const LONGEST_FILTER: usize = 100;
/// Rows of a leap.
const LEAP: usize = 10;

/// What a key asks for beyond the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    Nothing,
    /// Other rows: of another service, or of all.
    Other,
    /// To stand still in the background, as Ctrl-Z does.
    Stop,
    /// To end.
    End,
}

/// What a person has chosen.
pub(super) struct State {
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// Keys are letters of the filter.
    pub(super) is_typing: bool,
    /// The service whose operations are shown; none for the services.
    pub(super) service: Option<String>,
    /// The row that is chosen, which stays chosen where it goes.
    chosen: Option<(String, Option<SpanKind>)>,
    /// Its place.
    at: usize,
    /// The service that was chosen before its operations were opened.
    came_from: Option<String>,
}

impl State {
    pub(super) fn new(sort: Sort, service: Option<String>) -> Self {
        let came_from = service.clone();
        Self { sort, filter: String::new(), is_typing: false, service, chosen: None, at: 0, came_from }
    }

    /// The place of the row that is chosen, among these. One that has gone is followed by the one in its place.
    pub(super) fn place(&mut self, rows: &[&Row]) -> usize {
        let is_chosen = |row: &&Row| {
            self.chosen.as_ref().is_some_and(|(name, kind)| row.name == *name && row.kind == *kind)
        };
        let at = rows.iter().position(is_chosen).unwrap_or(self.at).min(rows.len().saturating_sub(1));
        // What nobody has moved to stays at the top, whoever is there.
        if self.chosen.is_some() {
            self.choose(rows, at);
        }
        self.at = at;
        at
    }

    fn choose(&mut self, rows: &[&Row], at: usize) {
        self.at = at.min(rows.len().saturating_sub(1));
        if let Some(row) = rows.get(self.at) {
            self.chosen = Some((row.name.clone(), row.kind));
        }
    }

    /// A key was pressed while these rows were shown.
    pub(super) fn press(&mut self, key: KeyEvent, rows: &[&Row]) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Wish::End,
                KeyCode::Char('z') => Wish::Stop,
                KeyCode::Char('u') if self.is_typing => {
                    self.filter.clear();
                    Wish::Nothing
                }
                _ => Wish::Nothing,
            };
        }
        if self.is_typing {
            self.typed(key.code);
            return Wish::Nothing;
        }
        let at = self.place(rows);
        match key.code {
            KeyCode::Char('q') => return Wish::End,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('r') => self.sort.choose(SortKey::Rate),
            KeyCode::Char('e') => self.sort.choose(SortKey::Errors),
            KeyCode::Char('5') => self.sort.choose(SortKey::P50),
            KeyCode::Char('9') => self.sort.choose(SortKey::P95),
            KeyCode::Char('p') => self.sort.choose(SortKey::P99),
            KeyCode::Char('n') => self.sort.choose(SortKey::Name),
            KeyCode::Down | KeyCode::Char('j') => self.choose(rows, at + 1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(rows, at.saturating_sub(1)),
            KeyCode::PageDown => self.choose(rows, at + LEAP),
            KeyCode::PageUp => self.choose(rows, at.saturating_sub(LEAP)),
            KeyCode::Home => self.choose(rows, 0),
            KeyCode::End => self.choose(rows, usize::MAX),
            KeyCode::Enter if self.service.is_none() => {
                if let Some(row) = rows.get(at) {
                    self.open(Some(row.name.clone()));
                    return Wish::Other;
                }
            }
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc if self.service.is_some() => {
                self.open(None);
                return Wish::Other;
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < LONGEST_FILTER => self.filter.push(c),
            _ => {}
        }
    }

    fn open(&mut self, service: Option<String>) {
        self.filter.clear();
        self.at = 0;
        self.chosen = None;
        match service {
            Some(_) => self.came_from.clone_from(&service),
            None => self.chosen = self.came_from.take().map(|name| (name, None)),
        }
        self.service = service;
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::rows::{shown, tests::row},
        *,
    };

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn press(state: &mut State, rows: &[Row], keys: &[KeyCode]) -> Wish {
        let mut wish = Wish::Nothing;
        for code in keys {
            let shown = shown(rows, &state.filter, state.sort);
            wish = state.press(key(*code), &shown);
        }
        wish
    }

    fn chosen(state: &mut State, rows: &[Row]) -> String {
        let shown = shown(rows, &state.filter, state.sort);
        let at = state.place(&shown);
        shown.get(at).map(|row| row.name.clone()).unwrap_or_default()
    }

    fn rows() -> [Row; 3] {
        [row("a", 3.0, 0, 1), row("b", 2.0, 1, 2), row("c", 1.0, 0, 3)]
    }

    fn fresh() -> State {
        State::new(Sort::new(SortKey::Rate), None)
    }

    #[test]
    fn the_chosen_row_stays_chosen_wherever_it_goes() {
        let (mut state, rows) = (fresh(), rows());
        assert_eq!(chosen(&mut state, &rows), "a");
        press(&mut state, &rows, &[KeyCode::Down]);
        assert_eq!(chosen(&mut state, &rows), "b");
        press(&mut state, &rows, &[KeyCode::Char('9')]);
        assert_eq!((state.sort.key, chosen(&mut state, &rows)), (SortKey::P95, "b".to_owned()));
        // It has gone: the one in its place is chosen.
        let rest = [rows[0].clone(), rows[2].clone()];
        assert_eq!(chosen(&mut state, &rest), "a");
        press(&mut state, &rows, &[KeyCode::End]);
        assert_eq!(chosen(&mut state, &rows), "a");
        press(&mut state, &rows, &[KeyCode::Up, KeyCode::PageUp, KeyCode::Home]);
        assert_eq!(chosen(&mut state, &rows), "c");
        assert_eq!(chosen(&mut state, &[]), "");
        press(&mut state, &[], &[KeyCode::Down, KeyCode::End, KeyCode::Enter]);
        assert_eq!(state.service, None);
    }

    #[test]
    fn enter_opens_a_service_and_escape_goes_back_to_it() {
        let (mut state, rows) = (fresh(), rows());
        assert_eq!(press(&mut state, &rows, &[KeyCode::Down, KeyCode::Enter]), Wish::Other);
        assert_eq!(state.service.as_deref(), Some("b"));
        let operations = [row("GET /", 1.0, 0, 1)];
        assert_eq!(press(&mut state, &operations, &[KeyCode::Enter]), Wish::Nothing);
        assert_eq!(state.service.as_deref(), Some("b"));
        assert_eq!(press(&mut state, &operations, &[KeyCode::Esc]), Wish::Other);
        assert_eq!((state.service.clone(), chosen(&mut state, &rows)), (None, "b".to_owned()));
    }

    #[test]
    fn keys_are_letters_while_a_filter_is_typed() {
        let (mut state, rows) = (fresh(), rows());
        assert_eq!(press(&mut state, &rows, &[KeyCode::Char('/'), KeyCode::Char('q')]), Wish::Nothing);
        assert_eq!((state.filter.as_str(), state.is_typing), ("q", true));
        press(&mut state, &rows, &[KeyCode::Backspace, KeyCode::Char('c'), KeyCode::Enter]);
        assert_eq!((state.filter.as_str(), state.is_typing), ("c", false));
        assert_eq!(chosen(&mut state, &rows), "c");
        press(&mut state, &rows, &[KeyCode::Esc]);
        assert_eq!(state.filter, "");
        press(&mut state, &rows, &[KeyCode::Char('/'), KeyCode::Char('x'), KeyCode::Esc]);
        assert_eq!((state.filter.as_str(), state.is_typing), ("", false));
        let many = [KeyCode::Char('x'); 2 * LONGEST_FILTER];
        press(&mut state, &rows, &[KeyCode::Char('/')]);
        press(&mut state, &rows, &many);
        assert_eq!(state.filter.len(), LONGEST_FILTER);
    }

    #[test]
    fn there_are_several_ways_out() {
        let (mut state, rows) = (fresh(), rows());
        assert_eq!(press(&mut state, &rows, &[KeyCode::Char('q')]), Wish::End);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        state.is_typing = true;
        assert_eq!(state.press(control('c'), &[]), Wish::End);
        assert_eq!(state.press(control('z'), &[]), Wish::Stop);
    }
}
