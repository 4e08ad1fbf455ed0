//! Unified CM's presence trunk and Unified Presence Server, emulated, with the recipes of `config/peers/unified-cm` and
//! `cups`: over TCP and mutual TLS, on IPv4 and IPv6.

#[path = "unified_cm/documents.rs"]
mod documents;
#[path = "unified_cm/kinds.rs"]
mod kinds;
#[path = "unified_cm/lines.rs"]
mod lines;
#[path = "unified_cm/overload.rs"]
mod overload;
#[path = "unified_cm/persons.rs"]
mod persons;
#[path = "unified_cm/publish.rs"]
mod publish;
#[path = "unified_cm/refusals.rs"]
mod refusals;
#[path = "unified_cm/strict.rs"]
mod strict;
