//! PIDF as it is written: RFC 3863, 4479, 4480 and 5196 in the order of their schemas; two forms for older readers.

use std::collections::BTreeSet;

use super::pidf::{Facts, Part, Place};
use crate::dialect::state::{Capabilities, is_timestamp, printable};
use crate::dialect::wire::{Wire, Word};
use crate::presence::Basic;
use crate::presence::pidf::{NS_DATA_MODEL, NS_PIDF, NS_RPID, NS_TRESTLE};
use crate::presence::xml::escape;

/// What ids of our own start with.
pub(crate) const OWN_ID: &str = "trestle";
const NS_CAPS: &str = "urn:ietf:params:xml:ns:pidf:caps";
const NS_CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";
const NS_DRAFT: &str = "urn:ietf:params:xml:ns:cpim-pidf";
const NS_TEXT: &str = "urn:ietf:params:xml:ns:pidf:status:rpid-status";
/// A document that is longer than this does not say the same in each tuple.
const LONG: usize = 64 * 1024;
/// Tuples written of one document.
const MAX_TUPLES: usize = 64;

/// The activities of RFC 4480 section 3.2.
const RPID_WORDS: [&str; 26] = [
    "appointment",
    "away",
    "breakfast",
    "busy",
    "dinner",
    "holiday",
    "in-transit",
    "looking-for-work",
    "lunch",
    "meal",
    "meeting",
    "on-the-phone",
    "performance",
    "permanent-absence",
    "playing",
    "presentation",
    "shopping",
    "sleeping",
    "spectator",
    "steering",
    "travel",
    "tv",
    "unknown",
    "vacation",
    "working",
    "worship",
];

/// How PIDF is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// The activity as text in `status`, beside RPID.
    pub(crate) text: bool,
    /// The draft of 2002 and nothing else.
    pub(crate) draft: bool,
    /// One tuple only.
    pub(crate) one_tuple: bool,
    /// The note in the tuple too, for those who look only there.
    pub(crate) note_in_tuple: bool,
}

/// A document about an entity; what `source` has beyond the record is kept.
pub(crate) fn write(entity: &str, wire: &Wire, source: Option<(&Facts, &[u8])>, style: Style) -> String {
    let namespace = if style.draft { NS_DRAFT } else { NS_PIDF };
    let mut writer = Writer {
        out: format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"{namespace}\" entity=\"{}\">\n",
            escape(entity)
        ),
        ids: BTreeSet::new(),
        wire,
        source: source.filter(|_| !style.draft),
        style,
    };
    writer.tuples(source.map(|(facts, _)| facts));
    if !style.draft {
        writer.person();
        writer.below();
    }
    writer.out.push_str("</presence>\n");
    writer.out
}

struct Writer<'a> {
    out: String,
    ids: BTreeSet<String>,
    wire: &'a Wire,
    source: Option<(&'a Facts, &'a [u8])>,
    style: Style,
}

impl Writer<'_> {
    fn tuples(&mut self, facts: Option<&Facts>) {
        let all: &[Part] = facts.map_or(&[], |f| &f.tuples);
        let open = |p: &Part| p.basic == Some(Basic::Open);
        let first_open = all.iter().position(open);
        let chosen: Vec<usize> = match self.style.one_tuple {
            true => first_open.or((!all.is_empty()).then_some(0)).into_iter().collect(),
            false => (0..all.len().min(MAX_TUPLES)).collect(),
        };
        let none = Part::default();
        if chosen.is_empty() {
            return self.tuple(&none, usize::MAX, self.wire.basic, self.wire.capabilities);
        }
        // Somebody who can be reached although no tuple says so is reached by the first.
        let lift = self.wire.basic == Some(Basic::Open) && !chosen.iter().any(|at| all.get(*at).is_some_and(open));
        for (n, at) in chosen.into_iter().enumerate() {
            let Some(part) = all.get(at) else { continue };
            let basic = match self.wire.basic {
                Some(Basic::Open) if self.style.one_tuple || (lift && n == 0) => Some(Basic::Open),
                Some(Basic::Open) => part.basic,
                said => said,
            };
            let none = self.wire.capabilities == Capabilities::default();
            let capabilities = match self.style.one_tuple {
                false if !none => part.capabilities,
                _ => self.wire.capabilities,
            };
            self.tuple(part, at, basic, capabilities);
        }
    }

    fn tuple(&mut self, part: &Part, at: usize, basic: Option<Basic>, capabilities: Capabilities) {
        let id = self.id(part.id.as_deref(), OWN_ID);
        self.out.push_str(&format!("<tuple id=\"{}\"><status>", escape(&id)));
        if let Some(basic) = basic {
            let word = if basic == Basic::Open { "open" } else { "closed" };
            self.out.push_str(&format!("<basic>{word}</basic>"));
        }
        if let Some(text) = self
            .wire
            .text
            .as_deref()
            .filter(|_| self.style.text && self.out.len() < LONG)
        {
            let text = escape(text);
            self.out.push_str(&format!(
                "<ep:activities xmlns:ep=\"{NS_TEXT}\"><ep:activity>{text}</ep:activity></ep:activities>"
            ));
        }
        self.out.push_str("</status>");
        if !self.style.draft {
            self.capabilities(capabilities);
            self.kept(Place::Tuple(at));
            self.contact(part);
        }
        if let Some(note) = self
            .wire
            .note
            .as_deref()
            .filter(|_| (self.style.note_in_tuple || self.style.draft) && self.out.len() < LONG)
        {
            self.out.push_str(&format!("<note>{}</note>", escape(note)));
        }
        if let Some(at) = part
            .timestamp
            .as_deref()
            .filter(|t| !self.style.draft && is_timestamp(t))
        {
            self.out.push_str(&format!("<timestamp>{at}</timestamp>"));
        }
        self.out.push_str("</tuple>\n");
    }

    fn capabilities(&mut self, c: Capabilities) {
        let all = [("audio", c.audio), ("text", c.text), ("video", c.video)];
        if all.iter().any(|(_, able)| *able) {
            self.out.push_str(&format!("<c:servcaps xmlns:c=\"{NS_CAPS}\">"));
            for (name, _) in all.iter().filter(|(_, able)| *able) {
                self.out.push_str(&format!("<c:{name}>true</c:{name}>"));
            }
            self.out.push_str("</c:servcaps>");
        }
    }

    fn contact(&mut self, part: &Part) {
        let is_uri = |uri: &str| {
            let (scheme, rest) = uri.split_once(':').unwrap_or_default();
            !scheme.is_empty()
                && !rest.is_empty()
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
                && !uri.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        let Some(contact) = part.contact.as_ref().filter(|c| is_uri(&c.uri)) else {
            return;
        };
        // RFC 3863: 0 to 1 with at most three digits behind the point.
        let priority = contact.priority.as_deref().map(str::trim).filter(|p| {
            let (whole, rest) = p.split_once('.').unwrap_or((p, ""));
            let digits = rest.len() <= 3 && rest.bytes().all(|b| b.is_ascii_digit());
            digits && (whole == "0" || (whole == "1" && rest.bytes().all(|b| b == b'0')))
        });
        let priority = priority.map_or_else(String::new, |p| format!(" priority=\"{p}\""));
        self.out
            .push_str(&format!("<contact{priority}>{}</contact>", escape(&contact.uri)));
    }

    fn person(&mut self) {
        let before = self.out.len();
        let id = self.source.and_then(|(facts, _)| facts.person.id.clone());
        let id = self.id(id.as_deref(), "person");
        self.out.push_str(&format!(
            "<dm:person xmlns:dm=\"{NS_DATA_MODEL}\" xmlns:r=\"{NS_RPID}\" id=\"{}\">",
            escape(&id)
        ));
        let opened = self.out.len();
        self.activities();
        let wire = self.wire;
        if wire.manual {
            self.out.push_str("<r:class>manual</r:class>");
        }
        if let Some(idle) = wire.idle {
            let since = wire.since.as_deref().filter(|s| is_timestamp(s));
            let since = since.map_or_else(String::new, |s| format!(" since=\"{s}\""));
            let word = if idle { "idle" } else { "active" };
            self.out
                .push_str(&format!("<r:user-input{since}>{word}</r:user-input>"));
        }
        if wire.out_of_office {
            self.out
                .push_str(&format!("<t:out-of-office xmlns:t=\"{NS_TRESTLE}\"/>"));
        }
        if let Some(name) = wire.display_name.as_deref().filter(|_| !self.style.text) {
            let name = escape(name);
            self.out.push_str(&format!(
                "<ci:display-name xmlns:ci=\"{NS_CIPID}\">{name}</ci:display-name>"
            ));
        }
        self.kept(Place::Person);
        if let Some(note) = &wire.note {
            self.out.push_str(&format!("<dm:note>{}</dm:note>", escape(note)));
        }
        match self.out.len() > opened {
            true => self.out.push_str("</dm:person>\n"),
            false => self.out.truncate(before),
        }
    }

    fn activities(&mut self) {
        let words = &self.wire.activities;
        if words.is_empty() {
            return;
        }
        self.out.push_str("<r:activities>");
        for word in words {
            let text = match word {
                Word::Other(text) => format!("<r:other>{}</r:other>", escape(text)),
                Word::Named { namespace, local } => match &**namespace {
                    NS_RPID if RPID_WORDS.contains(&&**local) => format!("<r:{local}/>"),
                    // RPID has no such word: only elements of other namespaces may stand beside its own.
                    NS_RPID => format!("<t:{local} xmlns:t=\"{NS_TRESTLE}\"/>"),
                    other => format!("<x:{local} xmlns:x=\"{}\"/>", escape(other)),
                },
            };
            self.out.push_str(&text);
        }
        self.out.push_str("</r:activities>");
    }

    /// What stands below the root behind the person.
    fn below(&mut self) {
        self.kept(Place::Device);
        let known = self.source.is_some_and(|(facts, _)| facts.mobile);
        if self.wire.mobile && !known {
            let id = self.id(None, "mobile");
            self.out.push_str(&format!(
                "<dm:device xmlns:dm=\"{NS_DATA_MODEL}\" id=\"{id}\"><c:devcaps xmlns:c=\"{NS_CAPS}\"><c:mobility>\
                 <c:supported><c:mobile/></c:supported></c:mobility></c:devcaps>\
                 <dm:deviceID>urn:trestle:device:mobile</dm:deviceID></dm:device>\n"
            ));
        }
        if let Some(name) = self.wire.display_name.as_deref().filter(|_| self.style.text) {
            let name = escape(name);
            self.out.push_str(&format!(
                "<ci:display-name xmlns:ci=\"{NS_CIPID}\">{name}</ci:display-name>\n"
            ));
        }
        self.kept(Place::Root);
    }

    fn kept(&mut self, place: Place) {
        let Some((facts, body)) = self.source else { return };
        for kept in facts.kept.iter().filter(|k| k.place == place) {
            kept.write(&mut self.out, body);
        }
    }

    /// An id that is an NCName and stands once.
    fn id(&mut self, wanted: Option<&str>, usual: &str) -> String {
        let start = |c: char| c.is_alphabetic() || c == '_';
        let rest = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let fine = |id: &&str| id.len() <= 128 && id.starts_with(start) && id.chars().all(rest);
        let base = wanted.and_then(printable).filter(|w| fine(&w.as_str()));
        let base = base.unwrap_or_else(|| usual.to_owned());
        let mut id = base.clone();
        let mut n = 1;
        while !self.ids.insert(id.clone()) {
            n += 1;
            id = format!("{base}-{n}");
        }
        id
    }
}
