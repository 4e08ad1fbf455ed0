//! SERVICE: what a client asks of its registrar, in SOAP.

use super::lists::Tell;
use super::packages::Package;
use super::{epid, is_endpoint, sender};
use crate::dialect::Format;
use crate::dialect::lcs::soap::{self, Call, SOAP};
use crate::dialect::lcs::{Ace, ContactList, Full, SetPresence};
use crate::engine::reply::{Request, phrase};
use crate::engine::{Engine, record};
use crate::event::Refusal;
use crate::event::publication::{Limits, Publish};
use crate::policy::RuleRef;
use crate::presence::Document;
use crate::sip::field::MediaType;
use crate::sip::header::Name;
use crate::sip::time::Now;
use crate::sip::uri::Aor;
use crate::sip::write::Answer;

/// The type of bodies of answers.
pub(super) const TYPE: &[u8] = SOAP.as_bytes();

impl Engine {
    /// A SERVICE of a roaming client for an address of a local domain.
    pub(in crate::engine) fn on_service(&mut self, now: Now, request: &Request<'_>, aor: &Aor) {
        if sender(request).as_ref() != Some(aor) {
            let rule = RuleRef::built_in("service.own");
            return self.refuse(now, request, 403, "Not Your Address", &rule);
        }
        let kind = request.view.header(Name::ContentType);
        if !kind.is_some_and(|t| MediaType::parse(t).is(SOAP)) {
            let headers: [(&[u8], &[u8]); 1] = [(b"Accept", TYPE)];
            return self.answer(now, request, Answer::new(415, phrase(415)).with(&headers));
        }
        let call = match soap::read(request.view.body()) {
            Ok(call) => call,
            Err(error) => return self.refuse_service(now, request, error.status, &error.to_string()),
        };
        if self.journal.is_broken() && call != Call::DirectorySearch {
            return self.answer_store_failure(now, request);
        }
        match call {
            Call::SetPresence(set) => self.on_set_presence(now, request, aor, &set),
            Call::SetContact(contact, seen) => self.change(now, request, (aor, seen), |list| {
                list.set_contact(contact)?;
                Ok(None)
            }),
            Call::DeleteContact(uri, seen) => self.change(now, request, (aor, seen), |list| {
                list.delete_contact(&uri);
                Ok(None)
            }),
            Call::AddGroup(name, seen) => self.change(now, request, (aor, seen), |list| {
                let id = list.add_group(&name)?;
                Ok(Some(soap::answer("addGroup", &format!("<m:groupID>{id}</m:groupID>"))))
            }),
            Call::ModifyGroup(id, name, seen) => self.change(now, request, (aor, seen), |list| {
                list.modify_group(id, &name)?;
                Ok(None)
            }),
            Call::DeleteGroup(id, seen) => self.change(now, request, (aor, seen), |list| {
                list.delete_group(id)?;
                Ok(None)
            }),
            Call::SetAce(ace) => self.on_set_ace(now, request, aor, ace),
            Call::DirectorySearch => self.answer_nobody_found(now, request),
            Call::Other(name) => {
                let why = format!("SERVICE {name:?} is not known here");
                self.refuse_service(now, request, 501, &why);
            }
        }
    }

    fn refuse_service(&mut self, now: Now, request: &Request<'_>, status: u16, why: &str) {
        let why = why.replace(['"', '\\'], "'");
        let warning = format!("399 {} \"{why}\"", self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        self.answer(now, request, Answer::new(status, phrase(status)).with(&headers));
    }

    /// There is no directory: whoever searches finds nobody.
    fn answer_nobody_found(&mut self, now: Now, request: &Request<'_>) {
        let body = soap::answer("directorySearch", "<m:moreAvailable>false</m:moreAvailable>");
        let answer = Answer {
            body: Some((TYPE, body.as_bytes())),
            ..Answer::new(200, phrase(200))
        };
        self.answer(now, request, answer);
    }

    /// A change of the contact list. `seen` is the number its client last knew: one that was behind is told as well.
    fn change(
        &mut self,
        now: Now,
        request: &Request<'_>,
        (aor, seen): (&Aor, u32),
        make: impl FnOnce(&mut ContactList) -> Result<Option<String>, Full>,
    ) {
        let mut after = self.kept(aor);
        let knew = seen == after.contacts.delta;
        match make(&mut after.contacts) {
            Ok(body) => {
                let tell = Tell {
                    aor: aor.clone(),
                    package: Package::Contacts,
                    but: knew.then(|| epid(request)),
                };
                self.keep(now, request, after, tell, body);
            }
            Err(full) => self.refuse_service(now, request, 403, &full.to_string()),
        }
    }

    fn on_set_ace(&mut self, now: Now, request: &Request<'_>, aor: &Aor, ace: Ace) {
        let mut after = self.kept(aor);
        if let Err(full) = after.rights.set(ace) {
            return self.refuse_service(now, request, 403, full);
        }
        let tell = Tell {
            aor: aor.clone(),
            package: Package::Rights,
            but: Some(epid(request)),
        };
        self.keep(now, request, after, tell, None);
    }

    /// The state of an endpoint is a publication, which lives as long as its registration.
    fn on_set_presence(&mut self, now: Now, request: &Request<'_>, aor: &Aor, set: &SetPresence) {
        if !set.uri.is_empty() && !set.uri.eq_ignore_ascii_case(&aor.to_string()) {
            return self.answer(now, request, Answer::new(403, "Entity Is Somebody Else"));
        }
        let user = self.snapshot.users.find_plain(aor.user(), aor.domain());
        if let Some(user) = user.and_then(|id| self.snapshot.user(id)).filter(|u| !u.presence) {
            let rule = user.enabled_rule.clone();
            return self.refuse(now, request, 403, "Presence Disabled", &rule);
        }
        let epid = epid(request);
        let Some(binding) = self.client_binding(aor, &epid) else {
            return self.refuse_service(now, request, 403, "this endpoint is not registered; register first");
        };
        let until_s = binding.expires_wall_ms.saturating_sub(now.wall_ms).div_ceil(1000);
        let former = binding.client.as_ref().and_then(|c| c.publication.clone());
        let dialect = self.client_dialect(request.source.listener).clone();
        let media = Format::Msrtc.media_type().as_bytes();
        let pidf = match dialect.import(media, &aor.to_uri(), &set.document) {
            Ok(imported) => imported.pidf.into_owned(),
            Err(refusal) => return self.refuse_service(now, request, refusal.status, &refusal.what),
        };
        let id = self.local_resource(aor);
        let Some(resource) = self.presence.resources.get_mut(id) else {
            return;
        };
        let etag = former.and_then(|id| Some(resource.publications.by_id(&id)?.etag.clone()));
        let max_entries = self.snapshot.presence.max_publications as usize;
        let until_s = u32::try_from(until_s).unwrap_or(u32::MAX).max(1);
        let limits = Limits {
            min_expires_s: 1,
            max_expires_s: until_s,
            default_expires_s: until_s,
            max_entries,
        };
        let publish = Publish {
            if_match: etag.as_deref(),
            expires_s: Some(until_s),
            body: &pidf,
            document: Some(Document::parse(&pidf)),
            dialect: &dialect.name,
            by: "",
            line: "",
        };
        match resource.publications.publish(now, publish, limits, &mut self.random) {
            Ok(accepted) => {
                self.note_publication(aor, &epid, &accepted.id);
                self.confirm_publication(now, request, id, aor, accepted);
            }
            Err(refusal) => {
                let why = match refusal {
                    Refusal::TooMany => "there are as many publications as there may be".to_string(),
                    Refusal::Body(error) => error.to_string(),
                    other => format!("{other:?}"),
                };
                self.refuse_service(now, request, 403, &why);
                self.forget_if_idle(id);
            }
        }
    }

    /// The registration remembers which publication is its own.
    fn note_publication(&mut self, aor: &Aor, epid: &str, publication: &str) {
        let Some(binding) = self.registrar.binding_mut(aor, |b| is_endpoint(b, epid)) else {
            return;
        };
        let Some(client) = &mut binding.client else { return };
        if client.publication.as_deref() != Some(publication) {
            client.publication = Some(publication.into());
            let (key, value) = (record::binding_key(aor, &binding.uri), record::binding(binding));
            self.persist(key, Some(value));
        }
    }
}
