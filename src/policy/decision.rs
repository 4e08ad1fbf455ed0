//! The answer of [`decide`](super::decide()).

use super::routes::RouteSetId;
use super::rule::RuleRef;
use super::snapshot::{DialectId, DomainId};
use super::users::UserId;
use crate::sip::net::PeerId;

/// Somebody the configuration knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// A peer, proved by certificate or by listed address.
    Peer(PeerId),
    /// A local user, proved by digest.
    User(UserId),
}

/// Who speaks. There is no third kind: a stranger is refused or challenged.
pub type Who = Party;

/// Where an allowed request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address of a local domain.
    Local {
        /// The domain.
        domain: DomainId,
        /// The user; `None` for a REGISTER whose Request-URI is the bare domain.
        user: Option<UserId>,
    },
    /// The bridge itself: OPTIONS without a user, or a dialog that ends here.
    Bridge,
    /// A foreign address: ask [`Routes::set`](super::Routes::set) for the choices in order.
    Route {
        /// The routes that match equally well.
        set: RouteSetId,
        /// The peer of the first choice.
        peer: PeerId,
    },
    /// The other side of a dialog that passes through the bridge.
    Dialog(Party),
}

/// The request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Who speaks.
    pub who: Who,
    /// Where it goes.
    pub target: Target,
    /// The dialect at the far end: of the route's peer, else of the sending peer, else plain `rfc`.
    pub dialect: DialectId,
}

/// The request is refused by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The SIP status to answer with.
    pub status: u16,
    /// The reason phrase; says what is missing without naming what a stranger should not learn.
    pub reason: &'static str,
    /// The rule that refused.
    pub rule: RuleRef,
}

/// What shall happen to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Allow(Allow),
    /// It is answered with a final refusal.
    Refuse(Refusal),
    /// It is asked for credentials.
    Challenge {
        /// The credentials were right but old: the client may retry without asking its user.
        stale: bool,
        /// 407 with Proxy-Authenticate instead of 401.
        proxy: bool,
        /// The rule that asks.
        rule: RuleRef,
    },
}

impl Decision {
    /// The status on the wire; `None` when allowed.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Allow(_) => None,
            Self::Refuse(refusal) => Some(refusal.status),
            Self::Challenge { proxy, .. } => Some(if *proxy { 407 } else { 401 }),
        }
    }

    /// The rule a refusal or a challenge rests on.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleRef> {
        match self {
            Self::Allow(_) => None,
            Self::Refuse(refusal) => Some(&refusal.rule),
            Self::Challenge { rule, .. } => Some(rule),
        }
    }
}
