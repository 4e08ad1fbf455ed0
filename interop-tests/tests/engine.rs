//! The engine alone, between simulated sockets and a simulated clock: what would take a network of peers or minutes of
//! waiting otherwise.

#[path = "engine/loops.rs"]
mod loops;
#[path = "engine/merged.rs"]
mod merged;
#[path = "engine/messages.rs"]
mod messages;
#[path = "engine/sim.rs"]
mod sim;
