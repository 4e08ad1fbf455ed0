//! Notifications from a peer: what is taken, what is refused, and what watchers here are shown of it.

use super::*;

/// Why a notification is not taken.
enum Unfit {
    Event,
    Malformed(Malformed),
    Dialog(u16, &'static str),
    Body(Refusal),
}

impl Engine {
    /// A NOTIFY from the peer, which the decision has found to come from it.
    pub(in crate::engine) fn on_notify(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        match self.take_notification(now, request.view, request.essentials, id) {
            Ok((state, body)) => {
                self.answer(now, request, Answer::new(200, "OK"));
                self.take_notify(now, id, state, body);
            }
            Err(Unfit::Event) => self.bad_event(now, request),
            Err(Unfit::Malformed(problem)) => self.answer_problem(now, request, &problem),
            Err(Unfit::Dialog(status, reason)) => self.answer(now, request, Answer::new(status, reason)),
            Err(Unfit::Body(refusal)) => {
                let accept = self.accepted_of(id);
                let warning = format!("399 {} \"{}\"", self.host(), refusal.what.replace('"', "'"));
                let headers: [(&[u8], &[u8]); 2] = [(b"Warning", warning.as_bytes()), (b"Accept", accept.as_bytes())];
                let used = 1 + usize::from(refusal.status == 415);
                let answer = Answer::new(refusal.status, phrase(refusal.status)).with(&headers[..used]);
                self.answer(now, request, answer);
            }
        }
    }

    /// A BENOTIFY: as a NOTIFY, but what is unfit is dropped.
    pub(in crate::engine) fn on_unanswered_notify(
        &mut self,
        now: Now,
        view: &View<'_>,
        e: &Essentials<'_>,
        id: SlotId,
    ) {
        if let Ok((state, body)) = self.take_notification(now, view, e, id) {
            self.take_notify(now, id, state, body);
        }
    }

    /// Judges a notification, and takes what it says of the dialog.
    fn take_notification(
        &mut self,
        now: Now,
        view: &View<'_>,
        e: &Essentials<'_>,
        id: SlotId,
    ) -> Result<(SubscriptionState, Option<Bytes>), Unfit> {
        let event = view.header(Name::Event).map(EventHeader::parse);
        if !matches!(event, Some(Ok(event)) if Package::from_name(event.package) == Some(Package::Presence)) {
            return Err(Unfit::Event);
        }
        let state = view
            .header(Name::SubscriptionState)
            .ok_or(Malformed::header(Name::SubscriptionState, "it is missing"));
        let state = state.and_then(SubscriptionState::parse).map_err(Unfit::Malformed)?;
        let may_fall = self.dialect_of_upstream(id).is_some_and(|d| d.sip.cseq_may_fall);
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return Err(Unfit::Dialog(481, phrase(481)));
        };
        let fits = match &mut upstream.dialog {
            // RFC 3856 section 6.9: of a forked SUBSCRIBE only the first dialog is held.
            Some(dialog) if their_tag(dialog) != e.from.tag() => {
                return Err(Unfit::Dialog(481, phrase(481)));
            }
            Some(dialog) => dialog.take_remote_cseq(e.cseq.number) || may_fall,
            // It overtook its 2xx: the NOTIFY itself makes the dialog (RFC 6665 section 4.4.1).
            None => {
                let routes = view.items(Name::RecordRoute).collect();
                upstream.dialog = upstream_dialog(upstream, view, Name::From, routes, Some(e.cseq.number)).ok();
                upstream.dialog.is_some()
            }
        };
        if !fits {
            return Err(Unfit::Dialog(500, "CSeq Out of Order"));
        }
        if let (Some(dialog), Some(contact)) = (&mut upstream.dialog, view.items(Name::Contact).next())
            && let Ok(contact) = NameAddr::parse(contact)
        {
            dialog.retarget(contact.uri);
        }
        match self.notify_body(now, view, id) {
            Ok(body) => Ok((state, body)),
            Err(refusal) => Err(Unfit::Body(refusal)),
        }
    }

    pub(super) fn dialect_of_upstream(&self, id: SlotId) -> Option<&Arc<Dialect>> {
        let peer = self.upstreams.slots.get(id)?.key.peer;
        self.snapshot.dialect(self.snapshot.peer(peer)?.dialect)
    }

    /// What goes into Accept of a subscription at a peer.
    pub(super) fn accepted_of(&self, id: SlotId) -> Cow<'static, str> {
        match self.dialect_of_upstream(id) {
            Some(dialect) if !dialect.is_verbatim() => Cow::Owned(dialect.accept()),
            _ => Cow::Borrowed(PIDF),
        }
    }

    /// The document a notification carries as it is kept here, `None` if it carries none.
    pub(super) fn notify_body(&mut self, now: Now, view: &View<'_>, id: SlotId) -> Result<Option<Bytes>, Refusal> {
        if view.body().is_empty() {
            return Ok(None);
        }
        let refused = |status, what: &str| Refusal {
            status,
            what: what.into(),
        };
        let (Some(dialect), Some(upstream)) = (self.dialect_of_upstream(id), self.upstreams.slots.get(id)) else {
            return Err(refused(481, "the subscription is gone"));
        };
        let content_type = view.header(Name::ContentType).unwrap_or_default();
        if dialect.is_verbatim() {
            if !MediaType::parse(content_type).is(PIDF) {
                return Err(refused(415, "only PIDF is taken"));
            }
            let document = Document::parse(view.body()).map_err(|e| refused(e.status, e.what))?;
            if !document.is_about(&upstream.key.presentity) {
                return Err(refused(400, "the document is about somebody else"));
            }
            return Ok(Some(Bytes::copy_from_slice(view.body())));
        }
        let dialect = Arc::clone(dialect);
        let entity = upstream.key.presentity.to_uri();
        match dialect.import(content_type, &entity, view.body()) {
            Ok(imported) => Ok(Some(Bytes::copy_from_slice(&imported.pidf))),
            Err(refusal) => {
                self.note_unreadable(now, id, &dialect, &refusal);
                Err(refusal)
            }
        }
    }

    #[cold]
    fn note_unreadable(&mut self, now: Now, id: SlotId, dialect: &Dialect, refusal: &Refusal) {
        let Some(upstream) = self.upstreams.slots.get(id) else {
            return;
        };
        let name = self.peer_name(upstream.key.peer);
        let about = upstream.key.presentity.to_string();
        let nowhere = core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
        if self.rates.worth_logging(now.mono_ms, nowhere, &name) {
            let what = &refusal.what;
            let note = format!(
                "what peer {name} says of {about} cannot be read as {}: {what}",
                dialect.name
            );
            self.outputs
                .push_back(crate::engine::Output::Log(crate::engine::Event::Note(note)));
        }
    }

    pub(super) fn take_notify(&mut self, now: Now, id: SlotId, state: SubscriptionState, body: Option<Bytes>) {
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        if upstream.ending {
            if state.again().is_some() {
                self.drop_upstream(id);
            }
            return;
        }
        let resource = upstream.resource;
        let action = upstream.machine.notify(now.mono_ms, state, &mut self.random);
        match body.filter(|_| state.again().is_none() || action == Action::Final) {
            Some(body) => {
                upstream.unsure_at = None;
                self.show(resource, body);
            }
            // Whoever waits since a restart is told at last that nothing is known.
            None if self.is_asking(resource) => self.show_unknown(id),
            None => {}
        }
        // The dialog is known to the store by its 2xx; what changes with each NOTIFY is worth no sync.
        if let Some((key, value)) = self.upstream_record(id) {
            self.persist_lazily(key, Some(value));
        }
        self.act(now, id, action);
    }
}
