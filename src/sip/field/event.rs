//! Event (RFC 6665 section 8.2.1).

use super::{Params, trim};
use crate::sip::header::Name;
use crate::sip::message::Malformed;
use crate::sip::method::is_token;

/// An event package and the subscription's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader<'a> {
    /// The package, for example `presence`; case counts.
    pub package: &'a [u8],
    /// The id parameter, which tells subscriptions of one dialog apart.
    pub id: Option<&'a [u8]>,
}

impl<'a> EventHeader<'a> {
    /// Reads an Event value.
    ///
    /// # Errors
    /// 400 when the package is no token.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let package = trim(&value[..end]);
        if !is_token(package) {
            return Err(Malformed::header(Name::Event, "it names no event package"));
        }
        Ok(Self {
            package,
            id: Params::new(&value[end..]).get(b"id"),
        })
    }
}
