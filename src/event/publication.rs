//! Event state of one presentity as its publishers maintain it (RFC 3903): entity tags, refresh, modify, remove, expiry.

use std::sync::Arc;

use bytes::Bytes;

use crate::presence::{self, Document, Publication, XmlError};
use crate::sip::random::Random;
use crate::sip::time::Now;

/// One publication, alive until `expires_wall_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name through all changes: the first entity tag.
    pub id: Box<str>,
    /// Its present entity tag.
    pub etag: String,
    /// When it ends, on the wall clock.
    pub expires_wall_ms: u64,
    /// Order of its last change.
    pub age: u64,
    /// The body as published.
    pub body: Bytes,
    /// Dialect of its publisher.
    pub dialect: Box<str>,
    /// The peer that published it, by name; empty: the presentity itself.
    pub by: Box<str>,
    /// The line it is about, as `user@domain`; empty: the person.
    pub line: Box<str>,
    /// The body as it was read; kept only beside other publications, with which it is composed again and again.
    document: Option<Arc<Document>>,
}

/// A publication as a store keeps it; the fields are those of [`Entry`].
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "as in Entry")]
pub struct Kept<'a> {
    pub id: &'a str,
    pub etag: &'a str,
    pub expires_wall_ms: u64,
    pub age: u64,
    pub body: &'a [u8],
    pub dialect: &'a str,
    pub by: &'a str,
    pub line: &'a str,
}

/// What a PUBLISH asks for.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// SIP-If-Match.
    pub if_match: Option<&'a str>,
    /// Expires; `None` takes the default.
    pub expires_s: Option<u32>,
    /// The body; empty for a refresh or a removal.
    pub body: &'a [u8],
    /// The body as [`Document::parse`] reads it; `None` when it is empty.
    pub document: Option<Result<Document, XmlError>>,
    /// Dialect of the publisher.
    pub dialect: &'a str,
    /// The peer that publishes, by name; empty: the presentity itself. Nobody changes what another has published.
    pub by: &'a str,
    /// The line it is about, as `user@domain`; empty: the person.
    pub line: &'a str,
}

/// Limits of publications.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Shorter is 423.
    pub min_expires_s: u32,
    /// Longer is shortened.
    pub max_expires_s: u32,
    /// What is meant when no expiry is written.
    pub default_expires_s: u32,
    /// Publications of one presentity.
    pub max_entries: usize,
}

/// A PUBLISH that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The new entity tag; a removal has one too, good for nothing.
    pub etag: String,
    /// Which publication it is.
    pub id: Box<str>,
    /// How it was before, to put it back should the change not last; `None` when it is new.
    pub before: Option<Entry>,
    /// Seconds granted; 0 for a removal.
    pub expires_s: u32,
    /// Whether the state may have changed.
    pub changed: bool,
}

/// A PUBLISH that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: SIP-If-Match holds more than one entity tag.
    ManyTags,
    /// 412: there is no such publication here.
    ConditionFailed,
    /// 423 with Min-Expires.
    TooBrief(u32),
    /// 400: an initial publication needs a body.
    NoBody,
    /// The body is no PIDF, or too large.
    Body(XmlError),
    /// 403: too many publications.
    TooMany,
}

/// All publications of one presentity.
#[derive(Clone, Debug, Default)]
pub struct Publications {
    entries: Vec<Entry>,
    next_age: u64,
}

impl Publications {
    /// Applies a PUBLISH.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn publish(
        &mut self,
        now: Now,
        publish: Publish<'_>,
        limits: Limits,
        random: &mut Random,
    ) -> Result<Accepted, Refusal> {
        let at = match publish.if_match {
            // Ours are tokens; no comma stands in one.
            Some(tags) if tags.contains([',', ' ']) => return Err(Refusal::ManyTags),
            Some(etag) => Some(
                self.entries
                    .iter()
                    .position(|e| e.etag == etag && e.expires_wall_ms > now.wall_ms && *e.by == *publish.by)
                    .ok_or(Refusal::ConditionFailed)?,
            ),
            None => None,
        };
        let wanted = publish.expires_s.unwrap_or(limits.default_expires_s);
        if wanted != 0 && wanted < limits.min_expires_s {
            return Err(Refusal::TooBrief(limits.min_expires_s));
        }
        let document = publish.document.transpose().map_err(Refusal::Body)?.map(Arc::new);
        let etag = String::from_utf8_lossy(&random.token::<16>()).into_owned();
        let expires_s = wanted.min(limits.max_expires_s);
        let expires_wall_ms = now.wall_ms + u64::from(expires_s) * 1000;
        let accepted = |id: &str, before, changed| {
            Ok(Accepted {
                etag: etag.clone(),
                id: id.into(),
                before,
                expires_s,
                changed,
            })
        };
        match (at, document) {
            (Some(at), _) if expires_s == 0 => {
                let before = self.entries.remove(at);
                accepted(&before.id.clone(), Some(before), true)
            }
            (Some(at), None) => {
                let entry = &mut self.entries[at];
                let before = entry.clone();
                (entry.etag, entry.expires_wall_ms) = (etag.clone(), expires_wall_ms);
                accepted(&before.id.clone(), Some(before), false)
            }
            (Some(at), Some(document)) => {
                // The same body still is the newest now, which counts among several.
                let changed = self.entries.len() > 1 || *self.entries[at].body != *publish.body;
                let entry = Entry {
                    id: self.entries[at].id.clone(),
                    etag: etag.clone(),
                    expires_wall_ms,
                    age: self.age(),
                    body: Bytes::copy_from_slice(publish.body),
                    dialect: publish.dialect.into(),
                    by: publish.by.into(),
                    line: publish.line.into(),
                    document: Some(document),
                };
                let before = std::mem::replace(&mut self.entries[at], entry);
                accepted(&before.id.clone(), Some(before), changed)
            }
            (None, None) => Err(Refusal::NoBody),
            (None, Some(_)) if expires_s == 0 => accepted(&etag, None, false),
            (None, Some(_)) if self.entries.len() >= limits.max_entries => Err(Refusal::TooMany),
            (None, Some(document)) => {
                let age = self.age();
                self.entries.push(Entry {
                    id: etag.as_str().into(),
                    etag: etag.clone(),
                    expires_wall_ms,
                    age,
                    body: Bytes::copy_from_slice(publish.body),
                    dialect: publish.dialect.into(),
                    by: publish.by.into(),
                    line: publish.line.into(),
                    document: Some(document),
                });
                accepted(&etag, None, true)
            }
        }
    }

    /// Takes a change back: the publication is what it was before, or is not there.
    pub fn put_back(&mut self, id: &str, before: Option<Entry>) {
        match (self.entries.iter().position(|e| *e.id == *id), before) {
            (Some(at), Some(before)) => self.entries[at] = before,
            (Some(at), None) => drop(self.entries.remove(at)),
            (None, Some(before)) => self.entries.push(before),
            (None, None) => {}
        }
    }

    fn age(&mut self) -> u64 {
        self.next_age += 1;
        self.next_age
    }

    /// Puts back a publication that a store held.
    ///
    /// # Errors
    /// When the body does not parse any more.
    pub fn restore(&mut self, kept: Kept<'_>) -> Result<(), XmlError> {
        let document = Document::parse(kept.body)?;
        self.next_age = self.next_age.max(kept.age);
        self.entries.push(Entry {
            id: kept.id.into(),
            etag: kept.etag.to_string(),
            expires_wall_ms: kept.expires_wall_ms,
            age: kept.age,
            body: Bytes::copy_from_slice(kept.body),
            dialect: kept.dialect.into(),
            by: kept.by.into(),
            line: kept.line.into(),
            document: Some(Arc::new(document)),
        });
        Ok(())
    }

    /// Removes what has expired; returns which.
    pub fn expire(&mut self, now: Now) -> Vec<Box<str>> {
        let gone = self
            .entries
            .iter()
            .filter(|e| e.expires_wall_ms <= now.wall_ms)
            .map(|e| e.id.clone())
            .collect();
        self.entries.retain(|e| e.expires_wall_ms > now.wall_ms);
        gone
    }

    /// When the next one expires, on the wall clock.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.entries.iter().map(|e| e.expires_wall_ms).min()
    }

    /// Takes all publications away; returns their lasting names.
    pub fn clear(&mut self) -> Vec<Box<str>> {
        core::mem::take(&mut self.entries).into_iter().map(|e| e.id).collect()
    }

    /// True when nobody has published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A publication by its lasting name.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| *e.id == *id)
    }

    /// Takes away what peers have published and may not any more; returns the lasting names.
    pub fn retain_of_peers(&mut self, mut may: impl FnMut(&str) -> bool) -> Vec<Box<str>> {
        let (stays, gone): (Vec<Entry>, Vec<Entry>) = core::mem::take(&mut self.entries)
            .into_iter()
            .partition(|e| e.by.is_empty() || may(&e.by));
        self.entries = stays;
        gone.into_iter().map(|e| e.id).collect()
    }

    /// All of them, as they were published.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Whether a peer has published any of them.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.entries.iter().any(|e| !e.by.is_empty())
    }

    /// Reads what is to be composed; see [`Publications::sources`].
    pub fn prepare(&mut self) {
        for entry in self.entries.iter_mut().filter(|e| e.document.is_none()) {
            // It has been read before, so it can be read.
            entry.document = Document::parse(&entry.body).ok().map(Arc::new);
        }
    }

    /// All publications as sources of a composition, once they are prepared.
    pub fn sources(&self, rules: &presence::Rules) -> impl Iterator<Item = (&Entry, Publication<'_>)> {
        self.entries.iter().filter_map(move |e| {
            let document: &Document = e.document.as_ref()?;
            let phone = (!e.line.is_empty()).then(|| presence::LineState::of(document, rules));
            let source = Publication {
                body: &e.body,
                document,
                age: e.age,
                dialect: &e.dialect,
                phone,
            };
            Some((e, source))
        })
    }

    /// The bytes of a publication's body, not copied where it is one of these.
    #[must_use]
    pub fn bytes_of(&self, body: &[u8]) -> Bytes {
        match self.entries.iter().find(|e| core::ptr::eq(&*e.body, body)) {
            Some(entry) => entry.body.clone(),
            None => Bytes::copy_from_slice(body),
        }
    }

    /// A publication alone is not kept parsed.
    pub fn slim(&mut self) {
        if let [alone] = &mut self.entries[..] {
            alone.document = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        min_expires_s: 60,
        max_expires_s: 86_400,
        default_expires_s: 3600,
        max_entries: 2,
    };
    const BODY: &[u8] = b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@x'><tuple id='t'><status><basic>open</basic></status></tuple></presence>";

    fn publish(
        p: &mut Publications,
        r: &mut Random,
        if_match: Option<&str>,
        expires_s: Option<u32>,
        body: &[u8],
    ) -> Result<Accepted, Refusal> {
        p.publish(
            Now {
                mono_ms: 0,
                wall_ms: 1000,
            },
            Publish {
                if_match,
                expires_s,
                body,
                document: (!body.is_empty()).then(|| Document::parse(body)),
                dialect: "rfc",
                by: "",
                line: "",
            },
            LIMITS,
            r,
        )
    }

    #[test]
    fn create_refresh_modify_remove() -> Result<(), Refusal> {
        let (mut p, mut r) = (Publications::default(), Random::from_seed([0; 32]));
        let first = publish(&mut p, &mut r, None, None, BODY)?;
        assert_eq!((first.expires_s, first.changed), (3600, true));
        let second = publish(&mut p, &mut r, Some(&first.etag), Some(u32::MAX), b"")?;
        assert_eq!((second.expires_s, second.changed), (86_400, false));
        assert_eq!(
            publish(&mut p, &mut r, Some(&first.etag), None, b""),
            Err(Refusal::ConditionFailed)
        );
        let other = String::from_utf8_lossy(BODY).replace("open", "closed");
        let third = publish(&mut p, &mut r, Some(&second.etag), None, other.as_bytes())?;
        assert!(third.changed && third.etag != second.etag);
        assert!(publish(&mut p, &mut r, Some(&third.etag), Some(0), b"")?.changed);
        assert!(p.is_empty());
        Ok(())
    }

    #[test]
    fn what_is_taken_back_was_never_there_and_its_old_tag_is_good_again() -> Result<(), Refusal> {
        let (mut p, mut r) = (Publications::default(), Random::from_seed([0; 32]));
        let first = publish(&mut p, &mut r, None, None, BODY)?;
        let untouched = p.clone();
        let closed = String::from_utf8_lossy(BODY).replace("open", "closed");
        let changes: [(Option<u32>, &[u8]); 3] = [(None, closed.as_bytes()), (Some(600), b""), (Some(0), b"")];
        for (expires, body) in changes {
            let change = publish(&mut p, &mut r, Some(&first.etag), expires, body)?;
            assert_eq!(change.id, first.id);
            p.put_back(&change.id, change.before);
            assert_eq!(p.entries, untouched.entries);
        }
        p.put_back(&first.id, first.before);
        assert!(p.is_empty());
        Ok(())
    }

    #[test]
    fn refusals_change_nothing() -> Result<(), Refusal> {
        let (mut p, mut r) = (Publications::default(), Random::from_seed([0; 32]));
        assert_eq!(
            publish(&mut p, &mut r, None, Some(10), BODY),
            Err(Refusal::TooBrief(60))
        );
        assert_eq!(publish(&mut p, &mut r, None, None, b""), Err(Refusal::NoBody));
        assert_eq!(
            publish(&mut p, &mut r, Some("other"), None, BODY),
            Err(Refusal::ConditionFailed)
        );
        assert!(matches!(
            publish(&mut p, &mut r, None, None, b"<a/>"),
            Err(Refusal::Body(_))
        ));
        publish(&mut p, &mut r, None, None, BODY)?;
        publish(&mut p, &mut r, None, None, BODY)?;
        assert_eq!(publish(&mut p, &mut r, None, None, BODY), Err(Refusal::TooMany));
        assert_eq!(p.next_expiry(), Some(3_601_000));
        assert_eq!(
            p.expire(Now {
                mono_ms: 0,
                wall_ms: 3_601_000
            })
            .len(),
            2
        );
        Ok(())
    }
}
