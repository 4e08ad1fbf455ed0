//! From the canonical document to what a peer sees, and back.

use std::borrow::Cow;

use super::codec::pidf::{Facts, Reading};
use super::codec::write::Style;
use super::codec::{self, Holds, categories, msrtc, pidf, write, xpidf};
use super::state::{Cell, State};
use super::table::Table;
use super::wire::{Wire, Word};
use super::{Dialect, Exported, Format, Imported, Refusal, Why, built_in};
use crate::presence::{Document, XmlError};

/// The table that says what a canonical document means.
fn canonical() -> Option<&'static Table> {
    built_in().first()?.presence.tables[Format::Pidf as usize].as_ref()
}

/// The state that a canonical document shows; unknown when it cannot be read.
#[must_use]
pub fn state_of(document: &[u8]) -> State {
    let facts = pidf::read(document).ok();
    facts.zip(canonical()).map_or_else(State::default, |(facts, table)| {
        table.decode(&facts.wire(Reading::default()), &mut Vec::new())
    })
}

/// The canonical document of a state.
#[must_use]
pub fn document_of(entity: &str, state: &State) -> Vec<u8> {
    let wire = canonical().map_or_else(Wire::default, |table| table.encode(state, &mut Vec::new()));
    write::write(entity, &wire, None, Style::default()).into_bytes()
}

impl Dialect {
    /// The canonical document of `entity` (`sip:user@domain`) as this dialect shows it in a format. One that cannot be read
    /// is shown as unknown.
    #[must_use]
    pub fn export<'a>(&self, format: Format, entity: &str, pidf: &'a [u8]) -> Exported<'a> {
        let untouched = |why| Exported {
            media: format.media_type(),
            body: Cow::Borrowed(pidf),
            why,
        };
        if self.is_verbatim() && format == Format::Pidf {
            return untouched(Vec::new());
        }
        let own = self.presence.tables[format as usize].as_ref();
        let usual = canonical().filter(|_| format.is_pidf());
        let Some((table, inside)) = own.or(usual).zip(canonical()) else {
            return self.export(Format::Pidf, entity, pidf);
        };
        let facts = pidf::read(pidf).unwrap_or_default();
        let seen = facts.wire(Reading::default());
        let state = inside.decode(&seen, &mut Vec::new());
        let mut why = Vec::new();
        let mut wire = table.encode(&state, &mut why);
        let plain = matches!(format, Format::Pidf | Format::CpimPidf) && !table.draft && !table.first_tuple;
        if plain && facts.quirks.is_empty() && wire == inside.encode(&state, &mut Vec::new()) {
            return untouched(why);
        }
        if format.is_pidf() && !table.draft {
            add_extras(&mut wire, &seen, table, table);
        }
        let body = match format {
            Format::Xpidf => xpidf::write(entity, &wire),
            Format::Msrtc => msrtc::write(entity, &wire),
            Format::Categories => categories::write(entity, &wire),
            Format::Pidf | Format::PidfText | Format::CpimPidf => {
                let style = Style {
                    text: format == Format::PidfText,
                    draft: table.draft,
                    one_tuple: table.first_tuple || table.draft,
                    note_in_tuple: true,
                };
                write::write(entity, &wire, Some((&facts, pidf)), style)
            }
        };
        Exported {
            media: format.media_type(),
            body: Cow::Owned(body.into_bytes()),
            why,
        }
    }

    /// A document as such a peer sent it, as canonical PIDF about `entity`.
    ///
    /// # Errors
    /// 400 or 413 for what cannot be read or is not what its type says, 415 for a type that is not taken.
    pub fn import<'a>(&self, content_type: &[u8], entity: &str, body: &'a [u8]) -> Result<Imported<'a>, Refusal> {
        let format = self.presence.reads(content_type);
        if self.is_verbatim() && format == Some(Format::Pidf) {
            return Ok(Imported {
                pidf: Cow::Borrowed(body),
                why: Vec::new(),
            });
        }
        let own = format.and_then(|f| Some((f, self.presence.tables[f as usize].as_ref()?)));
        let usual = format.filter(|f| f.is_pidf()).zip(canonical());
        let Some(((format, table), inside)) = own.or(usual).zip(canonical()) else {
            let named: String = String::from_utf8_lossy(content_type).chars().take(80).collect();
            let named = super::state::printable(&named).unwrap_or_default();
            let what = format!("a peer of dialect {} sends no presence as `{named}`", self.name);
            return Err(refusal(415, what));
        };
        check(format, body)?;
        let mut why = Vec::new();
        let (wire, facts) = self.record(format, table, body)?;
        let mut state = table.decode(&wire, &mut why);
        self.judge_phone(&wire, &mut state, &mut why);
        let mut out = inside.encode(&state, &mut Vec::new());
        let Some(facts) = facts else {
            let pidf = write::write(entity, &out, None, Style::default());
            return Ok(imported(Cow::Owned(pidf.into_bytes()), why));
        };
        let same = inside.decode(&facts.wire(Reading::default()), &mut Vec::new()) == state;
        // Whoever reads it next is strict: a root without entity, say, is written anew.
        if same && facts.quirks.is_empty() && Document::parse(body).is_ok() {
            return Ok(imported(Cow::Borrowed(body), why));
        }
        why.extend(facts.quirks.iter().map(|quirk| Why {
            file: self.file.clone(),
            line: 0,
            what: format!("written anew: {quirk}").into(),
        }));
        add_extras(&mut out, &wire, table, inside);
        let pidf = write::write(entity, &out, Some((&facts, body)), Style::default());
        Ok(imported(Cow::Owned(pidf.into_bytes()), why))
    }

    fn record(&self, format: Format, table: &Table, body: &[u8]) -> Result<(Wire, Option<Facts>), Refusal> {
        let wrong = |e: XmlError| refusal(e.status, e.to_string());
        Ok(match format {
            Format::Xpidf => (xpidf::read(body).map_err(wrong)?, None),
            Format::Msrtc => (msrtc::read(body).map_err(wrong)?, None),
            Format::Categories => (categories::read(body).map_err(wrong)?, None),
            Format::Pidf | Format::PidfText | Format::CpimPidf => {
                let facts = pidf::read(body).map_err(wrong)?;
                let reading = Reading {
                    first_tuple: table.first_tuple,
                    phones: &self.presence.phone_tuples,
                };
                (facts.wire(reading), Some(facts))
            }
        })
    }

    /// A telephone that is idle, and nothing else.
    fn judge_phone(&self, wire: &Wire, state: &mut State, why: &mut Vec<Why>) {
        if wire.phone && state.cell == Cell::Available && !self.presence.lone_phone_available {
            state.cell = Cell::Unknown;
            *state = core::mem::take(state).normal();
            why.push(Why {
                file: self.file.clone(),
                line: 0,
                what: "lone_phone_available is off: an idle telephone says nothing".into(),
            });
        }
    }
}

fn imported(pidf: Cow<'_, [u8]>, why: Vec<Why>) -> Imported<'_> {
    Imported { pidf, why }
}

fn refusal(status: u16, what: impl Into<Box<str>>) -> Refusal {
    Refusal {
        status,
        what: what.into(),
    }
}

/// A body that is something else than its type says is named.
fn check(format: Format, body: &[u8]) -> Result<(), Refusal> {
    if body.trim_ascii().is_empty() {
        return Err(refusal(400, "the body is empty"));
    }
    // XML 1.0 section 2.2, which the reader below does not enforce.
    if body.iter().any(|b| *b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r')) {
        return Err(refusal(400, "the body holds control characters"));
    }
    let blanked = (format == Format::Xpidf)
        .then(|| codec::without_doctype(body))
        .flatten();
    let holds = codec::holds(blanked.as_deref().unwrap_or(body)).map_err(|e| refusal(e.status, e.to_string()))?;
    let meant = match format {
        Format::Pidf | Format::PidfText | Format::CpimPidf => Holds::Pidf,
        Format::Xpidf => Holds::Xpidf,
        Format::Msrtc => Holds::Msrtc,
        Format::Categories => Holds::Categories,
    };
    // An empty `presence` may be either.
    if holds == meant || (holds == Holds::Pidf && meant == Holds::Xpidf) {
        return Ok(());
    }
    let what = format!("the body says it is {} and holds {}", format.media_type(), holds.name());
    Err(refusal(400, what))
}

/// Activities that no table knows go on beside the others, as long as they change nothing.
fn add_extras(wire: &mut Wire, seen: &Wire, table: &Table, written_by: &Table) {
    let Some(inside) = canonical() else { return };
    let unknown = |w: &&Word| !table.knows(w) && !inside.knows(w) && !wire.activities.contains(w);
    let extras: Vec<Word> = seen
        .activities
        .iter()
        .filter(unknown)
        .filter(|w| may_pass(w))
        .cloned()
        .collect();
    let before = wire.activities.len();
    let meant = written_by.decode(wire, &mut Vec::new());
    if extras.is_empty() || !meant.cell.is_reachable() {
        return;
    }
    wire.activities.extend(extras);
    if written_by.decode(wire, &mut Vec::new()) != meant {
        wire.activities.truncate(before);
    }
}

fn may_pass(word: &Word) -> bool {
    match word {
        Word::Other(text) => !text.is_empty(),
        Word::Named { namespace, .. } => !namespace.starts_with("urn:cisco:"),
    }
}

#[cfg(test)]
mod tests;
