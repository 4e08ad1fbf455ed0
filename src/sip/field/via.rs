//! Via (RFC 3261 section 20.42, RFC 3581).

use super::{Params, number, trim};
use crate::sip::header::Name;
use crate::sip::message::Malformed;

/// The magic cookie that marks branches of RFC 3261.
const COOKIE: &[u8] = b"z9hG4bK";

/// One Via item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport name, for example `UDP`.
    pub transport: &'a [u8],
    /// The host of sent-by, brackets of an IPv6 reference kept.
    pub host: &'a [u8],
    /// The port of sent-by.
    pub port: Option<u16>,
    /// Its parameters.
    pub params: Params<'a>,
    sent_by: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads one item, folded or with blanks around its slashes.
    ///
    /// # Errors
    /// 400 when protocol, host or port cannot be read.
    pub fn parse(item: &'a [u8]) -> Result<Self, Malformed> {
        let fault = |what| Malformed::header(Name::Via, what);
        let end = memchr::memchr(b';', item).unwrap_or(item.len());
        let (head, params) = (trim(&item[..end]), Params::new(&item[end..]));
        let mut parts = head.splitn(3, |b| *b == b'/');
        let (name, version, rest) = (parts.next(), parts.next(), parts.next().map(trim));
        let rest = rest.ok_or(fault("it is not SIP/2.0/TRANSPORT host"))?;
        if !trim(name.unwrap_or_default()).eq_ignore_ascii_case(b"SIP") || trim(version.unwrap_or_default()) != b"2.0" {
            return Err(fault("its protocol is not SIP/2.0"));
        }
        let blank = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .ok_or(fault("it has no sent-by"))?;
        let (transport, sent_by) = (&rest[..blank], trim(&rest[blank..]));
        let (host, port) = host_port(sent_by).ok_or(fault("its sent-by is not host or host:port"))?;
        Ok(Self {
            transport,
            host,
            port,
            params,
            sent_by,
        })
    }

    /// `host[:port]` as written.
    #[must_use]
    pub fn sent_by(&self) -> &'a [u8] {
        self.sent_by
    }

    /// The branch, whatever it looks like.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.get(b"branch").filter(|b| !b.is_empty())
    }

    /// The branch if it carries the magic cookie of RFC 3261.
    #[must_use]
    pub fn rfc3261_branch(&self) -> Option<&'a [u8]> {
        self.branch()
            .filter(|b| b.len() > COOKIE.len() && b.starts_with(COOKIE))
    }

    /// `None`: no rport; `Some(None)`: asked for; `Some(Some(port))`: filled in.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params
            .get(b"rport")
            .map(|v| number(v).and_then(|n| u16::try_from(n).ok()))
    }

    /// The received parameter.
    #[must_use]
    pub fn received(&self) -> Option<&'a [u8]> {
        self.params.get(b"received")
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; blanks around the colon are allowed by the grammar.
pub(crate) fn host_port(value: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_end = if value.first() == Some(&b'[') {
        memchr::memchr(b']', value)? + 1
    } else {
        memchr::memchr(b':', value).unwrap_or(value.len())
    };
    let (host, rest) = (trim(&value[..host_end]), trim(&value[host_end..]));
    if host.is_empty() || host.iter().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        return None;
    }
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = number(trim(rest.strip_prefix(b":")?))?;
    u16::try_from(port).ok().filter(|p| *p != 0).map(|p| (host, Some(p)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes() -> Result<(), Malformed> {
        let via = Via::parse(b"SIP / 2.0 /  UDP\r\n  [2001:db8::1]:5070 ; branch=z9hG4bKx;RPORT;received=[::1]")?;
        assert_eq!(
            (via.transport, via.host, via.port),
            (&b"UDP"[..], &b"[2001:db8::1]"[..], Some(5070))
        );
        assert_eq!(
            (via.rfc3261_branch(), via.rport()),
            (Some(&b"z9hG4bKx"[..]), Some(None))
        );
        let via = Via::parse(b"SIP/2.0/TLS host : 5061;branch=old;rport=99")?;
        assert_eq!(
            (via.host, via.port, via.rfc3261_branch(), via.rport()),
            (&b"host"[..], Some(5061), None, Some(Some(99)))
        );
        Ok(())
    }

    #[test]
    fn broken_shapes_are_refused() {
        for bad in [
            &b"SIP/2.0/UDP"[..],
            b"SIP/3.0/UDP h",
            b"HTTP/2.0/TCP h",
            b"SIP/2.0/UDP h:0",
            b"SIP/2.0/UDP h:99999",
            b"SIP/2.0/UDP [::1",
            b"",
        ] {
            assert!(Via::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
