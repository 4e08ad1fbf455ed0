//! Zero-copy messages (RFC 3261 section 7): a [`View`] is offsets into the bytes as they came.
//!
//! [`parse`] splits a complete message into start line, header lines and body without judging the fields;
//! [`View::essentials`] checks what every request and response must carry. Neither allocates once its [`Index`] is
//! warm. Finding where a message ends in a stream is the framer's work.

mod essentials;
mod index;
mod malformed;
mod salvage;
mod split;
mod view;

pub use essentials::Essentials;
pub use index::{Index, MAX_HEADERS};
pub use malformed::Malformed;
pub use salvage::{Salvage, salvage};
pub use split::parse;
pub(crate) use split::trim;
pub use view::{Line, Start, View};

/// How the end of a message was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One datagram is one message; without Content-Length the body is the rest (RFC 3261 section 18.3).
    Datagram,
    /// The framer cut the message out of a stream by its Content-Length.
    Stream,
}

#[cfg(test)]
mod tests;
