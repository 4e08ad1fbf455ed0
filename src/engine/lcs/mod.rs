//! A registrar for clients of a dialect with `roaming`: contact lists, rights, provisioning and state set by SERVICE.
//!
//! Which clients those are says the listener they come in by. Lists and rights are durable; subscriptions to them live
//! with the connection, since such a client subscribes anew whenever it signs in. Categories and containers of OCS 2007,
//! directory search and prompting for unknown watchers are not here.

mod lists;
mod packages;
mod service;

#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

pub(super) use lists::{Kept, Tell};
pub(super) use packages::Roaming;

use bytes::Bytes;

use super::registrar::{Binding, Wish, same_contact};
use super::reply::Request;
use super::timers::Kind;
use super::undo::Undo;
use super::{Engine, record};
use crate::dialect::Dialect;
use crate::policy::snapshot::DialectId;
use crate::sip::header::Name;
use crate::sip::net::{FlowId, ListenerId};
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri};

/// What may be subscribed to, without blanks: some clients take a name with a blank before it for another.
const PACKAGES: &str = "vnd-microsoft-provisioning,vnd-microsoft-provisioning-v2,vnd-microsoft-roaming-contacts,\
                        vnd-microsoft-roaming-ACL,presence,presence.wpending";
/// An endpoint's name is at most 16 digits; longer ones are cut.
const MAX_EPID: usize = 32;

static PLAIN: LazyLock<Arc<Dialect>> = LazyLock::new(Dialect::rfc);

/// A client that is no plain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Client {
    /// The name of its dialect.
    pub(in crate::engine) dialect: Box<str>,
    /// The endpoint, as it calls itself in From.
    pub(in crate::engine) epid: Box<str>,
    /// The publication that holds the state it has set.
    pub(in crate::engine) publication: Option<Box<str>>,
}

/// Further headers of the answer to a REGISTER.
pub(super) fn register_headers(expires: &str) -> [(&'static [u8], &[u8]); 2] {
    [(b"Expires", expires.as_bytes()), (b"Allow-Events", PACKAGES.as_bytes())]
}

impl Engine {
    /// The dialect of the clients of a listener.
    pub(super) fn client_dialect_id(&self, listener: Option<ListenerId>) -> DialectId {
        let listener = listener.and_then(|id| self.snapshot.listener(id));
        listener.map_or_else(DialectId::default, |l| l.dialect)
    }

    /// The same, the dialect itself.
    pub(super) fn client_dialect(&self, listener: Option<ListenerId>) -> &Arc<Dialect> {
        self.snapshot
            .dialect(self.client_dialect_id(listener))
            .unwrap_or(&PLAIN)
    }

    /// The dialect that a registered client speaks.
    pub(super) fn client_dialect_of(&self, binding: &Binding) -> &Arc<Dialect> {
        let name = binding.client.as_ref().map(|c| &*c.dialect);
        let found = name.and_then(|name| self.snapshot.dialects.iter().find(|d| *d.name == *name));
        found.unwrap_or(&PLAIN)
    }

    /// What is to be kept of the client that registers; what it has published before is still its own.
    pub(super) fn client_of(&mut self, request: &Request<'_>, aor: &Aor) -> Option<Box<Client>> {
        let dialect = Arc::clone(self.client_dialect(request.source.listener));
        if !dialect.sip.roaming {
            return None;
        }
        let epid = epid(request);
        if let Some(flow) = request.source.flow {
            let users = self.roaming.signed_in.entry(flow).or_default();
            if !users.contains(aor) {
                users.push(aor.clone());
            }
        }
        let publication = self
            .client_binding(aor, &epid)
            .and_then(|b| b.client.as_ref()?.publication.clone());
        Some(Box::new(Client {
            dialect: (&*dialect.name).into(),
            epid,
            publication,
        }))
    }

    fn client_binding(&self, aor: &Aor, epid: &str) -> Option<&Binding> {
        self.registrar.bindings(aor).iter().find(|b| is_endpoint(b, epid))
    }

    /// An endpoint that comes back by another connection has no use for its former contact.
    pub(super) fn forget_former(&mut self, now: Now, aor: &Aor, client: Option<&Client>, list: &[Wish]) {
        let Some(epid) = client.map(|c| &*c.epid).filter(|epid| !epid.is_empty()) else {
            return;
        };
        let leaves = list.iter().all(|w| w.expires_s == 0);
        let former = |b: &Binding| is_endpoint(b, epid) && !list.iter().any(|w| same_contact(&w.uri, &b.uri));
        while let Some(binding) = self.registrar.binding_mut(aor, former) {
            if !leaves {
                // Its publication goes on under the new contact.
                binding.client = None;
            }
            let uri = binding.uri.clone();
            self.forget_binding(now, aor, &uri);
        }
    }

    /// The seconds that the endpoint which has just registered is registered for; 0 when it has left.
    pub(super) fn granted(&mut self, now: Now, request: &Request<'_>, aor: &Aor) -> u64 {
        let epid = epid(request);
        let Some(binding) = self.client_binding(aor, &epid) else {
            return 0;
        };
        let until = binding.expires_wall_ms;
        let publication = binding.client.as_ref().and_then(|c| c.publication.clone());
        if let Some(id) = publication {
            self.extend_publication(now, aor, &id, until);
        }
        until.saturating_sub(now.wall_ms).div_ceil(1000)
    }

    /// A connection has ended. These clients can be reached by no other, and sign out without waiting for the challenge, so
    /// their registrations end with it. When the bridge itself stops, they come back to it.
    pub(super) fn end_roaming_flow(&mut self, now: Now, flow: FlowId) {
        self.forget_roaming_flow(flow);
        if self.draining {
            return;
        }
        for aor in self.roaming.signed_in.remove(&flow).unwrap_or_default() {
            let over_it = |b: &&Binding| b.client.is_some() && b.origin.flow == Some(flow);
            let gone: Vec<Bytes> = self
                .registrar
                .bindings(&aor)
                .iter()
                .filter(over_it)
                .map(|b| b.uri.clone())
                .collect();
            for uri in gone {
                self.forget_binding(now, &aor, &uri);
            }
        }
    }

    /// What a client has published lives as long as its registration.
    fn extend_publication(&mut self, now: Now, aor: &Aor, id: &str, until_wall_ms: u64) {
        let Some(slot) = self.presence.local_id(aor) else {
            return;
        };
        let Some(resource) = self.presence.resources.get_mut(slot) else {
            return;
        };
        let Some(mut entry) = resource.publications.by_id(id).cloned() else {
            return;
        };
        entry.expires_wall_ms = until_wall_ms;
        let value = record::publication(&entry);
        resource.publications.put_back(id, Some(entry));
        let left = until_wall_ms.saturating_sub(now.wall_ms);
        self.wheel.arm(now.mono_ms + left, Kind::Publication, slot);
        self.persist(record::publication_key(aor, id), Some(value));
    }

    /// A contact has gone: so does what its client has published.
    pub(super) fn client_left(&mut self, aor: &Aor, client: Option<&Client>) {
        let Some(id) = client.and_then(|c| c.publication.as_deref()) else {
            return;
        };
        let Some(slot) = self.presence.local_id(aor) else {
            return;
        };
        let Some(resource) = self.presence.resources.get_mut(slot) else {
            return;
        };
        let Some(before) = resource.publications.by_id(id).cloned() else {
            return;
        };
        resource.publications.put_back(id, None);
        resource.unsettled += 1;
        self.persist(record::publication_key(aor, id), None);
        self.or_undo(Undo::Publication {
            resource: slot,
            id: id.into(),
            before: Some(Box::new(before)),
        });
        self.recompose(slot);
    }
}

fn is_endpoint(binding: &Binding, epid: &str) -> bool {
    binding.client.as_ref().is_some_and(|c| *c.epid == *epid)
}

/// The endpoint that sends a request, as From names it.
fn epid(request: &Request<'_>) -> Box<str> {
    let value = request.essentials.from.params.get(b"epid").unwrap_or_default();
    let value = value.get(..MAX_EPID).unwrap_or(value);
    String::from_utf8_lossy(value).to_ascii_lowercase().into()
}

/// The address that From names.
fn sender(request: &Request<'_>) -> Option<Aor> {
    Uri::parse(request.essentials.from.uri)
        .ok()
        .as_ref()
        .and_then(Aor::from_uri)
}

/// Whether a header lists an option.
fn lists(request: &Request<'_>, name: Name, option: &[u8]) -> bool {
    request.view.items(name).any(|o| o.eq_ignore_ascii_case(option))
}
