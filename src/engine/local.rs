//! Requests for local users and for peers, once the decision has allowed them.

use smallvec::SmallVec;

use super::Engine;
use super::forward::Manner;
use super::inbound::ALLOW;
use super::reply::{Answer, Request, phrase};
use super::route_token::{self, Sides};
use crate::policy::{Allow, Party, RouteSetId, UserId};
use crate::sip::net::{Destination, PeerId};
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri};

impl Engine {
    /// A request for an address of a local domain.
    pub(super) fn on_local_request(&mut self, now: Now, request: &Request<'_>, allow: Allow, user: Option<UserId>) {
        let method = request.essentials.method.as_bytes();
        if method == b"REGISTER" {
            let aor = Uri::parse(request.essentials.to.uri)
                .ok()
                .and_then(|uri| Aor::from_uri(&uri));
            return match aor {
                Some(aor) => self.on_register(now, request, &aor),
                None => self.answer(now, request, Answer::new(404, phrase(404))),
            };
        }
        let Some(aor) = self.target_aor(request, user) else {
            return self.answer(now, request, Answer::new(404, phrase(404)));
        };
        if self.is_denied(request, &aor) {
            let rule = crate::policy::RuleRef::built_in("rights.denied");
            return self.refuse(now, request, 403, "Forbidden", &rule);
        }
        match method {
            b"SUBSCRIBE" if self.is_roaming_package(request) => self.on_roaming_subscribe(now, request, &aor),
            b"SERVICE" if self.client_dialect(request.source.listener).sip.roaming => {
                self.on_service(now, request, &aor);
            }
            b"PUBLISH" => self.on_publish(now, request, &aor, (allow.who, allow.dialect)),
            b"SUBSCRIBE" => {
                let watcher = (allow.who, allow.dialect);
                self.on_subscribe(now, request, watcher, |engine| engine.local_resource(&aor));
            }
            b"MESSAGE" => self.on_local_message(now, request, allow.who, &aor),
            b"OPTIONS" => self.answer_options(now, request),
            b"NOTIFY" => self.answer(now, request, Answer::new(481, phrase(481))),
            b"INVITE" | b"INFO" | b"REFER" | b"UPDATE" | b"PRACK" | b"BYE" => {
                self.send_to_contacts(now, request, allow.who, user, &aor);
            }
            b"ACK" => {}
            _ => {
                let headers: [(&[u8], &[u8]); 1] = [(b"Allow", ALLOW)];
                self.answer(now, request, Answer::new(501, phrase(501)).with(&headers));
            }
        }
    }

    /// On to the contacts of a local user.
    fn send_to_contacts(&mut self, now: Now, request: &Request<'_>, who: Party, user: Option<UserId>, aor: &Aor) {
        let callee = user.map_or(who, Party::User);
        let hops = self.hops_for(aor, request.view.request_uri());
        if hops.is_empty() {
            return self.answer(now, request, Answer::new(480, phrase(480)));
        }
        let token = self.dialog_token(request, who, callee);
        let manner = Manner {
            record_route: token.as_deref(),
            strip_credentials: true,
            names: self.names_for_us(request, who),
            ..Manner::default()
        };
        self.forward(now, request, hops, manner);
    }

    /// The Record-Route token of a request that opens a dialog.
    fn dialog_token(&self, request: &Request<'_>, caller: Party, callee: Party) -> Option<SmallVec<[u8; 48]>> {
        let opens = request.essentials.method.as_bytes() == b"INVITE";
        let call_id = request.essentials.call_id;
        opens.then(|| route_token::make(&self.route_key, &self.snapshot, Sides { caller, callee }, call_id))
    }

    /// A request for a foreign address that a route takes.
    pub(super) fn on_routed_request(
        &mut self,
        now: Now,
        request: &Request<'_>,
        allow: Allow,
        set: RouteSetId,
        peer: PeerId,
    ) {
        let from_user = matches!(allow.who, Party::User(_));
        match request.essentials.method.as_bytes() {
            // A peer's watcher as well: what is between two peers has to be read and shown in the dialect of each.
            b"SUBSCRIBE" => return self.on_remote_subscribe(now, request, allow.who, set, peer),
            b"PUBLISH" | b"REGISTER" | b"NOTIFY" => {
                let headers: [(&[u8], &[u8]); 1] = [(b"Allow", ALLOW)];
                return self.answer(now, request, Answer::new(405, phrase(405)).with(&headers));
            }
            _ => {}
        }
        let (mut hop, names) = self.hop_to_peer(request, allow.who, peer, SmallVec::new());
        let uri = hop.uri.as_deref().unwrap_or(request.view.request_uri());
        let domain = Uri::parse(uri).ok().and_then(|uri| uri.domain());
        let all = self.route_hops(set, domain.as_deref());
        let up: SmallVec<[(PeerId, Destination); 2]> =
            all.iter().copied().filter(|(p, _)| !self.peers.is_down(*p)).collect();
        if up.is_empty() {
            let name = self.peer_name(peer);
            let why = if all.is_empty() { "has no address" } else { "is down" };
            let reason = format!("SIP;cause=504;text=\"peer {name} {why}\"");
            let headers: [(&[u8], &[u8]); 1] = [(b"Reason", reason.as_bytes())];
            return self.answer(now, request, Answer::new(504, phrase(504)).with(&headers));
        }
        if request.source.flow.is_some() && self.too_long_for_udp(request, &up) {
            return self.answer(now, request, Answer::new(513, phrase(513)));
        }
        let token = self.dialog_token(request, allow.who, Party::Peer(peer));
        let timeout_ms = self
            .snapshot
            .peer(peer)
            .map_or(0, |p| u64::try_from(p.request_timeout.as_millis()).unwrap_or(0));
        self.note_passed(request, allow.who, peer);
        let manner = Manner {
            record_route: token.as_deref(),
            timeout_ms,
            strip_credentials: from_user,
            drop_routes: 0,
            names,
            contract: Some(peer),
        };
        hop.destinations = up.into_iter().map(|(_, to)| to).collect();
        if self.contract_turns_away(now, request, peer) {
            return;
        }
        self.forward(now, request, smallvec::smallvec![hop], manner);
    }

    /// RFC 3261 section 18.1.1: what is longer than 1,300 bytes does not go out as a datagram.
    fn too_long_for_udp(&self, request: &Request<'_>, to: &[(PeerId, Destination)]) -> bool {
        request.view.bytes().len() > super::messages::MAX_DATAGRAM
            && to.iter().all(|(_, d)| matches!(d, Destination::Datagram { .. }))
    }

    fn on_remote_subscribe(&mut self, now: Now, request: &Request<'_>, who: Party, set: RouteSetId, peer: PeerId) {
        let watcher = Uri::parse(request.essentials.from.uri)
            .ok()
            .and_then(|uri| Aor::from_uri(&uri));
        let (Some(watcher), Some(presentity)) = (watcher, self.presentity_abroad(request, peer)) else {
            return self.answer(now, request, Answer::new(404, phrase(404)));
        };
        self.note_passed(request, who, peer);
        // The dialect of the decision is the far side's; a user is shown what its own side speaks.
        let watched_in = self.own_dialect(who, request.source.listener);
        self.on_subscribe(now, request, (who, watched_in), |engine| {
            engine.remote_resource(now, peer, set, &watcher, &presentity)
        });
    }

    /// All destinations of a set of routes in the order to try, each with its peer.
    pub(super) fn route_hops(&mut self, set: RouteSetId, domain: Option<&str>) -> SmallVec<[(PeerId, Destination); 2]> {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let Some(routes) = snapshot.routes.set(set) else {
            return SmallVec::new();
        };
        let mut out = SmallVec::new();
        for route in routes.order(|| self.random.next_u64()) {
            let targets = match (&route.next_hop, domain) {
                (Some(at), _) => self.peers.targets(route.peer, &at.host, at.port, route.transport),
                (None, Some(domain)) => self.peers.targets(route.peer, domain, None, route.transport),
                (None, None) => &[],
            };
            out.extend(
                self.peer_route(route.peer, targets)
                    .into_iter()
                    .map(|to| (route.peer, to)),
            );
        }
        out
    }

    /// As [`Engine::route_hops`] for a presentity.
    pub(super) fn route_destinations(
        &mut self,
        set: RouteSetId,
        presentity: &Aor,
    ) -> SmallVec<[(PeerId, Destination); 2]> {
        self.route_hops(set, Some(presentity.domain()))
    }
}
