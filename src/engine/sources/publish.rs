//! The publish trunk: what a peer publishes for local users, about the person or about a line.

use std::borrow::Cow;

use super::user_of;
use crate::engine::Engine;
use crate::engine::slots::SlotId;
use crate::policy::Party;
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
    /// What a body says of `aor`; `None` when it is about somebody else. `written` is the body as it came, `body` as its
    /// dialect reads it. Where the publishing peer has the person's primary line, everything it says is about a line.
    pub(in crate::engine) fn said<'a>(
        &self,
        who: Party,
        aor: &Aor,
        written: &[u8],
        body: Cow<'a, [u8]>,
    ) -> Option<Said<'a>> {
        let mut said = Said {
            by: String::new(),
            line: String::new(),
            document: (!body.is_empty()).then(|| Document::parse(&body)),
            body,
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
        let Some(Ok(document)) = &said.document else {
            return Some(said);
        };
        let Some((id, _)) = trunk else {
            return document.is_about(aor).then_some(said);
        };
        // Whom it names counts as it is written: what a dialect reads is about the presentity.
        let named = Document::parse(written).ok();
        let named = named.as_ref().unwrap_or(document);
        let lines = user_of(&self.snapshot, aor).map(|u| &u.lines[..]).unwrap_or_default();
        let mut at_peer = lines.iter().filter(|l| l.peer == id);
        let line = match named.is_about(aor) {
            true => at_peer.find(|l| l.primary),
            false => Some(at_peer.find(|l| named.is_about(&l.address))?),
        };
        if let Some(line) = line {
            let state = LineState::of(document, &self.snapshot.presence.rules);
            let body = state.render(&aor.to_uri(), &line.address);
            said.document = Some(Document::parse(&body));
            (said.line, said.body) = (line.address.to_string(), Cow::Owned(body));
        }
        Some(said)
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
