//! Presence documents: PIDF with the data model and RPID (RFC 3863, 4479, 4480), read safely, composed, written.
//! [`mod@line`] reads what telephone systems say of a line, [`gist`] what is left of any document behind any peer,
//! [`echo`] tells a peer's own state from its copy of ours.
//!
//! Foreign XML is kept as it came. Dialects other than PIDF are not read here.

pub mod compose;
pub mod echo;
pub mod gist;
pub mod line;
pub mod pidf;
mod read;
pub mod rules;
pub mod xml;

pub use compose::{Composed, Publication, compose};
pub use gist::Gist;
pub use line::LineState;
pub use pidf::{Basic, Document};
pub use rules::{Mark, Rules};
pub use xml::XmlError;

/// The media type of PIDF.
pub const PIDF: &str = "application/pidf+xml";
