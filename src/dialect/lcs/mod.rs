//! What clients of Live Communications Server 2005 exchange with their registrar besides presence: contact lists, rights,
//! provisioning, and the SOAP bodies of SERVICE. Pure documents; the engine keeps the state.
//!
//! Names are compared without their namespaces, since the clients do not agree on them. Nothing of OCS 2007's
//! categories and containers is here.

pub mod adhoc;
pub mod contacts;
pub mod provisioning;
pub mod rights;
pub mod soap;
mod tree;

pub use contacts::{ContactList, Full};
pub use rights::{Ace, Rights, Whom};
pub use soap::{Call, SetPresence};
