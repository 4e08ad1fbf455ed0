//! Trusted terminators: who may say that a connection came under TLS, and by whose certificate.
//!
//! A terminator ends the TLS that we do not speak and tells us of the connection in front of its plain bytes. What it
//! says is believed from its listed addresses only, and proves a peer only where that peer's `tls.terminated` says so;
//! else the connection is worth what a plain one from that address is. The bytes are read by `transport`, certificates
//! by `pki`.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::acl::canonical;
use super::identity::CertNames;
use super::rule::RuleRef;
use crate::sip::net::PeerId;

/// What a listener believes of those in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminator {
    /// Where they connect from.
    pub addresses: Vec<IpNet>,
    /// Whether what came to them under TLS counts as TLS here: for `sips:` and for `accept: [tls]`.
    pub counts_as_tls: bool,
    /// The type of the field in which they pass the client's certificate on.
    pub certificate_tlv: Option<u8>,
    /// Where it is written.
    pub rule: RuleRef,
}

impl Terminator {
    /// Whether this is the address of one.
    #[must_use]
    pub fn is_at(&self, ip: IpAddr) -> bool {
        let ip = canonical(ip);
        self.addresses.iter().any(|net| net.contains(&ip))
    }
}

/// Whose word proves a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Every terminator of this listener.
    Listener(Arc<str>),
    /// The terminators at these addresses, whatever the listener.
    Net(IpNet),
}

/// How a peer proves itself through a terminator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTerminated {
    /// Whose word counts.
    pub by: Vec<By>,
    /// Whether the common name counts: where nothing but that is reported, it is all there is.
    pub allow_cn: bool,
}

impl PeerTerminated {
    /// Whether the word of the terminator at this address, on this listener, counts.
    #[must_use]
    pub fn believes(&self, listener: &str, terminator: IpAddr) -> bool {
        let ip = canonical(terminator);
        self.by.iter().any(|by| match by {
            By::Listener(name) => **name == *listener,
            By::Net(net) => net.contains(&ip),
        })
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The terminator's own: it asks whether we live.
    Own,
    /// Somebody's whose address is not told.
    Untold,
    /// That of somebody at this address, IPv4-mapped IPv6 as IPv4.
    From(SocketAddr),
}

/// What a terminator reports of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The terminator's own address.
    pub terminator: IpAddr,
    /// Whose connection it is.
    pub origin: Origin,
    /// The TLS it ended; `None` when there was none, or it says nothing of it.
    pub tls: Option<ReportedTls>,
}

/// What a terminator reports of the TLS it ended. Nothing in here has been judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedTls {
    /// The client showed a certificate in the handshake of this very connection.
    pub shown_now: bool,
    /// It showed one at least in the session that this connection resumed.
    pub shown_before: bool,
    /// What verification came to; 0 is well.
    pub verify: u32,
    /// `TLSv1.2` and the like, escaped for printing.
    pub version: Box<str>,
    /// The cipher suite, escaped for printing.
    pub cipher: Box<str>,
    /// The common name of the certificate, as the bytes came.
    pub common_name: Option<Box<[u8]>>,
    /// The certificate, and perhaps its chain, as the bytes came.
    pub certificate: Option<Box<[u8]>>,
}

/// What a flow through a terminator proved: made once a connection, and again after a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminated {
    /// The names that the terminator verified, or that stand in the certificate it passed on; none where it verified none.
    pub names: CertNames,
    /// The listener.
    pub listener: Arc<str>,
    /// Peers that may be proved by this terminator and by what it reports; their names are still to be judged.
    pub anchored: Vec<PeerId>,
    /// Those of them that pinned exactly this certificate or key.
    pub pinned: Vec<PeerId>,
    /// Whether it counts as TLS: it came under TLS and the listener says that this counts.
    pub counts_as_tls: bool,
    /// Why it proves nothing; `None` when it proves something.
    pub why_not: Option<&'static str>,
    /// What it rests on.
    pub reported: Arc<Reported>,
}

impl fmt::Display for Terminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, listener) = (self.reported.terminator, &self.listener);
        match self.why_not {
            Some(why) if self.names == CertNames::default() => f.write_str(why)?,
            Some(why) => write!(f, "{}, but {why}", self.names)?,
            None => write!(f, "a certificate with {}", self.names)?,
        }
        write!(f, ", as the terminator {by} of listener {listener} reports")?;
        match &self.reported.tls {
            Some(tls) if !tls.version.is_empty() => write!(f, " ({} {})", tls.version, tls.cipher),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_believes_those_it_names() {
        let net = |text: &str| text.parse().map(By::Net);
        let by = [Ok(By::Listener("old-tls".into())), net("192.0.2.0/30")];
        let by: Result<Vec<By>, ipnet::AddrParseError> = by.into_iter().collect();
        let trust = PeerTerminated {
            by: by.unwrap_or_default(),
            allow_cn: true,
        };
        let ip = |text: &str| text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        assert!(trust.believes("old-tls", ip("203.0.113.1")));
        assert!(trust.believes("other", ip("192.0.2.1")));
        assert!(trust.believes("other", ip("::ffff:192.0.2.1")), "mapped is the same");
        assert!(!trust.believes("other", ip("192.0.2.4")));
        assert!(!trust.believes("OLD-TLS", ip("203.0.113.1")));
    }
}
