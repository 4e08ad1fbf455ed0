//! The place of session-mode conversations; pager messages are the engine's, so nothing is here yet.
