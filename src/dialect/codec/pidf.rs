//! PIDF as it comes: of the RFCs, of the drafts, with elements in places and namespaces where they do not belong.
//!
//! Everything is read that can only mean one thing. What no schema has is noted as a quirk, since it must not go on to
//! others. Elements of namespaces that mean nothing here are kept as bytes, with the namespaces that they rely on.

mod piece;
mod walk;

pub(crate) use piece::{Kept, Place};
pub(crate) use walk::read;

use crate::dialect::state::Capabilities;
use crate::dialect::wire::{Wire, Word};
use crate::presence::Basic;

/// What a tuple or a person says.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) id: Option<String>,
    pub(crate) basic: Option<Basic>,
    pub(crate) activities: Vec<Word>,
    pub(crate) text: Option<String>,
    pub(crate) idle: Option<bool>,
    pub(crate) since: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) manual: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) contact: Option<Contact>,
    pub(crate) timestamp: Option<String>,
}

/// A contact.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    pub(crate) uri: String,
    pub(crate) priority: Option<String>,
}

/// A document.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The `entity` of the root.
    pub(crate) entity: Option<String>,
    pub(crate) tuples: Vec<Part>,
    pub(crate) person: Part,
    pub(crate) note: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) mobile: bool,
    pub(crate) kept: Vec<Kept>,
    /// What is not as the schemas have it; the first of each kind.
    pub(crate) quirks: Vec<&'static str>,
}

/// How a dialect reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading<'a> {
    pub(crate) first_tuple: bool,
    pub(crate) phones: &'a [Box<str>],
}

impl Facts {
    pub(super) fn quirk(&mut self, what: &'static str) {
        if !self.quirks.contains(&what) {
            self.quirks.push(what);
        }
    }

    /// The record of it all.
    pub(crate) fn wire(&self, reading: Reading<'_>) -> Wire {
        let count = if reading.first_tuple { 1 } else { usize::MAX };
        let tuples = || self.tuples.iter().take(count);
        let person = &self.person;
        let mut activities = person.activities.clone();
        if activities.is_empty() {
            for word in tuples().flat_map(|t| &t.activities) {
                if !activities.contains(word) && activities.len() < MAX_WORDS {
                    activities.push(word.clone());
                }
            }
        }
        let inputs = || tuples().filter_map(|t| t.idle);
        let all_idle = inputs().next().map(|_| inputs().all(|idle| idle));
        let note = person.note.as_ref().or(self.note.as_ref());
        let note = note.or_else(|| tuples().find_map(|t| t.note.as_ref()));
        let any = |of: fn(&Capabilities) -> bool| tuples().any(|t| of(&t.capabilities));
        Wire {
            basic: tuples().filter_map(|t| t.basic).max().or(person.basic),
            activities,
            text: tuples().find_map(|t| t.text.as_deref()).map(Into::into),
            idle: person.idle.or(all_idle),
            since: person.since.clone().or_else(|| tuples().find_map(|t| t.since.clone())),
            note: note.cloned(),
            display_name: self.display_name.clone(),
            out_of_office: self.kept.iter().any(|k| k.place == Place::OutOfOffice),
            manual: person.manual || tuples().any(|t| t.manual),
            mobile: self.mobile,
            capabilities: Capabilities {
                audio: any(|c| c.audio),
                text: any(|c| c.text),
                video: any(|c| c.video),
            },
            phone: !reading.phones.is_empty() && self.only_phones(reading.phones),
            ..Wire::default()
        }
    }

    /// Whether every tuple that says something is a telephone.
    fn only_phones(&self, patterns: &[Box<str>]) -> bool {
        let mut telling = self.tuples.iter().filter(|t| t.basic.is_some()).peekable();
        let phone = |id: &str| {
            !id.starts_with(super::write::OWN_ID) && patterns.iter().any(|p| crate::presence::rules::matches(p, id))
        };
        (telling.peek().is_some() || self.person.basic.is_some())
            && telling.all(|t| phone(t.id.as_deref().unwrap_or_default()))
    }
}

/// Activities kept of one document.
pub(super) const MAX_WORDS: usize = 32;
