//! Delivery notices (RFC 5438): what a message asks for, and the notice that it was not delivered.

use super::cpim::{self, Cpim};
use crate::presence::xml;

/// The namespace of the headers.
const NAMESPACE: &str = "urn:ietf:params:imdn";
/// The media type of a notice.
pub const MEDIA: &str = "message/imdn+xml";
/// Longest id that is sent back.
const MAX_ID: usize = 256;

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its id.
    pub id: String,
    /// When it was sent, as written.
    pub date: String,
    /// A notice is wanted when it cannot be delivered.
    pub negative: bool,
}

/// What a wrapped message asks for; `None` when it asks for nothing.
#[must_use]
pub fn asked(message: &Cpim<'_>) -> Option<Ask> {
    let prefix = message.prefix(NAMESPACE)?;
    let id = message
        .header(&format!("{prefix}.Message-ID"))
        .filter(|id| !id.is_empty() && id.len() <= MAX_ID)?;
    let wanted = message.header(&format!("{prefix}.Disposition-Notification"))?;
    Some(Ask {
        id: id.to_owned(),
        date: message
            .header("DateTime")
            .unwrap_or_default()
            .chars()
            .take(64)
            .collect(),
        negative: wanted
            .split(',')
            .any(|w| w.trim().eq_ignore_ascii_case("negative-delivery")),
    })
}

/// The notice that a message from `sender` to `recipient` failed, as `message/cpim`; `id` names the notice itself.
#[must_use]
pub fn failed(ask: &Ask, sender: &str, recipient: &str, now: &str, id: &str) -> Vec<u8> {
    let date = if ask.date.is_empty() { now } else { &ask.date };
    let notice = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>{}\
         </message-id><datetime>{}</datetime><recipient-uri>{}</recipient-uri><delivery-notification><status><failed/>\
         </status></delivery-notification></imdn>\r\n",
        xml::escape(&ask.id),
        xml::escape(date),
        xml::escape(recipient)
    );
    let more = format!("NS: imdn <{NAMESPACE}>\r\nimdn.Message-ID: {id}\r\n");
    let mut wrapped = cpim::wrap(recipient, sender, now, &more, MEDIA, b"");
    // The disposition belongs to the MIME headers.
    wrapped.truncate(wrapped.len() - 2);
    wrapped.extend_from_slice(b"Content-Disposition: notification\r\n\r\n");
    wrapped.extend_from_slice(notice.as_bytes());
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_asks_and_is_answered() {
        let text = b"From: <im:a@x>\r\nTo: <im:b@y>\r\nNS: d <urn:ietf:params:imdn>\r\nd.Message-ID: 7<&>\r\n\
            DateTime: 2026-01-01T00:00:00Z\r\nd.Disposition-Notification: positive-delivery, negative-delivery\r\n\r\n\
            Content-Type: text/plain\r\n\r\nHi";
        let ask = Cpim::parse(text)
            .and_then(|m| asked(&m))
            .unwrap_or_else(|| unreachable!());
        assert_eq!((ask.id.as_str(), ask.negative), ("7<&>", true));
        let notice = failed(&ask, "sip:a@x", "sip:b@y", "2026-01-01T00:01:00Z", "n1");
        let read = Cpim::parse(&notice).unwrap_or_else(|| unreachable!());
        assert_eq!(read.media, MEDIA);
        let body = String::from_utf8_lossy(&read.content().unwrap_or_default()).into_owned();
        assert!(
            body.contains("<message-id>7&lt;&amp;&gt;</message-id>") && body.contains("<failed/>"),
            "{body}"
        );
        assert!(
            Cpim::parse(b"From: a\r\n\r\nContent-Type: a/b\r\n\r\n")
                .and_then(|m| asked(&m))
                .is_none()
        );
    }
}
