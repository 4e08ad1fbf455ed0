//! Who speaks how, and whether a request is the bridge's to carry.

use std::sync::Arc;

use super::super::registrar::is_sips;
use super::super::reply::{Answer, Request, phrase};
use super::{End, Engine};
use crate::dialect::{Dialect, ImMode};
use crate::im::bridging::{Asked, bridges};
use crate::im::content::{self, Said};
use crate::im::sdp::{self, Offer};
use crate::policy::{Allow, Party, Target};
use crate::sip::field::MediaType;
use crate::sip::header::Name;
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri};

/// What refusals have taught of a domain.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Learned {
    pub(super) mode: ImMode,
    pub(super) until_ms: u64,
}

/// Domains of which something is remembered: a route may stand for domains without number.
const MOST_LEARNED: usize = 10_000;

/// Whether an answer says that messages do not go this way.
pub(super) fn wrong_mode(status: u16) -> bool {
    matches!(status, 405 | 415 | 488 | 501)
}

/// Accept for those who sent what holds no text.
pub(super) const TAKEN: &str =
    "text/plain, text/html, text/rtf, message/cpim, multipart/alternative, application/im-iscomposing+xml";

impl Engine {
    /// Looks again whether there is anybody who speaks differently.
    pub(in crate::engine) fn look_for_dialects(&mut self) {
        let rfc = Dialect::rfc();
        let snapshot = &self.snapshot;
        let peers = snapshot.peers().map(|(_, p)| p.dialect);
        let mut all = peers.chain(snapshot.listeners.iter().map(|l| l.dialect));
        self.talks.bridging = all.any(|id| snapshot.dialect(id).is_some_and(|d| d.im != rfc.im));
    }

    /// What a party speaks: a peer as it is configured, a user as over the listener it registered by.
    pub(super) fn dialect_of(&self, end: &End) -> Arc<Dialect> {
        if self.is_local(&end.aor) {
            let binding = self.registrar.bindings(&end.aor).first();
            return binding.map_or_else(Dialect::rfc, |b| Arc::clone(self.client_dialect_of(b)));
        }
        let Party::Peer(id) = end.party else {
            return Dialect::rfc();
        };
        let dialect = self.snapshot.peer(id).and_then(|p| self.snapshot.dialect(p.dialect));
        dialect.cloned().unwrap_or_else(Dialect::rfc)
    }

    pub(super) fn is_local(&self, aor: &Aor) -> bool {
        self.snapshot.local_domain(aor.domain().as_bytes()).is_some()
    }

    /// The mode to try with somebody: what refusals have taught, else what the dialect says.
    pub(super) fn mode_of(&self, now: Now, end: &End) -> ImMode {
        let im = &self.dialect_of(end).im;
        let learned = self.talks.learned.get(end.aor.domain());
        let learned = learned.filter(|l| im.fallback && l.until_ms > now.mono_ms);
        learned.map_or(im.mode, |l| l.mode)
    }

    /// Remembers which mode a domain takes; nothing when it is the usual one.
    pub(super) fn learn(&mut self, now: Now, end: &End, mode: ImMode) {
        if self.is_local(&end.aor) {
            // What one client here refuses says nothing of the next.
            return;
        }
        let domain: Box<str> = end.aor.domain().into();
        if self.dialect_of(end).im.mode == mode {
            self.talks.learned.remove(&domain);
            return;
        }
        let remember = self.snapshot.messages.remember_mode.as_millis();
        let until_ms = now.mono_ms.saturating_add(u64::try_from(remember).unwrap_or(u64::MAX));
        if self.talks.learned.len() >= MOST_LEARNED {
            self.talks.learned.retain(|_, l| l.until_ms > now.mono_ms);
        }
        if self.talks.learned.len() < MOST_LEARNED {
            self.talks.learned.insert(domain, Learned { mode, until_ms });
        }
    }

    /// Who somebody is by the configuration.
    pub(super) fn party_of(&self, aor: &Aor) -> Option<Party> {
        let snapshot = &self.snapshot;
        let domain = aor.domain().as_bytes();
        if snapshot.local_domain(domain).is_some() {
            let user = snapshot.users.find_plain(aor.user(), aor.domain()).map(Party::User);
            let front = || snapshot.peers().find(|(_, p)| p.domains.get(domain).is_some());
            return user.or_else(|| front().map(|(id, _)| Party::Peer(id)));
        }
        let set = snapshot.routes.set(snapshot.routes.domain(domain)?)?;
        set.routes().first().map(|r| Party::Peer(r.peer))
    }

    fn ends(&self, request: &Request<'_>, allow: &Allow) -> Option<(End, End)> {
        let address = |uri: &[u8]| Uri::parse(uri).ok().and_then(|uri| Aor::from_uri(&uri));
        let from = End {
            aor: address(request.essentials.from.uri)?,
            party: allow.who,
        };
        let asked = address(request.view.request_uri())?;
        let aor = match allow.target {
            Target::Local { user: Some(user), .. } => {
                let user = self.snapshot.user(user)?;
                Aor::new(&user.user, &user.domain)
            }
            _ => asked,
        };
        let party = match allow.target {
            Target::Route { peer, .. } => Party::Peer(peer),
            Target::Local { user: Some(user), .. } => Party::User(user),
            _ => self.party_of(&aor)?,
        };
        Some((from, End { aor, party }))
    }

    /// Takes a MESSAGE or INVITE that opens a dialog if its two parties speak differently; false if it shall pass.
    pub(in crate::engine) fn converse(&mut self, now: Now, request: &Request<'_>, allow: &Allow) -> bool {
        let method = request.essentials.method.as_bytes();
        if !self.talks.bridging || !matches!(method, b"MESSAGE" | b"INVITE") || is_sips(request.view.request_uri()) {
            return false;
        }
        let Some((from, to)) = self.ends(request, allow) else {
            return false;
        };
        let theirs = if self.is_local(&from.aor) {
            Arc::clone(self.client_dialect(request.source.listener))
        } else {
            self.dialect_of(&from)
        };
        let dialect = self.dialect_of(&to);
        let mode = self.mode_of(now, &to);
        if method == b"INVITE" {
            return bridges(&theirs, &dialect, mode, Asked::Invite).is_some()
                && self.converse_by_invite(now, request, from, to, &theirs);
        }
        if bridges(&theirs, &dialect, mode, Asked::Message(&media_of(request))).is_none() {
            return false;
        }
        if self.is_merged(now, request.source, request.view, request.essentials) {
            self.answer(now, request, Answer::new(482, "Request Merged"));
        } else {
            if let Party::Peer(peer) = to.party {
                self.note_passed(request, allow.who, peer);
            }
            self.take_message(now, request, from, to);
        }
        true
    }

    /// A body from somebody to somebody: text goes on, typing is shown, what is neither is refused.
    pub(super) fn take_message(&mut self, now: Now, request: &Request<'_>, from: End, to: End) {
        if request.view.body().len() > self.snapshot.messages.max_size {
            return self.answer(now, request, Answer::new(413, phrase(413)));
        }
        let media = media_of(request);
        match content::read(&media, request.view.body()) {
            Ok(Said::Typing(signal)) => {
                self.answer(now, request, Answer::new(200, "OK"));
                self.show_typing(now, from, to, signal);
            }
            // Who does not know such notices shall not see one.
            Ok(Said::Notice { .. }) if !self.dialect_of(&to).im.imdn => {
                self.answer(now, request, Answer::new(200, "OK"));
            }
            Ok(said) => {
                self.hush(&from, &to);
                let said = self.as_meant(&from, said);
                self.accept(now, request, from, to, said, &media);
            }
            Err(status) => {
                let headers: [(&[u8], &[u8]); 1] = [(b"Accept", TAKEN.as_bytes())];
                let used = usize::from(status == 415);
                self.answer(now, request, Answer::new(status, phrase(status)).with(&headers[..used]));
            }
        }
    }

    /// Who does not know delivery notices has not asked for one, whatever the wrapping says.
    pub(super) fn as_meant(&self, from: &End, mut said: Said) -> Said {
        if let Said::Text(text) = &mut said
            && !self.dialect_of(from).im.imdn
        {
            text.ask = None;
        }
        said
    }

    fn converse_by_invite(&mut self, now: Now, request: &Request<'_>, from: End, to: End, theirs: &Dialect) -> bool {
        let is_sdp = request
            .view
            .header(Name::ContentType)
            .is_some_and(|t| MediaType::parse(t).is("application/sdp"));
        match sdp::read(request.view.body()).filter(|_| is_sdp) {
            Some(Offer::Messages(session)) => {
                if self.is_merged(now, request.source, request.view, request.essentials) {
                    self.answer(now, request, Answer::new(482, "Request Merged"));
                } else {
                    self.on_session_invite(now, request, from, to, theirs, &session);
                }
                true
            }
            Some(Offer::Msrp) => {
                self.decline(now, request, "messages over MSRP do not cross this bridge");
                true
            }
            Some(Offer::Other) | None => false,
        }
    }

    pub(super) fn decline(&mut self, now: Now, request: &Request<'_>, why: &str) {
        let warning = format!("399 {} \"{why}\"", self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        self.answer(now, request, Answer::new(488, phrase(488)).with(&headers));
    }
}

/// The media type of a body; text if none is written.
pub(super) fn media_of(request: &Request<'_>) -> String {
    let value = request.view.header(Name::ContentType).unwrap_or(b"text/plain");
    let text = String::from_utf8_lossy(value);
    // A folded line is one line.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
