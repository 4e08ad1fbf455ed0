//! Second floor: who may do what, decided purely (design rules 2, 3 and 7).
//!
//! A [`Snapshot`] is the running configuration as resolved: immutable, shared, cheap to ask. [`decide`] takes it and the
//! [`Facts`] of one request and answers with a [`Decision`]; [`admit`] is its first step alone, for use before a
//! handshake. Both are what the engine calls and what `trestle explain` prints: there is no second judge.
//!
//! Nothing here reads files, resolves names or keeps counters: rates come in as facts, host names as resolved addresses.

pub mod acl;
pub mod addresses;
pub mod aliases;
pub mod canonical;
pub mod contract;
mod decide;
pub mod decision;
pub mod dialplan;
pub mod facts;
pub mod identity;
pub mod names;
pub mod peer;
pub mod routes;
pub mod rule;
pub mod settings;
pub mod snapshot;
pub mod terminator;
pub mod trace;
pub mod users;

pub use acl::{Acl, Admission, SourceLoad, admit, admit_behind, may_stay};
pub use decide::decide;
pub use decision::{Allow, Decision, Party, Refusal, Target, Who};
pub use facts::{AuthState, Facts, InDialog, Over, Scheme, UriFacts, Watched};
pub use identity::Identity;
pub use names::NameMap;
pub use peer::{Peer, PeerTls, Pin, Probe, Reuse, is_peer, names_decide};
pub use routes::{Route, RouteSet, RouteSetId, Routes};
pub use rule::RuleRef;
pub use snapshot::{DialectId, DomainId, HostPort, Listener, Snapshot};
pub use terminator::{PeerTerminated, Reported, ReportedTls, Terminated, Terminator};
pub use trace::{Step, Trace, Verdict};
pub use users::{Secret, User, UserId, Users};
