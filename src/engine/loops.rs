//! Loops and forks that amplify (RFC 5393).
//!
//! The branch of a forwarded request carries a hash of what decided where it goes. A request that comes back with the
//! same target is a loop and gets 482; with another target it is a spiral and passes. Max-Breadth bounds how many
//! branches of one request exist at once: it is split among the contacts, and 440 is the answer when there are more
//! contacts than it allows. Contacts are not tried one after the other instead.

use super::Engine;
use crate::policy::AuthState;
use crate::sip::header::Name;
use crate::sip::message::{Essentials, View};
use crate::sip::net::{Destination, Transport};
use crate::sip::uri::Uri;

/// RFC 5393 section 5.3.3: what a request without Max-Breadth has; larger values are lowered to it.
const BREADTH: u32 = 60;

impl Engine {
    /// Whether a Via of ours further down has the target that the request has now.
    pub(super) fn is_loop(&self, view: &View<'_>, essentials: &Essentials<'_>) -> bool {
        view.items(Name::Via).any(|via| {
            crate::sip::field::Via::parse(via).is_ok_and(|via| {
                self.is_own_sent_by(via.sent_by())
                    && via
                        .branch()
                        .is_some_and(|b| self.layer.is_loop(b, || self.target_hash(view, essentials)))
            })
        })
    }

    /// A request that has come back was let pass here with the credentials that we then took off. To ask for them again
    /// would hide from its sender that it loops; nothing else is opened by this, for a loop is refused in any case.
    pub(super) fn vouched(&self, essentials: &Essentials<'_>, credentials: AuthState, looped: bool) -> AuthState {
        if !looped || credentials != AuthState::None {
            return credentials;
        }
        let from = Uri::parse(essentials.from.uri).ok();
        let user = from.and_then(|from| self.snapshot.users.find(from.user?, from.host_bytes()));
        user.map_or(AuthState::None, AuthState::Valid)
    }

    /// Whether bytes for a destination would come straight back to us: a contact that names the bridge itself.
    pub(super) fn is_self(&self, to: Destination) -> bool {
        let (transport, to) = match to {
            Destination::Datagram { to, .. } => (Transport::Udp, to),
            Destination::Contact { to } => (Transport::Tcp, to),
            Destination::Peer { transport, to, .. } => (transport, to),
            Destination::Flow(_) => return false,
        };
        self.listeners.iter().any(|l| {
            l.transport == transport
                && l.bound.port() == to.port()
                && (l.bound.ip() == to.ip()
                    || (l.bound.ip().is_unspecified() && (to.ip().is_loopback() || l.advertised.parse() == Ok(to))))
        })
    }

    fn is_own_sent_by(&self, sent_by: &[u8]) -> bool {
        self.listeners
            .iter()
            .any(|l| sent_by.eq_ignore_ascii_case(l.advertised.as_bytes()))
    }

    /// RFC 5393 section 4.2.1: everything that decides where a request goes, and what tells it from others. Neither
    /// Max-Forwards nor Via, which change with every round; nor credentials, which we take off.
    pub(super) fn target_hash(&self, view: &View<'_>, essentials: &Essentials<'_>) -> u64 {
        let cseq = essentials.cseq.number.to_be_bytes();
        let fields = [
            view.request_uri(),
            essentials.call_id,
            essentials.from.tag().unwrap_or_default(),
            essentials.to.tag().unwrap_or_default(),
            &cseq,
        ];
        let routes = view.headers(Name::Route).chain(view.headers(Name::ProxyRequire));
        self.layer.target_hash(fields.into_iter().chain(routes))
    }
}

/// How many branches a request may have from here on.
pub(super) fn breadth(essentials: &Essentials<'_>) -> u32 {
    essentials.max_breadth.unwrap_or(BREADTH).min(BREADTH)
}

/// The part of `breadth` that goes with one of `legs`; the parts sum up to it.
pub(super) fn share(breadth: u32, legs: usize, leg: usize) -> u32 {
    let legs = u32::try_from(legs).unwrap_or(u32::MAX).max(1);
    let leg = u32::try_from(leg).unwrap_or(u32::MAX);
    breadth / legs + u32::from(leg < breadth % legs)
}

#[cfg(test)]
mod tests {
    use super::share;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_are_positive_and_sum_up(breadth in 1u32..200, legs in 1usize..200) {
            prop_assume!(legs <= breadth as usize);
            let shares: Vec<u32> = (0..legs).map(|leg| share(breadth, legs, leg)).collect();
            prop_assert_eq!(shares.iter().sum::<u32>(), breadth);
            prop_assert!(shares.iter().all(|s| *s >= 1));
        }
    }
}
