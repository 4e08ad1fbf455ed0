//! The canonical state of a person: what every dialect is translated to and from.

use schemars::JsonSchema;
use serde::Deserialize;

/// What somebody is doing: the cells of the algebra. Everything else of a [`State`] stands beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// Reachable, at the desk.
    Available,
    /// Reachable, the machine has not been touched for a while.
    Idle,
    /// Not at the desk.
    Away,
    /// Not at the desk for a short while.
    BeRightBack,
    /// Not at the desk for a meal.
    OutToLunch,
    /// On vacation.
    Vacation,
    /// Not in the office.
    OutOfOffice,
    /// At the desk and busy.
    Busy,
    /// Busy, on the telephone.
    OnThePhone,
    /// Busy, in a meeting.
    Meeting,
    /// Wants no calls and no messages.
    Dnd,
    /// Not reachable.
    Offline,
    /// Nothing is known.
    #[default]
    Unknown,
}

impl Cell {
    /// Every cell.
    pub const ALL: [Self; 13] = [
        Self::Available,
        Self::Idle,
        Self::Away,
        Self::BeRightBack,
        Self::OutToLunch,
        Self::Vacation,
        Self::OutOfOffice,
        Self::Busy,
        Self::OnThePhone,
        Self::Meeting,
        Self::Dnd,
        Self::Offline,
        Self::Unknown,
    ];

    /// What mapping files call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Idle => "idle",
            Self::Away => "away",
            Self::BeRightBack => "be-right-back",
            Self::OutToLunch => "out-to-lunch",
            Self::Vacation => "vacation",
            Self::OutOfOffice => "out-of-office",
            Self::Busy => "busy",
            Self::OnThePhone => "on-the-phone",
            Self::Meeting => "meeting",
            Self::Dnd => "dnd",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }

    /// The cell that mapping files call so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Its place in [`ALL`](Self::ALL).
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether the person can be reached: neither offline nor unknown.
    #[must_use]
    pub fn is_reachable(self) -> bool {
        !matches!(self, Self::Offline | Self::Unknown)
    }

    /// Whether the person is at least busy.
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Busy | Self::OnThePhone | Self::Meeting | Self::Dnd)
    }
}

/// What a person's devices can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Voice.
    pub audio: bool,
    /// Instant messages.
    pub text: bool,
    /// Pictures.
    pub video: bool,
}

/// Everything that is translated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// What the person is doing.
    pub cell: Cell,
    /// Set by hand.
    pub manual: bool,
    /// On a mobile device.
    pub mobile: bool,
    /// An out-of-office answer is in force. Always with [`Cell::OutOfOffice`]; away with it is that cell.
    pub out_of_office: bool,
    /// Since when idle (RFC 3339). Only with [`Cell::Idle`].
    pub since: Option<String>,
    /// What the person says.
    pub note: Option<String>,
    /// How the person is called.
    pub display_name: Option<String>,
    /// What can be done.
    pub capabilities: Capabilities,
}

/// Longest note kept, in characters.
pub const MAX_NOTE: usize = 1024;

impl State {
    /// The same meaning in one form only, with nothing that XML could not hold.
    #[must_use]
    pub fn normal(mut self) -> Self {
        if self.cell == Cell::Away && self.out_of_office {
            self.cell = Cell::OutOfOffice;
        }
        self.out_of_office |= self.cell == Cell::OutOfOffice;
        if self.cell == Cell::Unknown {
            (self.manual, self.out_of_office) = (false, false);
        }
        if !self.cell.is_reachable() {
            self.mobile = false;
            self.capabilities = Capabilities::default();
        }
        let idle = self.cell == Cell::Idle;
        self.since = self.since.filter(|s| idle && is_timestamp(s));
        self.note = self.note.as_deref().and_then(printable);
        self.display_name = self.display_name.as_deref().and_then(printable);
        self
    }
}

/// Text without control characters, with single blanks, or nothing when nothing is left.
#[must_use]
pub fn printable(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut gap = false;
    for c in text.chars().filter(|c| !is_forbidden(*c)).take(MAX_NOTE) {
        if c.is_whitespace() {
            gap = !out.is_empty();
            continue;
        }
        if core::mem::take(&mut gap) {
            out.push(' ');
        }
        out.push(c);
    }
    (!out.is_empty()).then_some(out)
}

/// What XML 1.0 cannot hold, or what would change how the text around it reads.
fn is_forbidden(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    let noncharacter = (u32::from(c) & 0xfffe) == 0xfffe || ('\u{fdd0}'..='\u{fdef}').contains(&c);
    let turns = ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    control || noncharacter || turns
}

/// Whether a text is a point in time (RFC 3339).
#[must_use]
pub fn is_timestamp(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_meaning_has_one_form() {
        let state = |cell| State {
            cell,
            out_of_office: cell == Cell::Away,
            since: Some("2026-03-02T08:15:00Z".into()),
            note: Some(" a\u{0}\u{7}\n b\u{202e} ".into()),
            mobile: true,
            ..State::default()
        };
        let away = state(Cell::Away).normal();
        assert_eq!(
            (away.cell, away.since.as_deref(), away.note.as_deref()),
            (Cell::OutOfOffice, None, Some("a b"))
        );
        assert!(state(Cell::OutOfOffice).normal().out_of_office && !state(Cell::Offline).normal().mobile);
        let idle = state(Cell::Idle).normal();
        assert!(idle.since.is_some() && idle.clone().normal() == idle);
        assert_eq!(printable("\u{1}\u{85} \u{ffff}"), None);
    }

    #[test]
    fn cells_have_names() {
        for (at, cell) in Cell::ALL.into_iter().enumerate() {
            assert_eq!((Cell::named(cell.name()), cell.index()), (Some(cell), at));
        }
    }
}
