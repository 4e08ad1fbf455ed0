//! Header names (RFC 3261 section 20 and extensions), with their compact forms.

/// A header the bridge knows by name; anything else is [`Name::Other`] and keeps its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the header of its name")]
pub enum Name {
    Accept,
    Allow,
    AllowEvents,
    Authorization,
    CallId,
    Contact,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Date,
    Event,
    Expires,
    From,
    MaxBreadth,
    MaxForwards,
    MinExpires,
    Path,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    Reason,
    RecordRoute,
    Require,
    RetryAfter,
    Route,
    SipEtag,
    SipIfMatch,
    Subject,
    SubscriptionState,
    Supported,
    To,
    Unsupported,
    Via,
    Warning,
    WwwAuthenticate,
    Other,
}

const NAMES: [(Name, &[u8], u8); 36] = [
    (Name::Accept, b"Accept", 0),
    (Name::Allow, b"Allow", 0),
    (Name::AllowEvents, b"Allow-Events", b'u'),
    (Name::Authorization, b"Authorization", 0),
    (Name::CallId, b"Call-ID", b'i'),
    (Name::Contact, b"Contact", b'm'),
    (Name::ContentEncoding, b"Content-Encoding", b'e'),
    (Name::ContentLength, b"Content-Length", b'l'),
    (Name::ContentType, b"Content-Type", b'c'),
    (Name::CSeq, b"CSeq", 0),
    (Name::Date, b"Date", 0),
    (Name::Event, b"Event", b'o'),
    (Name::Expires, b"Expires", 0),
    (Name::From, b"From", b'f'),
    (Name::MaxBreadth, b"Max-Breadth", 0),
    (Name::MaxForwards, b"Max-Forwards", 0),
    (Name::MinExpires, b"Min-Expires", 0),
    (Name::Path, b"Path", 0),
    (Name::ProxyAuthenticate, b"Proxy-Authenticate", 0),
    (Name::ProxyAuthorization, b"Proxy-Authorization", 0),
    (Name::ProxyRequire, b"Proxy-Require", 0),
    (Name::Reason, b"Reason", 0),
    (Name::RecordRoute, b"Record-Route", 0),
    (Name::Require, b"Require", 0),
    (Name::RetryAfter, b"Retry-After", 0),
    (Name::Route, b"Route", 0),
    (Name::SipEtag, b"SIP-ETag", 0),
    (Name::SipIfMatch, b"SIP-If-Match", 0),
    (Name::Subject, b"Subject", b's'),
    (Name::SubscriptionState, b"Subscription-State", 0),
    (Name::Supported, b"Supported", b'k'),
    (Name::To, b"To", b't'),
    (Name::Unsupported, b"Unsupported", 0),
    (Name::Via, b"Via", b'v'),
    (Name::Warning, b"Warning", 0),
    (Name::WwwAuthenticate, b"WWW-Authenticate", 0),
];

/// Candidates by first letter (lower case), so that a look-up compares with a handful of names only.
const BY_LETTER: [&[u8]; 26] = letters();

const fn letters() -> [&'static [u8]; 26] {
    let mut table: [&'static [u8]; 26] = [&[]; 26];
    table[0] = &[0, 1, 2, 3];
    table[(b'c' - b'a') as usize] = &[4, 5, 6, 7, 8, 9];
    table[(b'd' - b'a') as usize] = &[10];
    table[(b'e' - b'a') as usize] = &[11, 12];
    table[(b'f' - b'a') as usize] = &[13];
    table[(b'm' - b'a') as usize] = &[14, 15, 16];
    table[(b'p' - b'a') as usize] = &[17, 18, 19, 20];
    table[(b'r' - b'a') as usize] = &[21, 22, 23, 24, 25];
    table[(b's' - b'a') as usize] = &[26, 27, 28, 29, 30];
    table[(b't' - b'a') as usize] = &[31];
    table[(b'u' - b'a') as usize] = &[32];
    table[(b'v' - b'a') as usize] = &[33];
    table[(b'w' - b'a') as usize] = &[34, 35];
    table
}

impl Name {
    /// Reads a name in any case, long or compact.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Self {
        let Some(first) = name.first().map(u8::to_ascii_lowercase) else {
            return Self::Other;
        };
        if name.len() == 1 {
            return NAMES
                .iter()
                .find(|(_, _, compact)| *compact == first)
                .map_or(Self::Other, |(n, _, _)| *n);
        }
        if !first.is_ascii_lowercase() {
            return Self::Other;
        }
        BY_LETTER[usize::from(first - b'a')]
            .iter()
            .map(|i| &NAMES[usize::from(*i)])
            .find(|(_, long, _)| name.eq_ignore_ascii_case(long))
            .map_or(Self::Other, |(n, _, _)| *n)
    }

    /// The long form; empty for [`Name::Other`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES
            .get(self as usize)
            .and_then(|(_, long, _)| core::str::from_utf8(long).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_by_its_compact_form() {
        for (name, long, compact) in NAMES {
            assert_eq!(Name::from_bytes(long), name);
            assert_eq!(Name::from_bytes(&long.to_ascii_uppercase()), name);
            assert_eq!(name.as_str().as_bytes(), long);
            if compact != 0 {
                assert_eq!(Name::from_bytes(&[compact]), name);
                assert_eq!(Name::from_bytes(&[compact.to_ascii_uppercase()]), name);
            }
        }
        assert_eq!(Name::from_bytes(b"X-Own"), Name::Other);
        assert_eq!(Name::from_bytes(b""), Name::Other);
        assert_eq!(Name::from_bytes(b"z"), Name::Other);
    }
}
