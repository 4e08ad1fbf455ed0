//! What every message must carry (RFC 3261 section 8.1.1), checked once.

use super::split::URI_LIMIT;
use super::{Malformed, View};
use crate::sip::field::{CSeq, NameAddr, Via, number};
use crate::sip::header::Name;
use crate::sip::method::Method;

/// The mandatory fields of a message, read.
#[derive(Clone, Copy, Debug)]
pub struct Essentials<'a> {
    /// The method of a request; of a response, the one in CSeq.
    pub method: Method<'a>,
    /// The topmost Via.
    pub via: Via<'a>,
    /// From.
    pub from: NameAddr<'a>,
    /// To.
    pub to: NameAddr<'a>,
    /// Call-ID.
    pub call_id: &'a [u8],
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// Max-Forwards, 0 to 255; requests of RFC 2543 have none.
    pub max_forwards: Option<u32>,
    /// Max-Breadth (RFC 5393 section 5), as it is written; what exceeds 32 bits is cut to them.
    pub max_breadth: Option<u32>,
}

pub(super) fn check<'a>(view: &View<'a>) -> Result<Essentials<'a>, Malformed> {
    if !view.version_ok() {
        return Err(Malformed::new(505, None, "the version is not SIP/2.0"));
    }
    if view.short_body() {
        return Err(Malformed::header(
            Name::ContentLength,
            "it promises more than the datagram holds",
        ));
    }
    let uri = view.request_uri();
    if view.is_request() {
        request_uri(uri)?;
    }
    let mut singles = Singles::default();
    for line in view.lines() {
        singles.take(line.name, line.value)?;
    }
    let missing = |name| Malformed::header(name, "it is missing");
    let via = view.items(Name::Via).next().ok_or(missing(Name::Via))?;
    let cseq = CSeq::parse(singles.cseq.ok_or(missing(Name::CSeq))?)?;
    let method = view.method().unwrap_or(cseq.method);
    if method != cseq.method {
        return Err(Malformed::header(Name::CSeq, "its method is not the request's"));
    }
    let call_id = singles.call_id.ok_or(missing(Name::CallId))?;
    if call_id.is_empty() || call_id.len() > 1024 || call_id.iter().any(|b| b.is_ascii_whitespace() || *b == 0) {
        return Err(Malformed::header(Name::CallId, "it is empty, too long or holds blanks"));
    }
    let from = NameAddr::only(singles.from.ok_or(missing(Name::From))?).map_err(|m| m.at(Name::From))?;
    let to = NameAddr::only(singles.to.ok_or(missing(Name::To))?).map_err(|m| m.at(Name::To))?;
    let max_forwards = singles.max_forwards.map(hops).transpose()?;
    let max_breadth = singles.max_breadth.map(breadth).transpose()?;
    content_length(singles.content_length)?;
    Ok(Essentials {
        method,
        via: Via::parse(via)?,
        from,
        to,
        call_id,
        cseq,
        max_forwards,
        max_breadth,
    })
}

impl Malformed {
    /// The same fault, in this header.
    fn at(self, name: Name) -> Self {
        Self {
            header: Some(name),
            ..self
        }
    }
}

fn request_uri(uri: &[u8]) -> Result<(), Malformed> {
    if uri.len() > URI_LIMIT {
        return Err(Malformed::new(414, None, "the Request-URI is longer than 8 KiB"));
    }
    if uri.is_empty()
        || uri
            .iter()
            .any(|b| *b <= b' ' || *b == 0x7f || matches!(b, b'<' | b'>' | b'"'))
    {
        return Err(Malformed::message(
            "the Request-URI is empty or holds blanks, quotes or angle brackets",
        ));
    }
    Ok(())
}

fn hops(value: &[u8]) -> Result<u32, Malformed> {
    match number(value) {
        Some(n @ 0..=255) => Ok(n as u32),
        _ => Err(Malformed::header(Name::MaxForwards, "it is not a number from 0 to 255")),
    }
}

fn breadth(value: &[u8]) -> Result<u32, Malformed> {
    let number = number(value).ok_or(Malformed::header(Name::MaxBreadth, "it is not a number"))?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

fn content_length(value: Option<&[u8]>) -> Result<(), Malformed> {
    match value.map(number) {
        None | Some(Some(_)) => Ok(()),
        Some(None) => Err(Malformed::header(Name::ContentLength, "it is not a number")),
    }
}

/// Headers that may stand only once; repeated with the same value they are forgiven.
#[derive(Default)]
struct Singles<'a> {
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    max_forwards: Option<&'a [u8]>,
    max_breadth: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
}

impl<'a> Singles<'a> {
    fn take(&mut self, name: Name, value: &'a [u8]) -> Result<(), Malformed> {
        let slot = match name {
            Name::From => &mut self.from,
            Name::To => &mut self.to,
            Name::CallId => &mut self.call_id,
            Name::CSeq => &mut self.cseq,
            Name::MaxForwards => &mut self.max_forwards,
            Name::MaxBreadth => &mut self.max_breadth,
            Name::ContentLength => &mut self.content_length,
            _ => return Ok(()),
        };
        match slot {
            Some(before) if *before != value => Err(Malformed::header(name, "it stands twice with different values")),
            _ => {
                *slot = Some(value);
                Ok(())
            }
        }
    }
}
