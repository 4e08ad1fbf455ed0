//! Peers and routes as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ContractChoice, Match, ProbeChoice, Terminated, Time, WrittenTransport};
use crate::config::at::At;

/// A server we federate with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// A name for logs, routes and `explain`.
    pub name: At<String>,
    /// What it may speak for, and what is routed to it.
    pub domains: At<Vec<At<String>>>,
    /// A proxy of our own that has authenticated our users: it may speak for local domains. Default: false.
    pub front_end: Option<bool>,
    /// Foreign targets its requests may be routed on to: domains, `.suffixes`, digit prefixes. Default: none.
    pub transit: Option<At<Vec<At<String>>>>,
    /// How we reach it: `udp`, `tcp` or `tls`.
    pub transport: At<WrittenTransport>,
    /// The transports it may come in by. Default: `transport`; for `udp` also `tcp`.
    pub accept: Option<At<Vec<WrittenTransport>>>,
    /// `host[:port]`. Default: RFC 3263 on the domain.
    pub next_hop: Option<At<String>>,
    /// Addresses and networks it comes from. Needed on a plain transport; a further restriction under TLS.
    pub addresses: Option<At<Vec<At<String>>>>,
    /// How it proves itself under TLS.
    pub tls: Option<At<Tls>>,
    /// What is spoken with it. Default: rfc.
    pub dialect: Option<At<String>>,
    /// One upstream subscription under the bridge's identity for all local watchers. Default: false.
    pub view_sharing: Option<bool>,
    /// Local users whose state it may publish, as a publish trunk does: addresses, or `"*"` for all. Default: none.
    pub publishes: Option<At<Vec<At<String>>>>,
    /// OPTIONS probes. Default: every 30s, 5s to answer, down after 2.
    pub probe: Option<At<ProbeChoice>>,
    /// Differentiated services code point of its traffic, 0 to 63. Default: left as it is.
    pub dscp: Option<At<u8>>,
    /// Whether what we send it goes over the TLS connections it opened (RFC 5923): `alias` when its Via asks for that,
    /// `always`, for a peer that cannot be connected to, or `never`. Default: alias.
    pub reuse: Option<At<WrittenReuse>>,
    /// Its own limits.
    pub limits: Option<At<PeerLimits>>,
    /// What we promise it: `{messages: 20/s, watched: 1000}`, or a preset: `sametime` (20/s, 1000), `unified-cm` (50/s, 5000),
    /// `modest` (5/s, 200). Default: none.
    pub contract: Option<At<ContractChoice>>,
    /// The local users who may use the way to it, both ways: addresses, aliases, patterns with `*`. Default: all of them.
    pub assigned: Option<At<Vec<At<String>>>>,
    /// The expiry that we ask for in subscriptions at it; 60s to 1d. Default: that of `presence.default_expires`.
    pub subscription_timeout: Option<At<Time>>,
    /// After this without a final answer the bridge answers 504; below 32s. Default: 20s.
    pub request_timeout: Option<At<Time>>,
}

/// Whether connections that a peer opened are used for what we send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WrittenReuse {
    /// When the Via of its requests carries `alias`.
    Alias,
    /// For everything we send it, wherever that would go.
    Always,
    /// Never: we open our own.
    Never,
}

/// How a peer proves itself under TLS.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Its own anchors (PEM files, relative to this file).
    pub ca: Vec<At<String>>,
    /// Host names that count besides its domains.
    pub names: Vec<At<String>>,
    /// Whether the common name counts when there is no subject alternative name. Default: false.
    pub allow_cn: Option<At<bool>>,
    /// Exact certificates: `sha256:` with 64 hexadecimal digits, or a PEM file.
    pub pin: Vec<At<String>>,
    /// Revocation lists (files, relative to this file).
    pub crl: Vec<At<String>>,
    /// Whether and how it proves itself through a trusted terminator. Default: it does not.
    pub terminated: Option<At<Terminated>>,
}

/// Probing of a peer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// Time between probes. Default: 30s.
    pub interval: Option<At<Time>>,
    /// An answer later than this is none. Default: 5s.
    pub timeout: Option<At<Time>>,
    /// So many without an answer mean down. Default: 2.
    pub down_after: Option<At<u32>>,
}

/// Limits of one peer. Default: none.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeerLimits {
    /// Requests a second we take from it.
    pub requests: Option<At<u32>>,
    /// Subscriptions it may hold here; one more is refused.
    pub subscriptions: Option<At<u32>>,
    /// Connections it may hold here; one more is closed. Those that we open do not count.
    pub connections: Option<At<u32>>,
    /// Sessions of messages the bridge holds with it; one more is refused.
    pub sessions: Option<At<u32>>,
}

/// What we promise a peer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Contract {
    /// Requests a second that we send it at most, as `20/s`; the latest state of everybody arrives in turn. Default: no limit.
    pub messages: Option<At<String>>,
    /// Distinct addresses that we watch there at most; one more is refused. Default: no limit.
    pub watched: Option<At<u32>>,
}

/// A static route.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What it is for.
    #[serde(rename = "match")]
    pub pattern: At<Match>,
    /// The peer it leads to, by name.
    pub peer: At<String>,
    /// Lower is tried first. Default: 10.
    pub priority: Option<u16>,
    /// Share among routes of one priority. Default: 50.
    pub weight: Option<u16>,
    /// `host[:port]`. Default: the peer's.
    pub next_hop: Option<At<String>>,
    /// Default: the peer's.
    pub transport: Option<At<WrittenTransport>>,
}
