//! Lines of users at peers as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::at::At;

/// A line of a user at a peer: its state is a source of the user's presence.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The number as the peer knows it: the user part of its address.
    pub number: At<String>,
    /// The peer, by name; the line's domain is the first that it may speak for.
    pub peer: At<String>,
    /// The line that speaks for the person; the others do not. Default: the first that is written.
    pub primary: Option<At<bool>>,
}

/// What a phone that is idle says of somebody of whom nothing else is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoneIdlePhone {
    /// That the person can be reached.
    Available,
    /// Nothing.
    Ignored,
}
