//! Elements that pass as bytes.

use core::ops::Range;
use std::sync::Arc;

use crate::presence::xml::escape;

/// Where an element may stand again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below the root.
    Root,
    /// In the tuple of this number.
    Tuple(usize),
    /// In the person.
    Person,
    /// A device.
    Device,
    /// Our own mark of an out-of-office answer; it is written anew.
    OutOfOffice,
}

/// An element that is not understood and passes.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) place: Place,
    pub(crate) span: Range<usize>,
    /// Where the name in the start tag ends.
    pub(crate) name_end: usize,
    /// Declarations that it relies on and does not make itself: prefix (empty for the default) and namespace.
    pub(crate) declares: Arc<[(String, Arc<str>)]>,
}

impl Kept {
    pub(crate) fn write(&self, out: &mut String, body: &[u8]) {
        let slice = |range: Range<usize>| core::str::from_utf8(body.get(range).unwrap_or_default()).unwrap_or_default();
        out.push_str(slice(self.span.start..self.name_end));
        let whole = slice(self.span.clone());
        let used = |prefix: &str| prefix.is_empty() || whole.contains(&format!("{prefix}:"));
        for (prefix, namespace) in self.declares.iter().filter(|(prefix, _)| used(prefix)) {
            let colon = if prefix.is_empty() { "" } else { ":" };
            out.push_str(&format!(" xmlns{colon}{prefix}=\"{}\"", escape(namespace)));
        }
        out.push_str(slice(self.name_end..self.span.end));
    }
}
