//! Presence documents: PIDF with the data model and RPID (RFC 3863, 4479, 4480), read safely, composed, written.
//!
//! Foreign XML is kept as it came. Dialects other than PIDF are not read here.

pub mod compose;
pub mod pidf;
mod read;
pub mod rules;
pub mod xml;

pub use compose::{Composed, Publication, compose};
pub use pidf::{Basic, Document};
pub use rules::{Mark, Rules};
pub use xml::XmlError;

/// The media type of PIDF.
pub const PIDF: &str = "application/pidf+xml";
