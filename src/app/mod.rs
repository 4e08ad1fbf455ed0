//! Floor 5: the program as a whole. Builds everything from the configuration, reloads it, shuts it down.

mod events;
mod shard;
mod start;

pub use shard::{Command, Shard};
pub use start::{StartError, reload, run};
