//! Matching requests to server transactions: RFC 3261 sections 9.2 and 17.2.3, RFC 2543 rules included.
//!
//! The fields that identify a transaction are hashed once into 128 bits under a secret key; the method is kept beside
//! them, so that ACK and CANCEL find the transaction they speak of with the same hash. The source address is one of
//! the fields: who guesses another's branch reaches nothing from elsewhere.
//!
//! Not compared: the To tag of an ACK with the tag of our own answer (RFC 2543 rules); the other fields suffice.

use super::branch::has_magic_cookie;
use crate::sip::random::Random;
use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};
use siphasher::sip128::{Hasher128, SipHasher13};

/// What identifies a request, as found in it; slices into the message.
#[derive(Clone, Copy, Debug)]
pub struct ServerKey<'a> {
    /// `branch` of the top Via; empty if there is none. Without the magic cookie the rules of RFC 2543 apply.
    pub branch: &'a [u8],
    /// Host and port of the top Via as written.
    pub sent_by: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The Request-URI (RFC 2543 only, as the rest).
    pub uri: &'a [u8],
    /// The From tag, empty if there is none.
    pub from_tag: &'a [u8],
    /// The To tag, empty if there is none.
    pub to_tag: &'a [u8],
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// The number in CSeq.
    pub cseq: u32,
    /// The whole value of the top Via, before `received` or `rport` are filled in.
    pub top_via: &'a [u8],
    /// The address it came from, for datagrams and streams alike. The port does not count: a client may repeat from
    /// another one.
    pub source: SocketAddr,
}

/// INVITE, as packed by [`method`].
pub(super) const INVITE: u64 = pack(b"INVITE");
/// ACK, as packed by [`method`].
pub(super) const ACK: u64 = pack(b"ACK");
/// CANCEL, as packed by [`method`].
pub(super) const CANCEL: u64 = pack(b"CANCEL");

/// The identity of a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// As two words, which need no more than eight-byte alignment.
    pub(super) fields: [u64; 2],
    pub(super) method: u64,
    /// RFC 2543 rules: the hashed To tag; 0 for none and under RFC 3261 rules.
    pub(super) to_tag: u64,
}

impl Fingerprint {
    /// Whether `self` (of an ACK) speaks of the INVITE `other`: its To tag is the one of the response, except that
    /// an INVITE inside a dialog had it already.
    pub(super) fn acknowledges(&self, other: &Self) -> bool {
        self.fields == other.fields && other.method == INVITE && (other.to_tag == 0 || other.to_tag == self.to_tag)
    }

    /// Whether `self` (of a CANCEL) speaks of the request `other`.
    pub(super) fn cancels(&self, other: &Self) -> bool {
        self.fields == other.fields && other.method != CANCEL && self.to_tag == other.to_tag
    }
}

/// The keys of the hash.
#[derive(Debug)]
pub(super) struct Keys(u64, u64);

impl Keys {
    pub(super) fn new(random: &mut Random) -> Self {
        Self(random.next_u64(), random.next_u64())
    }

    fn hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }

    pub(super) fn fingerprint(&self, key: &ServerKey<'_>) -> Fingerprint {
        let mut hasher = self.hasher();
        match key.source.ip().to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        let to_tag = if has_magic_cookie(key.branch) {
            field(&mut hasher, key.branch);
            lower_case_field(&mut hasher, key.sent_by);
            0
        } else {
            for part in [key.uri, key.from_tag, key.call_id, key.top_via] {
                field(&mut hasher, part);
            }
            hasher.write_u32(key.cseq);
            if key.to_tag.is_empty() {
                0
            } else {
                self.short(key.to_tag)
            }
        };
        Fingerprint {
            fields: hasher.finish128().as_u64().into(),
            method: self.method(key.method),
            to_tag,
        }
    }

    fn method(&self, method: &[u8]) -> u64 {
        if method.len() <= 8 {
            pack(method)
        } else {
            self.short(method)
        }
    }

    /// A keyed hash that is never 0.
    fn short(&self, text: &[u8]) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(text);
        hasher.finish().max(1)
    }
}

const fn pack(method: &[u8]) -> u64 {
    let (mut packed, mut index) = (0, 0);
    while index < method.len() {
        packed = (packed << 8) | method[index] as u64;
        index += 1;
    }
    packed
}

fn field(hasher: &mut SipHasher13, text: &[u8]) {
    hasher.write_usize(text.len());
    hasher.write(text);
}

/// Host names have no case.
fn lower_case_field(hasher: &mut SipHasher13, text: &[u8]) {
    hasher.write_usize(text.len());
    for chunk in text.chunks(32) {
        let mut lower = [0; 32];
        let lower = &mut lower[..chunk.len()];
        lower.copy_from_slice(chunk);
        lower.make_ascii_lowercase();
        hasher.write(lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const MODERN: ServerKey<'_> = ServerKey {
        branch: b"z9hG4bKabc",
        sent_by: b"pc.a.example:5060",
        method: b"INVITE",
        uri: b"sip:bob@b.example",
        from_tag: b"f1",
        to_tag: b"",
        call_id: b"c1@a.example",
        cseq: 7,
        top_via: b"SIP/2.0/UDP pc.a.example:5060;branch=z9hG4bKabc",
        source: from(Ipv4Addr::new(192, 0, 2, 1)),
    };
    const OLD: ServerKey<'_> = ServerKey {
        branch: b"1",
        top_via: b"SIP/2.0/UDP pc.a.example",
        ..MODERN
    };

    const fn from(address: Ipv4Addr) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(address), 5060)
    }

    fn keys() -> Keys {
        Keys::new(&mut Random::from_seed([1; 32]))
    }

    #[test]
    fn branch_sent_by_method_and_source_identify_a_modern_request() {
        let keys = keys();
        let print = |key: &ServerKey<'_>| keys.fingerprint(key);
        let base = print(&MODERN);
        let mapped = SocketAddr::new(IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()), 40_000);
        for same in [
            ServerKey {
                sent_by: b"PC.a.EXAMPLE:5060",
                ..MODERN
            },
            ServerKey {
                uri: b"sip:x@y",
                from_tag: b"x",
                to_tag: b"y",
                call_id: b"z",
                cseq: 1,
                top_via: b"",
                ..MODERN
            },
            ServerKey {
                source: mapped,
                ..MODERN
            },
        ] {
            assert_eq!(print(&same), base, "{same:?}");
        }
        for other in [
            ServerKey {
                branch: b"z9hG4bKabd",
                ..MODERN
            },
            ServerKey {
                branch: b"z9hG4bKabcp",
                sent_by: b"c.a.example:5060",
                ..MODERN
            },
            ServerKey {
                sent_by: b"pc.a.example",
                ..MODERN
            },
            ServerKey {
                method: b"OPTIONS",
                ..MODERN
            },
            ServerKey {
                method: b"invite",
                ..MODERN
            },
            ServerKey {
                method: b"SUBSCRIBE",
                ..MODERN
            },
            ServerKey {
                source: from(Ipv4Addr::new(192, 0, 2, 2)),
                ..MODERN
            },
            OLD,
        ] {
            assert_ne!(print(&other), base, "{other:?}");
        }
    }

    #[test]
    fn six_fields_identify_a_request_without_the_cookie() {
        let keys = keys();
        let base = keys.fingerprint(&OLD);
        let long_method = ServerKey {
            method: b"SUBSCRIBE",
            ..OLD
        };
        assert_eq!(keys.fingerprint(&long_method), keys.fingerprint(&long_method.clone()));
        assert_eq!(
            keys.fingerprint(&ServerKey {
                sent_by: b"other",
                branch: b"",
                ..OLD
            }),
            base
        );
        assert_eq!(
            keys.fingerprint(&ServerKey {
                branch: b"z9hG4bK",
                ..OLD
            }),
            base,
            "the cookie alone"
        );
        for other in [
            ServerKey {
                uri: b"sip:carol@b.example",
                ..OLD
            },
            ServerKey { from_tag: b"f2", ..OLD },
            ServerKey { to_tag: b"t1", ..OLD },
            ServerKey { call_id: b"c2", ..OLD },
            ServerKey { cseq: 8, ..OLD },
            ServerKey { method: b"BYE", ..OLD },
            ServerKey {
                top_via: b"SIP/2.0/UDP pc.a.example:5061",
                ..OLD
            },
            ServerKey {
                uri: b"sip:bob@b.examplef",
                from_tag: b"1",
                ..OLD
            },
        ] {
            assert_ne!(keys.fingerprint(&other), base, "{other:?}");
        }
    }

    #[test]
    fn acks_and_cancels_find_what_they_speak_of() {
        let keys = keys();
        let table = [
            // ACK, INVITE, matches
            (
                ServerKey {
                    to_tag: b"t1",
                    method: b"ACK",
                    ..MODERN
                },
                MODERN,
                true,
            ),
            (
                ServerKey {
                    to_tag: b"t1",
                    method: b"ACK",
                    ..OLD
                },
                OLD,
                true,
            ),
            (
                ServerKey {
                    to_tag: b"t1",
                    method: b"ACK",
                    ..OLD
                },
                ServerKey { to_tag: b"t1", ..OLD },
                true,
            ),
            (
                ServerKey {
                    to_tag: b"t2",
                    method: b"ACK",
                    ..OLD
                },
                ServerKey { to_tag: b"t1", ..OLD },
                false,
            ),
            (
                ServerKey {
                    cseq: 8,
                    method: b"ACK",
                    ..OLD
                },
                OLD,
                false,
            ),
            (
                ServerKey {
                    method: b"ACK",
                    ..MODERN
                },
                ServerKey {
                    method: b"OPTIONS",
                    ..MODERN
                },
                false,
            ),
        ];
        for (ack, invite, matches) in table {
            assert_eq!(
                keys.fingerprint(&ack).acknowledges(&keys.fingerprint(&invite)),
                matches,
                "{ack:?}"
            );
        }
        let elsewhere = from(Ipv4Addr::new(203, 0, 113, 9));
        let table = [
            // CANCEL, request, matches
            (
                ServerKey {
                    method: b"CANCEL",
                    ..MODERN
                },
                MODERN,
                true,
            ),
            (
                ServerKey {
                    method: b"CANCEL",
                    ..MODERN
                },
                ServerKey {
                    method: b"SUBSCRIBE",
                    ..MODERN
                },
                true,
            ),
            (
                ServerKey {
                    method: b"CANCEL",
                    ..MODERN
                },
                ServerKey {
                    method: b"CANCEL",
                    ..MODERN
                },
                false,
            ),
            (
                ServerKey {
                    method: b"CANCEL",
                    source: elsewhere,
                    ..MODERN
                },
                MODERN,
                false,
            ),
            (
                ServerKey {
                    method: b"CANCEL",
                    ..OLD
                },
                OLD,
                true,
            ),
            (
                ServerKey {
                    method: b"CANCEL",
                    to_tag: b"t1",
                    ..OLD
                },
                OLD,
                false,
            ),
            (
                ServerKey {
                    method: b"CANCEL",
                    source: elsewhere,
                    ..OLD
                },
                OLD,
                false,
            ),
        ];
        for (cancel, request, matches) in table {
            assert_eq!(
                keys.fingerprint(&cancel).cancels(&keys.fingerprint(&request)),
                matches,
                "{cancel:?}"
            );
        }
    }
}
