//! Part of the step "route": which local users may use the way to a peer, whichever way a request goes.

use super::{Checked, Judge};
use crate::policy::decision::{Party, Who};
use crate::policy::peer::Peer;
use crate::policy::trace::{Step, Trace};
use crate::policy::users::UserId;
use crate::sip::net::PeerId;

impl<T: Trace> Judge<'_, T> {
    /// From a peer to a user: the user must be assigned to it, and so must whoever of ours a front end speaks for.
    pub(super) fn assigned_here(&mut self, who: Who, user: Option<UserId>) -> Checked<()> {
        let Party::Peer(id) = who else { return Ok(()) };
        let Some(peer) = self.snapshot.peer(id).filter(|p| p.assigned.is_some()) else {
            return Ok(());
        };
        if self.speaks_for_ours() {
            self.sender(peer)?;
        }
        match user {
            Some(user) if !is_assigned(peer, user) => self.not_assigned(peer, "the user who is meant"),
            None if !self
                .facts
                .uri
                .user
                .is_none_or(|part| self.fits(peer, part, self.facts.uri.host)) =>
            {
                self.not_assigned(peer, "whoever is meant")
            }
            _ => Ok(()),
        }
    }

    /// From one of ours, proved by digest or by a front end, to a peer.
    pub(super) fn assigned_to(&mut self, who: Who, id: PeerId) -> Checked<()> {
        let Some(peer) = self.snapshot.peer(id).filter(|p| p.assigned.is_some()) else {
            return Ok(());
        };
        match who {
            Party::User(user) if !is_assigned(peer, user) => self.not_assigned(peer, "the sender"),
            Party::Peer(_) if self.speaks_for_ours() => self.sender(peer),
            _ => Ok(()),
        }
    }

    /// Inside a dialog that passes through.
    pub(super) fn assigned_between(&mut self, who: Who, other: Party) -> Checked<()> {
        let (peer, user) = match (who, other) {
            (Party::Peer(peer), Party::User(user)) | (Party::User(user), Party::Peer(peer)) => (peer, user),
            _ => return Ok(()),
        };
        match self.snapshot.peer(peer) {
            Some(peer) if !is_assigned(peer, user) => self.not_assigned(peer, "the user of the dialog"),
            _ => Ok(()),
        }
    }

    fn speaks_for_ours(&self) -> bool {
        self.snapshot.local_domain(self.facts.from.host).is_some()
    }

    /// One of ours as a front end names it, who need not be in the list of users.
    fn sender(&mut self, peer: &Peer) -> Checked<()> {
        let from = self.facts.from;
        let part = from.user.unwrap_or_default();
        let assigned = match self.snapshot.users.find(part, from.host) {
            Some(user) => is_assigned(peer, user),
            None => self.fits(peer, part, from.host),
        };
        if assigned {
            return Ok(());
        }
        self.not_assigned(peer, "the sender")
    }

    fn fits(&self, peer: &Peer, user: &[u8], host: &[u8]) -> bool {
        peer.assigned.as_ref().is_none_or(|assigned| assigned.fits(user, host))
    }

    fn not_assigned(&mut self, peer: &Peer, whom: &str) -> Checked<()> {
        let because = format_args!("{whom} is not assigned to peer {}", peer.name);
        self.refuse(Step::Route, 403, "Not Assigned", &peer.assigned_rule, because)
    }
}

fn is_assigned(peer: &Peer, user: UserId) -> bool {
    peer.assigned.as_ref().is_none_or(|assigned| assigned.has(user))
}
