//! Tables as written.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::Fault;
use crate::dialect::state::Cell;
use crate::dialect::table::{self, Keeps, Line, Range};
use crate::dialect::wire::{Wire, Word};
use crate::presence;

/// The table of one format.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// Nothing of the table of the dialect that is extended holds. Default: false.
    pub fresh: Option<bool>,
    /// The table of another format of this dialect is where this one starts: `pidf`, `pidf-text`, `cpim-pidf`, `xpidf` or
    /// `msrtc`, and before this one in that order. Default: none.
    #[schemars(with = "Option<String>")]
    pub like: Option<Spanned<String>>,
    /// What is carried besides the state: `note`, `since`, `manual`, `mobile`, `out-of-office`, `display-name`,
    /// `capabilities`. Default: nothing.
    pub keeps: Option<Vec<Kept>>,
    /// Only the first tuple counts, and only one is written. Default: false.
    pub first_tuple: Option<bool>,
    /// The namespaces of the draft of 2002 are written, and nothing newer. Default: false.
    pub draft: Option<bool>,
    /// What is written for each state that the format can hold.
    pub write: Cells<Write>,
    /// The state that is written instead, for each one that the format cannot hold.
    pub nearest: Cells<Cell>,
    /// What is read as which state; the first row whose conditions all hold decides.
    #[schemars(with = "Vec<Read>")]
    pub read: Vec<Spanned<Read>>,
}

/// Something that is carried besides the state.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// What the person says.
    Note,
    /// Since when idle.
    Since,
    /// Set by hand.
    Manual,
    /// On a mobile device.
    Mobile,
    /// An out-of-office answer is in force.
    OutOfOffice,
    /// How the person is called.
    DisplayName,
    /// What can be done.
    Capabilities,
}

/// Something for each state.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    default,
    rename_all = "kebab-case",
    bound = "T: Deserialize<'de>"
)]
pub struct Cells<T> {
    /// At the desk.
    #[schemars(with = "Option<T>")]
    pub available: Option<Spanned<T>>,
    /// No input for a while.
    #[schemars(with = "Option<T>")]
    pub idle: Option<Spanned<T>>,
    /// Not at the desk.
    #[schemars(with = "Option<T>")]
    pub away: Option<Spanned<T>>,
    /// Not at the desk for a short while.
    #[schemars(with = "Option<T>")]
    pub be_right_back: Option<Spanned<T>>,
    /// Not at the desk for a meal.
    #[schemars(with = "Option<T>")]
    pub out_to_lunch: Option<Spanned<T>>,
    /// On vacation.
    #[schemars(with = "Option<T>")]
    pub vacation: Option<Spanned<T>>,
    /// Not in the office.
    #[schemars(with = "Option<T>")]
    pub out_of_office: Option<Spanned<T>>,
    /// At the desk and busy.
    #[schemars(with = "Option<T>")]
    pub busy: Option<Spanned<T>>,
    /// On the telephone.
    #[schemars(with = "Option<T>")]
    pub on_the_phone: Option<Spanned<T>>,
    /// In a meeting.
    #[schemars(with = "Option<T>")]
    pub meeting: Option<Spanned<T>>,
    /// Wants to be left alone.
    #[schemars(with = "Option<T>")]
    pub dnd: Option<Spanned<T>>,
    /// Not reachable.
    #[schemars(with = "Option<T>")]
    pub offline: Option<Spanned<T>>,
    /// Nothing is known.
    #[schemars(with = "Option<T>")]
    pub unknown: Option<Spanned<T>>,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self {
            available: None,
            idle: None,
            away: None,
            be_right_back: None,
            out_to_lunch: None,
            vacation: None,
            out_of_office: None,
            busy: None,
            on_the_phone: None,
            meeting: None,
            dnd: None,
            offline: None,
            unknown: None,
        }
    }
}

impl<T> Cells<T> {
    /// In the order of [`Cell::ALL`].
    fn each(&self) -> impl Iterator<Item = (Cell, &Spanned<T>)> {
        let all = [
            &self.available,
            &self.idle,
            &self.away,
            &self.be_right_back,
            &self.out_to_lunch,
            &self.vacation,
            &self.out_of_office,
            &self.busy,
            &self.on_the_phone,
            &self.meeting,
            &self.dnd,
            &self.offline,
            &self.unknown,
        ];
        let cells = Cell::ALL.into_iter().zip(all);
        cells.filter_map(|(cell, at)| Some((cell, at.as_ref()?)))
    }
}

/// The basic status.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basic {
    /// Reachable.
    Open,
    /// Not reachable.
    Closed,
    /// Neither is said.
    None,
}

impl Basic {
    fn meant(self) -> Option<presence::Basic> {
        match self {
            Self::Open => Some(presence::Basic::Open),
            Self::Closed => Some(presence::Basic::Closed),
            Self::None => None,
        }
    }
}

/// What is written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Write {
    /// `open`, `closed` or `none`. Default: none.
    pub basic: Option<Basic>,
    /// Activities: a word of RPID, `own:dnd`, `other:text`, `{namespace}name`. Default: none.
    pub activities: Vec<String>,
    /// The activity as text (pidf-text, xpidf), or the token (msrtc, categories). Default: none.
    pub text: Option<String>,
    /// `true` writes user-input idle, `false` active. Default: neither.
    pub idle: Option<bool>,
    /// `availability@aggregate` (msrtc). Default: none.
    pub availability: Option<u32>,
    /// `activity@aggregate` (msrtc). Default: none.
    pub activity: Option<u32>,
    /// `state@avail` (msrtc) or `availability` (categories). Default: none.
    pub number: Option<u32>,
    /// Out of office is written. Default: only where it is so.
    pub oof: bool,
    /// What the note starts with. Default: nothing.
    pub word: Option<String>,
    /// What the note starts with when it would be read as another state otherwise. Default: nothing.
    pub unclear: Option<String>,
}

/// What is read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The state that it is read as.
    pub is: Cell,
    /// `open`, `closed` or `none`.
    pub basic: Option<Basic>,
    /// Any of these activities; a bare word fits in every namespace.
    pub has: Option<Vec<String>>,
    /// Any of these as text or token.
    pub text: Option<Vec<String>>,
    /// The note is, or starts with, any of these; that is taken off it.
    pub note: Option<Vec<String>>,
    /// User-input is idle, or is not.
    pub idle: Option<bool>,
    /// Out of office, or not.
    pub oof: Option<bool>,
    /// Only telephones speak, or not (see `phone_tuples`).
    pub phone: Option<bool>,
    /// `availability@aggregate` within FROM..TO.
    #[schemars(with = "Option<String>")]
    pub availability: Option<Spanned<String>>,
    /// `activity@aggregate` within FROM..TO.
    #[schemars(with = "Option<String>")]
    pub activity: Option<Spanned<String>>,
    /// The number of 2007 within FROM..TO: the larger of what the aggregates imply and what the states say.
    #[schemars(with = "Option<String>")]
    pub number: Option<Spanned<String>>,
}

impl Table {
    pub(super) fn apply(&self, base: table::Table, file: &Arc<str>, faults: &mut Vec<Fault>) -> table::Table {
        let mut table = if self.fresh == Some(true) {
            table::Table::default()
        } else {
            base
        };
        if let Some(kept) = &self.keeps {
            table.keeps = keeps(kept);
        }
        table.first_tuple = self.first_tuple.unwrap_or(table.first_tuple);
        table.draft = self.draft.unwrap_or(table.draft);
        for (cell, at) in self.nearest.each() {
            table.nearest[cell.index()] = Some((at.value, line(file, at)));
            table.write[cell.index()] = None;
        }
        for (cell, at) in self.write.each() {
            if let Some((_, twice)) = table.nearest[cell.index()].take().filter(|(_, l)| l.file == *file)
                && self.nearest.each().any(|(c, _)| c == cell)
            {
                let what = format!("`{}` is written, and has a nearest in line {}", cell.name(), twice.line);
                faults.push(Fault::at(at, what, "keep one of them"));
            }
            table.write[cell.index()] = Some(at.value.meant(line(file, at)));
        }
        let own: Vec<table::Read> = self
            .read
            .iter()
            .map(|at| at.value.meant(line(file, at), faults))
            .collect();
        table.read.splice(0..0, own);
        table
    }
}

fn keeps(list: &[Kept]) -> Keeps {
    let mut keeps = Keeps::default();
    for kept in list {
        match kept {
            Kept::Note => keeps.note = true,
            Kept::Since => keeps.since = true,
            Kept::Manual => keeps.manual = true,
            Kept::Mobile => keeps.mobile = true,
            Kept::OutOfOffice => keeps.out_of_office = true,
            Kept::DisplayName => keeps.display_name = true,
            Kept::Capabilities => keeps.capabilities = true,
        }
    }
    keeps
}

impl Write {
    fn meant(&self, line: Line) -> table::Write {
        let boxed = |text: &Option<String>| text.as_deref().map(Into::into);
        table::Write {
            wire: Wire {
                basic: self.basic.and_then(Basic::meant),
                activities: self.activities.iter().map(|a| Word::written(a)).collect(),
                text: boxed(&self.text),
                idle: self.idle,
                availability: self.availability,
                activity: self.activity,
                number: self.number,
                out_of_office: self.oof,
                ..Wire::default()
            },
            word: boxed(&self.word),
            unclear: boxed(&self.unclear),
            line,
        }
    }
}

impl Read {
    fn meant(&self, line: Line, faults: &mut Vec<Fault>) -> table::Read {
        let words = |list: &Option<Vec<String>>| {
            let all = list.as_ref()?.iter();
            Some(all.map(|w| w.as_str().into()).collect())
        };
        table::Read {
            is: self.is,
            basic: self.basic.map(Basic::meant),
            has: words(&self.has),
            text: words(&self.text),
            note: words(&self.note),
            idle: self.idle,
            out_of_office: self.oof,
            phone: self.phone,
            availability: range(self.availability.as_ref(), faults),
            activity: range(self.activity.as_ref(), faults),
            number: range(self.number.as_ref(), faults),
            line,
        }
    }
}

/// `300`, `300..399`, `300..`, `..399`.
fn range(at: Option<&Spanned<String>>, faults: &mut Vec<Fault>) -> Option<Range> {
    let at = at?;
    let text = at.value.trim();
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let end = |text: &str, open: u32| match text.trim() {
        "" => Some(open),
        digits => digits.parse().ok(),
    };
    let range = end(from, 0)
        .zip(end(to, u32::MAX))
        .filter(|(from, to)| from <= to && !text.is_empty());
    if range.is_none() {
        let help = "write 300, \"300..399\", \"300..\" or \"..399\"";
        faults.push(Fault::at(at, format!("`{text}` is no range of numbers"), help));
    }
    range.map(|(from, to)| Range { from, to })
}

fn line<T>(file: &Arc<str>, at: &Spanned<T>) -> Line {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Line {
        file: Arc::clone(file),
        line: small(at.referenced.line()),
        column: small(at.referenced.column()),
    }
}
