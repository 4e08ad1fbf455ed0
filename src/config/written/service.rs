//! Services and limits as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Http, LoneIdlePhone, Time};
use crate::config::at::At;

/// NOTIFYs to watchers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// At least this between two NOTIFYs of one subscription; the first change goes at once, then the latest. Default: 5s.
    pub min_interval: Option<At<Time>>,
}

/// Presence and its composition.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Presence {
    /// A shorter expiry is answered 423. Default: 60s.
    pub min_expires: Option<At<Time>>,
    /// A longer expiry is shortened; at most 1d. Default: 1d.
    pub max_expires: Option<At<Time>>,
    /// What is meant when none is written. Default: 3600s.
    pub default_expires: Option<At<Time>>,
    /// RPID classes that mark a publication as set by hand. Default: `[manual]`.
    pub manual_classes: Option<Vec<At<String>>>,
    /// Tuple id patterns that mark a publication as set by hand; `*` is any text. Default: `["manual*"]`.
    pub manual_tuples: Option<Vec<At<String>>>,
    /// Further marks of publications set by hand.
    pub manual: Option<Vec<At<Mark>>>,
    /// What says do-not-disturb.
    pub dnd: Option<Dnd>,
    /// What an idle phone alone says of its owner: `available` or `ignored`. Default: available.
    pub lone_idle_phone: Option<LoneIdlePhone>,
    /// Publications one presentity may have. Default: 16.
    pub max_publications: Option<At<u32>>,
    /// Subscriptions one watcher may hold. Default: 1000.
    pub max_subscriptions: Option<At<u32>>,
}

/// Marks a publication: every key that is given must fit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mark {
    /// RPID class of something in it.
    pub class: Option<String>,
    /// Pattern for the id of a tuple in it; `*` is any text.
    pub tuple: Option<String>,
    /// Dialect of its publisher.
    pub dialect: Option<At<String>>,
}

/// What says do-not-disturb. It outweighs everything, also what is set by hand.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dnd {
    /// Element names, in any namespace or as `{namespace}name`. Default: `[dnd, do-not-disturb]`.
    pub elements: Option<Vec<At<String>>>,
    /// Publications that say it by being there. Default: none.
    pub marks: Option<Vec<At<Mark>>>,
}

/// Dialects of our own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mappings {
    /// A directory with mapping files (`NAME.yaml`): each is a new dialect, or replaces the built-in one of its name.
    /// Default: none.
    pub dir: Option<At<String>>,
    /// The file of the dial plan. Default: `dialplan.yaml` in that directory, if it is there; else numbers mean what they say.
    pub dialplan: Option<At<String>>,
}

/// The registrar.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Registrar {
    /// A shorter expiry is answered 423. Default: 60s.
    pub min_expires: Option<At<Time>>,
    /// A longer expiry is shortened; at most 1d. Default: 1d.
    pub max_expires: Option<At<Time>>,
    /// What is meant when none is written. Default: 3600s.
    pub default_expires: Option<At<Time>>,
    /// Contacts one address may have. Default: 10.
    pub max_contacts: Option<At<u32>>,
    /// Hashes that users are challenged with, in this order. Default: md5 alone, since many clients read only the first
    /// challenge and some give up on any that they do not know.
    pub digest: Option<Vec<WrittenDigest>>,
}

/// A hash for digest authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum WrittenDigest {
    /// MD5 (RFC 3261).
    #[serde(rename = "md5")]
    Md5,
    /// SHA-256 (RFC 8760).
    #[serde(rename = "sha-256")]
    Sha256,
}

/// Instant messages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    /// Keep messages for absent local users. Default: true.
    pub store_offline: Option<bool>,
    /// How many per user. Default: 100.
    pub max_stored: Option<At<u32>>,
    /// Sessions of messages the bridge holds at once for parties that speak differently. Default: 20000.
    pub max_sessions: Option<At<u32>>,
    /// A domain that refused messages in sessions, or by themselves, is not tried that way for so long. Default: 1h.
    pub remember_mode: Option<At<Time>>,
    /// Largest body taken. Default: 64KiB.
    pub max_size: Option<At<Count>>,
}

/// Durable state.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Its directory. Default: `../data`.
    pub path: Option<At<String>>,
    /// `group` survives power loss, `process` only the end of the process. Default: group.
    pub sync: Option<StoreSync>,
}

/// When an answer may say that something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreSync {
    /// After `fdatasync`.
    Group,
    /// After `write`.
    Process,
}

/// What is too much.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Limits of one source address.
    pub per_source: PerSource,
    /// A connection without traffic is closed after this. Default: 1h.
    pub idle_timeout: Option<At<Time>>,
    /// A half message is given up after this; at most 60s. Default: 20s. A handshake too, and after 10s at the latest.
    pub half_request_timeout: Option<At<Time>>,
    /// A stop waits this long for what is under way; at most 10m. Default: 5s.
    pub drain_timeout: Option<At<Time>>,
    /// Start line and headers. Default: 64KiB.
    pub max_header_bytes: Option<At<Count>>,
    /// Number of header lines, 16 to 2048. Default: 256.
    pub max_headers: Option<At<u32>>,
    /// Body. Default: 1MiB.
    pub max_body_bytes: Option<At<Count>>,
    /// Transactions at once. Default: 200000.
    pub max_transactions: Option<At<u32>>,
    /// Connections at once. Default: 20000.
    pub max_connections: Option<At<u32>>,
}

/// Limits of one source address.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PerSource {
    /// Connections at once. Default: 1000.
    pub connections: Option<At<u32>>,
    /// Handshakes a second. Default: 200.
    pub handshakes: Option<At<u32>>,
    /// Requests a second; peers have limits of their own. Default: 50000.
    pub requests: Option<At<u32>>,
}

/// Finding peers by name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// DNS servers, addresses with or without a port (53). Default: those of the system.
    pub servers: Option<Vec<At<String>>>,
}

/// Administration.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The local socket of `trestle ctl`. Default: `../data/trestle.sock`.
    pub socket: Option<At<String>>,
    /// Metrics and health. Default: 127.0.0.1:9090.
    pub http: Option<At<Http>>,
}

/// Logging.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,trestle::transport=debug`. Default: info.
    pub level: Option<At<String>>,
    /// One JSON object a line. Default: false.
    pub json: Option<bool>,
    /// Mask SIP identities. Default: false.
    pub redact: Option<bool>,
}
