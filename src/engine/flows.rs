//! Open connections under a new configuration or new addresses: who may stay, and what ends with a connection.

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::reach::Origin;
use super::slots::SlotId;
use super::{Engine, Flow, Output};
use crate::config::plan::Plan;
use crate::event::Reason;
use crate::policy::snapshot::ClientCertificate;
use crate::policy::{self, Identity, Snapshot};
use crate::sip::net::{FlowId, ListenerId, Transport};
use crate::sip::time::Now;

/// For the log of a connection that ends.
const WITHDRAWN: &str = "its trust was withdrawn";
const KEPT_OUT: &str = "the access list keeps it out";
const NO_LISTENER: &str = "its listener is gone";

impl Engine {
    /// Connections follow their peers to their new ids; those of peers that are trusted no more are lost.
    pub(super) fn follow_flows(&mut self, plan: &Plan, old: &Snapshot) {
        for id in self.flow_ids() {
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            let before = flow.owner.and_then(|id| old.peer(id)).map(|p| p.reuse);
            let after = flow.owner.and_then(|id| plan.peer(id));
            let after = after.and_then(|id| self.snapshot.peer(id)).map(|p| p.reuse);
            if before != after && core::mem::take(&mut flow.offered) {
                // The next request offers it again, if that is still wanted.
                self.outputs.push_back(Output::Disown { flow: id });
            }
            let known = [flow.owner, flow.peer].into_iter().flatten();
            flow.lost |= known.into_iter().any(|id| plan.peer(id).is_none());
            flow.owner = flow.owner.and_then(|id| plan.peer(id));
            flow.peer = flow.peer.and_then(|id| plan.peer(id));
        }
    }

    /// All open connections, in the order they were opened.
    fn flow_ids(&self) -> Vec<FlowId> {
        let mut ids: Vec<FlowId> = self.flows.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Judges every open connection again, after [`super::Input::Reload`]. `judge` takes what a connection proved and the
    /// listener it came in by, and says what it proves now, unless that cannot change; `closed` are sockets that listen no more. What has lost its ground is closed, and the dialogs that
    /// came over it end.
    pub fn judge_flows_again(
        &mut self,
        closed: &[(ListenerId, SocketAddr)],
        mut judge: impl FnMut(&Identity, Option<ListenerId>) -> Option<Identity>,
    ) {
        let snapshot = Arc::clone(&self.snapshot);
        let mut lost = Vec::new();
        for id in self.flow_ids() {
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            let again = judge(&flow.identity, flow.source.listener);
            if let Some(why) = why_not(&snapshot, flow, again.as_ref(), closed) {
                lost.push((id, why));
                continue;
            }
            if let Some(again) = again {
                flow.identity = Arc::new(again);
            }
            if flow.owner.is_none() {
                flow.owner = Self::owner_of(&snapshot, &flow.source, &flow.identity);
            }
            self.mark(id);
        }
        self.end_flows(&lost);
    }

    /// The present addresses of a host name in the access list; who is not among them any more is put out.
    pub(super) fn on_acl_resolved(&mut self, host: &str, addresses: &[IpAddr]) {
        if self.snapshot.acl.knows(host, addresses) {
            return;
        }
        self.snapshot = Arc::new(self.snapshot.with_resolved(host, addresses));
        let kept_out = |f: &Flow| !policy::may_stay(&self.snapshot, f.source.remote.ip(), &f.identity);
        let accepted = self.flows.iter().filter(|(_, f)| f.source.listener.is_some());
        let mut lost: Vec<_> = accepted
            .filter(|(_, f)| kept_out(f))
            .map(|(id, _)| (*id, KEPT_OUT))
            .collect();
        lost.sort_unstable();
        self.end_flows(&lost);
    }

    /// Closes connections after the last words of the dialogs that came over them.
    fn end_flows(&mut self, lost: &[(FlowId, &'static str)]) {
        let now = self.clock;
        // A client whose listener is gone comes back by another: nobody has withdrawn anything from it.
        let gone = |flow: Option<FlowId>| flow.is_some_and(|f| lost.iter().any(|l| l.0 == f && l.1 != NO_LISTENER));
        let kept_out = |ip| !policy::may_stay(&self.snapshot, ip, &self.no_tls);
        let ends: Vec<SlotId> = self
            .presence
            .subscriptions
            .iter()
            .filter(|(_, s)| {
                let origin = &s.reach.origin;
                gone(origin.flow) || (origin.flow.is_none() && kept_out(origin.remote.ip()))
            })
            .map(|(id, _)| id)
            .collect();
        for id in ends {
            self.dismiss(now, id, Reason::Rejected);
        }
        self.forget_bindings_from(now, lost);
        self.drain_layer(now);
        for (flow, why) in lost {
            self.outputs.push_back(Output::Close { flow: *flow, why });
        }
    }
}

impl Engine {
    /// Contacts that registered from where nobody may come from any more go: nothing may be sent there.
    fn forget_bindings_from(&mut self, now: Now, lost: &[(FlowId, &'static str)]) {
        let snapshot = Arc::clone(&self.snapshot);
        let gone = |origin: &Origin| match origin.flow {
            Some(flow) => lost.iter().any(|l| l.0 == flow && l.1 == KEPT_OUT),
            None => !policy::may_stay(&snapshot, origin.remote.ip(), &self.no_tls),
        };
        let all = self.registrar.iter();
        let bindings = all.flat_map(|e| e.bindings.iter().map(move |b| (e, b)));
        let ends: Vec<_> = bindings
            .filter(|(_, b)| gone(&b.origin))
            .map(|(e, b)| (e.aor.clone(), b.uri.clone()))
            .collect();
        for (aor, uri) in ends {
            self.forget_binding(now, &aor, &uri);
        }
    }
}

/// Why a connection may not stay.
fn why_not(
    snapshot: &Snapshot,
    flow: &Flow,
    again: Option<&Identity>,
    closed: &[(ListenerId, SocketAddr)],
) -> Option<&'static str> {
    let (source, identity) = (&flow.source, again.unwrap_or(&flow.identity));
    let ip = source.remote.ip();
    let proves = |id| {
        let peer = snapshot.peer(id);
        match (source.listener, source.transport) {
            (Some(_), transport) => policy::is_peer(snapshot, id, transport, ip, identity),
            (None, Transport::Tls) => peer.is_some_and(|p| identity.proves(id, p)),
            (None, _) => peer.is_some(),
        }
    };
    let nameless = flow.identity.is_named() && again.is_some_and(|again| !again.is_named());
    if flow.lost || nameless || flow.owner.is_some_and(|owner| !proves(owner)) {
        return Some(WITHDRAWN);
    }
    let listener = match source.listener.map(|id| snapshot.listener(id)) {
        None => return None,
        Some(None) => return Some(NO_LISTENER),
        Some(Some(listener)) => listener,
    };
    let came_by = |at: &SocketAddr| {
        let any = at.ip().is_unspecified() && at.is_ipv4() == source.local.is_ipv4();
        at.port() == source.local.port() && (any || at.ip() == source.local.ip())
    };
    if closed.iter().any(|(id, at)| *id == listener.id && came_by(at)) {
        return Some(NO_LISTENER);
    }
    // Only what a terminator that is trusted now has told of came in where one must.
    let told_by = identity.terminated().map(|t| t.reported.terminator);
    if told_by.is_some() != listener.terminator.is_some()
        || told_by.is_some_and(|ip| listener.terminator.as_ref().is_some_and(|t| !t.is_at(ip)))
    {
        return Some(WITHDRAWN);
    }
    if listener.client_certificate == ClientCertificate::Require && !identity.is_named() {
        return Some(WITHDRAWN);
    }
    (!policy::may_stay(snapshot, ip, identity)).then_some(KEPT_OUT)
}
