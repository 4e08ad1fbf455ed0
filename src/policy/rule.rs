//! What a verdict rests on: a named rule and the place in the configuration it was written at.

use std::fmt;
use std::sync::Arc;

/// One rule. Cloning costs two reference counts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RuleRef {
    /// Stable name such as `peer.domains`; it is what goes on the wire and into logs.
    pub id: Arc<str>,
    /// The file as the operator named it; `built-in` for a rule that needs no configuration.
    pub file: Arc<str>,
    /// Line in that file, counted from 1; 0 for a built-in rule.
    pub line: u32,
}

impl RuleRef {
    /// A rule written at `file:line`.
    #[must_use]
    pub fn new(id: &str, file: &Arc<str>, line: u32) -> Self {
        Self {
            id: Arc::from(id),
            file: file.clone(),
            line,
        }
    }

    /// A rule that holds without configuration.
    #[must_use]
    pub fn built_in(id: &str) -> Self {
        Self {
            id: Arc::from(id),
            file: Arc::from("built-in"),
            line: 0,
        }
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{} ({})", self.id, self.file)
        } else {
            write!(f, "{} ({}:{})", self.id, self.file, self.line)
        }
    }
}

impl fmt::Debug for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $field:ident = $id:literal),+ $(,)?) => {
        /// The rules that no line of a peer, user or route carries: built in, or with the place of the setting they follow.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Rules {
            $($(#[$doc])* pub $field: RuleRef,)+
        }

        impl Default for Rules {
            fn default() -> Self {
                Self { $($field: RuleRef::built_in($id),)+ }
            }
        }
    };
}

rules! {
    /// Requests a second of one source.
    source_requests = "limits.per_source.requests",
    /// Connections of one source.
    source_connections = "limits.per_source.connections",
    /// Handshakes a second of one source.
    source_handshakes = "limits.per_source.handshakes",
    /// Connections of all sources.
    all_connections = "limits.max_connections",
    /// Transactions of all sources.
    overloaded = "limits.max_transactions",
    /// Subscriptions of one watcher.
    subscriptions = "presence.max_subscriptions",
    /// Sessions of messages at once.
    sessions = "messages.max_sessions",
    /// A request names a listener that is gone.
    listener_gone = "listener.gone",
    /// `sips:` asks for TLS on every hop.
    sips = "uri.sips",
    /// `maddr` is never followed.
    maddr = "uri.maddr",
    /// A scheme nobody here speaks.
    scheme = "uri.scheme",
    /// A From that names nobody who could speak.
    from = "from.domain",
    /// A foreign From from somebody who is no peer.
    stranger = "peer.identity",
    /// Credentials open only the address they belong to.
    own_identity = "user.own_identity",
    /// REGISTER is for one's own address.
    register_own = "register.own",
    /// PUBLISH is for one's own address.
    publish_own = "publish.own",
    /// A dialog belongs to those who opened it.
    dialog_owner = "dialog.owner",
    /// A user of a local domain must exist.
    user_unknown = "user.unknown",
    /// The request has been here before (RFC 5393).
    looped = "hops.loop",
    /// The request went out to a peer and came back from one.
    ring = "hops.ring",
    /// Max-Forwards is used up.
    hops = "hops.max_forwards",
    /// Nothing leads there.
    no_route = "route.none",
    /// A peer, user or route of a dialog is gone.
    dialog_gone = "dialog.gone",
}
