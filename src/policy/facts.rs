//! What is known of one request when it is judged. Everything is borrowed from the message and the flow.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::decision::Party;
use super::identity::Identity;
use super::users::UserId;
use crate::sip::net::{ListenerId, PeerId, Transport};

/// URI schemes as the decision tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`; the digits stand in [`UriFacts::user`].
    Tel,
    /// `pres:` (RFC 3859), judged as the `sip:` form.
    Pres,
    /// `im:` (RFC 3860), judged as the `sip:` form.
    Im,
    /// Anything else: 416.
    Other,
}

impl Scheme {
    /// The scheme of this name, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let known: [(&[u8], Self); 5] = [
            (b"sip", Self::Sip),
            (b"sips", Self::Sips),
            (b"tel", Self::Tel),
            (b"pres", Self::Pres),
            (b"im", Self::Im),
        ];
        known
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map_or(Self::Other, |(_, scheme)| *scheme)
    }
}

/// The parts of a URI that a decision may rest on.
#[derive(Clone, Copy, Debug)]
pub struct UriFacts<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The user part as on the wire (escapes kept, without password); the number of a `tel:` URI.
    pub user: Option<&'a [u8]>,
    /// The host as on the wire, brackets of an IPv6 reference kept; empty for `tel:`.
    pub host: &'a [u8],
    /// The parameters of a `tel:` URI; empty for others, where they stand in the user part if anywhere.
    pub number_params: &'a [u8],
    /// The port if one is written.
    pub port: Option<u16>,
    /// Whether a `maddr` parameter is present.
    pub maddr: bool,
}

/// The dialog a request belongs to, as the engine found it. A To-tag alone is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDialog {
    /// Who stands at the side the request must have come from.
    pub sender: Party,
    /// Who stands at the other side; `None` when the bridge itself does.
    pub towards: Option<Party>,
}

/// What came of the credentials in the request. The engine has checked them; decide only says what they open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthState {
    /// There were none for our realm.
    None,
    /// They are this user's and fresh.
    Valid(UserId),
    /// Right password, expired or used-up nonce.
    Stale,
    /// Wrong password or no such user.
    Wrong,
}

/// Limits that are exceeded right now. Counting is the caller's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Over {
    /// This source address sends more requests a second than `limits.per_source.requests`; not held against peers.
    pub source_requests: bool,
    /// This peer sends more requests a second than its `limits.requests`.
    pub peer_requests: bool,
    /// This sender holds as many subscriptions as it may.
    pub subscriptions: bool,
    /// The bridge itself holds `limits.max_transactions`: the only reason for a 503.
    pub overloaded: bool,
}

/// What we watch at peers, for contracts that limit it.
pub trait Watched: fmt::Debug {
    /// How many distinct addresses.
    fn count(&self, peer: PeerId) -> u32;
    /// Whether this one is among them.
    fn has(&self, peer: PeerId, uri: &UriFacts<'_>) -> bool;
}

/// The facts of one request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The listener it came in by; `None` on a connection that we opened.
    pub listener: Option<ListenerId>,
    /// The transport it came over, or counts as having come over: see [`Identity::counts_as`].
    pub transport: Transport,
    /// The address of the socket it came from, never what a Via says.
    pub source: IpAddr,
    /// Our own socket's address it arrived at, if known: a Request-URI with just this address means the bridge.
    pub local: Option<SocketAddr>,
    /// What the handshake proved.
    pub identity: &'a Identity,
    /// The method as on the wire (case-sensitive).
    pub method: &'a [u8],
    /// The Request-URI.
    pub uri: UriFacts<'a>,
    /// The From address.
    pub from: UriFacts<'a>,
    /// The To address.
    pub to: UriFacts<'a>,
    /// The event package without parameters.
    pub event: Option<&'a [u8]>,
    /// Max-Forwards if there is one.
    pub max_forwards: Option<u32>,
    /// The dialog the engine found. For ACK and CANCEL: of the transaction it matches, only if the source is the same.
    pub dialog: Option<InDialog>,
    /// What came of the credentials.
    pub credentials: AuthState,
    /// The request has been here before with the same target (RFC 5393).
    pub looped: bool,
    /// It went out from here to a peer and comes back from one, with nothing in its headers that tells.
    pub ring: bool,
    /// Limits exceeded now.
    pub over: Over,
    /// Subscriptions that each peer holds here, by [`PeerId`]; shorter than the list of peers where none follows.
    pub held: &'a [u32],
    /// What we watch at peers; `None` counts as nothing.
    pub watched: Option<&'a dyn Watched>,
}

impl<'a> UriFacts<'a> {
    /// The facts of a URI as on the wire; `None` when it has no scheme or no host.
    #[must_use]
    pub fn of(uri: &'a [u8]) -> Option<Self> {
        let colon = uri.iter().position(|b| *b == b':')?;
        let (scheme, rest) = (uri.get(..colon)?, uri.get(colon + 1..)?);
        let scheme = Scheme::of(scheme);
        let none = Self {
            scheme,
            user: None,
            host: b"",
            number_params: b"",
            port: None,
            maddr: false,
        };
        match scheme {
            Scheme::Other => return Some(none),
            Scheme::Tel => {
                let phone = super::dialplan::Phone::of(rest);
                return Some(Self {
                    user: Some(phone.number),
                    number_params: phone.params,
                    ..none
                });
            }
            _ => {}
        }
        let (user, rest) = match memchr::memchr(b'@', rest) {
            Some(at) => (rest.get(..at)?.split(|b| *b == b':').next(), rest.get(at + 1..)?),
            None => (None, rest),
        };
        let end = rest.iter().position(|b| matches!(b, b';' | b'?')).unwrap_or(rest.len());
        let (hostport, params) = (rest.get(..end)?, rest.get(end..)?);
        let after = hostport.iter().position(|b| *b == b']').map_or(0, |i| i + 1);
        let split = hostport.iter().skip(after).position(|b| *b == b':').map(|i| i + after);
        let host = hostport
            .get(..split.unwrap_or(hostport.len()))
            .filter(|h| !h.is_empty())?;
        let port = match split.and_then(|i| hostport.get(i + 1..)) {
            Some(port) => Some(core::str::from_utf8(port).ok()?.parse().ok()?),
            None => None,
        };
        let maddr = params.split(|b| *b == b';').any(|p| {
            p.split(|b| *b == b'=')
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(b"maddr"))
        });
        Some(Self {
            scheme,
            user,
            host,
            number_params: b"",
            port,
            maddr,
        })
    }
}
