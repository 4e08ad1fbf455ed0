//! Which way a request goes inside a dialog that passes through: both sides send (RFC 3261 section 12.2).
//!
//! Orientation only says whom the decision has to find at the other end of the flow; it proves nothing.

use super::Engine;
use super::route_token::Sides;
use crate::policy::{InDialog, Party, UserId};
use crate::sip::message::Essentials;
use crate::sip::net::{PeerId, Source};
use crate::sip::uri::Uri;

impl Engine {
    /// The dialog as the sender of this request sees it: from the callee when From and flow fit the callee, else from
    /// the caller.
    pub(super) fn oriented(&self, source: &Source, essentials: &Essentials<'_>, sides: Sides) -> InDialog {
        let from = Uri::parse(essentials.from.uri).ok();
        let host = from.as_ref().map(Uri::host_bytes).unwrap_or_default();
        let user = from.as_ref().and_then(|f| self.snapshot.users.find(f.user?, host));
        let is_side = |party: Party| match party {
            Party::User(id) => user == Some(id),
            Party::Peer(id) => self.speaks_here(source, id, host),
        };
        let (sender, towards) = if is_side(sides.callee) && !is_side(sides.caller) {
            (sides.callee, sides.caller)
        } else {
            (sides.caller, sides.callee)
        };
        // A front end stands for the users of its domain, here as outside dialogs.
        let front_end = match sender {
            Party::User(id) => self.front_end(source, id),
            Party::Peer(_) => None,
        };
        InDialog {
            sender: front_end.map_or(sender, Party::Peer),
            towards: Some(towards),
        }
    }

    /// The front end of a user's domain, if that is who sends.
    fn front_end(&self, source: &Source, user: UserId) -> Option<PeerId> {
        let domain = self.snapshot.user(user)?.domain.as_bytes();
        let mut peers = self.snapshot.peers().map(|(id, _)| id);
        peers.find(|id| self.speaks_here(source, *id, domain))
    }

    /// Whether a flow is a peer's that may speak for this domain.
    fn speaks_here(&self, source: &Source, peer: PeerId, host: &[u8]) -> bool {
        let granted = self.snapshot.peer(peer).is_some_and(|p| p.domains.get(host).is_some());
        granted && self.is_from_peer(source, peer)
    }
}
