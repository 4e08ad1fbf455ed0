//! The YAML as written. Unknown keys are refused; whatever can be judged wrong later carries its place.
//!
//! These types say how the file looks, with every default named in its key's description; `resolve` says what it means.
//! The JSON Schema of `trestle schema` is made of them.

mod choice;
mod peers;
mod service;
mod terminator;
mod text;

pub use choice::{AclEntry, AclSubject, Http, Match, Password, ProbeChoice};
pub use peers::{Peer, PeerLimits, Probe, Route, Tls, WrittenReuse};
pub use service::{
    Admin, Dnd, Dns, Limits, Log, Mappings, Mark, Messages, Notify, PerSource, Presence, Registrar, Store, StoreSync,
    WrittenDigest,
};
pub use terminator::{Terminated, TrustedTerminator};
pub use text::{Count, Time};

use schemars::JsonSchema;
use serde::Deserialize;

use super::at::At;
use crate::policy::snapshot::ClientCertificate;
use crate::sip::net::Transport;

/// `bridge.yaml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Trestle bridge configuration")]
pub struct Main {
    /// Further files with peers, routes, users and access lists: paths relative to this file; `*` in the file name.
    pub include: Vec<At<String>>,
    /// The local domains: their users register here.
    pub domains: Vec<At<String>>,
    /// Who the bridge is.
    pub identity: Option<Identity>,
    /// Where requests come in. Default: 5060 UDP and TCP, 5061 TLS (asks for a certificate), 5062 TLS (requires one).
    pub listeners: Option<Vec<At<Listener>>>,
    /// Local users.
    pub users: Vec<At<User>>,
    /// Servers we federate with.
    pub peers: Vec<At<Peer>>,
    /// Static routes besides the implicit ones to the domains of peers.
    pub routes: Vec<At<Route>>,
    /// Access lists.
    pub acl: Acl,
    /// Presence and its composition.
    pub presence: Presence,
    /// NOTIFYs to watchers.
    pub notify: Notify,
    /// Dialects of our own.
    pub mappings: Mappings,
    /// The registrar.
    pub registrar: Registrar,
    /// Instant messages.
    pub messages: Messages,
    /// Durable state.
    pub store: Store,
    /// Finding peers by name.
    pub dns: Dns,
    /// What is too much.
    pub limits: Limits,
    /// Administration.
    pub admin: Admin,
    /// Logging.
    pub log: Log,
}

/// An included file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Part {
    /// Local users.
    pub users: Vec<At<User>>,
    /// Servers we federate with.
    pub peers: Vec<At<Peer>>,
    /// Static routes.
    pub routes: Vec<At<Route>>,
    /// Access lists.
    pub acl: Acl,
}

/// Who the bridge is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its host name. Default: `bridge.` before the first local domain.
    pub host: Option<At<String>>,
    /// Its certificate chain (PEM). Default: `../certs/bridge.pem`.
    pub certificate: Option<At<String>>,
    /// The key of that certificate (PEM). Default: `../certs/bridge.key`.
    pub key: Option<At<String>>,
}

/// Where requests come in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// A name for logs and `explain`.
    pub name: At<String>,
    /// What it speaks: `udp`, `tcp` or `tls`.
    pub transport: At<WrittenTransport>,
    /// Addresses with ports: `0.0.0.0:5060`, `[::]:5060`; a link-local one with its interface: `[fe80::1%eth0]:5060`.
    pub bind: At<Vec<At<String>>>,
    /// TLS only: `none` does not ask, `request` takes none but no bad one, `require` goes on only for peers. Default: request.
    pub client_certificate: Option<At<WrittenClientCertificate>>,
    /// TCP only: who may stand in front of it, end TLS for it, and say so by the PROXY protocol, version 2.
    pub trusted_terminator: Option<At<TrustedTerminator>>,
    /// Host and port that Via, Contact and Record-Route say instead of the socket's address.
    pub advertise: Option<At<String>>,
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WrittenTransport {
    /// Datagrams.
    Udp,
    /// Plain streams.
    Tcp,
    /// Streams under TLS.
    Tls,
}

impl From<WrittenTransport> for Transport {
    fn from(written: WrittenTransport) -> Self {
        match written {
            WrittenTransport::Udp => Self::Udp,
            WrittenTransport::Tcp => Self::Tcp,
            WrittenTransport::Tls => Self::Tls,
        }
    }
}

/// Whether a listener asks for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WrittenClientCertificate {
    /// Does not ask.
    None,
    /// Asks; none is fine, a bad one is not.
    Request,
    /// Goes on only for peers.
    Require,
}

impl From<WrittenClientCertificate> for ClientCertificate {
    fn from(written: WrittenClientCertificate) -> Self {
        match written {
            WrittenClientCertificate::None => Self::None,
            WrittenClientCertificate::Request => Self::Request,
            WrittenClientCertificate::Require => Self::Require,
        }
    }
}

/// A local user.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// `user@domain`, the domain local.
    pub aor: At<String>,
    /// Where the password is.
    pub password: At<Password>,
    /// What the user may do. Default: everything.
    pub enabled: Option<At<Enabled>>,
}

/// What a user may do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enabled {
    /// Publish and be watched. Default: true.
    pub presence: Option<bool>,
    /// Register and send. Default: true.
    pub client: Option<bool>,
}

/// Access lists.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acl {
    /// Who may connect. Deny wins whatever the order. Without an `allow`, identity and digest alone decide.
    pub incoming: Vec<At<AclEntry>>,
}
