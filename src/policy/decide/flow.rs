//! Steps that judge where a request came from: source, listener, peer identity, name ACL.

use super::{Checked, Judge, Shown};
use crate::policy::acl::{SourceVerdict, judge_source};
use crate::policy::peer::{Peer, address_tells, names_decide};
use crate::policy::rule::RuleRef;
use crate::policy::snapshot::ClientCertificate;
use crate::policy::trace::{Step, Trace, Verdict};
use crate::sip::net::PeerId;

impl<'a, T: Trace> Judge<'a, T> {
    /// Step 1. Returns the rule that still wants a certificate name when no address entry let the source in.
    pub(super) fn source(&mut self) -> Checked<Option<&'a RuleRef>> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        if facts.over.source_requests && !self.is_trunk() {
            let rule = &snapshot.rules.source_requests;
            let because = format_args!("{} sends too many requests a second", facts.source);
            return self.refuse(Step::Source, 480, "Too Many Requests", rule, because);
        }
        match judge_source(snapshot, facts.source) {
            SourceVerdict::NotConfigured => {
                let because = format_args!("no allow in acl.incoming, identity and digest decide");
                self.pass(Step::Source, Verdict::NotConfigured, None, because);
                Ok(None)
            }
            SourceVerdict::Allowed(rule) => {
                self.allow(Step::Source, Some(rule), format_args!("{} may connect", facts.source));
                Ok(None)
            }
            SourceVerdict::NameMayAllow(rule) => {
                let because = format_args!("{} is not listed, the certificate's name may be", facts.source);
                self.allow(Step::Source, Some(rule), because);
                Ok(Some(rule))
            }
            SourceVerdict::Refused(reason, rule) => self.refuse(
                Step::Source,
                403,
                "Forbidden",
                rule,
                format_args!("{}: {reason}", facts.source),
            ),
        }
    }

    /// Whether the source is that of a peer: trunks carry many users and have limits of their own (step 13).
    fn is_trunk(&self) -> bool {
        let facts = self.facts;
        let listed = || address_tells(facts.identity) && self.snapshot.addresses.peers(facts.source).next().is_some();
        !facts.identity.anchored().is_empty() || listed()
    }

    /// Step 2.
    pub(super) fn listener(&mut self) -> Checked<()> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        let Some(id) = facts.listener else {
            self.allow(
                Step::Listener,
                None,
                format_args!("came over a connection that the bridge opened"),
            );
            return Ok(());
        };
        let Some(listener) = snapshot.listener(id) else {
            let rule = &snapshot.rules.listener_gone;
            return self.refuse(
                Step::Listener,
                403,
                "Forbidden",
                rule,
                format_args!("its listener is gone"),
            );
        };
        if listener.client_certificate == ClientCertificate::Require && !facts.identity.is_named() {
            let because = format_args!(
                "listener {} wants a peer's certificate: {}",
                listener.name, facts.identity
            );
            return self.refuse(Step::Listener, 403, "Certificate Required", &listener.rule, because);
        }
        let transport = facts.transport.param();
        if let (Some(_), Some(terminated)) = (&listener.terminator, facts.identity.terminated()) {
            let by = terminated.reported.terminator;
            let because = format_args!("listener {} behind terminator {by} ({transport})", listener.name);
            self.allow(Step::Listener, Some(&listener.rule), because);
            return Ok(());
        }
        if let Some(terminator) = &listener.terminator {
            let because = format_args!("listener {} is for its trusted terminators alone", listener.name);
            return self.refuse(Step::Listener, 403, "Forbidden", &terminator.rule, because);
        }
        let because = format_args!("listener {} ({transport})", listener.name);
        self.allow(Step::Listener, Some(&listener.rule), because);
        Ok(())
    }

    /// Step 3. Which peer the flow proved to be. Of several, the one that may speak for the From domain.
    pub(super) fn peer_identity(&mut self) -> Checked<Option<PeerId>> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        let mut found = None;
        let named = |peer: &Peer| names_decide(peer, facts.transport, facts.identity);
        for id in facts.identity.anchored() {
            self.consider(*id, &mut found, |peer| {
                named(peer) && facts.identity.proves(*id, peer) && by_address(peer, facts.source)
            });
        }
        if address_tells(facts.identity) {
            for id in snapshot.addresses.peers(facts.source) {
                self.consider(id, &mut found, |peer| !named(peer));
            }
        }
        if let Some((id, peer)) = found {
            let (rule, by) = match (named(peer), facts.identity.terminated()) {
                (false, _) => (&peer.addresses_rule, "its listed address"),
                (true, None) => (&peer.tls_rule, "its certificate"),
                (true, Some(terminated)) => {
                    let because = format_args!("peer {}: {terminated}", peer.name);
                    self.allow(Step::PeerIdentity, Some(&peer.tls_rule), because);
                    return Ok(Some(id));
                }
            };
            self.allow(
                Step::PeerIdentity,
                Some(rule),
                format_args!("peer {} by {by}", peer.name),
            );
            return Ok(Some(id));
        }
        if let Some(listener) = facts.listener.and_then(|id| snapshot.listener(id))
            && listener.client_certificate == ClientCertificate::Require
        {
            let because = format_args!("listener {} is for peers, {} names none", listener.name, facts.identity);
            return self.refuse(Step::PeerIdentity, 403, "Not A Known Peer", &listener.rule, because);
        }
        self.pass(
            Step::PeerIdentity,
            Verdict::Allow,
            None,
            format_args!("no peer: {}", facts.identity),
        );
        Ok(None)
    }

    fn consider(&self, id: PeerId, found: &mut Option<(PeerId, &'a Peer)>, proves: impl FnOnce(&Peer) -> bool) {
        let facts = self.facts;
        let Some(peer) = self.snapshot.peer(id).filter(|p| p.accept.contains(&facts.transport)) else {
            return;
        };
        let speaks = |p: &Peer| p.domains.get(facts.from.host).is_some();
        let better = found.is_none_or(|(_, other)| !speaks(other) && speaks(peer));
        if better && proves(peer) {
            *found = Some((id, peer));
        }
    }

    /// Step 4.
    pub(super) fn name_acl(&mut self, pending: Option<&'a RuleRef>) -> Checked<()> {
        let (acl, identity) = (&self.snapshot.acl, self.facts.identity);
        let denied = acl.deny.iter().find(|e| e.name().is_some_and(|n| identity.mentions(n)));
        if let Some(entry) = denied {
            let because = format_args!("the certificate carries a denied name: {identity}");
            return self.refuse(Step::NameAcl, 403, "Forbidden", &entry.rule, because);
        }
        let Some(rule) = pending else {
            self.pass(
                Step::NameAcl,
                Verdict::NotConfigured,
                None,
                format_args!("no entry by name applies"),
            );
            return Ok(());
        };
        match acl.allow.iter().find(|e| e.name().is_some_and(|n| identity.carries(n))) {
            Some(entry) => {
                let name = Shown(entry.name().unwrap_or_default().as_bytes());
                self.allow(
                    Step::NameAcl,
                    Some(&entry.rule),
                    format_args!("the certificate carries {name}"),
                );
                Ok(())
            }
            None => {
                let because = format_args!("neither the address nor a certificate name is listed: {identity}");
                self.refuse(Step::NameAcl, 403, "Forbidden", rule, because)
            }
        }
    }
}

fn by_address(peer: &Peer, source: core::net::IpAddr) -> bool {
    peer.addresses.is_empty() || peer.lists(source)
}
