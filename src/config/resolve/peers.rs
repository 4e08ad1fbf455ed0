//! Peers and routes.

use core::time::Duration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Domains, Here, Resolver};
use crate::config::at::{At, Place};
use crate::config::error::nearest;
use crate::config::value;
use crate::config::written::{self, Match, ProbeChoice, WrittenReuse, WrittenTransport};
use crate::policy::contract::Assigned;
use crate::policy::names::NameMap;
use crate::policy::peer::{Peer, PeerLimits, PeerTls, Pin, Probe, Reuse, Transit};
use crate::policy::routes::{Pattern, Route, Routes};
use crate::policy::rule::RuleRef;
use crate::policy::snapshot::Listener;
use crate::sip::net::{PeerId, Transport};

/// Priority and weight of a route that names none, and of the implicit ones.
const USUAL: (u16, u16) = (10, 50);

/// Peers in written order.
#[derive(Default)]
pub(super) struct Peers {
    /// The index is the [`PeerId`].
    pub(super) list: Vec<Peer>,
    /// Positions by name; names are told apart by case.
    by_name: BTreeMap<Arc<str>, usize>,
}

impl Peers {
    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut Peer> {
        self.list.get_mut(*self.by_name.get(name)?)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|p| &*p.name)
    }

    pub(super) fn id(&self, name: &str) -> Option<(PeerId, &Peer)> {
        let index = *self.by_name.get(name)?;
        Some((PeerId(u16::try_from(index).ok()?), self.list.get(index)?))
    }
}

impl Resolver<'_> {
    pub(super) fn peers<'a>(
        &mut self,
        files: impl Iterator<Item = (Here<'a>, &'a Vec<At<written::Peer>>)>,
        domains: &Domains,
        listeners: &[Listener],
    ) -> Peers {
        let mut peers = Peers::default();
        for (here, written) in files {
            for at in written {
                if peers.id(&at.name).is_some() {
                    let what = format!("there are two peers `{}`", at.name.value);
                    self.error(here, at.name.place, what, "name them apart");
                    continue;
                }
                if peers.list.len() >= usize::from(u16::MAX) {
                    self.error(here, at.place, "too many peers", "65535 is the most");
                    break;
                }
                let peer = self.peer(here, at, domains, listeners);
                peers.by_name.insert(peer.name.clone(), peers.list.len());
                peers.list.push(peer);
            }
        }
        peers
    }

    fn peer(&mut self, here: Here<'_>, at: &At<written::Peer>, local: &Domains, listeners: &[Listener]) -> Peer {
        let transport = Transport::from(at.transport.value);
        let rule_at = |id: &str, place: Option<Place>| here.rule(id, place.unwrap_or(at.place));
        let accept = self.accept(here, at);
        let probe = self.probe(here, at.probe.as_ref());
        let tls = self.tls(here, at.tls.as_ref(), listeners);
        let addresses = at
            .addresses
            .as_ref()
            .map_or_else(Vec::new, |list| self.read_all(here, list, value::net));
        self.proof(here, at, &accept);
        self.ways_through(here, at, &accept, (&tls, listeners));
        let limits = at.limits.as_ref().map_or_else(PeerLimits::default, |l| PeerLimits {
            requests: l.requests.as_ref().map(|n| n.value),
            subscriptions: l.subscriptions.as_ref().map(|n| n.value),
            connections: l.connections.as_ref().map(|n| n.value),
            sessions: l.sessions.as_ref().map(|n| n.value),
        });
        let request_timeout = self.request_timeout(here, at);
        if let Some(dscp) = at.dscp.as_ref().filter(|d| d.value > 63) {
            self.error(
                here,
                dscp.place,
                format!("{} is no code point", dscp.value),
                "write 0 to 63; 26 is AF31",
            );
        }
        let next_hop = at
            .next_hop
            .as_ref()
            .and_then(|hop| self.read(here, hop, |text| value::next_hop(text)));
        let dialect = self.peer_dialect(here, at.dialect.as_ref());
        let secure = accept.contains(&Transport::Tls) && transport == Transport::Tls;
        Peer {
            name: at.name.value.as_str().into(),
            domains: self.granted(here, at, local),
            transit: self.transit(here, at.transit.as_ref()),
            transport,
            accept,
            next_hop,
            addresses,
            tls,
            dialect,
            view_sharing: at.view_sharing.unwrap_or(false),
            publishes: self.publishes(here, at.publishes.as_ref(), local),
            probe,
            dscp: at.dscp.as_ref().map(|d| d.value),
            reuse: self.reuse(here, at, secure),
            limits,
            contract: self.contract(here, at.contract.as_ref()),
            // Nobody, until it is known who there is.
            assigned: at.assigned.as_ref().map(|_| Assigned::default()),
            subscription_timeout: self.subscription_timeout(here, at.subscription_timeout.as_ref()),
            request_timeout,
            rule: here.rule("peer", at.place),
            domains_rule: here.rule("peer.domains", at.domains.place),
            addresses_rule: rule_at("peer.addresses", at.addresses.as_ref().map(|a| a.place)),
            tls_rule: rule_at("peer.tls", at.tls.as_ref().map(|t| t.place)),
            transit_rule: rule_at("peer.transit", at.transit.as_ref().map(|t| t.place)),
            transport_rule: rule_at(
                "peer.transport",
                Some(at.accept.as_ref().map_or(at.transport.place, |a| a.place)),
            ),
            contract_rule: rule_at("peer.contract", at.contract.as_ref().map(|c| c.place)),
            assigned_rule: rule_at("peer.assigned", at.assigned.as_ref().map(|a| a.place)),
            limits_rule: rule_at("peer.limits", at.limits.as_ref().map(|l| l.place)),
            publishes_rule: rule_at("peer.publishes", at.publishes.as_ref().map(|p| p.place)),
        }
    }

    /// Only a certificate proves whose connection it is, so nothing else is ever reused.
    fn reuse(&mut self, here: Here<'_>, at: &At<written::Peer>, secure: bool) -> Reuse {
        let Some(written) = &at.reuse else {
            return Reuse::default();
        };
        if !secure && written.value != WrittenReuse::Never {
            let name = &at.name.value;
            let what = format!("connections of peer {name} are reused only where it comes in and is reached over TLS");
            self.error(here, written.place, what, "use `transport: tls`, or drop `reuse`");
        }
        match written.value {
            WrittenReuse::Alias => Reuse::Alias,
            WrittenReuse::Always => Reuse::Always,
            WrittenReuse::Never => Reuse::Never,
        }
    }

    fn granted(&mut self, here: Here<'_>, at: &At<written::Peer>, local: &Domains) -> NameMap<RuleRef> {
        let mut granted = NameMap::default();
        for written in &at.domains.value {
            let Some(name) = self.read(here, written, |text| value::name(text)) else {
                continue;
            };
            let front_end = at.front_end.unwrap_or(false);
            if let Some(own) = local.get(name.as_bytes()).filter(|_| !front_end) {
                let what = format!("`{name}` is a local domain ({}:{})", own.file, own.line);
                let advice = "a peer speaks for its own domains only; a proxy of yours that authenticates your users says `front_end: true`";
                self.error(here, written.place, what, advice);
            } else if granted.insert(&name, here.rule("peer.domains", written.place)).is_err() {
                self.error(
                    here,
                    written.place,
                    format!("`{name}` is listed twice"),
                    "keep one of them",
                );
            }
        }
        if at.domains.is_empty() {
            self.error(
                here,
                at.domains.place,
                "the peer has no domain",
                "list what it may speak for",
            );
        }
        granted
    }

    /// A peer must be able to prove itself on every transport it may come in by.
    fn proof(&mut self, here: Here<'_>, at: &At<written::Peer>, accept: &[Transport]) {
        let name = &at.name.value;
        let plain = accept.iter().find(|t| **t != Transport::Tls);
        let through = at.tls.as_ref().is_some_and(|t| t.terminated.is_some());
        if let Some(plain) = plain
            && !through
            && at.addresses.as_ref().is_none_or(|a| a.is_empty())
        {
            let place = at.addresses.as_ref().map_or(at.name.place, |a| a.place);
            let what = format!(
                "peer {name} over {} can only prove itself by its addresses",
                plain.param()
            );
            self.error(here, place, what, "list them: addresses: [192.0.2.1]");
        }
        let secure = accept.contains(&Transport::Tls) || at.transport.value == WrittenTransport::Tls;
        let anchored = at.tls.as_ref().is_some_and(|t| !t.ca.is_empty() || !t.pin.is_empty());
        if (secure && !anchored && !through) || (at.transport.value == WrittenTransport::Tls && !anchored) {
            let place = at.tls.as_ref().map_or(at.name.place, |t| t.place);
            let what = format!("peer {name} over TLS has no anchor of its own");
            self.error(
                here,
                place,
                what,
                "add `tls: {ca: [file.pem]}`, or pin its certificate with `tls: {pin: [...]}`",
            );
        }
        if !secure
            && !through
            && let Some(settings) = &at.tls
        {
            let what = format!("peer {name} has TLS settings but never uses TLS");
            self.error(here, settings.place, what, "use `transport: tls`, or drop `tls`");
        }
        if secure && let Some(plain) = plain {
            let what = format!(
                "peer {name} may also come in over {} with nothing but its address",
                plain.param()
            );
            self.warn(
                here,
                at.accept.as_ref().map_or(at.place, |a| a.place),
                what,
                "accept: [tls] is safer",
            );
        }
    }

    fn accept(&mut self, here: Here<'_>, at: &At<written::Peer>) -> Vec<Transport> {
        let Some(written) = &at.accept else {
            return match at.transport.value {
                WrittenTransport::Udp => vec![Transport::Udp, Transport::Tcp],
                other => vec![other.into()],
            };
        };
        if written.is_empty() {
            self.error(
                here,
                written.place,
                "`accept` is empty",
                "leave it out to accept `transport`",
            );
        }
        written.iter().map(|t| Transport::from(*t)).collect()
    }

    fn tls(&mut self, here: Here<'_>, at: Option<&At<written::Tls>>, listeners: &[Listener]) -> PeerTls {
        let Some(at) = at else { return PeerTls::default() };
        let ca = at.ca.iter().filter_map(|f| self.present(here, f)).collect();
        let crl = at.crl.iter().filter_map(|f| self.present(here, f)).collect();
        let mut pin = Vec::new();
        for written in &at.pin {
            pin.extend(match written.strip_prefix("sha256:") {
                Some(hex) => self.read(here, written, |_| value::sha256(hex)).map(Pin::Sha256),
                None => {
                    let help = "write `sha256:` and its digits, or a PEM file; the path is relative to this file";
                    self.present_or(here, written, help).map(Pin::File)
                }
            });
        }
        let names = self.read_all(here, &at.names, value::name);
        if let Some(allowed) = at.allow_cn.as_ref().filter(|a| a.value) {
            self.warn(
                here,
                allowed.place,
                "the common name counts for this peer",
                "RFC 5922 does not accept it; ask for a DNS name",
            );
        }
        PeerTls {
            ca,
            names,
            allow_cn: at.allow_cn.as_ref().is_some_and(|a| a.value),
            pin,
            crl,
            terminated: at.terminated.as_ref().map(|t| self.terminated(here, t, listeners)),
        }
    }

    /// The path of a file that must be there.
    fn present(&mut self, here: Here<'_>, file: &At<String>) -> Option<PathBuf> {
        self.present_or(here, file, "the path is relative to this file")
    }

    fn present_or(&mut self, here: Here<'_>, file: &At<String>, help: &str) -> Option<PathBuf> {
        let path = here.path(file);
        if self.world.world_readable(&path).is_some() {
            return Some(path);
        }
        self.error(here, file.place, format!("there is no file {}", path.display()), help);
        None
    }

    fn probe(&mut self, here: Here<'_>, at: Option<&At<ProbeChoice>>) -> Option<Probe> {
        let none = written::Probe::default();
        let (written, place) = match at.map(|a| (&a.value, a.place)) {
            Some((ProbeChoice::Off, _)) => return None,
            Some((ProbeChoice::On(probe), place)) => (probe, place),
            None => (&none, Place::default()),
        };
        let interval = self.time(here, written.interval.as_ref(), 30_000);
        let timeout = self.time(here, written.timeout.as_ref(), 5_000);
        let down_after = written.down_after.as_ref().map_or(2, |n| n.value);
        if timeout.is_zero() || interval < timeout || down_after == 0 {
            self.error(
                here,
                place,
                "these probes cannot work",
                "0 < timeout <= interval, and down_after at least 1",
            );
        }
        Some(Probe {
            interval,
            timeout,
            down_after,
        })
    }

    fn request_timeout(&mut self, here: Here<'_>, at: &At<written::Peer>) -> Duration {
        let timeout = self.time(here, at.request_timeout.as_ref(), 20_000);
        if let Some(written) = &at.request_timeout
            && (timeout.is_zero() || timeout >= Duration::from_secs(32))
        {
            let what = if timeout.is_zero() {
                "no answer could come in time"
            } else {
                "the sender's own Timer F (32s) would come first"
            };
            self.error(here, written.place, what, "write more than 0 and less than 32s");
        }
        timeout
    }

    fn transit(&mut self, here: Here<'_>, at: Option<&At<Vec<At<String>>>>) -> Transit {
        let mut transit = Transit::default();
        for item in at.map(|a| a.value.as_slice()).unwrap_or_default() {
            if item.starts_with('.') {
                transit
                    .suffixes
                    .extend(self.read(here, item, |text| value::suffix(text)));
            } else if value::looks_like_digits(item) {
                transit.digits.extend(self.read(here, item, |text| value::digits(text)));
            } else {
                transit.domains.extend(self.read(here, item, |text| value::name(text)));
            }
        }
        transit
    }

    /// Written routes first; then each domain of a peer that no written route names exactly leads to that peer.
    pub(super) fn routes<'a>(
        &mut self,
        files: impl Iterator<Item = (Here<'a>, &'a Vec<At<written::Route>>)>,
        peers: &Peers,
        local: &Domains,
    ) -> Routes {
        let mut routes = Routes::default();
        for (here, written) in files {
            for at in written {
                if let Some((pattern, route)) = self.route(here, at, peers, local) {
                    routes.insert(pattern, route);
                }
            }
        }
        let mut written = NameMap::default();
        for name in routes.iter().filter_map(|set| set.pattern.exact()) {
            let _known = written.insert(name, ());
        }
        for (peer, id) in peers.list.iter().zip(0..) {
            for (domain, rule) in peer.domains.iter() {
                if written.get(domain.as_bytes()).is_none() {
                    routes.insert(
                        Pattern::Domain(domain.clone()),
                        Route {
                            peer: PeerId(id),
                            priority: USUAL.0,
                            weight: USUAL.1,
                            transport: peer.transport,
                            next_hop: peer.next_hop.clone(),
                            rule: rule.clone(),
                        },
                    );
                }
            }
        }
        routes
    }

    fn route(
        &mut self,
        here: Here<'_>,
        at: &At<written::Route>,
        peers: &Peers,
        local: &Domains,
    ) -> Option<(Pattern, Route)> {
        let pattern = self.pattern(here, &at.pattern, local);
        let next_hop = at
            .next_hop
            .as_ref()
            .map(|hop| self.read(here, hop, |text| value::next_hop(text)));
        let Some((id, peer)) = peers.id(&at.peer) else {
            self.no_such_peer(here, &at.peer, peers);
            return None;
        };
        let transport = at.transport.as_ref().map_or(peer.transport, |t| t.value.into());
        if let Some(written) = &at.transport
            && transport == Transport::Tls
            && peer.tls == PeerTls::default()
        {
            let what = format!("peer {} has no TLS settings", peer.name);
            self.error(here, written.place, what, "give the peer `tls: {ca: [...]}`");
        }
        Some((
            pattern?,
            Route {
                peer: id,
                priority: at.priority.unwrap_or(USUAL.0),
                weight: at.weight.unwrap_or(USUAL.1),
                transport,
                next_hop: next_hop.unwrap_or_else(|| peer.next_hop.clone()),
                rule: here.rule("route", at.place),
            },
        ))
    }

    fn pattern(&mut self, here: Here<'_>, at: &At<Match>, local: &Domains) -> Option<Pattern> {
        let (pattern, place) = match &at.value {
            Match::Domain(name) => (
                self.read(here, name, |t| value::name(t)).map(Pattern::Domain),
                name.place,
            ),
            Match::Suffix(name) => (
                self.read(here, name, |t| value::suffix(t)).map(Pattern::Suffix),
                name.place,
            ),
            Match::Digits(text) => (
                self.read(here, text, |t| value::digits(t)).map(Pattern::Digits),
                text.place,
            ),
        };
        if let Some(Pattern::Domain(name)) = &pattern
            && local.get(name.as_bytes()).is_some()
        {
            self.error(
                here,
                place,
                format!("`{name}` is a local domain"),
                "routes are for foreign domains",
            );
        }
        pattern
    }

    fn no_such_peer(&mut self, here: Here<'_>, name: &At<String>, peers: &Peers) {
        let known: Vec<&str> = peers.list.iter().map(|p| &*p.name).collect();
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "there are no peers".into(),
            None => format!("peers: {}", known.join(", ")),
        };
        self.error(here, name.place, format!("there is no peer `{}`", name.value), help);
    }
}
