//! Two islands of different kinds with the bridge between them: a user of one watches and writes to a user of the other,
//! each in its own way, without either server knowing what the other is.

#[path = "islands/presence.rs"]
mod presence;
#[path = "islands/strait.rs"]
mod strait;
#[path = "islands/talk.rs"]
mod talk;
