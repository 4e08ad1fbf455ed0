//! What is wrong with a message, and the status that says so.

use core::fmt;

use crate::sip::header::Name;

/// The sender is to blame: the message breaks the grammar or a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The status to answer with: 400, 413, 414, 416, 505 or 513.
    pub status: u16,
    /// The header at fault, if it is one.
    pub header: Option<Name>,
    /// What is wrong, in a few words.
    pub what: &'static str,
}

impl Malformed {
    /// A fault of any status.
    #[must_use]
    pub const fn new(status: u16, header: Option<Name>, what: &'static str) -> Self {
        Self { status, header, what }
    }

    /// A 400 for one header.
    #[must_use]
    pub const fn header(name: Name, what: &'static str) -> Self {
        Self::new(400, Some(name), what)
    }

    /// A 400 for the message as a whole.
    #[must_use]
    pub const fn message(what: &'static str) -> Self {
        Self::new(400, None, what)
    }

    /// The reason phrase for the status.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.status {
            413 => "Request Entity Too Large",
            414 => "Request-URI Too Long",
            416 => "Unsupported URI Scheme",
            505 => "Version Not Supported",
            513 => "Message Too Large",
            _ => "Bad Request",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.header {
            Some(name) if name != Name::Other => write!(f, "{}: {}", name.as_str(), self.what),
            _ => f.write_str(self.what),
        }
    }
}

impl std::error::Error for Malformed {}
