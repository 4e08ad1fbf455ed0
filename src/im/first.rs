//! The first message inside an INVITE: the header `ms-text-format`, a media type whose parameter `ms-body` is the body in
//! base64.

use super::base64;
use crate::sip::field::MediaType;

/// A media type and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// The media type with its parameters, except those that hold the body and the font.
    pub media: String,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Reads the header; `None` when it holds no body, or none that can be read: then the caller will send it once more.
#[must_use]
pub fn read(value: &[u8]) -> Option<First> {
    let media = MediaType::parse(value);
    let body = base64::decode(media.params.get(b"ms-body")?)?;
    let mut text = String::from_utf8(media.essence.to_ascii_lowercase()).ok()?;
    if let Some(charset) = media.params.get(b"charset") {
        text.push_str(";charset=");
        text.push_str(core::str::from_utf8(charset).ok()?);
    }
    (!body.is_empty()).then_some(First { media: text, body })
}

/// The value for a text.
#[must_use]
pub fn write(text: &str) -> String {
    format!("text/plain; charset=UTF-8;ms-body={}", base64::encode(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_of_real_clients() {
        let value = b"text/plain; charset=UTF-8;msgr=WAAtAE0ATQBTAA;ms-body=SGVsbG8g4pi6";
        let first = read(value);
        assert_eq!(
            first.map(|f| (f.media, f.body)),
            Some(("text/plain;charset=UTF-8".into(), "Hello ☺".into()))
        );
        assert_eq!(read(b"text/plain; charset=UTF-8;msgr=WAAt"), None);
        assert_eq!(read(b"text/plain;ms-body=***"), None);
    }

    proptest! {
        #[test]
        fn comes_back(text in "\\PC{1,60}") {
            prop_assert_eq!(read(write(&text).as_bytes()).map(|f| f.body), Some(text.into_bytes()));
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
