//! `dialplan.yaml` as written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::at::At;

/// The dial plan.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dialplan {
    /// How numbers are brought into one form.
    pub numbers: Numbers,
    /// Application dial rules; the first that fits is taken.
    pub dial: Vec<At<NumberRule>>,
    /// What numbers are called at peers, by the peer's name.
    pub peers: BTreeMap<String, At<PeerNumbers>>,
}

/// How numbers are brought into one form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Numbers {
    /// Characters that count for nothing besides `-`, `.`, `(` and `)`.
    pub separators: Option<At<String>>,
    /// Prefix rules; the first that fits is taken.
    pub rules: Vec<At<NumberRule>>,
    /// Lengths of internal numbers, which stay as they are.
    pub extensions: Vec<At<u8>>,
    /// The country code, without `+`.
    pub country: Option<At<String>>,
    /// Lengths of national numbers.
    pub national: Vec<At<u8>>,
    /// The area code.
    pub area: Option<At<String>>,
    /// Lengths of local numbers.
    pub local: Vec<At<u8>>,
}

/// Which numbers, what falls away, what is put in front.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NumberRule {
    /// How many digits the number has. Default: any.
    pub digits: Option<At<u8>>,
    /// What it begins with. Default: anything.
    pub begins: Option<At<String>>,
    /// How many digits fall away in front. Default: 0.
    pub remove: Option<At<u8>>,
    /// What is put in front. Default: nothing.
    pub add: Option<At<String>>,
}

/// What numbers are called at a peer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerNumbers {
    /// What falls away in front. Default: nothing.
    pub strip: Option<At<String>>,
    /// What is put in its place. Default: nothing.
    pub prefix: Option<At<String>>,
    /// The host of the address there. Default: that of the address that was asked for.
    pub host: Option<At<String>>,
    /// `phone` adds `;user=phone`. Default: nothing.
    pub user: Option<At<String>>,
    /// What our users are called in From there: `address` or `number`. Default: address.
    pub from: Option<At<String>>,
}
