//! The reusable table of header lines behind a view.

use core::ops::Range;

use crate::sip::header::Name;

/// One header line as offsets into the message.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: Name,
    /// Start of the line.
    pub(super) start: u32,
    /// End of the name.
    pub(super) name_end: u32,
    /// The value without surrounding white space.
    pub(super) value: Range<u32>,
    /// End of the line with its folds and final CRLF.
    pub(super) end: u32,
}

/// Holds the offsets of one message at a time; keep it and parse the next message into it.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub(super) slots: Vec<Slot>,
    pub(super) start_line: Range<u32>,
    /// Of a request: the Request-URI. Of a response: the reason phrase.
    pub(super) second: Range<u32>,
    /// Of a request: the method.
    pub(super) first: Range<u32>,
    /// Of a response: the status; 0 for a request.
    pub(super) status: u16,
    pub(super) version_ok: bool,
    pub(super) body: Range<u32>,
    /// A datagram whose Content-Length promises more than there is (RFC 3261 section 18.3).
    pub(super) short_body: bool,
}

impl Index {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: Vec::with_capacity(32),
            ..Self::default()
        }
    }
}

/// Offsets are 32 bits wide; longer messages are refused before they are indexed.
pub(super) fn range(start: usize, end: usize) -> Range<u32> {
    start as u32..end as u32
}
