//! Certificates: whom the bridge believes, how it proves itself, and what is wrong when it does not work (design rule 3).
//!
//! [`verify`] builds chains against one peer's own anchors (RFC 5280, by webpki) or compares pins; [`names`] reads the
//! names that `policy::identity` judges (RFC 5922); [`tls`] makes the rustls configurations out of both; [`authority`]
//! issues certificates and revocation lists; [`doctor`] explains a trunk that does not come up. No OCSP, no system trust
//! store, no fetching of issuers: what a peer is believed by stands in the configuration.

pub mod authority;
pub mod crl;
pub mod doctor;
pub mod files;
pub mod names;
pub mod pin;
pub mod settings;
pub mod terminated;
pub mod tls;
pub mod verify;

#[cfg(test)]
pub(crate) mod testing;

pub use files::FileProblem;
pub use names::names_of;
pub use pin::Pin;
pub use settings::Settings;
pub use terminated::identify_terminated;
pub use tls::{ClientAuth, LocalIdentity, Rejections, client_config, identify, provider, server_config};
pub use verify::{CertProblem, How, PeerStore, PeerTrust, Usage};
