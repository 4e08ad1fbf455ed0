//! What comes back: responses, transport failures and time-outs of requests that the bridge sent, by their owner.

use super::Engine;
use super::forward::Owner;
use super::slots::SlotId;
use super::{Flow, Output};
use crate::policy::{Identity, Party};
use crate::sip::header::Name;
use crate::sip::message::View;
use crate::sip::net::{Destination, FlowId, PeerId, Source};
use crate::sip::time::Now;
use crate::sip::transaction::{self, ClientId, Why};
use crate::sip::write;
use core::net::SocketAddr;
use std::sync::Arc;

impl Engine {
    /// A response off the wire. What matches no transaction is dropped (RFC 3261 section 18.1.2).
    pub(super) fn on_response(&mut self, now: Now, _source: &Source, view: &View<'_>) {
        let (Ok(essentials), Some(status)) = (view.essentials(), view.status()) else {
            self.counters.stray_responses += 1;
            return;
        };
        let branch = essentials.via.branch().unwrap_or_default();
        let method = essentials.cseq.method.as_bytes();
        let buffers = &mut self.buffers;
        let ack = |invite: &bytes::Bytes| {
            let mut buffer = buffers.take();
            let mut index = crate::sip::message::Index::new();
            if let Ok(invite) = crate::sip::message::parse(invite, crate::sip::message::Framing::Datagram, &mut index) {
                write::ack_for_failure(&mut buffer, &invite, view);
            }
            buffers.finish(buffer)
        };
        let delivered = self.layer.response(now, branch, method, status, ack);
        let Some(delivered) = delivered else {
            self.counters.stray_responses += 1;
            return;
        };
        if !delivered.pass {
            return;
        }
        let (kind, id) = SlotId::unpack(delivered.user);
        match Owner::from_u8(kind) {
            Some(Owner::Forward) => self.on_forward_response(now, id, delivered.id, view, status),
            Some(Owner::Notify) => self.on_notify_response(now, id, status, retry_after(view)),
            Some(Owner::Upstream) => self.on_subscribe_response(now, id, view, status),
            Some(Owner::Probe) => self.on_probe_response(now, id, status),
            Some(Owner::Delivery) => self.on_delivery_response(now, id, status),
            Some(Owner::Session) => self.on_session_response(now, id, delivered.id, view, status),
            Some(Owner::Parcel) => self.on_parcel_response(now, id, delivered.id, status),
            Some(Owner::Aside) => self.on_refresh_response(now, id, delivered.id, view),
            None => {}
        }
    }

    /// Moves what the transaction layer wants sent, and what it has given up on.
    pub(super) fn drain_layer(&mut self, now: Now) {
        while let Some(output) = self.layer.poll() {
            match output {
                transaction::Output::Transmit { to, wire, client } => {
                    let token = client.map_or(0, ClientId::to_token);
                    self.outputs.push_back(Output::Send { to, wire, token });
                }
                transaction::Output::Failed { id, user, why } => self.on_client_failed(now, id, user, why),
                transaction::Output::TimerC { id, .. } => self.send_cancel(now, id),
                transaction::Output::ServerGone { user } => self.on_server_gone(user),
                transaction::Output::Unacknowledged { user, .. } => self.on_unacknowledged(now, user),
                // A context ends with its own server transaction.
                transaction::Output::ClientGone { .. } => {}
            }
        }
    }

    /// An ACK that never came: of what is forwarded, the caller's affair.
    fn on_unacknowledged(&mut self, now: Now, user: u64) {
        let (kind, id) = SlotId::unpack(user);
        if Owner::from_u8(kind) == Some(Owner::Session) {
            self.on_session_unacknowledged(now, id);
        }
    }

    fn on_client_failed(&mut self, now: Now, client: ClientId, user: u64, why: Why) {
        let text = match why {
            Why::Timeout => "the next server did not answer",
            Why::Transport => "the next server could not be reached",
        };
        let (kind, id) = SlotId::unpack(user);
        match Owner::from_u8(kind) {
            Some(Owner::Forward) => self.on_forward_failure(now, id, client, text),
            Some(Owner::Notify) => self.on_notify_failure(now, id, why),
            Some(Owner::Upstream) => self.on_subscribe_failure(now, id),
            Some(Owner::Probe) => self.on_probe_failure(now, id, text),
            Some(Owner::Delivery) => self.on_delivery_failure(now, id),
            Some(Owner::Session) => self.on_session_failure(now, id, client),
            Some(Owner::Parcel) => self.on_parcel_failure(now, id, client),
            Some(Owner::Aside) => self.on_refresh_failure(now, id, client),
            None => {}
        }
    }

    /// The edge could not send: the client transaction hears of it, a response is lost with its connection.
    pub(super) fn on_send_failed(&mut self, now: Now, token: u64) {
        if let Some(id) = ClientId::from_token(token) {
            self.layer.transport_failed(now, id);
        }
    }

    /// A connection is there.
    pub(super) fn on_opened(&mut self, now: Now, source: Source, identity: Arc<Identity>, peer: Option<PeerId>) {
        let Some(flow) = source.flow else { return };
        let offered = false;
        let owner = peer.or_else(|| Self::owner_of(&self.snapshot, &source, &identity));
        if peer.is_none()
            && let Some(owner) = owner
            && self.holds_enough(now, owner, &source)
        {
            return;
        }
        let entry = Flow {
            source,
            identity,
            peer,
            owner,
            lost: false,
            marked: false,
            offered,
        };
        self.flows.insert(flow, entry);
        if peer.is_none() {
            self.mark(flow);
        }
        if let Some(peer) = peer
            && self.peers.is_down(peer)
        {
            self.probe_now(now, peer);
        }
    }

    pub(super) fn on_closed(&mut self, now: Now, flow: FlowId) {
        if let Some(peer) = self.flows.remove(&flow).and_then(|f| f.peer) {
            self.peers.connection_ended(peer);
        }
        self.end_roaming_flow(now, flow);
        self.end_talks_over(now, flow);
    }

    /// Whether a flow belongs to a peer by certificate or by listed address.
    pub(super) fn is_from_peer(&self, source: &Source, peer: PeerId) -> bool {
        let flow = source.flow.and_then(|f| self.flows.get(&f));
        if flow.is_some_and(|f| f.peer == Some(peer)) {
            return true;
        }
        let identity = flow.map_or(&*self.no_tls, |f| &*f.identity);
        crate::policy::is_peer(&self.snapshot, peer, source.transport, source.remote.ip(), identity)
    }

    /// Where a request inside a dialog that passes through goes: the first Route that is not ours, else the target.
    pub(super) fn next_in_dialog(&self, party: Party, view: &View<'_>, own_routes: usize) -> Option<Destination> {
        let next = view
            .items(Name::Route)
            .nth(own_routes)
            .and_then(|r| crate::sip::field::NameAddr::parse(r).ok())
            .map_or(view.request_uri(), |a| a.uri);
        match party {
            Party::Peer(peer) => self.peer_in_dialog(peer, next),
            Party::User(user) => {
                let user = self.snapshot.user(user)?;
                let aor = crate::sip::uri::Aor::new(&user.user, &user.domain);
                let hops = self.contact_hops(&aor);
                let exact = hops
                    .iter()
                    .find(|h| h.uri.as_deref().is_some_and(|u| u == view.request_uri()));
                exact.or_else(|| hops.first())?.destinations.first().copied()
            }
        }
    }

    /// Where a request inside a dialog with a peer goes: the address `uri` claims if it is the peer's, else its next hop.
    pub(super) fn peer_in_dialog(&self, peer: PeerId, uri: &[u8]) -> Option<Destination> {
        let transport = self.snapshot.peer(peer)?.transport;
        let its = |to: &SocketAddr| !self.leaves_by_terminator(peer) && self.peer_has_address(peer, to.ip());
        let claim = super::reach::claimed_address(uri).filter(|(_, to)| its(to));
        let to = claim
            .map(|(_, to)| to)
            .or_else(|| self.peers.first_target(peer, transport))?;
        self.peer_route(peer, &[(transport, to)]).first().copied()
    }
}

/// `Retry-After` in seconds, if it can be read.
fn retry_after(view: &View<'_>) -> Option<u32> {
    view.header(Name::RetryAfter)
        .and_then(|v| crate::sip::field::parse_expires(v).ok())
}
