//! The publish trunk: what a peer publishes for local users, about the person or about a line.

use std::borrow::Cow;

use super::user_of;
use crate::dialect::Dialect;
use crate::engine::Engine;
use crate::engine::reply::phrase;
use crate::engine::slots::SlotId;
use crate::policy::Party;
use crate::policy::snapshot::DialectId;
use crate::presence::{Document, LineState, XmlError};
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

impl Engine {
    /// What a body says of `aor`, else how to refuse it. Where the publishing peer has the person's primary line,
    /// everything it says is about a line. What a peer says is read in its own dialect.
    pub(in crate::engine) fn said<'a>(
        &self,
        who: Party,
        aor: &Aor,
        dialect: Option<&Dialect>,
        (kind, body): (&[u8], &'a [u8]),
    ) -> Result<Said<'a>, (u16, &'static str)> {
        const SOMEBODY_ELSE: (u16, &str) = (403, "Entity Is Somebody Else");
        let mut said = Said {
            by: String::new(),
            line: String::new(),
            body: Cow::Borrowed(body),
            document: (!body.is_empty()).then(|| Document::parse(body)),
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
        let Some((id, _)) = trunk else {
            let strange = matches!(&said.document, Some(Ok(document)) if !document.is_about(aor));
            return if strange { Err(SOMEBODY_ELSE) } else { Ok(said) };
        };
        if body.is_empty() {
            return Ok(said);
        }
        // Whom it names counts as it is written; a dialect may write everybody in its own way.
        let named = said.document.and_then(Result::ok);
        if let Some(dialect) = dialect.filter(|d| !d.is_verbatim()) {
            let imported = dialect.import(kind, &aor.to_uri(), body);
            said.body = imported
                .map_err(|refusal| (refusal.status, phrase(refusal.status)))?
                .pidf;
        }
        said.document = Some(Document::parse(&said.body));
        let Some(Ok(document)) = &said.document else {
            return Ok(said);
        };
        let named = named.as_ref().unwrap_or(document);
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

    /// Whether a peer's dialect reads documents of this type.
    pub(in crate::engine) fn is_read(&self, who: Party, dialect: DialectId, kind: &[u8]) -> bool {
        let dialect = self.snapshot.dialect(dialect).filter(|_| matches!(who, Party::Peer(_)));
        dialect.is_some_and(|d| d.presence.reads(kind).is_some())
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
