//! The forms that a presence document takes on the wire.

use super::table::Table;
use crate::sip::field::{Accept, Items, MediaType};

/// A form of presence document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// PIDF with RPID (RFC 3863, 4479, 4480).
    Pidf,
    /// PIDF with RPID and, in `status`, the activity as text that drafts had. One tuple.
    PidfText,
    /// `application/cpim-pidf+xml`: the PIDF of 2002, or today's under that label.
    CpimPidf,
    /// `application/xpidf+xml`.
    Xpidf,
    /// `text/xml+msrtc.pidf`.
    Msrtc,
    /// `application/msrtc-event-categories+xml`.
    Categories,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 6] = [
        Self::Pidf,
        Self::PidfText,
        Self::CpimPidf,
        Self::Xpidf,
        Self::Msrtc,
        Self::Categories,
    ];

    /// What mapping files call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pidf => "pidf",
            Self::PidfText => "pidf-text",
            Self::CpimPidf => "cpim-pidf",
            Self::Xpidf => "xpidf",
            Self::Msrtc => "msrtc",
            Self::Categories => "categories",
        }
    }

    /// The form that mapping files call so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pidf | Self::PidfText => "application/pidf+xml",
            Self::CpimPidf => "application/cpim-pidf+xml",
            Self::Xpidf => "application/xpidf+xml",
            Self::Msrtc => "text/xml+msrtc.pidf",
            Self::Categories => "application/msrtc-event-categories+xml",
        }
    }

    /// The form of a media type (parameters allowed); of PIDF the plain one.
    #[must_use]
    pub fn from_media_type(value: &[u8]) -> Option<Self> {
        let media = MediaType::parse(value);
        Self::ALL.into_iter().find(|f| media.is(f.media_type()))
    }

    /// Whether a document of this form can hold foreign XML.
    #[must_use]
    pub fn is_pidf(self) -> bool {
        matches!(self, Self::Pidf | Self::PidfText | Self::CpimPidf)
    }
}

/// Presence of a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Documents pass as they are.
    pub verbatim: bool,
    /// What is written and asked for, the best first.
    pub formats: Vec<Format>,
    /// Patterns for ids of tuples that are telephones.
    pub phone_tuples: Vec<Box<str>>,
    /// Whether a telephone that is idle, and nothing else, means available.
    pub lone_phone_available: bool,
    /// Tables by format, in the order of [`Format::ALL`].
    pub tables: [Option<Table>; Format::ALL.len()],
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            verbatim: false,
            formats: vec![Format::Pidf],
            phone_tuples: Vec::new(),
            lone_phone_available: true,
            tables: Default::default(),
        }
    }
}

impl Presence {
    /// The form under which a media type is read: a dialect that writes activities as text too reads PIDF so.
    #[must_use]
    pub fn reads(&self, content_type: &[u8]) -> Option<Format> {
        let format = Format::from_media_type(content_type)?;
        let own = self.formats.iter().copied();
        Some(
            own.clone()
                .find(|f| f.media_type() == format.media_type())
                .unwrap_or(format),
        )
    }

    pub(super) fn choose<'h>(&self, accept: impl Iterator<Item = &'h [u8]> + Clone) -> Option<Format> {
        let plain = self.reads(crate::presence::PIDF.as_bytes());
        if accept.clone().flat_map(Items::new).next().is_none() {
            return plain;
        }
        let all = self.formats.iter().copied().chain(plain);
        let liked = all.map(|f| (Accept::quality(accept.clone(), f.media_type()), f));
        // Of those it likes best, the first of ours.
        let mut best = (0, None);
        for (quality, format) in liked {
            if quality > best.0 {
                best = (quality, Some(format));
            }
        }
        best.1
    }

    pub(super) fn accept(&self) -> String {
        let mut out: Vec<&str> = Vec::new();
        for format in &self.formats {
            if !out.contains(&format.media_type()) {
                out.push(format.media_type());
            }
        }
        out.join(", ")
    }
}
