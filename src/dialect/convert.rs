//! From the canonical document to what a peer sees, and back.

use std::borrow::Cow;

use super::{Dialect, Exported, Format, Imported, Refusal};
use crate::presence::xml::escape;
use crate::presence::{Basic, Document};

impl Dialect {
    /// The canonical document of `entity` (`sip:user@domain`) as this dialect shows it in a format.
    #[must_use]
    pub fn export<'a>(&self, format: Format, entity: &str, pidf: &'a [u8]) -> Exported<'a> {
        let body = match format {
            _ if self.is_verbatim() || format.is_pidf() => Cow::Borrowed(pidf),
            _ => Cow::Owned(plainly(format, entity, pidf).into_bytes()),
        };
        Exported {
            media: format.media_type(),
            body,
            why: Vec::new(),
        }
    }

    /// A document as such a peer sent it, as canonical PIDF about `entity`.
    ///
    /// # Errors
    /// 400 or 413 for what cannot be read, 415 for a type that is not known.
    pub fn import<'a>(&self, content_type: &[u8], _entity: &str, body: &'a [u8]) -> Result<Imported<'a>, Refusal> {
        let refused = |status, what: String| Refusal {
            status,
            what: what.into(),
        };
        match Format::from_media_type(content_type) {
            Some(format) if format.is_pidf() => {}
            _ => return Err(refused(415, "the media type is not one of presence".into())),
        }
        if !self.is_verbatim() {
            Document::parse(body).map_err(|e| refused(e.status, e.to_string()))?;
        }
        Ok(Imported {
            pidf: Cow::Borrowed(body),
            why: Vec::new(),
        })
    }
}

fn plainly(format: Format, entity: &str, pidf: &[u8]) -> String {
    let document = Document::parse(pidf).ok();
    let open = document.as_ref().and_then(Document::basic) == Some(Basic::Open);
    let busy = document.is_some_and(|d| d.activities().any(|a| a == "busy"));
    let uri = escape(entity);
    let bare = escape(entity.strip_prefix("sip:").unwrap_or(entity));
    match format {
        Format::Msrtc => {
            let (availability, activity) = match (open, busy) {
                (false, _) => (0, 0),
                (_, true) => (300, 600),
                _ => (300, 400),
            };
            format!(
                "<presentity uri=\"{bare}\" xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\"><availability \
                 aggregate=\"{availability}\"/><activity aggregate=\"{activity}\"/></presentity>"
            )
        }
        Format::Categories => {
            let number = match (open, busy) {
                (false, _) => 18500,
                (_, true) => 6500,
                _ => 3500,
            };
            format!(
                "<categories xmlns=\"http://schemas.microsoft.com/2006/09/sip/categories\" uri=\"{uri}\"><category \
                 name=\"state\" instance=\"0\"><state xmlns=\"http://schemas.microsoft.com/2006/09/sip/state\" \
                 xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"aggregateState\">\
                 <availability>{number}</availability></state></category></categories>"
            )
        }
        _ => {
            let status = if open { "open" } else { "closed" };
            format!(
                "<presence><presentity uri=\"{uri};method=SUBSCRIBE\"/><atom id=\"a\"><address uri=\"{uri}\">\
                 <status status=\"{status}\"/></address></atom></presence>"
            )
        }
    }
}
