//! Dialects: what a peer says and takes, as data (`mappings/*.yaml`), and the way to and from the one canonical form.
//!
//! Inside the bridge a presentity's document is one PIDF body. At the edges a [`Dialect`] shows it in a [`Format`] that the
//! peer takes ([`Dialect::export`]), and reads what the peer sends ([`Dialect::import`]). The dialect `rfc` passes bytes
//! untouched. Code asks for what a dialect can do, never for whose it is.

pub mod check;
mod codec;
mod convert;
mod format;
mod im;
pub mod lcs;
pub mod load;
mod sip;
pub mod state;
pub mod table;
pub mod wire;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

pub use convert::{document_of, state_of};
pub use format::{Format, Presence};
pub use im::{ContentType, Im, ImMedia, ImMode, Typing};
pub use sip::Sip;

/// What is spoken with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its name: that of its file without `.yaml`.
    pub name: Arc<str>,
    /// The file it was read from, as operators know it.
    pub file: Arc<str>,
    /// What it is for, in one line.
    pub about: Box<str>,
    /// Habits on the wire.
    pub sip: Sip,
    /// Presence.
    pub presence: Presence,
    /// Instant messages.
    pub im: Im,
    /// Where some of it is written.
    pub places: Places,
}

/// The places of the keys that decide what is spoken, for those who ask why; they change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Of each of [`Presence::formats`].
    pub formats: Vec<Place>,
    /// Of [`Presence::verbatim`].
    pub verbatim: Option<Place>,
    /// Of [`Im::mode`].
    pub mode: Option<Place>,
    /// Of each of [`Im::accept`].
    pub accept: Vec<Place>,
    /// Of [`Im::cpim`].
    pub cpim: Option<Place>,
}

/// A line of a mapping file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: u32,
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// The line of a mapping that decided something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: u32,
    /// What was decided.
    pub what: Box<str>,
}

/// A document as a peer shall see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported<'a> {
    /// Its `Content-Type`.
    pub media: &'static str,
    /// Its bytes; borrowed when the document passes untouched.
    pub body: Cow<'a, [u8]>,
    /// Which lines made it so.
    pub why: Vec<Why>,
}

/// A document of a peer as it is kept inside the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported<'a> {
    /// PIDF; borrowed when the document passes untouched.
    pub pidf: Cow<'a, [u8]>,
    /// Whom it names, as it was written; `None` when nobody.
    pub named: Option<Box<str>>,
    /// Which lines made it so.
    pub why: Vec<Why>,
}

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 413 or 415.
    pub status: u16,
    /// What is wrong, for a log or a `Warning`.
    pub what: Box<str>,
}

static BUILT_IN: LazyLock<Vec<Arc<Dialect>>> = LazyLock::new(load::built_in);

/// The dialects that are compiled in; the first is `rfc`.
#[must_use]
pub fn built_in() -> &'static [Arc<Dialect>] {
    &BUILT_IN
}

impl Dialect {
    /// A dialect that says nothing of its own.
    #[must_use]
    pub fn plain(name: &str, file: &str) -> Self {
        Self {
            name: name.into(),
            file: file.into(),
            about: Box::default(),
            sip: Sip::default(),
            presence: Presence::default(),
            im: Im::default(),
            places: Places::default(),
        }
    }

    /// Plain SIP/SIMPLE: every byte passes.
    #[must_use]
    pub fn rfc() -> Arc<Self> {
        BUILT_IN
            .first()
            .cloned()
            .unwrap_or_else(|| Arc::new(Self::plain("rfc", "mappings/rfc.yaml")))
    }

    /// The parts in which another dialect says something else; lines and files do not count.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut parts = Vec::new();
        let (a, b) = (&self.presence, &other.presence);
        let general = |p: &Presence| {
            let phones = (p.phone_tuples.clone(), p.lone_phone_available);
            (p.verbatim, p.formats.clone(), phones)
        };
        if self.sip != other.sip {
            parts.push("sip".to_owned());
        }
        if self.im != other.im {
            parts.push("im".to_owned());
        }
        if general(a) != general(b) {
            parts.push("presence".to_owned());
        }
        for format in Format::ALL {
            let bare = |p: &Presence| p.tables[format as usize].as_ref().map(table::Table::without_lines);
            if bare(a) != bare(b) {
                parts.push(format!("presence.tables.{}", format.name()));
            }
        }
        parts
    }

    /// Whether documents pass as they are in both directions.
    #[must_use]
    pub fn is_verbatim(&self) -> bool {
        self.presence.verbatim
    }

    /// The format for a watcher that accepts these media types (no `Accept` at all: PIDF, RFC 3856 section 6.7); `None` when
    /// it accepts nothing that can be written.
    #[must_use]
    pub fn choose<'h>(&self, accept: impl Iterator<Item = &'h [u8]> + Clone) -> Option<Format> {
        self.presence.choose(accept)
    }

    /// What goes into `Accept` of a SUBSCRIBE to such a peer.
    #[must_use]
    pub fn accept(&self) -> String {
        self.presence.accept()
    }
}
