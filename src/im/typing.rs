//! Somebody types: `application/im-iscomposing+xml` (RFC 3994) and the older `KeyboardActivity`.

use crate::presence::xml::{self, Node};

/// Media type of RFC 3994.
pub const IS_COMPOSING: &str = "application/im-iscomposing+xml";
/// Media type of `KeyboardActivity`.
pub const KEYBOARD: &str = "application/xml";

const MAX_BYTES: usize = 8 * 1024;
/// RFC 3994 section 3.2: whoever does nothing for so long types no more. Older clients repeat themselves well within it.
const IDLE_MS: u64 = 15_000;
/// Section 3.3: the state is said again no more often than this.
const REFRESH_MS: u64 = 60_000;
/// Section 3.3: a state that is not said again lasts no longer.
const EXPIRY_MS: u64 = 120_000;

/// What is said of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Typing, said again within so many milliseconds.
    Active(u64),
    /// Not typing.
    Idle,
}

/// Reads either document; `None` when it is neither.
#[must_use]
pub fn read(body: &[u8]) -> Option<Signal> {
    let mut found = Found::default();
    xml::walk(body, MAX_BYTES, |depth, node| {
        found.see(depth, &node);
        Ok(())
    })
    .ok()?;
    match found.root.as_str() {
        "isComposing" => Some(match found.state.trim() {
            "active" => {
                let refresh = found.refresh.trim().parse().unwrap_or(0u64);
                let ms = if refresh == 0 {
                    EXPIRY_MS
                } else {
                    refresh.clamp(60, 3600) * 1000
                };
                Signal::Active(ms)
            }
            _ => Signal::Idle,
        }),
        "KeyboardActivity" => Some(match found.status.as_str() {
            "type" => Signal::Active(IDLE_MS),
            _ => Signal::Idle,
        }),
        _ => None,
    }
}

#[derive(Default)]
struct Found {
    root: String,
    inside: String,
    state: String,
    refresh: String,
    status: String,
}

impl Found {
    fn see(&mut self, depth: usize, node: &Node<'_>) {
        match node {
            Node::Open { tag, .. } => {
                let name = tag.local_name().as_ref().to_owned();
                if depth == 0 {
                    self.root.clone_from(&name);
                } else if depth == 1 && name == "status" {
                    self.status = xml::attribute(tag, "status").unwrap_or_default();
                }
                self.inside = name;
            }
            Node::Close { .. } => self.inside.clear(),
            Node::Text(text) if self.inside == "state" => self.state.push_str(text),
            Node::Text(text) if self.inside == "refresh" => self.refresh.push_str(text),
            Node::Text(_) => {}
        }
    }
}

/// A document of RFC 3994.
#[must_use]
pub fn is_composing(active: bool) -> String {
    let state = if active { "active" } else { "idle" };
    let refresh = if active { "<refresh>60</refresh>" } else { "" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\
         <state>{state}</state><contenttype>text/plain</contenttype>{refresh}</isComposing>\r\n"
    )
}

/// A document of older clients.
#[must_use]
pub fn keyboard(active: bool) -> String {
    let status = if active { "type" } else { "idle" };
    format!(
        "<?xml version=\"1.0\"?>\r\n<KeyboardActivity>\r\n  <status status=\"{status}\" />\r\n</KeyboardActivity>\r\n"
    )
}

/// What one side has said of itself, and what of it the other side has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relay {
    /// Typing, until then unless it is said again.
    until: Option<u64>,
    told: u64,
}

impl Relay {
    /// Takes what was said at `now`; true or false: the other side is to be told that.
    pub fn heard(&mut self, now: u64, signal: Signal) -> Option<bool> {
        match signal {
            Signal::Active(ms) => {
                let news = self.until.is_none() || now.saturating_sub(self.told) >= REFRESH_MS;
                self.until = Some(now + ms);
                if news {
                    self.told = now;
                }
                news.then_some(true)
            }
            Signal::Idle => self.until.take().map(|_| false),
        }
    }

    /// A message has come: whoever sent it does not type any more, and need not say so (section 3.2).
    pub fn spoke(&mut self) {
        self.until = None;
    }

    /// When nothing was said for too long.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.until
    }

    /// Time has passed; true: the other side is to be told that nobody types.
    pub fn expired(&mut self, now: u64) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_documents_are_read_and_written() {
        assert_eq!(read(is_composing(true).as_bytes()), Some(Signal::Active(60_000)));
        assert_eq!(read(is_composing(false).as_bytes()), Some(Signal::Idle));
        assert_eq!(read(keyboard(true).as_bytes()), Some(Signal::Active(15_000)));
        assert_eq!(read(keyboard(false).as_bytes()), Some(Signal::Idle));
        let bare = b"<c:isComposing xmlns:c='urn:x'><c:state>active</c:state></c:isComposing>";
        assert_eq!(read(bare), Some(Signal::Active(120_000)));
        assert_eq!(read(b"<other/>"), None);
        assert_eq!(read(b"no XML"), None);
    }

    #[test]
    fn the_other_side_hears_of_changes_and_once_a_minute() {
        let mut relay = Relay::default();
        assert_eq!(relay.heard(0, Signal::Active(15_000)), Some(true));
        assert_eq!(relay.heard(4_000, Signal::Active(15_000)), None);
        assert!(!relay.expired(18_999) && relay.due() == Some(19_000));
        assert!(relay.expired(19_000) && !relay.expired(19_000));
        assert_eq!(relay.heard(20_000, Signal::Active(120_000)), Some(true));
        assert_eq!(relay.heard(81_000, Signal::Active(120_000)), Some(true));
        assert_eq!(relay.heard(82_000, Signal::Idle), Some(false));
        assert_eq!(relay.heard(83_000, Signal::Idle), None);
        relay.heard(84_000, Signal::Active(120_000));
        relay.spoke();
        assert!(!relay.expired(u64::MAX));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
