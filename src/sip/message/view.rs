//! Reading a split message.

use super::Malformed;
use super::index::{Index, Slot};
use crate::sip::field::Items;
use crate::sip::header::Name;
use crate::sip::method::Method;

/// A message as offsets into its bytes; copying it copies two pointers.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    index: &'a Index,
}

/// What the start line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request.
    Request {
        /// The method.
        method: Method<'a>,
        /// The Request-URI as written.
        uri: &'a [u8],
    },
    /// A response.
    Response {
        /// 100 to 699.
        status: u16,
        /// The reason phrase, perhaps empty.
        reason: &'a [u8],
    },
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Which header it is.
    pub name: Name,
    /// The name as written.
    pub raw_name: &'a [u8],
    /// The value without surrounding blanks; folds are kept.
    pub value: &'a [u8],
    /// The whole line with folds and final CRLF.
    pub raw: &'a [u8],
}

impl<'a> View<'a> {
    pub(super) fn new(bytes: &'a [u8], index: &'a Index) -> Self {
        Self { bytes, index }
    }

    fn slice(&self, range: &core::ops::Range<u32>) -> &'a [u8] {
        self.bytes
            .get(range.start as usize..range.end as usize)
            .unwrap_or_default()
    }

    /// The whole message, without surplus bytes of a datagram.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
            .get(self.index.start_line.start as usize..self.index.body.end as usize)
            .unwrap_or_default()
    }

    /// The start line.
    #[must_use]
    pub fn start(&self) -> Start<'a> {
        let (first, second) = (self.slice(&self.index.first), self.slice(&self.index.second));
        match self.index.status {
            0 => Start::Request {
                method: Method::from_bytes(first),
                uri: second,
            },
            status => Start::Response { status, reason: second },
        }
    }

    /// True for a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.index.status == 0
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> Option<Method<'a>> {
        self.is_request()
            .then(|| Method::from_bytes(self.slice(&self.index.first)))
    }

    /// The Request-URI; empty for a response.
    #[must_use]
    pub fn request_uri(&self) -> &'a [u8] {
        if self.is_request() {
            self.slice(&self.index.second)
        } else {
            b""
        }
    }

    /// The status of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        (!self.is_request()).then_some(self.index.status)
    }

    pub(super) fn version_ok(&self) -> bool {
        self.index.version_ok
    }

    pub(super) fn short_body(&self) -> bool {
        self.index.short_body
    }

    fn line(&self, slot: &Slot) -> Line<'a> {
        Line {
            name: slot.name,
            raw_name: self.slice(&(slot.start..slot.name_end)),
            value: self.slice(&slot.value),
            raw: self.slice(&(slot.start..slot.end)),
        }
    }

    /// All header lines in order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'a>> + Clone + use<'a> {
        let view = *self;
        view.index.slots.iter().map(move |slot| view.line(slot))
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: Name) -> Option<&'a [u8]> {
        self.index
            .slots
            .iter()
            .find(|s| s.name == name)
            .map(|s| self.slice(&s.value))
    }

    /// The value of every line of a header.
    pub fn headers(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let view = *self;
        view.index
            .slots
            .iter()
            .filter(move |s| s.name == name)
            .map(move |s| view.slice(&s.value))
    }

    /// The comma-separated items of a header over all its lines; commas inside quotes and angle brackets do not count.
    pub fn items(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers(name).flat_map(Items::new)
    }

    /// The values of a header the bridge has no name for, in any case.
    pub fn named<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.lines()
            .filter(move |l| l.raw_name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|l| l.value)
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.slice(&self.index.body)
    }

    /// Max-Forwards, if it is there and a number of at most 255.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u32> {
        self.header(Name::MaxForwards)
            .and_then(crate::sip::field::number)
            .and_then(|n| u32::try_from(n).ok())
    }

    /// Checks what every message must carry.
    ///
    /// # Errors
    /// Names the header at fault and the status to answer with.
    pub fn essentials(&self) -> Result<super::Essentials<'a>, Malformed> {
        super::essentials::check(self)
    }
}
