//! Both generations of Sametime's gateway, emulated, with the recipes of `config/peers/sametime75` and `sametime-legacy`:
//! over TCP and mutual TLS, on IPv4 and IPv6.

#[path = "sametime/hostile.rs"]
mod hostile;
#[path = "sametime/kinds.rs"]
mod kinds;
#[path = "sametime/presence.rs"]
mod presence;
#[path = "sametime/refusals.rs"]
mod refusals;
#[path = "sametime/strict.rs"]
mod strict;
#[path = "sametime/talk.rs"]
mod talk;
#[path = "sametime/timers.rs"]
mod timers;
