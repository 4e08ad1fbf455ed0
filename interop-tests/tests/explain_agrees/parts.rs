//! What cases are put together from: addresses, methods, those who speak, kinds of credentials.

use trestle::policy::{Party, Scheme, UriFacts};
use trestle::sip::net::PeerId;
use trestle::sip::random::Random;

use super::world::{B, C, E, FRONT, World};

/// The facts of a URI, made without the engine's parser.
pub(crate) fn uri_facts(uri: &str) -> UriFacts<'_> {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let kind = match scheme {
        "sip" => Scheme::Sip,
        "sips" => Scheme::Sips,
        "tel" => Scheme::Tel,
        "pres" => Scheme::Pres,
        "im" => Scheme::Im,
        _ => Scheme::Other,
    };
    let opaque = matches!(kind, Scheme::Tel | Scheme::Other);
    let (user, host) = rest.split_once('@').map_or((None, rest), |(u, h)| (Some(u), h));
    let (number, number_params) = rest.split_once(';').unwrap_or((rest, ""));
    let (user, host) = if opaque { (Some(number), "") } else { (user, host) };
    let number_params = if kind == Scheme::Tel {
        number_params.as_bytes()
    } else {
        b""
    };
    let (host, params) = host.split_once(';').unwrap_or((host, ""));
    let (host, port) = host.split_once(':').map_or((host, None), |(h, p)| (h, p.parse().ok()));
    UriFacts {
        number_params,
        scheme: kind,
        user: user.map(str::as_bytes),
        host: host.as_bytes(),
        port,
        maddr: params.starts_with("maddr"),
    }
}

pub(crate) const URIS: [&str; 36] = [
    "sip:alice@a.example",
    "sip:ALICE@a.example",
    "sip:off@a.example",
    "sip:1001@a.example",
    "sip:10-01@a2.example",
    "tel:+17771001",
    "tel:19990001001",
    "sip:alice@old.example",
    "sip:1003@a.example",
    "pres:%31003@a.example",
    "sip:81001@a.example",
    "sip:adam@e.example",
    "sip:mute@a.example",
    "sip:nobody@a.example",
    "sip:alice@A.EXAMPLE.",
    "sips:alice@a.example",
    "sips:carl@c.example",
    "pres:alice@a.example",
    "im:alice@a.example",
    "sip:any@a2.example",
    "sip:dora@a2.example",
    "sip:bob@b.example",
    "sip:bob@b2.example",
    "sip:carl@c.example",
    "sip:eve@e.example",
    "sip:x@x.d.example",
    "sip:x@d.example",
    "sip:x@evil.example",
    "sip:alice@a.example;maddr=10.0.0.1",
    "sip:x@127.0.0.1:9999",
    "sip:bridge.a.example",
    "sip:a.example",
    "sip:a2.example",
    "tel:+1-555-0100",
    "tel:+4930",
    "urn:service:sos",
];

pub(crate) const METHODS: [&str; 10] = [
    "MESSAGE",
    "SUBSCRIBE",
    "PUBLISH",
    "REGISTER",
    "OPTIONS",
    "INVITE",
    "NOTIFY",
    "SERVICE",
    "INFO",
    "BYE",
];

/// A way to speak: where from, under which certificate, as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) listener: Option<u16>,
    pub(crate) remote: &'static str,
    pub(crate) identity: usize,
    pub(crate) from: &'static str,
    /// The peer it is, by address or certificate.
    pub(crate) peer: Option<PeerId>,
}

pub(crate) const VOICES: [(&str, Voice); 8] = [
    ("b", voice(Some(2), "127.0.0.9:5061", 1, "sip:bob@b.example", Some(B))),
    (
        "b on our connection",
        voice(None, "127.0.0.9:5061", 1, "sip:bob@b.example", Some(B)),
    ),
    ("b2", voice(Some(3), "127.0.0.9:5061", 2, "sip:bob@b2.example", Some(B))),
    ("c", voice(Some(0), "127.0.0.8:5060", 0, "sip:carl@c.example", Some(C))),
    (
        "front",
        voice(Some(1), "127.0.0.7:5060", 0, "sip:any@a2.example", Some(FRONT)),
    ),
    ("e", voice(Some(3), "127.0.1.10:5061", 5, "sip:eve@e.example", Some(E))),
    (
        "alice",
        voice(Some(0), "127.0.0.1:7000", 0, "sip:alice@a.example", None),
    ),
    (
        "stranger",
        voice(Some(0), "127.0.0.1:7001", 0, "sip:x@evil.example", None),
    ),
];

const fn voice(
    listener: Option<u16>,
    remote: &'static str,
    identity: usize,
    from: &'static str,
    peer: Option<PeerId>,
) -> Voice {
    Voice {
        listener,
        remote,
        identity,
        from,
        peer,
    }
}

impl Voice {
    pub(crate) fn named(name: &str) -> Self {
        VOICES.iter().find(|(n, _)| *n == name).map_or(VOICES[7].1, |(_, v)| *v)
    }
}

pub(crate) fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[(random.next_u64() % list.len() as u64) as usize]
}

pub(crate) fn chance(random: &mut Random, percent: u64) -> bool {
    random.next_u64() % 100 < percent
}

/// The user of an address as written in these cases.
pub(crate) fn user_of(world: &World, uri: &str) -> Option<Party> {
    let facts = uri_facts(uri);
    world.user(facts.user?, facts.host).map(Party::User)
}

/// What credentials can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Creds {
    None,
    Valid,
    WrongPassword,
    NoSuchUser,
    OfAnother,
    Expired,
    Replayed,
    ForgedNonce,
    OtherUri,
    OtherMethod,
    OtherRealm,
    NoQop,
}

pub(crate) const CREDS: [(Creds, &str); 11] = [
    (Creds::None, "credentials: none"),
    (Creds::WrongPassword, "credentials: wrong password"),
    (Creds::NoSuchUser, "credentials: no such user"),
    (Creds::OfAnother, "credentials: of another user"),
    (Creds::Expired, "credentials: expired nonce"),
    (Creds::Replayed, "credentials: replayed"),
    (Creds::ForgedNonce, "credentials: forged nonce"),
    (Creds::OtherUri, "credentials: for another URI"),
    (Creds::OtherMethod, "credentials: for another method"),
    (Creds::OtherRealm, "credentials: for another realm"),
    (Creds::NoQop, "credentials: without qop"),
];
