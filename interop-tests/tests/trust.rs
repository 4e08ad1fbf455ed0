//! Trust between two organisations: what `trestle cert` makes is used by a running bridge and by peers, and every
//! certificate that must be refused is refused, in both directions.

#[path = "trust/certs.rs"]
mod certs;
#[path = "trust/circle.rs"]
mod circle;
#[path = "trust/doctor.rs"]
mod doctor;
#[path = "trust/handshakes.rs"]
mod handshakes;
#[path = "trust/incoming.rs"]
mod incoming;
#[path = "trust/org.rs"]
mod org;
#[path = "trust/outgoing.rs"]
mod outgoing;
