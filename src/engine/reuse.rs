//! Connection reuse (RFC 5923): what we send to a peer may go over a TLS connection that the peer opened.
//!
//! Only a request that was allowed as the peer's own offers its connection, so the certificate has proved the peer's
//! name and the peer may speak. A connection without TLS proves nobody's name and is never offered. The alias holds for
//! the address the connection comes from and the port its Via names (section 8.1): no other host can be claimed by it.

use super::reply::Request;
use super::{Engine, Output};
use crate::policy::{Party, Reuse};
use crate::sip::net::{Destination, Transport, at_port};

impl Engine {
    /// Offers the connection of a request for what we send to the peer that sent it; once for each connection.
    pub(super) fn offer_reuse(&mut self, request: &Request<'_>, who: Party) {
        let (Party::Peer(id), source) = (who, request.source) else {
            return;
        };
        if source.transport != Transport::Tls || source.listener.is_none() {
            return;
        }
        let Some(flow) = source.flow.and_then(|f| self.flows.get_mut(&f)).filter(|f| !f.offered) else {
            return;
        };
        let Some(peer) = self.snapshot.peer(id) else { return };
        let via = &request.essentials.via;
        let (wanted, anywhere) = match peer.reuse {
            Reuse::Never => (false, false),
            Reuse::Always => (true, true),
            Reuse::Alias => (via.params.get(b"alias").is_some(), false),
        };
        if wanted && let Some(name) = source.flow {
            flow.offered = true;
            let port = via.port.unwrap_or_else(|| Transport::Tls.default_port());
            self.outputs.push_back(Output::Reuse {
                flow: name,
                peer: id,
                at: (!anywhere).then(|| at_port(source.remote, port)),
            });
        }
    }

    /// Whether our Via towards `to` tells the peer that it may use the connection for its own requests.
    pub(super) fn offers_alias(&self, to: Destination) -> bool {
        let Destination::Peer {
            peer,
            transport: Transport::Tls,
            ..
        } = to
        else {
            return false;
        };
        self.snapshot.peer(peer).is_some_and(|p| p.reuse != Reuse::Never)
    }
}
