//! Rings behind peers: what we pass on comes back to us from a peer, rewritten so that nothing in its headers tells.
//!
//! A peer that opens a dialog of its own for each request (a back-to-back user agent) takes our Via and Call-ID off and fills
//! Max-Forwards up again, so RFC 5393 sees no loop. What it keeps is who says what to whom. A small fixed table remembers
//! that of what went out to a peer within the last seconds: it must not come in from a peer that could not have said it
//! first. A person who types a text twice is told from a ring by the direction: both times the request comes from where
//! the first came from. Where a ring leads back by the very same way, only the number tells.

use core::hash::Hasher as _;
use core::net::IpAddr;

use hashbrown::HashSet;
use siphasher::sip::SipHasher13;

use super::reply::Request;
use super::slots::SlotId;
use super::{Engine, Event, Output};
use crate::policy::Party;
use crate::sip::field::EventHeader;
use crate::sip::header::Name;
use crate::sip::message::{Essentials, View};
use crate::sip::net::{PeerId, Source};
use crate::sip::random::Random;
use crate::sip::uri::{Uri, unescaped};

/// So long what went out is remembered.
const WINDOW_MS: u64 = 5_000;
/// So often the same may come within that time from where it came first.
const SAME_WAY: u8 = 8;
/// And from another peer that may speak for the sender too.
const OTHER_WAY: u8 = 2;
/// Places that a request may stand at.
const WAYS: usize = 4;
const SETS: usize = 1024;
/// Rings that are kept by name.
const NAMED: usize = 16;

/// Something that went out to a peer.
#[derive(Clone, Copy, Debug)]
struct Passed {
    hash: u64,
    /// 0 is never.
    at_ms: u64,
    /// The peer it came from; `None` for a client of ours, or the bridge itself.
    origin: Option<PeerId>,
    /// Hash of the address it came from; 0 for the bridge itself.
    address: u64,
    out: PeerId,
    count: u8,
}

const NOTHING: Passed = Passed {
    hash: 0,
    at_ms: 0,
    origin: None,
    address: 0,
    out: PeerId(0),
    count: 0,
};

/// A ring that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    out: Box<str>,
    back: Box<str>,
    address: String,
}

/// What went out lately, and which rings were seen.
#[derive(Debug)]
pub(super) struct Rings {
    key: [u8; 16],
    table: Box<[Passed]>,
    /// Subscriptions under the bridge's own address, which nobody else can open.
    held: HashSet<u64>,
    named: Vec<Named>,
}

impl Rings {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            key: random.token::<16>(),
            table: vec![NOTHING; WAYS * SETS].into_boxed_slice(),
            held: HashSet::new(),
            named: Vec::new(),
        }
    }

    /// What tells one request from another wherever it has been.
    fn hash(&self, from: &[u8], to: &[u8], rest: &[u8]) -> Option<u64> {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        for uri in [from, to] {
            let uri = Uri::parse(uri).ok()?;
            unescaped(uri.user.unwrap_or_default()).for_each(|b| hasher.write_u8(b));
            hasher.write_u8(b'@');
            uri.host_bytes()
                .iter()
                .for_each(|b| hasher.write_u8(b.to_ascii_lowercase()));
            hasher.write_u8(0);
        }
        hasher.write(rest);
        Some(hasher.finish())
    }

    fn address(&self, ip: IpAddr) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        match crate::sip::uri::canonical_ip(ip) {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.finish() | 1
    }

    fn set(&self, hash: u64) -> core::ops::Range<usize> {
        let first = hash as usize % SETS * WAYS;
        first..first + WAYS
    }

    fn find(&self, now: u64, hash: u64) -> Option<&Passed> {
        let fresh = |p: &&Passed| p.hash == hash && p.at_ms > 0 && now < p.at_ms + WINDOW_MS;
        self.table.get(self.set(hash))?.iter().find(fresh)
    }

    /// Remembers that something went out. Where it did so already, its first origin is what counts.
    fn note(&mut self, now: u64, what: Passed) {
        let set = self.set(what.hash);
        let Some(places) = self.table.get_mut(set) else { return };
        let fresh = |p: &&mut Passed| p.hash == what.hash && p.at_ms > 0 && now < p.at_ms + WINDOW_MS;
        if let Some(known) = places.iter_mut().find(fresh) {
            (known.out, known.count) = (what.out, known.count.saturating_add(1));
        } else if let Some(oldest) = places.iter_mut().min_by_key(|p| p.at_ms) {
            *oldest = Passed {
                at_ms: now.max(1),
                count: 1,
                ..what
            };
        }
    }

    /// Ids of peers mean something else after a reload.
    pub(super) fn forget(&mut self) {
        self.table.fill(NOTHING);
        self.named.clear();
    }

    /// The rings that lead through a peer, as an administrator reads them.
    pub(super) fn of_peer(&self, name: &str) -> Vec<String> {
        let through = self.named.iter().filter(|r| *r.out == *name || *r.back == *name);
        through.map(ToString::to_string).collect()
    }
}

impl core::fmt::Display for Named {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { out, back, address } = self;
        write!(f, "peer {out} \u{2192} \u{2026} \u{2192} peer {back} for {address}")
    }
}

/// Where a request went, and where it came back from.
#[derive(Clone, Copy)]
struct Way {
    out: Option<PeerId>,
    back: PeerId,
}

impl Engine {
    fn ring_hash(&self, view: &View<'_>, essentials: &Essentials<'_>) -> Option<u64> {
        // Inside a dialog it was looked at when the dialog opened.
        if essentials.to.tag().is_some() {
            return None;
        }
        let rest = match essentials.method.as_bytes() {
            b"MESSAGE" => view.body(),
            b"SUBSCRIBE" => EventHeader::parse(view.header(Name::Event)?).ok()?.package,
            _ => return None,
        };
        self.rings.hash(essentials.from.uri, view.request_uri(), rest)
    }

    /// A request goes on to a peer.
    pub(super) fn note_passed(&mut self, request: &Request<'_>, who: Party, out: PeerId) {
        if let Some(hash) = self.ring_hash(request.view, request.essentials) {
            let origin = match who {
                Party::Peer(peer) => Some(peer),
                Party::User(_) => None,
            };
            let address = self.rings.address(request.source.remote.ip());
            let what = Passed {
                hash,
                at_ms: 0,
                origin,
                address,
                out,
                count: 0,
            };
            self.rings.note(self.clock.mono_ms, what);
        }
    }

    /// The bridge subscribes at a peer for somebody, or for itself.
    pub(super) fn note_asked(&mut self, id: SlotId) {
        let Some(key) = self.upstreams.slots.get(id).map(|u| u.key.clone()) else {
            return;
        };
        let from = key
            .watcher
            .as_ref()
            .map_or_else(|| format!("sip:{}", self.host()), crate::sip::uri::Aor::to_uri);
        let to = key.presentity.to_uri();
        if let Some(hash) = self.rings.hash(from.as_bytes(), to.as_bytes(), b"presence") {
            if key.watcher.is_none() {
                self.rings.held.insert(hash);
            }
            let what = Passed {
                hash,
                out: key.peer,
                ..NOTHING
            };
            self.rings.note(self.clock.mono_ms, what);
        }
    }

    /// A subscription under the bridge's own address has ended.
    pub(super) fn forget_asked(&mut self, presentity: &crate::sip::uri::Aor) {
        let from = format!("sip:{}", self.host());
        if let Some(hash) = self
            .rings
            .hash(from.as_bytes(), presentity.to_uri().as_bytes(), b"presence")
        {
            self.rings.held.remove(&hash);
        }
    }

    /// Whether a request is one of ours that comes back from a peer.
    pub(super) fn is_ring(&self, source: &Source, view: &View<'_>, essentials: &Essentials<'_>) -> bool {
        self.ring_way(source, view, essentials).is_some()
    }

    fn ring_way(&self, source: &Source, view: &View<'_>, essentials: &Essentials<'_>) -> Option<Way> {
        let hash = self.ring_hash(view, essentials)?;
        let passed = self.rings.find(self.clock.mono_ms, hash);
        let held = self.rings.held.contains(&hash);
        if passed.is_none() && !held {
            return None;
        }
        let (back, peer) = self.snapshot.peers().find(|(id, _)| self.is_from_peer(source, *id))?;
        let from = Uri::parse(essentials.from.uri).ok()?;
        let may_speak = peer.domains.get(from.host_bytes()).is_some();
        let Some(passed) = passed else {
            return (!may_speak).then_some(Way { out: None, back });
        };
        let same_way = passed.origin == Some(back) || self.rings.address(source.remote.ip()) == passed.address;
        let allowed = match (same_way, may_speak) {
            (true, _) => SAME_WAY,
            (false, true) if passed.out != back => OTHER_WAY,
            // It comes from where it was sent to, or from somebody who could not have said it.
            (false, _) => 1,
        };
        let out = Some(passed.out);
        (passed.count >= allowed).then_some(Way { out, back })
    }

    /// Names a ring, once: in the log, and for those who ask about its peers.
    pub(super) fn name_ring(&mut self, request: &Request<'_>) {
        let Some(way) = self.ring_way(request.source, request.view, request.essentials) else {
            return;
        };
        let named = Named {
            out: self.peer_name(way.out.unwrap_or(way.back)).into(),
            back: self.peer_name(way.back).into(),
            address: super::inbound::printable(request.view.request_uri()),
        };
        if self.rings.named.contains(&named) {
            return;
        }
        let note = format!("a ring: {named}; what went out to the first came back from the last and was refused");
        self.outputs.push_back(Output::Log(Event::Note(note)));
        if self.rings.named.len() >= NAMED {
            self.rings.named.remove(0);
        }
        self.rings.named.push(named);
    }
}

#[cfg(test)]
mod tests;
