//! The reusable table of header lines behind a view.

use core::ops::Range;

use crate::sip::header::Name;

/// No message has a right to more header lines than this, whatever is configured.
pub const MAX_HEADERS: usize = 2048;

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
#[derive(Clone, Debug)]
pub struct Index {
    /// More header lines than this are refused.
    pub(super) max_headers: usize,
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
    /// An empty table for messages of at most [`MAX_HEADERS`] header lines.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_headers: MAX_HEADERS,
            slots: Vec::with_capacity(32),
            start_line: 0..0,
            second: 0..0,
            first: 0..0,
            status: 0,
            version_ok: false,
            body: 0..0,
            short_body: false,
        }
    }

    /// Refuses messages of more header lines than this from now on; no more than [`MAX_HEADERS`] can be let in.
    pub fn limit_headers(&mut self, most: usize) {
        self.max_headers = most.min(MAX_HEADERS);
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

/// Offsets are 32 bits wide; longer messages are refused before they are indexed.
pub(super) fn range(start: usize, end: usize) -> Range<u32> {
    start as u32..end as u32
}
