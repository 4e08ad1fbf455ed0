//! The `presence` room.
