//! Presence documents: PIDF with the data model and RPID (RFC 3863, 4479, 4480), read safely, composed, written.
//!
//! Foreign XML is kept as it came. Dialects other than PIDF are not read here.

pub mod compose;
pub mod pidf;
pub mod xml;

pub use compose::{Composed, Publication, Rules, compose};
pub use pidf::{Basic, Document};
pub use xml::XmlError;

/// The media type of PIDF.
pub const PIDF: &str = "application/pidf+xml";
