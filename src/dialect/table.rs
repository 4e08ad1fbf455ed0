//! The table of one form in one dialect: what is written for a state, what is read as which, and what takes the place of a
//! state that the form cannot hold. All of it is data from mapping files; every row knows its line.

use std::sync::Arc;

use super::Why;
use super::state::{Cell, State};
use super::wire::{Wire, Word, token};
use crate::presence::Basic;

/// Where a row is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The file.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// What is written for a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The record.
    pub wire: Wire,
    /// What the note starts with.
    pub word: Option<Box<str>>,
    /// What the note starts with when it would be taken for a state otherwise.
    pub unclear: Option<Box<str>>,
    /// Where this is written.
    pub line: Line,
}

/// Whole numbers from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub from: u32,
    /// The highest.
    pub to: u32,
}

impl Range {
    fn has(self, number: Option<u32>) -> bool {
        number.is_some_and(|n| (self.from..=self.to).contains(&n))
    }
}

/// What is read as a state: every condition that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The state.
    pub is: Cell,
    /// Open, closed, or neither of them.
    pub basic: Option<Option<Basic>>,
    /// Any of these activities.
    pub has: Option<Vec<Box<str>>>,
    /// Any of these as text.
    pub text: Option<Vec<Box<str>>>,
    /// Any of these at the start of the note; it is taken off.
    pub note: Option<Vec<Box<str>>>,
    /// Input or none.
    pub idle: Option<bool>,
    /// Out of office or not.
    pub out_of_office: Option<bool>,
    /// Telephones only or not.
    pub phone: Option<bool>,
    /// `availability@aggregate`.
    pub availability: Option<Range>,
    /// `activity@aggregate`.
    pub activity: Option<Range>,
    /// The number of 2007.
    pub number: Option<Range>,
    /// Where this is written.
    pub line: Line,
}

/// What a form carries besides the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    /// The note.
    pub note: bool,
    /// Since when idle.
    pub since: bool,
    /// Set by hand.
    pub manual: bool,
    /// On a mobile device.
    pub mobile: bool,
    /// Out of office.
    pub out_of_office: bool,
    /// The name.
    pub display_name: bool,
    /// What can be done.
    pub capabilities: bool,
}

/// One form of one dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Rows by [`Cell::index`].
    pub write: [Option<Write>; Cell::ALL.len()],
    /// What stands for a state without a row.
    pub nearest: [Option<(Cell, Line)>; Cell::ALL.len()],
    /// Rows, the first that fits decides.
    pub read: Vec<Read>,
    /// What else is carried.
    pub keeps: Keeps,
    /// Only the first tuple counts.
    pub first_tuple: bool,
    /// The namespaces of the draft of 2002, and nothing newer.
    pub draft: bool,
}

/// What separates a word from the note behind it.
const DASH: &str = " - ";

impl Table {
    /// The state that is shown for one, and where that is written when it is another.
    #[must_use]
    pub fn held(&self, cell: Cell) -> Option<(Cell, Option<&Line>)> {
        let (mut at, mut line) = (cell, None);
        for _ in Cell::ALL {
            if self.write[at.index()].is_some() {
                return Some((at, line));
            }
            let (next, place) = self.nearest[at.index()].as_ref()?;
            (at, line) = (*next, Some(place));
        }
        None
    }

    /// What the form makes of a state: the nearest that it can hold.
    #[must_use]
    pub fn nearest(&self, state: &State) -> State {
        let keeps = self.keeps;
        let cell = self.held(state.cell).map_or(Cell::Unknown, |(cell, _)| cell);
        let text = |kept: bool, text: &Option<String>| text.clone().filter(|_| kept);
        State {
            cell,
            manual: state.manual && keeps.manual,
            mobile: state.mobile && keeps.mobile,
            out_of_office: state.out_of_office && keeps.out_of_office,
            since: text(keeps.since, &state.since),
            note: text(keeps.note, &state.note),
            display_name: text(keeps.display_name, &state.display_name),
            capabilities: if keeps.capabilities {
                state.capabilities
            } else {
                Default::default()
            },
        }
        .normal()
    }

    /// What is written for a state, with the lines that say so. A state that nothing stands for is unknown.
    #[must_use]
    pub fn encode(&self, state: &State, why: &mut Vec<Why>) -> Wire {
        let held = self.held(state.cell);
        let row = held.and_then(|(cell, _)| self.write[cell.index()].as_ref());
        let Some(((cell, fallback), row)) = held.zip(row) else {
            return Wire::default();
        };
        let shown = self.nearest(state);
        if let Some(line) = fallback {
            why.push(line.why(format!("{} is shown as {}", state.cell.name(), cell.name())));
        }
        why.push(row.line.why(format!("{} is written so", cell.name())));
        let mut wire = row.wire.clone();
        wire.out_of_office |= shown.out_of_office && self.keeps.out_of_office;
        (wire.manual, wire.mobile) = (shown.manual, shown.mobile);
        (wire.since, wire.display_name) = (shown.since.clone(), shown.display_name.clone());
        wire.capabilities = shown.capabilities;
        wire.note = prefixed(row.word.as_deref(), shown.note.as_deref());
        if row.unclear.is_some() && self.decode(&wire, &mut Vec::new()) != shown {
            wire.note = prefixed(row.unclear.as_deref(), shown.note.as_deref());
        }
        wire
    }

    /// What a record means, with the line that says so. What no row fits is unknown.
    #[must_use]
    pub fn decode(&self, wire: &Wire, why: &mut Vec<Why>) -> State {
        let note = wire.note.as_deref();
        let found = self.read.iter().find_map(|row| Some((row, row.fits(wire)?)));
        let (cell, note) = match found {
            Some((row, rest)) => {
                why.push(row.line.why(format!("read as {}", row.is.name())));
                (row.is, rest)
            }
            None => (Cell::Unknown, note),
        };
        State {
            cell,
            manual: wire.manual,
            mobile: wire.mobile,
            out_of_office: wire.out_of_office,
            since: wire.since.clone(),
            note: note.map(ToOwned::to_owned),
            display_name: wire.display_name.clone(),
            capabilities: wire.capabilities,
        }
        .normal()
    }

    /// Whether a word plays a part in this table.
    #[must_use]
    pub fn knows(&self, word: &Word) -> bool {
        let read = self.read.iter().flat_map(|row| row.has.iter().flatten());
        let written = self.write.iter().flatten().flat_map(|row| &row.wire.activities);
        read.into_iter()
            .any(|pattern| **pattern != *"other" && word.fits(pattern))
            || written.into_iter().any(|w| w == word)
    }
}

impl Read {
    /// What is left of the note when the row fits.
    fn fits<'w>(&self, wire: &'w Wire) -> Option<Option<&'w str>> {
        let note = wire.note.as_deref();
        let (head, rest) = note.map_or((None, None), |n| match n.split_once(DASH) {
            Some((head, rest)) => (Some(head), Some(rest)),
            None => (Some(n), None),
        });
        let ranges = [
            (self.availability, wire.availability),
            (self.activity, wire.activity),
            (self.number, wire.number),
        ];
        let any = |list: &Option<Vec<Box<str>>>, text: Option<&str>| {
            list.as_ref()
                .is_none_or(|l| text.map(token).is_some_and(|t| l.iter().any(|w| token(w) == t)))
        };
        let has = |list: &Vec<Box<str>>| wire.activities.iter().any(|w| list.iter().any(|p| w.fits(p)));
        let fits = self.basic.is_none_or(|b| b == wire.basic)
            && self.has.as_ref().is_none_or(has)
            && any(&self.text, wire.text.as_deref())
            && any(&self.note, head)
            && self.idle.is_none_or(|i| i == (wire.idle == Some(true)))
            && self.out_of_office.is_none_or(|o| o == wire.out_of_office)
            && self.phone.is_none_or(|p| p == wire.phone)
            && ranges
                .iter()
                .all(|(range, number)| range.is_none_or(|r| r.has(*number)));
        fits.then_some(if self.note.is_some() { rest } else { note })
    }
}

impl Line {
    fn why(&self, what: String) -> Why {
        Why {
            file: Arc::clone(&self.file),
            line: self.line,
            what: what.into(),
        }
    }
}

fn prefixed(word: Option<&str>, note: Option<&str>) -> Option<String> {
    match (word, note) {
        (Some(word), Some(note)) => Some(format!("{word}{DASH}{note}")),
        (word, note) => word.or(note).map(ToOwned::to_owned),
    }
}
