//! Trusted terminators as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::at::At;

/// Who may stand in front of a listener and end TLS for it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedTerminator {
    /// Addresses and networks they connect from; nobody else may connect to this listener.
    pub addresses: At<Vec<At<String>>>,
    /// Whether what came to them under TLS counts as TLS: for `sips:` and for `accept: [tls]`. Default: false.
    pub counts_as_tls: Option<bool>,
    /// Type (224 to 255) of the field in which they pass the client's certificate on, as DER or base64. Default: they
    /// report its common name alone.
    pub certificate_tlv: Option<At<u8>>,
}

/// How a peer proves itself through a trusted terminator.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terminated {
    /// Whose word counts: names of listeners with a `trusted_terminator`, or addresses and networks of terminators.
    pub by: At<Vec<At<String>>>,
    /// Whether the common name counts. A terminator that reports nothing else needs it. Default: false.
    pub allow_cn: Option<At<bool>>,
}
