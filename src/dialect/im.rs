//! How instant messages travel.

/// A media type without parameters, in lower case.
pub type ContentType = Box<str>;

/// Whether messages stand alone or live in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImMode {
    /// MESSAGE outside of dialogs (RFC 3428).
    #[default]
    Pager,
    /// INVITE, MESSAGE inside of it, BYE.
    Session,
}

/// The media line of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImMedia {
    /// `m=message PORT sip null`.
    #[default]
    Message,
    /// `m=x-ms-message 5060 sip null`.
    XMsMessage,
}

/// How somebody who types is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Typing {
    /// Not at all.
    None,
    /// `application/im-iscomposing+xml` in MESSAGE (RFC 3994).
    #[default]
    IsComposing,
    /// INFO with `KeyboardActivity`.
    KeyboardActivity,
}

/// Instant messages of a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Im {
    /// What is tried first.
    pub mode: ImMode,
    /// Refused with 405, 415, 488 or 501: the other mode is tried, and remembered.
    pub fallback: bool,
    /// The media line of offers.
    pub media: ImMedia,
    /// What it can show; empty is everything.
    pub accept: Vec<ContentType>,
    /// Pager messages travel as `message/cpim` (RFC 3862).
    pub cpim: bool,
    /// How typing is shown.
    pub typing: Typing,
    /// Delivery notices (RFC 5438) are understood.
    pub imdn: bool,
    /// `ms-text-format` in INVITE is the first message: it is taken and the 200 says so.
    pub first_message: bool,
    /// A session without a message ends after so many seconds.
    pub idle_s: u32,
}

impl Default for Im {
    fn default() -> Self {
        Self {
            mode: ImMode::Pager,
            fallback: false,
            media: ImMedia::Message,
            accept: Vec::new(),
            cpim: false,
            typing: Typing::IsComposing,
            imdn: true,
            first_message: false,
            idle_s: 600,
        }
    }
}

impl Im {
    /// Whether such a media type (parameters allowed) can be shown.
    #[must_use]
    pub fn shows(&self, media: &[u8]) -> bool {
        let bare = media.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        self.accept.is_empty() || self.accept.iter().any(|a| a.as_bytes().eq_ignore_ascii_case(bare))
    }
}
