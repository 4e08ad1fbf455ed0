//! The `im` room.
