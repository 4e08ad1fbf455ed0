//! Session descriptions of message sessions over SIP itself: `m=message PORT sip ...` and its older name `x-ms-message`.
//!
//! Nothing flows at the port. The format is not a number: `null`, or the answerer's own URI. Sessions over MSRP (RFC 4975)
//! are told apart, and not taken.

use crate::dialect::ImMedia;

/// Longest description that is read.
const MAX_BYTES: usize = 16 * 1024;
/// Most lines that are read.
const MAX_LINES: usize = 256;
/// Most media types of one `accept-types`.
const MAX_TYPES: usize = 32;

/// What a description offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Messages over SIP.
    Messages(Session),
    /// Messages over MSRP.
    Msrp,
    /// No messages.
    Other,
}

/// A session of messages over SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name in the media line.
    pub media: ImMedia,
    /// What the other side takes, in lower case; empty when it says nothing.
    pub accept: Vec<String>,
    /// All media lines as they came; the one of the messages is at `at`.
    pub lines: Vec<String>,
    /// Which of the lines it is.
    pub at: usize,
}

/// Reads a description; `None` when it is none.
#[must_use]
pub fn read(body: &[u8]) -> Option<Offer> {
    let text = core::str::from_utf8(body)
        .ok()
        .filter(|t| t.len() <= MAX_BYTES && t.starts_with("v="))?;
    let (mut lines, mut found, mut msrp): (Vec<String>, Option<(ImMedia, usize)>, bool) = (Vec::new(), None, false);
    let mut accept = Vec::new();
    for line in text.lines().take(MAX_LINES) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split_ascii_whitespace();
            let (name, port, proto) = (words.next()?, words.next()?, words.next()?);
            let kind = match name {
                _ if port == "0" || found.is_some() => None,
                "message" => Some(ImMedia::Message),
                "x-ms-message" => Some(ImMedia::XMsMessage),
                _ => None,
            };
            match kind.filter(|_| proto.eq_ignore_ascii_case("sip")) {
                Some(kind) => found = Some((kind, lines.len())),
                None => msrp |= name == "message" && proto.to_ascii_lowercase().contains("msrp"),
            }
            lines.push(media.to_owned());
        } else if let Some(types) = line.strip_prefix("a=accept-types:")
            && found.is_some_and(|(_, at)| at + 1 == lines.len())
        {
            accept = types
                .split_ascii_whitespace()
                .take(MAX_TYPES)
                .map(str::to_ascii_lowercase)
                .collect();
        }
    }
    if accept.iter().any(|t| t == "*") {
        accept.clear();
    }
    Some(match found {
        Some((media, at)) => Offer::Messages(Session {
            media,
            accept,
            lines,
            at,
        }),
        None if msrp => Offer::Msrp,
        None => Offer::Other,
    })
}

fn head(host: &str) -> String {
    let family = if host.contains(':') { "IP6" } else { "IP4" };
    let host = host.trim_matches(['[', ']']);
    format!("v=0\r\no=- 0 0 IN {family} {host}\r\ns=session\r\nc=IN {family} {host}\r\nt=0 0\r\n")
}

fn name(media: ImMedia) -> &'static str {
    match media {
        ImMedia::Message => "message",
        ImMedia::XMsMessage => "x-ms-message",
    }
}

/// An offer. `host` is an address without port, `types` what is taken.
#[must_use]
pub fn offer(media: ImMedia, host: &str, types: &str) -> String {
    format!(
        "{}m={} 5060 sip null\r\na=accept-types:{types}\r\n",
        head(host),
        name(media)
    )
}

/// The answer to an offer: the messages are taken under the name they were offered with, everything else is not.
#[must_use]
pub fn answer(offered: &Session, host: &str, uri: &str, types: &str) -> String {
    let mut out = head(host);
    for (at, line) in offered.lines.iter().enumerate() {
        if at == offered.at {
            out.push_str(&format!(
                "m={} 5060 sip {uri}\r\na=accept-types:{types}\r\n",
                name(offered.media)
            ));
        } else {
            let mut words = line.split_ascii_whitespace();
            let (media, _, rest) = (words.next().unwrap_or("audio"), words.next(), words.collect::<Vec<_>>());
            out.push_str(&format!("m={media} 0 {}\r\n", rest.join(" ")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LCS: &str = "v=0\r\no=- 0 0 IN IP4 10.0.0.1\r\ns=session\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
        m=x-ms-message 5060 sip sip:a@b.example\r\na=accept-types:text/plain Text/HTML\r\n";

    fn session(text: &str) -> Option<Session> {
        match read(text.as_bytes()) {
            Some(Offer::Messages(session)) => Some(session),
            _ => None,
        }
    }

    #[test]
    fn message_sessions_are_told_from_others() {
        let found = session(LCS).map(|s| (s.media, s.accept));
        assert_eq!(
            found,
            Some((ImMedia::XMsMessage, vec!["text/plain".into(), "text/html".into()]))
        );
        let plain = session(
            &LCS.replace("x-ms-message", "message")
                .replace("sip:a@b.example", "null"),
        );
        assert_eq!(plain.map(|s| s.media), Some(ImMedia::Message));
        let msrp = LCS.replace("m=x-ms-message 5060 sip", "m=message 7654 TCP/MSRP *");
        assert_eq!(read(msrp.as_bytes()), Some(Offer::Msrp));
        assert_eq!(
            read(LCS.replace("x-ms-message", "audio").as_bytes()),
            Some(Offer::Other)
        );
        assert_eq!(read(b"hello"), None);
        assert_eq!(read(&[b'v'; 100_000]), None);
    }

    #[test]
    fn an_answer_has_as_many_lines_as_the_offer() {
        let offered =
            session(&LCS.replace("m=x-ms", "m=audio 4000 RTP/AVP 0 8\r\nm=x-ms")).unwrap_or_else(|| unreachable!());
        let text = answer(&offered, "[2001:db8::1]", "sip:x@y", "text/plain");
        assert!(text.contains("c=IN IP6 2001:db8::1\r\n"), "{text}");
        assert!(
            text.contains("m=audio 0 RTP/AVP 0 8\r\nm=x-ms-message 5060 sip sip:x@y\r\n"),
            "{text}"
        );
        let again = session(&offer(ImMedia::Message, "10.0.0.1", "text/plain"));
        assert_eq!(again.map(|s| s.accept), Some(vec!["text/plain".into()]));
    }

    proptest! {
        #[test]
        fn any_lines(lines in proptest::collection::vec("(m=|a=|v=0|message|x-ms-message| |5060|sip|null|\r\n|é)", 0..80)) {
            let text = format!("v=0\r\n{}", lines.concat());
            if let Some(session) = session(&text) {
                prop_assert!(session.at < session.lines.len());
                let _ = answer(&session, "h", "sip:u", "text/plain");
            }
        }
    }
}
