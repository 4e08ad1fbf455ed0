//! URIs (RFC 3261 section 19.1, RFC 3966 tel, RFC 3859 pres, RFC 3860 im) and addresses-of-record.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::borrow::Cow;

use super::field::Params;
use super::header::Name;
use super::message::Malformed;
use super::net::Transport;

/// Schemes the bridge tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// `pres:`
    Pres,
    /// `im:`
    Im,
    /// Anything else.
    Other(&'a [u8]),
}

/// The host of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name as written.
    Name(&'a [u8]),
    /// An IPv4 literal.
    V4(Ipv4Addr),
    /// An IPv6 literal.
    V6(Ipv6Addr),
}

/// A URI in parts, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// The user part as written, without password; of a `tel:` URI the number.
    pub user: Option<&'a [u8]>,
    /// The password, which nobody should write.
    pub password: Option<&'a [u8]>,
    /// The host; of a `tel:` or unknown URI an empty name.
    pub host: Host<'a>,
    host_bytes: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What stands behind `?`.
    pub headers: &'a [u8],
}

/// Longest user part taken; nobody's name is longer, and a truncated identity would be somebody else's.
const MAX_USER: usize = 1024;

impl<'a> Uri<'a> {
    /// Splits a URI. An unknown scheme is no fault here.
    ///
    /// # Errors
    /// 400 when there is no scheme, the host or port cannot be read, or the user part is too long.
    pub fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        let fault = |what| Malformed::new(400, Some(Name::Other), what);
        let colon = memchr::memchr(b':', text).ok_or(fault("the URI has no scheme"))?;
        let (scheme, rest) = (
            scheme(&text[..colon]).ok_or(fault("the URI has no scheme"))?,
            &text[colon + 1..],
        );
        if text.iter().any(|b| b.is_ascii_control() || *b == b' ') {
            return Err(fault("the URI holds blanks or control characters"));
        }
        match scheme {
            Scheme::Tel => Self::tel(rest),
            Scheme::Other(_) => Ok(Self::opaque(scheme, rest)),
            _ => Self::sip(scheme, rest),
        }
    }

    fn opaque(scheme: Scheme<'a>, rest: &'a [u8]) -> Self {
        Self {
            scheme,
            user: Some(rest),
            password: None,
            host: Host::Name(b""),
            host_bytes: b"",
            port: None,
            params: Params::default(),
            headers: b"",
        }
    }

    fn tel(rest: &'a [u8]) -> Result<Self, Malformed> {
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let number = &rest[..end];
        let digit = |b: &u8| b.is_ascii_hexdigit() || b"+-.()*#".contains(b);
        if number.is_empty() || number.len() > 64 || !number.iter().all(digit) {
            return Err(Malformed::new(400, None, "the tel URI holds no number"));
        }
        Ok(Self {
            params: Params::new(&rest[end..]),
            ..Self::opaque(Scheme::Tel, number)
        })
    }

    fn sip(scheme: Scheme<'a>, rest: &'a [u8]) -> Result<Self, Malformed> {
        let fault = |what| Malformed::new(400, Some(Name::Other), what);
        let (userinfo, rest) = match memchr::memchr(b'@', rest) {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (rest, headers) = match memchr::memchr(b'?', rest) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &b""[..]),
        };
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (host_bytes, port) =
            super::field::host_port(&rest[..end]).ok_or(fault("the URI's host or port cannot be read"))?;
        let host = host(host_bytes).ok_or(fault("the URI's host cannot be read"))?;
        let (user, password) = match userinfo {
            Some(info) => match memchr::memchr(b':', info) {
                Some(at) => (Some(&info[..at]), Some(&info[at + 1..])),
                None => (Some(info), None),
            },
            None => (None, None),
        };
        if user.is_some_and(|u| u.is_empty() || u.len() > MAX_USER || has_broken_escape(u)) {
            return Err(fault(
                "the URI's user part is empty, longer than 1 KiB or holds a broken escape",
            ));
        }
        Ok(Self {
            scheme,
            user,
            password,
            host,
            host_bytes,
            port,
            params: Params::new(&rest[end..]),
            headers,
        })
    }

    /// The host as written, brackets kept.
    #[must_use]
    pub fn host_bytes(&self) -> &'a [u8] {
        self.host_bytes
    }

    /// The host in the one form that comparisons use; `None` for a `tel:` or unknown URI.
    #[must_use]
    pub fn domain(&self) -> Option<Cow<'a, str>> {
        let host = core::str::from_utf8(self.host_bytes).ok()?;
        (!host.is_empty()).then(|| canonical_domain(host))
    }

    /// The transport parameter; `sips:` means TLS.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        if self.scheme == Scheme::Sips {
            return Some(Transport::Tls);
        }
        self.params.get(b"transport").and_then(Transport::from_name)
    }

    /// Comparison by RFC 3261 section 19.1.4.
    #[must_use]
    pub fn equals(&self, other: &Uri<'_>) -> bool {
        let scheme = match (self.scheme, other.scheme) {
            (Scheme::Other(a), Scheme::Other(b)) => a.eq_ignore_ascii_case(b),
            (Scheme::Sip, Scheme::Sip)
            | (Scheme::Sips, Scheme::Sips)
            | (Scheme::Tel, Scheme::Tel)
            | (Scheme::Pres, Scheme::Pres)
            | (Scheme::Im, Scheme::Im) => true,
            _ => false,
        };
        scheme
            && same_optional(self.user, other.user)
            && same_optional(self.password, other.password)
            && same_host(self, other)
            && self.port == other.port
            && same_params(&self.params, &other.params)
            && same_headers(self.headers, other.headers)
    }
}

/// A URI as it may stand in a request line: without the headers behind `?` (RFC 3261 section 19.1.1, table 1).
#[must_use]
pub fn without_headers(uri: &[u8]) -> &[u8] {
    let host = memchr::memchr(b'@', uri).map_or(0, |at| at + 1);
    let end = memchr::memchr(b'?', &uri[host..]).map_or(uri.len(), |at| host + at);
    &uri[..end]
}

fn scheme(name: &[u8]) -> Option<Scheme<'_>> {
    if !name.first()?.is_ascii_alphabetic() || !name.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)) {
        return None;
    }
    let known: [(&[u8], Scheme<'_>); 5] = [
        (b"sip", Scheme::Sip),
        (b"sips", Scheme::Sips),
        (b"tel", Scheme::Tel),
        (b"pres", Scheme::Pres),
        (b"im", Scheme::Im),
    ];
    Some(
        known
            .into_iter()
            .find(|(n, _)| name.eq_ignore_ascii_case(n))
            .map_or(Scheme::Other(name), |(_, s)| s),
    )
}

fn host(text: &[u8]) -> Option<Host<'_>> {
    let as_text = core::str::from_utf8(text).ok()?;
    if let Some(inner) = as_text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return inner.parse().ok().map(Host::V6);
    }
    if let Ok(ip) = as_text.parse() {
        return Some(Host::V4(ip));
    }
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"-._".contains(b);
    let labels = as_text
        .strip_suffix('.')
        .unwrap_or(as_text)
        .split('.')
        .all(|label| !label.is_empty());
    (labels && text.iter().all(legal)).then_some(Host::Name(text))
}

/// A domain in the one form that comparisons use: lower case, no trailing dot, addresses in their shortest spelling.
fn canonical_domain(domain: &str) -> Cow<'_, str> {
    // A label that begins with a letter at the end makes it a name, and one in lower case is written as it is.
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let last = domain.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_lowercase()) && domain.bytes().all(is_plain) {
        return domain.into();
    }
    let bare = domain
        .strip_prefix('[')
        .and_then(|d| d.strip_suffix(']'))
        .unwrap_or(domain);
    match bare.parse::<IpAddr>().map(canonical_ip) {
        Ok(IpAddr::V4(ip)) => ip.to_string().into(),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]").into(),
        Err(_) => domain.trim_end_matches('.').to_ascii_lowercase().into(),
    }
}

/// IPv4-mapped IPv6 counts as IPv4.
#[must_use]
pub fn canonical_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn same_host(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    match (a.host, b.host) {
        (Host::Name(x), Host::Name(y)) => x.eq_ignore_ascii_case(y),
        (x, y) => x == y,
    }
}

/// Bytes with `%hh` undone.
pub fn unescaped(raw: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = raw;
    core::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        rest = tail;
        Some(*first)
    })
}

/// Whether a `%` is not followed by two hexadecimal digits.
fn has_broken_escape(raw: &[u8]) -> bool {
    raw.iter().enumerate().filter(|(_, b)| **b == b'%').any(|(at, _)| {
        !raw.get(at + 1..at + 3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok())
}

fn same_optional(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => unescaped(a).eq(unescaped(b)),
        (None, None) => true,
        _ => false,
    }
}

/// Parameters in both must match; user, ttl, method, maddr and transport may not stand in one only.
fn same_params(a: &Params<'_>, b: &Params<'_>) -> bool {
    // Comparing costs the product of both lengths: lists that no honest sender makes must be equal to the letter.
    if a.raw() == b.raw() || a.raw().len().max(b.raw().len()) > MAX_USER {
        return a.raw() == b.raw();
    }
    let lower = |v: Option<&[u8]>| v.map(|v| unescaped(v).map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>());
    let one_way = |a: &Params<'_>, b: &Params<'_>| {
        a.iter().all(|(name, value)| match b.get(name) {
            Some(other) => lower(Some(value.unwrap_or_default())) == lower(Some(other)),
            None => ![&b"user"[..], b"ttl", b"method", b"maddr", b"transport"]
                .iter()
                .any(|n| name.eq_ignore_ascii_case(n)),
        })
    };
    one_way(a, b) && one_way(b, a)
}

fn same_headers(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let sorted = |h: &[u8]| {
        let mut list: Vec<Vec<u8>> = h.split(|b| *b == b'&').map(|p| unescaped(p).collect()).collect();
        list.sort();
        list
    };
    sorted(a) == sorted(b)
}

/// An address-of-record: the user unescaped (case counts), the domain in lower case without trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aor {
    user: Box<str>,
    domain: Box<str>,
}

impl Aor {
    /// From parts that are already unescaped.
    #[must_use]
    pub fn new(user: &str, domain: &str) -> Self {
        Self {
            user: user.into(),
            domain: canonical_domain(domain).into(),
        }
    }

    /// The address a sip, sips, pres or im URI names; `None` for any other, without user part, or when the user part
    /// is not text without control characters or would be too long to read back once written with its escapes.
    #[must_use]
    pub fn from_uri(uri: &Uri<'_>) -> Option<Self> {
        if matches!(uri.scheme, Scheme::Tel | Scheme::Other(_)) {
            return None;
        }
        let raw = uri.user?;
        let user: Cow<'_, str> = match memchr::memchr(b'%', raw) {
            None => core::str::from_utf8(raw).ok()?.into(),
            Some(_) => String::from_utf8(unescaped(raw).collect()).ok()?.into(),
        };
        let written: usize = user.bytes().map(|b| if shown_plainly(b) { 1 } else { 3 }).sum();
        if user.is_empty() || user.chars().any(char::is_control) || written > MAX_USER {
            return None;
        }
        Some(Self {
            user: user.into(),
            domain: uri.domain()?.into(),
        })
    }

    /// The same from text, with or without scheme.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let with_scheme = format!("sip:{text}");
        let candidate = Uri::parse(text.as_bytes())
            .ok()
            .filter(|u| !matches!(u.scheme, Scheme::Other(_)));
        match candidate {
            Some(uri) => Self::from_uri(&uri),
            None => Self::from_uri(&Uri::parse(with_scheme.as_bytes()).ok()?),
        }
    }

    /// The user part, unescaped.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The domain, lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `sip:user@domain`.
    #[must_use]
    pub fn to_uri(&self) -> String {
        format!("sip:{self}")
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &*self.user;
        while let Some(at) = rest.bytes().position(|byte| !shown_plainly(byte)) {
            // What must be escaped is escaped byte by byte, up to the next plain one.
            let end = rest
                .bytes()
                .skip(at)
                .position(shown_plainly)
                .map_or(rest.len(), |n| at + n);
            f.write_str(&rest[..at])?;
            for byte in rest[at..end].bytes() {
                write!(f, "%{byte:02X}")?;
            }
            rest = &rest[end..];
        }
        f.write_str(rest)?;
        f.write_str("@")?;
        f.write_str(&self.domain)
    }
}

/// The bytes a user part may hold without escape (RFC 3261 section 25.1, unreserved and user-unreserved).
fn shown_plainly(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte)
}

/// The digits of a `tel:` URI or of a `sip:` URI with `user=phone`: visual separators removed, `+` kept.
#[must_use]
pub fn digits(uri: &Uri<'_>) -> Option<String> {
    let phone = uri
        .params
        .get(b"user")
        .is_some_and(|v| v.eq_ignore_ascii_case(b"phone"));
    if uri.scheme != Scheme::Tel && !phone {
        return None;
    }
    let plain: Vec<u8> = unescaped(uri.user?).filter(|b| !b"-.()".contains(b)).collect();
    let number = plain
        .iter()
        .enumerate()
        .all(|(at, b)| b.is_ascii_digit() || b"*#ABCDabcd".contains(b) || (*b == b'+' && at == 0));
    String::from_utf8(plain).ok().filter(|text| number && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(a: &str, b: &str) -> bool {
        match (Uri::parse(a.as_bytes()), Uri::parse(b.as_bytes())) {
            (Ok(a), Ok(b)) => a.equals(&b) && b.equals(&a),
            _ => false,
        }
    }

    #[test]
    fn comparison_follows_the_rfc_s_pairs() {
        assert!(equal(
            "sip:%61lice@Atlanta.com;Transport=TCP",
            "SIP:alice@aTLANTA.com;transport=tcp"
        ));
        assert!(equal("sip:carol@c.com;newparam=5", "sip:carol@c.com;security=on"));
        assert!(equal("sip:a@b;transport=tcp?x=1&y=2", "sip:a@b;transport=tcp?y=2&x=1"));
        assert!(!equal("sip:alice@a.com", "sip:Alice@a.com"));
        assert!(!equal("sip:bob@b.com", "sip:bob@b.com:5060"));
        assert!(!equal("sip:bob@b.com", "sip:bob@b.com;transport=udp"));
        assert!(!equal("sip:bob@b.com", "sips:bob@b.com"));
        assert!(!equal("sip:carol@c.com;p=1", "sip:carol@c.com;p=2"));
    }

    #[test]
    fn parts_of_every_shape() -> Result<(), Malformed> {
        let uri = Uri::parse(b"sip:a;b=c:pw@[2001:db8::1]:5070;lr;transport=tls?subject=x")?;
        assert_eq!(
            (uri.user, uri.password, uri.port),
            (Some(&b"a;b=c"[..]), Some(&b"pw"[..]), Some(5070))
        );
        assert_eq!(
            (uri.transport(), uri.headers),
            (Some(Transport::Tls), &b"subject=x"[..])
        );
        assert_eq!(
            digits(&Uri::parse(b"tel:+1-555-0100;phone-context=x")?),
            Some("+15550100".into())
        );
        assert_eq!(Uri::parse(b"urn:service:sos")?.scheme, Scheme::Other(b"urn"));
        for bad in [
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a@[::1",
            "sip:a@h:x",
            "sip:a@h:70000",
            "nocolon",
            "sip:a@b c",
            "sip:a@h<",
        ] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn an_address_of_record_escapes_what_it_shows() {
        let aor = Aor::parse("sip:o%27b%40x@Example.COM.").map(|a| a.to_string());
        assert_eq!(aor.as_deref(), Some("o'b%40x@example.com"));
        assert_eq!(Aor::parse("pres:a@b"), Aor::parse("a@b"));
        assert!(Aor::parse("sip:a%0d%0aEvil@b").is_none());
        assert!(Aor::parse("sip:a%00@b").is_none());
        assert!(Aor::parse("tel:+1555").is_none());
        let bare_specials = |n| format!("sip:{}@b", "#".repeat(n));
        assert!(Aor::parse(&bare_specials(341)).is_some());
        assert!(
            Aor::parse(&bare_specials(342)).is_none(),
            "1,026 bytes once escaped: nobody could read it back"
        );
    }
}
