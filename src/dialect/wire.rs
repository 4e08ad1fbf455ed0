//! What stands in a body, whatever its form: between the codecs, which know bytes, and the tables, which know meaning.

use super::state::Capabilities;
use crate::presence::Basic;
use crate::presence::pidf::{NS_PIDF, NS_RPID, NS_TRESTLE, Name};

/// One activity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// An element.
    Named {
        /// Its namespace; that of RPID for every form of RPID.
        namespace: Box<str>,
        /// Its name.
        local: Box<str>,
    },
    /// The text of RPID's `other`, in lower case with hyphens.
    Other(Box<str>),
}

impl Word {
    /// What an element says.
    #[must_use]
    pub fn of(name: &Name, text: &str) -> Self {
        let rpid = name.is_rpid() || name.namespace.is_empty() || &*name.namespace == NS_PIDF;
        if rpid && &*name.local == "other" {
            return Self::Other(token(text).into());
        }
        let namespace = if rpid { NS_RPID } else { &*name.namespace };
        Self::Named {
            namespace: namespace.into(),
            local: name.local.clone(),
        }
    }

    /// As mapping files write it: `busy`, `own:dnd`, `other:be-right-back`, `{namespace}name`.
    #[must_use]
    pub fn written(text: &str) -> Self {
        let named = |namespace: &str, local: &str| Self::Named {
            namespace: namespace.into(),
            local: local.into(),
        };
        if let Some(other) = text.strip_prefix("other:") {
            return Self::Other(token(other).into());
        }
        if let Some(local) = text.strip_prefix("own:") {
            return named(NS_TRESTLE, local);
        }
        match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((namespace, local)) => named(namespace, local),
            None => named(NS_RPID, text),
        }
    }

    /// Whether a word of a table means this one: a bare name fits in any namespace and as text of `other`, and `other` fits
    /// any such text.
    #[must_use]
    pub fn fits(&self, pattern: &str) -> bool {
        let bare = !pattern.starts_with('{') && !pattern.contains(':');
        match self {
            Self::Other(text) if bare => pattern == "other" || **text == *pattern,
            Self::Named { local, .. } if bare => **local == *pattern,
            _ => *self == Self::written(pattern),
        }
    }
}

/// A word in lower case with hyphens for what stands between its parts.
#[must_use]
pub fn token(text: &str) -> String {
    let parts = text.split(|c: char| c.is_whitespace() || matches!(c, '_' | '-'));
    let parts: Vec<String> = parts.filter(|p| !p.is_empty()).map(str::to_lowercase).collect();
    parts.join("-")
}

/// What is read of a body, or is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Open or closed.
    pub basic: Option<Basic>,
    /// Activities as elements.
    pub activities: Vec<Word>,
    /// An activity as text: in `status`, as a substatus, as a token.
    pub text: Option<Box<str>>,
    /// `Some(true)`: no input for a while; `Some(false)`: there is input.
    pub idle: Option<bool>,
    /// Since when there is no input.
    pub since: Option<String>,
    /// `availability@aggregate`.
    pub availability: Option<u32>,
    /// `activity@aggregate`.
    pub activity: Option<u32>,
    /// The number of 2007: `availability` as text, or `state@avail`.
    pub number: Option<u32>,
    /// What the person says.
    pub note: Option<String>,
    /// How the person is called.
    pub display_name: Option<String>,
    /// An out-of-office answer is in force.
    pub out_of_office: bool,
    /// Set by hand.
    pub manual: bool,
    /// On a mobile device.
    pub mobile: bool,
    /// What can be done.
    pub capabilities: Capabilities,
    /// Everything that speaks here is a telephone.
    pub phone: bool,
}
