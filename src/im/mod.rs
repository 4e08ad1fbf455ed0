//! Floor 1: instant messages as text, whatever they travel in. Sans-io and bounded.
//!
//! What a body says is read by [`content`], and written again as the other side can show it. Session descriptions of
//! message sessions are in [`sdp`], RFC 3862 in [`cpim`], RFC 3994 and its older relative in [`typing`], RFC 5438 in
//! [`imdn`], the first message inside an INVITE in [`first`]. [`session`] holds the order of messages,
//! [`bridging`] says which requests the bridge carries at all.

pub mod base64;
pub mod bridging;
pub mod content;
pub mod cpim;
pub mod first;
pub mod html;
pub mod imdn;
pub mod rtf;
pub mod sdp;
pub mod session;
pub mod typing;

/// Text without what a terminal or a parser would obey: C0 except tab and line ends, DEL, C1. Everything else stays,
/// the marks of right-to-left scripts included. So is every text that crosses between dialects; what passes between
/// parties that speak alike, or in a form other than text, is not touched.
#[must_use]
pub fn tame(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'))
        .collect()
}

/// Bytes in a named character set as text; `None` for a set nobody knows. What the set cannot hold becomes U+FFFD.
#[must_use]
pub fn decode(bytes: &[u8], charset: Option<&[u8]>) -> Option<String> {
    let encoding = match charset {
        None => encoding_rs::UTF_8,
        Some(name) => encoding_rs::Encoding::for_label(name)?,
    };
    Some(encoding.decode(bytes).0.into_owned())
}
