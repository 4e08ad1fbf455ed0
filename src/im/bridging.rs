//! Whether the bridge carries a message or a session itself, or lets the request pass as it is; and why. The engine and
//! `trestle explain` ask the same function.

use core::fmt;

use crate::dialect::{Dialect, Im, ImMode, Typing};
use crate::im::typing;
use crate::sip::field::MediaType;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A MESSAGE outside of any dialog, with its media type; no type is `text/plain`.
    Message(&'a str),
    /// An INVITE that offers a session of messages. Others are calls and pass.
    Invite,
}

/// Why a request does not pass as it is. Its text names the addressee's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The addressee takes messages in sessions.
    Sessions(Box<str>),
    /// The addressee takes messages by themselves.
    Pager(Box<str>),
    /// What the addressee refuses by its mode is tried in the other.
    Fallback(Box<str>),
    /// The addressee cannot show such content.
    Content(Box<str>, Box<str>),
    /// The addressee reads nothing but wrapped messages.
    Wraps(Box<str>),
    /// The sender wraps every message, which means nothing to the addressee.
    Unwraps(Box<str>),
    /// The sessions of the two are not alike.
    Media(Box<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sessions(to) => write!(f, "dialect {to} takes messages in sessions"),
            Self::Pager(to) => write!(f, "dialect {to} takes messages by themselves"),
            Self::Fallback(to) => write!(f, "what a peer of dialect {to} refuses is tried in the other mode"),
            Self::Content(to, media) => write!(f, "dialect {to} does not show {media}"),
            Self::Wraps(to) => write!(f, "dialect {to} takes message/cpim only"),
            Self::Unwraps(to) => write!(f, "the sender wraps every text in message/cpim, dialect {to} does not"),
            Self::Media(to) => write!(f, "the sessions of dialect {to} have other media or content"),
        }
    }
}

/// Why a request from who speaks `theirs` to who speaks `other` is carried by the bridge; `None` when it passes as it is.
/// `mode` is what is tried first with the addressee: what refusals have taught, else what its dialect says.
#[must_use]
pub fn bridges(theirs: &Dialect, other: &Dialect, mode: ImMode, asked: Asked<'_>) -> Option<Reason> {
    if theirs.name == other.name {
        return None;
    }
    let (from, im, to) = (&theirs.im, &other.im, || Box::from(&*other.name));
    match (asked, mode) {
        (Asked::Message(_), ImMode::Session) => Some(Reason::Sessions(to())),
        (Asked::Invite, ImMode::Pager) => Some(Reason::Pager(to())),
        (Asked::Invite, ImMode::Session) => {
            let alike = from.media == im.media && from.accept == im.accept;
            (!alike).then(|| Reason::Media(to()))
        }
        (Asked::Message(media), ImMode::Pager) => {
            // What is wrong with the content says more than that a refusal would be dealt with.
            content(media, from, im, &to).or_else(|| im.fallback.then(|| Reason::Fallback(to())))
        }
    }
}

fn content(media: &str, from: &Im, im: &Im, to: &dyn Fn() -> Box<str>) -> Option<Reason> {
    let media = if media.trim().is_empty() { "text/plain" } else { media };
    let kind = MediaType::parse(media.as_bytes());
    let bare = || String::from_utf8_lossy(kind.essence).to_ascii_lowercase().into();
    if kind.is(typing::IS_COMPOSING) {
        return (im.typing != Typing::IsComposing).then(|| Reason::Content(to(), bare()));
    }
    let wrapped = kind.is("message/cpim");
    if !im.shows(media.as_bytes()) {
        return Some(Reason::Content(to(), bare()));
    }
    if im.cpim && !wrapped {
        return Some(Reason::Wraps(to()));
    }
    (wrapped && from.cpim && !im.cpim).then(|| Reason::Unwraps(to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(name: &str, im: Im) -> Dialect {
        let rfc = Dialect::rfc();
        let mut dialect = (*rfc).clone();
        (dialect.name, dialect.im) = (name.into(), im);
        dialect
    }

    #[test]
    fn why_the_bridge_carries_a_request() {
        let rfc = Dialect::rfc();
        let sessions = dialect(
            "s",
            Im {
                mode: ImMode::Session,
                fallback: true,
                ..Im::default()
            },
        );
        let wraps = dialect(
            "w",
            Im {
                fallback: true,
                cpim: true,
                accept: vec!["text/plain".into(), "message/cpim".into()],
                typing: Typing::None,
                ..Im::default()
            },
        );
        let text = |from: &Dialect, to: &Dialect, media: &str| {
            bridges(from, to, to.im.mode, Asked::Message(media)).map(|r| r.to_string())
        };
        assert_eq!(text(&rfc, &rfc, "image/png"), None);
        assert_eq!(text(&sessions, &sessions, "image/png"), None);
        assert_eq!(
            text(&rfc, &sessions, "text/plain").as_deref(),
            Some("dialect s takes messages in sessions")
        );
        assert_eq!(
            text(&rfc, &wraps, "").as_deref(),
            Some("dialect w takes message/cpim only")
        );
        assert_eq!(
            text(&rfc, &wraps, "text/HTML; charset=utf-8").as_deref(),
            Some("dialect w does not show text/html")
        );
        assert_eq!(
            text(&rfc, &wraps, typing::IS_COMPOSING).as_deref(),
            Some("dialect w does not show application/im-iscomposing+xml")
        );
        assert_eq!(
            text(&rfc, &wraps, "message/cpim").as_deref(),
            Some("what a peer of dialect w refuses is tried in the other mode")
        );
        assert_eq!(
            text(&wraps, &rfc, "message/cpim").as_deref(),
            Some("the sender wraps every text in message/cpim, dialect rfc does not")
        );
        assert_eq!(text(&wraps, &rfc, "text/plain"), None);
        assert_eq!(text(&sessions, &rfc, "text/plain"), None);
    }

    #[test]
    fn sessions_pass_between_those_who_take_the_same() {
        let session = |name: &str, accept: &[&str]| {
            let accept = accept.iter().map(|a| (*a).into()).collect();
            let im = Im {
                mode: ImMode::Session,
                accept,
                ..Im::default()
            };
            dialect(name, im)
        };
        let (a, b, c) = (
            session("a", &["text/plain"]),
            session("b", &["text/plain"]),
            session("c", &["text/html"]),
        );
        assert_eq!(bridges(&a, &b, ImMode::Session, Asked::Invite), None);
        assert_eq!(
            bridges(&a, &c, ImMode::Session, Asked::Invite),
            Some(Reason::Media("c".into()))
        );
        // It has learned that b takes no sessions.
        assert_eq!(
            bridges(&a, &b, ImMode::Pager, Asked::Invite),
            Some(Reason::Pager("b".into()))
        );
        assert_eq!(
            bridges(&Dialect::rfc(), &Dialect::rfc(), ImMode::Pager, Asked::Invite),
            None
        );
    }
}
