//! Ground floor: SIP itself (RFC 3261). Message views, URIs, framing, writing, digest, transactions, dialogs.
//!
//! Nothing here knows of presence, peers or policy, and nothing here does I/O.

pub mod dialog;
pub mod digest;
pub mod field;
pub mod frame;
pub mod header;
pub mod message;
pub mod method;
pub mod net;
#[cfg(test)]
mod oracle;
pub mod random;
#[cfg(test)]
mod round_trip;
pub mod segments;
pub mod time;
pub mod timer;
pub mod transaction;
pub mod uri;
pub mod write;
