//! Floor 1: instant messages as text, whatever they travel in. Sans-io and bounded.
//!
//! What a body says is read by [`content`], and written again as the other side can show it. Session descriptions of
//! message sessions are in [`sdp`], RFC 3862 in [`cpim`], RFC 3994 and its older relative in [`typing`], RFC 5438 in
//! [`imdn`], the first message inside an INVITE in [`first`]. [`session`] holds the order of messages.

pub mod base64;
pub mod content;
pub mod cpim;
pub mod first;
pub mod html;
pub mod imdn;
pub mod rtf;
pub mod sdp;
pub mod session;
pub mod typing;

use crate::dialect::{Im, Typing};
use crate::sip::field::MediaType;

/// Whether a message by itself can go on as it is to somebody who takes such.
#[must_use]
pub fn passes_alone(media: &str, im: &Im) -> bool {
    let kind = MediaType::parse(media.as_bytes());
    if kind.is(typing::IS_COMPOSING) {
        return im.typing == Typing::IsComposing;
    }
    im.shows(media.as_bytes()) && (!im.cpim || kind.is("message/cpim"))
}

/// Text without what a terminal or a parser would obey: C0 except tab and line ends, DEL, C1. Everything else stays,
/// the marks of right-to-left scripts included.
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
