//! `message/cpim` (RFC 3862): a message with headers of its own around it.

use super::base64;

/// Most header lines of either part.
const MAX_HEADERS: usize = 64;

/// A wrapped message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpim<'a> {
    /// Names as written, values without their escapes undone.
    headers: Vec<(&'a str, &'a str)>,
    /// The media type of the content.
    pub media: &'a str,
    /// Whether the content is in base64.
    encoded: bool,
    content: &'a [u8],
}

impl<'a> Cpim<'a> {
    /// Reads one. `None` when it is none.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = section(body)?;
        let mut headers = lines(head)?;
        // Some write the MIME headers at once.
        let (mime, content) = if headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")) {
            (headers.clone(), rest)
        } else {
            let (mime, content) = section(rest)?;
            (lines(mime)?, content)
        };
        headers.truncate(MAX_HEADERS);
        let of = |name: &str| mime.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v);
        let encoded = match of("content-transfer-encoding").map(str::to_ascii_lowercase).as_deref() {
            None | Some("7bit" | "8bit" | "binary") => false,
            Some("base64") => true,
            Some(_) => return None,
        };
        Some(Self {
            media: of("content-type").unwrap_or("text/plain"),
            headers,
            encoded,
            content,
        })
    }

    /// The value of a header. Names compare without case; a prefix counts as written.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| *v)
    }

    /// The prefix that stands for a namespace.
    #[must_use]
    pub fn prefix(&self, namespace: &str) -> Option<&'a str> {
        let declared = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("ns"));
        declared
            .filter_map(|(_, v)| v.split_once('<'))
            .find_map(|(prefix, uri)| (uri.trim_end_matches('>').trim() == namespace).then_some(prefix.trim()))
    }

    /// The content; `None` when its encoding is broken.
    #[must_use]
    pub fn content(&self) -> Option<std::borrow::Cow<'a, [u8]>> {
        if self.encoded {
            return base64::decode(self.content).map(Into::into);
        }
        Some(self.content.into())
    }
}

/// Splits at the first empty line.
fn section(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', bytes.get(at..)?).map(|n| at + n) {
        let line = &bytes[at..end];
        if line.is_empty() || line == b"\r" {
            return Some((core::str::from_utf8(&bytes[..at]).ok()?, &bytes[end + 1..]));
        }
        at = end + 1;
    }
    None
}

fn lines(head: &str) -> Option<Vec<(&str, &str)>> {
    let lines = head.lines().filter(|l| !l.is_empty());
    let split = lines.map(|l| l.split_once(':').map(|(n, v)| (n.trim(), v.trim())));
    split.take(MAX_HEADERS).collect()
}

/// Wraps a content. `more` are further headers, complete with their line ends.
#[must_use]
pub fn wrap(from: &str, to: &str, date: &str, more: &str, media: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("From: <{from}>\r\nTo: <{to}>\r\nDateTime: {date}\r\n{more}\r\nContent-Type: {media}\r\n\r\n");
    [head.as_bytes(), content].concat()
}

/// A moment as RFC 3339 writes it.
#[must_use]
pub fn date(wall_ms: u64) -> String {
    let seconds = i64::try_from(wall_ms / 1000).unwrap_or(0);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_and_content() {
        let text = b"From: MR SANDERS <im:piglet@x>\r\nTo: <im:eeyore@x>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
            imdn.Message-ID: 34jk\r\n\r\nContent-type: text/plain; charset=utf-8\r\n\r\nHello\r\n\r\nthere";
        let message = Cpim::parse(text).unwrap_or_else(|| unreachable!());
        assert_eq!(message.header("FROM"), Some("MR SANDERS <im:piglet@x>"));
        assert_eq!(message.prefix("urn:ietf:params:imdn"), Some("imdn"));
        assert_eq!(message.media, "text/plain; charset=utf-8");
        assert_eq!(message.content().as_deref(), Some(&b"Hello\r\n\r\nthere"[..]));
        let encoded = b"From: <im:a@x>\n\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nSGk=";
        assert_eq!(
            Cpim::parse(encoded).and_then(|m| m.content()).as_deref(),
            Some(&b"Hi"[..])
        );
        for bad in [
            &b""[..],
            b"x",
            b"From: a\r\n",
            b"no colon\r\n\r\nContent-Type: a/b\r\n\r\n",
            b"From: a\r\n\r\nbare",
        ] {
            assert_eq!(Cpim::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(date(1_700_000_000_000), "2023-11-14T22:13:20Z");
    }

    proptest! {
        #[test]
        fn comes_back(text in "\\PC{0,80}") {
            let body = wrap("sip:a@x", "sip:b@y", "2023-11-14T22:13:20Z", "", "text/plain;charset=UTF-8", text.as_bytes());
            let content = Cpim::parse(&body).and_then(|m| m.content());
            prop_assert_eq!(content.as_deref(), Some(text.as_bytes()));
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Cpim::parse(&bytes).map(|m| m.content());
        }
    }
}
