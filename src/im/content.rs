//! What a body says, and the same as another party can show it.

use super::{cpim, cpim::Cpim, decode, html, imdn, rtf, tame, typing};
use crate::dialect::Im;
use crate::sip::field::{MediaType, unquote};

/// Parts of a multipart body that are looked at.
const MAX_PARTS: usize = 16;
/// Wrappings inside of one another that are undone.
const MAX_WRAPS: usize = 4;
/// What the bridge writes when it writes text itself.
pub const PLAIN: &str = "text/plain;charset=UTF-8";

/// What a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Text for people.
    Text(Text),
    /// Somebody types, or does not.
    Typing(typing::Signal),
    /// A delivery notice, with everything around it.
    Notice {
        /// Its media type.
        media: String,
        /// Its bytes.
        body: Vec<u8>,
    },
}

/// Text for people, in every form it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The words.
    pub plain: String,
    /// What they came as, for those who can show that.
    pub rich: Option<(String, Vec<u8>)>,
    /// The whole wrapped message, for those who understand what it asks.
    pub wrapped: Option<Vec<u8>>,
    /// What it asks for.
    pub ask: Option<imdn::Ask>,
}

/// The status to refuse a body with.
pub type Status = u16;

/// Reads a body.
///
/// # Errors
/// 415 for a type that holds no text, 400 for a body that is not what its type says.
pub fn read(media: &str, body: &[u8]) -> Result<Said, Status> {
    read_within(media, body, MAX_WRAPS)
}

fn read_within(media: &str, body: &[u8], wraps: usize) -> Result<Said, Status> {
    // One from inside of a body may hold what no header may: it goes on as a header.
    if media.chars().any(char::is_control) {
        return Err(400);
    }
    let kind = MediaType::parse(media.as_bytes());
    let charset = kind.params.get(b"charset").map(unquote);
    let text = |bytes: &[u8]| decode(bytes, charset.as_deref()).ok_or(415u16);
    let essence = String::from_utf8_lossy(kind.essence).to_ascii_lowercase();
    let rich = || Some((media.to_owned(), body.to_vec()));
    match essence.as_str() {
        "" | "text/plain" => Ok(Said::Text(Text {
            plain: tame(&text(body)?),
            ..Text::default()
        })),
        "text/html" => Ok(Said::Text(Text {
            plain: tame(&html::to_text(&text(body)?)),
            rich: rich(),
            ..Text::default()
        })),
        "text/rtf" | "application/rtf" => Ok(Said::Text(Text {
            plain: tame(&rtf::to_text(body).ok_or(400u16)?),
            rich: rich(),
            ..Text::default()
        })),
        "multipart/alternative" | "multipart/mixed" if wraps > 0 => {
            let boundary = kind.params.get(b"boundary").map(unquote).ok_or(400u16)?;
            alternative(&boundary, body, wraps - 1)
        }
        "message/cpim" if wraps > 0 => wrapped(media, body, wraps - 1),
        typing::IS_COMPOSING | typing::KEYBOARD => typing::read(body).map(Said::Typing).ok_or(400),
        imdn::MEDIA => Ok(Said::Notice {
            media: media.to_owned(),
            body: body.to_vec(),
        }),
        _ => Err(415),
    }
}

fn wrapped(media: &str, body: &[u8], wraps: usize) -> Result<Said, Status> {
    let message = Cpim::parse(body).ok_or(400u16)?;
    let content = message.content().ok_or(400u16)?;
    match read_within(message.media, &content, wraps)? {
        Said::Text(text) => Ok(Said::Text(Text {
            wrapped: Some(body.to_vec()),
            ask: imdn::asked(&message),
            ..text
        })),
        Said::Notice { .. } => Ok(Said::Notice {
            media: media.to_owned(),
            body: body.to_vec(),
        }),
        typing => Ok(typing),
    }
}

/// The words of the part that has them plainest, the form of the last part that can be read (RFC 2046 section 5.1.4).
fn alternative(boundary: &[u8], body: &[u8], wraps: usize) -> Result<Said, Status> {
    let (mut found, mut status): (Option<Text>, Status) = (None, 415);
    for part in parts(boundary, body) {
        let part = [b"X-Part: 1\r\n", part].concat();
        let Some(part) = Cpim::parse(&part).map(|p| (p.media.to_owned(), p.content().map(|c| c.into_owned()))) else {
            status = 400;
            continue;
        };
        let (media, Some(content)) = part else { continue };
        match read_within(&media, &content, wraps) {
            Ok(Said::Text(text)) => {
                let plain = found.take().filter(|f| f.rich.is_none() && !f.plain.is_empty());
                found = Some(match plain {
                    Some(before) => Text {
                        plain: before.plain,
                        ..text
                    },
                    None => text,
                });
            }
            Ok(_) => {}
            Err(other) => status = other,
        }
    }
    found.map(Said::Text).ok_or(status)
}

/// The parts between boundary lines.
fn parts<'b>(boundary: &[u8], body: &'b [u8]) -> Vec<&'b [u8]> {
    let mark = [b"--", boundary].concat();
    let at: Vec<usize> = memchr::memmem::find_iter(body, &mark)
        .filter(|at| *at == 0 || body.get(at - 1) == Some(&b'\n'))
        .take(MAX_PARTS + 1)
        .collect();
    let ends = at.iter().skip(1);
    at.iter()
        .zip(ends)
        .filter_map(|(from, to)| {
            let part = body.get(from + mark.len()..*to)?;
            let start = memchr::memchr(b'\n', part)? + 1;
            let part = part.get(start..)?;
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            Some(part.strip_suffix(b"\r").unwrap_or(part))
        })
        .collect()
}

/// Who speaks to whom, for a wrapping.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The URI of who speaks.
    pub from: &'a str,
    /// The URI of who is spoken to.
    pub to: &'a str,
    /// Now.
    pub wall_ms: u64,
}

impl Text {
    /// The words alone.
    #[must_use]
    pub fn plain(words: &str) -> Self {
        Self {
            plain: tame(words),
            ..Self::default()
        }
    }

    /// As a party can show it that takes what its dialect says and, if it has said so itself, no more than `accept`:
    /// media type and body.
    #[must_use]
    pub fn shown(&self, im: &Im, accept: &[String], ends: Ends<'_>) -> (String, Vec<u8>) {
        let takes = |media: &str| {
            let bare = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            im.shows(media.as_bytes()) && (accept.is_empty() || accept.contains(&bare))
        };
        if let Some(whole) = self
            .wrapped
            .as_ref()
            .filter(|_| im.imdn && self.ask.is_some() && takes("message/cpim"))
        {
            return ("message/cpim".into(), whole.clone());
        }
        let (media, body) = match &self.rich {
            Some((media, body)) if takes(media) => (media.clone(), body.clone()),
            _ => (PLAIN.into(), self.plain.clone().into_bytes()),
        };
        if im.cpim && takes("message/cpim") {
            let date = cpim::date(ends.wall_ms);
            return (
                "message/cpim".into(),
                cpim::wrap(ends.from, ends.to, &date, "", &media, &body),
            );
        }
        (media, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENDS: Ends<'_> = Ends {
        from: "sip:a@x",
        to: "sip:b@y",
        wall_ms: 0,
    };

    fn text(media: &str, body: &[u8]) -> Result<Text, u16> {
        match read(media, body)? {
            Said::Text(text) => Ok(text),
            other => panic!("{other:?}"),
        }
    }

    fn plain_only() -> Im {
        Im {
            accept: vec!["text/plain".into()],
            imdn: false,
            ..Im::default()
        }
    }

    #[test]
    fn forms_are_reduced_for_those_who_cannot_show_them() {
        let html = text("text/html;charset=\"utf-8\"", b"<b>x</b> &amp; y").unwrap_or_default();
        assert_eq!(html.shown(&plain_only(), &[], ENDS), (PLAIN.into(), b"x & y".to_vec()));
        assert_eq!(html.shown(&Im::default(), &[], ENDS).0, "text/html;charset=\"utf-8\"");
        assert_eq!(html.shown(&Im::default(), &["text/plain".into()], ENDS).0, PLAIN);
        let rtf = text("text/rtf", b"{\\rtf1 caf\\'e9}").unwrap_or_default();
        assert_eq!(rtf.shown(&plain_only(), &[], ENDS).1, "café".as_bytes());
        assert_eq!(
            text("text/plain;charset=iso-8859-1;msgr=WAAt", b"caf\xe9").map(|t| t.plain),
            Ok("café".into())
        );
        assert_eq!(
            text("text/plain", b"a\0b\x1b[31mc\r\n\td").map(|t| t.plain),
            Ok("ab[31mc\r\n\td".into())
        );
        assert_eq!(text("text/plain;charset=klingon", b"x"), Err(415));
        assert_eq!(text("image/png", b"x"), Err(415));
        assert_eq!(text("text/rtf", b"not so"), Err(400));
        assert_eq!(read("application/im-iscomposing+xml", b"<x/>"), Err(400));
    }

    #[test]
    fn a_media_type_from_inside_breaks_no_header() {
        for inner in ["text/html;x=a\rEvil: 1", "text/html;x=\0", "text/html;x=\u{1b}[2J"] {
            let wrapped = format!("From: <im:a@x>\r\n\r\nContent-Type: {inner}\r\n\r\n<b>x</b>");
            assert_eq!(read("message/cpim", wrapped.as_bytes()), Err(400), "{inner:?}");
            let part = format!("--b\r\nContent-Type: {inner}\r\n\r\n<b>x</b>\r\n--b--\r\n");
            assert_eq!(
                read("multipart/mixed;boundary=b", part.as_bytes()),
                Err(400),
                "{inner:?}"
            );
        }
    }

    #[test]
    fn the_best_alternative_is_chosen() {
        let body = b"--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nplain words\r\n--b1\r\n\
            Content-Type: text/html\r\n\r\n<i>rich</i> words\r\n--b1--\r\n";
        let both = text("multipart/alternative;boundary=b1", body).unwrap_or_default();
        assert_eq!(both.shown(&plain_only(), &[], ENDS).1, b"plain words");
        assert_eq!(
            both.shown(&Im::default(), &[], ENDS),
            ("text/html".into(), b"<i>rich</i> words".to_vec())
        );
        assert_eq!(text("multipart/alternative", body), Err(400));
        assert_eq!(text("multipart/alternative;boundary=zz", body), Err(415));
    }

    #[test]
    fn wrapping_comes_and_goes() {
        let legacy = Im {
            cpim: true,
            imdn: false,
            ..Im::default()
        };
        let (media, body) = Text::plain("שלום 你好").shown(&legacy, &[], ENDS);
        assert_eq!(media, "message/cpim");
        let back = text(&media, &body).unwrap_or_default();
        assert_eq!(back.shown(&plain_only(), &[], ENDS), (PLAIN.into(), "שלום 你好".into()));
        assert_eq!(read("message/cpim", b"nonsense"), Err(400));
    }

    proptest! {
        #[test]
        fn every_text_survives(words in "\\PC{0,60}") {
            let words = tame(&words);
            let read = text(PLAIN, words.as_bytes()).unwrap_or_default();
            prop_assert_eq!(read.shown(&plain_only(), &[], ENDS).1, words.into_bytes());
        }

        #[test]
        fn any_body(kind in 0usize..6, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let media = ["text/html", "text/rtf", "message/cpim", "multipart/mixed;boundary=a", "text/plain;charset=utf-16", "application/xml"][kind];
            if let Ok(Said::Text(text)) = read(media, &bytes) {
                let _ = text.shown(&plain_only(), &[], ENDS);
            }
        }
    }
}
