//! Floor 5: the program as a whole. Builds everything from the configuration, reloads it, shuts it down.

mod events;
mod reload;
mod shard;
mod start;

pub use reload::reload;
pub use shard::{Command, Shard};
pub use start::{StartError, run};
