//! Hostile input: what a trusted server does with it. Each case says what has to become of it; after each the bridge must
//! answer an OPTIONS on a new connection within 4 s, and over a whole run its memory must not have grown by 256 MiB.

#[path = "hostile/access.rs"]
mod access;
#[path = "hostile/acl.rs"]
mod acl;
#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/forwarded.rs"]
mod forwarded;
#[path = "hostile/framing.rs"]
mod framing;
#[path = "hostile/guesses.rs"]
mod guesses;
#[path = "hostile/logs.rs"]
mod logs;
#[path = "hostile/presence.rs"]
mod presence;
#[path = "hostile/routing.rs"]
mod routing;
#[path = "hostile/signed.rs"]
mod signed;
#[path = "hostile/syntax.rs"]
mod syntax;
