//! Ground floor: SIP itself (RFC 3261). Message views, URIs, framing, writing, digest, transactions, dialogs.
//!
//! Nothing here knows of presence, peers or policy, and nothing here does I/O.

pub mod net;
pub mod random;
pub mod time;
