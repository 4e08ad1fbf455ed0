//! Time as the cores see it: handed in by the edge, never read.

/// One reading of both clocks, taken by the edge before it calls a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a monotonic clock; its origin means nothing. All timers use it.
    pub mono_ms: u64,
    /// Milliseconds since 1970-01-01 UTC. Expiries that must survive a restart use it.
    pub wall_ms: u64,
}

impl Now {
    /// Both clocks advanced by `ms` milliseconds, as a simulated clock does.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self {
            mono_ms: self.mono_ms + ms,
            wall_ms: self.wall_ms + ms,
        }
    }
}
