//! Bytes to records and back, one file a form. Reading is liberal, writing is strict.

pub(super) mod categories;
pub(super) mod msrtc;
pub(super) mod pidf;
mod tree;
pub(super) mod write;
pub(super) mod xpidf;

use crate::presence::XmlError;
use crate::presence::pidf::MAX_BYTES;
use crate::presence::xml::{Node, walk};

/// What a body holds, by its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// `presence` with tuples.
    Pidf,
    /// `presence` with a `presentity` or atoms.
    Xpidf,
    /// `presentity`.
    Msrtc,
    /// `categories`.
    Categories,
    /// Something else.
    Other,
}

impl Holds {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pidf => "PIDF",
            Self::Xpidf => "XPIDF",
            Self::Msrtc => "a presentity as in msrtc.pidf",
            Self::Categories => "event categories",
            Self::Other => "no presence document that is known",
        }
    }
}

/// Looks at the root and its first child.
pub(super) fn holds(body: &[u8]) -> Result<Holds, XmlError> {
    let mut found = Holds::Other;
    walk(body, MAX_BYTES, |depth, node| {
        if let Node::Open { tag, .. } = node {
            let name = tag.name();
            let local = name.as_ref().rsplit(':').next().unwrap_or_default();
            found = match (depth, local, found) {
                (0, "presence", _) => Holds::Pidf,
                (0, "presentity", _) => Holds::Msrtc,
                (0, "categories", _) => Holds::Categories,
                (1, "presentity" | "atom", Holds::Pidf) => Holds::Xpidf,
                _ => found,
            };
        }
        Ok(())
    })?;
    Ok(found)
}

/// Drafts had an external DOCTYPE, which the XML guard refuses: it is blanked out. One with an internal subset stays.
pub(super) fn without_doctype(body: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memmem::find(body.get(..1024.min(body.len()))?, b"<!DOCTYPE")?;
    let end = start + memchr::memchr(b'>', body.get(start..)?)?;
    let declaration = body.get(start..=end)?;
    if declaration.contains(&b'[') {
        return None;
    }
    let mut out = body.to_vec();
    out.get_mut(start..=end)?.fill(b' ');
    Some(out)
}

/// A number as it stands in a document; what is no whole number says nothing, what is too large is the largest.
pub(super) fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}
