//! The settings that are values only: what the other rooms are built with. Sizes are bytes.

use crate::presence::Rules;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use crate::sip::digest::Algorithm;

/// Who the bridge is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Its host name, lower case.
    pub host: Arc<str>,
    /// Its certificate chain (PEM).
    pub certificate: PathBuf,
    /// The key of that certificate (PEM).
    pub key: PathBuf,
}

/// Presence and its composition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// At least this between two NOTIFYs of one subscription.
    pub notify_min_interval: Duration,
    /// A shorter expiry is answered 423.
    pub min_expires: Duration,
    /// A longer expiry is shortened; at most a day.
    pub max_expires: Duration,
    /// What is meant when no expiry is written.
    pub default_expires: Duration,
    /// Which publications are set by hand, and what says do-not-disturb.
    pub rules: Rules,
    /// Publications one presentity may have.
    pub max_publications: u32,
    /// Subscriptions one watcher may hold.
    pub max_subscriptions: u32,
}

/// The registrar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// A shorter expiry is answered 423.
    pub min_expires: Duration,
    /// A longer expiry is shortened; at most a day.
    pub max_expires: Duration,
    /// What is meant when no expiry is written.
    pub default_expires: Duration,
    /// Contacts one address may have.
    pub max_contacts: u32,
    /// Hashes that users are challenged with, in this order; never empty.
    pub digest: Vec<Algorithm>,
}

/// Instant messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// Whether messages for absent local users are kept.
    pub store_offline: bool,
    /// How many per user.
    pub max_stored: u32,
    /// Sessions of messages at once.
    pub max_sessions: u32,
    /// How long a refused mode of messages is remembered.
    pub remember_mode: Duration,
    /// Largest body taken.
    pub max_size: usize,
}

/// When an answer may say that something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// After `fdatasync`: survives power loss.
    Group,
    /// After `write`: survives the end of the process only.
    Process,
}

/// The durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its directory.
    pub path: PathBuf,
    /// When an answer may say that something is kept.
    pub sync: Sync,
}

/// Limits of one source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerSource {
    /// Connections at once.
    pub connections: u32,
    /// Handshakes a second.
    pub handshakes: u32,
    /// Requests a second.
    pub requests: u32,
}

/// What is too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limits of one source address.
    pub per_source: PerSource,
    /// A connection without traffic is closed after this.
    pub idle_timeout: Duration,
    /// A half message or half handshake is given up after this; at most a minute.
    pub half_request_timeout: Duration,
    /// A stop waits this long for what is under way.
    pub drain_timeout: Duration,
    /// Start line and headers.
    pub max_header_bytes: usize,
    /// Number of header lines.
    pub max_headers: usize,
    /// Body.
    pub max_body_bytes: usize,
    /// Transactions at once, all shards together.
    pub max_transactions: u32,
    /// Connections at once.
    pub max_connections: u32,
}

/// Finding peers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The servers to ask; empty: those of the system.
    pub servers: Vec<SocketAddr>,
}

/// Administration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The local socket of `trestle ctl`.
    pub socket: PathBuf,
    /// Metrics and health; `None` when switched off.
    pub http: Option<SocketAddr>,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter such as `info` or `trestle=debug`.
    pub level: Arc<str>,
    /// One JSON object a line.
    pub json: bool,
    /// Whether SIP identities are masked.
    pub redact: bool,
}
