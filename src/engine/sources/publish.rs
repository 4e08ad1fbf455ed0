//! The publish trunk: what a peer publishes for local users, about the person or about a line.

use std::borrow::Cow;

use super::user_of;
use crate::dialect::{Dialect, Imported};
use crate::engine::Engine;
use crate::engine::reply::{Answer, Request, phrase};
use crate::engine::slots::SlotId;
use crate::policy::Party;
use crate::presence::{Document, LineState, PIDF, XmlError, pidf};
use crate::sip::field::MediaType;
use crate::sip::time::Now;
use crate::sip::uri::Aor;

/// What a PUBLISH says, and who says it.
pub(in crate::engine) struct Said<'a> {
    /// The peer, by name; empty: the presentity itself.
    pub(in crate::engine) by: String,
    /// The line it is about; empty: the person.
    pub(in crate::engine) line: String,
    pub(in crate::engine) body: Cow<'a, [u8]>,
    pub(in crate::engine) document: Option<Result<Document, XmlError>>,
}

/// Why a body is not taken.
pub(in crate::engine) struct Unsaid {
    status: u16,
    reason: &'static str,
    what: Cow<'static, str>,
}

const SOMEBODY_ELSE: Unsaid = Unsaid {
    status: 403,
    reason: "Entity Is Somebody Else",
    what: Cow::Borrowed("the document is about somebody else"),
};

/// A body as PIDF.
fn read_as<'a>(dialect: Option<&Dialect>, aor: &Aor, kind: &[u8], body: &'a [u8]) -> Result<Imported<'a>, Unsaid> {
    let untouched = || Imported {
        pidf: Cow::Borrowed(body),
        named: None,
        why: Vec::new(),
    };
    if body.is_empty() {
        return Ok(untouched());
    }
    let unsaid = |status, what| Unsaid {
        status,
        reason: phrase(status),
        what,
    };
    match dialect.filter(|d| !d.is_verbatim()) {
        Some(dialect) => dialect
            .import_whoever(kind, &aor.to_uri(), body)
            .map_err(|refusal| unsaid(refusal.status, refusal.what.into_string().into())),
        None if MediaType::parse(kind).is(PIDF) => Ok(untouched()),
        None => Err(unsaid(415, "only PIDF is taken".into())),
    }
}

impl Engine {
    /// What a body says of `aor`, else how to refuse it. Where the publishing peer has the person's primary line,
    /// everything it says is about a line. What a peer says is read in its own dialect.
    pub(in crate::engine) fn said<'a>(
        &self,
        who: Party,
        aor: &Aor,
        dialect: Option<&Dialect>,
        (kind, body): (&[u8], &'a [u8]),
    ) -> Result<Said<'a>, Unsaid> {
        let read = read_as(dialect, aor, kind, body)?;
        let mut said = Said {
            by: String::new(),
            line: String::new(),
            body: self.in_own_name(read.pidf, aor),
            document: None,
        };
        let peer = match who {
            Party::Peer(id) => self.snapshot.peer(id).map(|p| (id, p)),
            Party::User(_) => None,
        };
        // A front end speaks as the user.
        let trunk = peer.filter(|(_, p)| p.domains.get(aor.domain().as_bytes()).is_none());
        if let Some((_, peer)) = trunk {
            said.by = peer.name.to_string();
        }
        if body.is_empty() {
            return Ok(said);
        }
        // Whom it names counts as it is written; a dialect may write everybody in its own way.
        let named = read.named.map(|name| pidf::unknown(&name));
        let named = named.and_then(|n| Document::parse(&self.in_own_name(Cow::Owned(n), aor)).ok());
        said.document = Some(Document::parse(&said.body));
        let Some(Ok(document)) = &said.document else {
            return Ok(said);
        };
        let named = named.as_ref().unwrap_or(document);
        let Some((id, _)) = trunk else {
            return if named.is_about(aor) {
                Ok(said)
            } else {
                Err(SOMEBODY_ELSE)
            };
        };
        let lines = user_of(&self.snapshot, aor).map(|u| &u.lines[..]).unwrap_or_default();
        let mut at_peer = lines.iter().filter(|l| l.peer == id);
        let line = match named.is_about(aor) {
            true => at_peer.find(|l| l.primary),
            false => Some(at_peer.find(|l| named.is_about(&l.address)).ok_or(SOMEBODY_ELSE)?),
        };
        if let Some(line) = line {
            let state = LineState::of(document, &self.snapshot.presence.rules);
            let body = state.render(&aor.to_uri(), &line.address);
            said.document = Some(Document::parse(&body));
            (said.line, said.body) = (line.address.to_string(), Cow::Owned(body));
        }
        Ok(said)
    }

    /// Answers a PUBLISH whose body is not taken.
    pub(in crate::engine) fn refuse_body(
        &mut self,
        now: Now,
        request: &Request<'_>,
        dialect: Option<&Dialect>,
        unsaid: &Unsaid,
    ) {
        let accept = dialect.map_or_else(|| PIDF.to_owned(), Dialect::accept);
        let warning = format!("399 {} \"{}\"", self.host(), unsaid.what.replace('"', "'"));
        let headers: [(&[u8], &[u8]); 2] = [(b"Warning", warning.as_bytes()), (b"Accept", accept.as_bytes())];
        let used = 1 + usize::from(unsaid.status == 415);
        let answer = Answer::new(unsaid.status, unsaid.reason).with(&headers[..used]);
        self.answer(now, request, answer);
    }

    /// Whether a peer's publications of this user are taken, or kept; anybody publishes for himself.
    pub(in crate::engine) fn may_publish(&self, by: &str, aor: &Aor) -> bool {
        let peer = || self.snapshot.peer_named(by).and_then(|id| self.snapshot.peer(id));
        by.is_empty() || peer().is_some_and(|p| p.publishes.covers(aor.user(), aor.domain()))
    }

    /// What peers have published and may not any more goes.
    pub(in crate::engine) fn forget_trunks(&mut self) {
        let all = self.presence.resources.iter();
        let ids: Vec<SlotId> = all.filter(|(_, r)| r.upstream.is_none()).map(|(id, _)| id).collect();
        for id in ids {
            let Some(resource) = self.presence.resources.get_mut(id) else {
                continue;
            };
            let aor = resource.aor.clone();
            let mut publications = std::mem::take(&mut resource.publications);
            let gone = publications.retain_of_peers(|by| self.may_publish(by, &aor));
            if let Some(resource) = self.presence.resources.get_mut(id) {
                resource.publications = publications;
            }
            if gone.is_empty() {
                continue;
            }
            for name in gone {
                self.persist(crate::engine::record::publication_key(&aor, &name), None);
            }
            self.recompose(id);
            self.forget_if_idle(id);
        }
    }
}
