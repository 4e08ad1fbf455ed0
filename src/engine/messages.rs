//! Messages for local users (RFC 3428): on to their contacts, or kept until the next REGISTER.
//!
//! A kept message is delivered at least once: it goes when a contact has answered 2xx, and a repeat has the same
//! Call-ID.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use super::commit::{Promise, refused};
use super::forward::{Manner, Owner, is_reliable};
use super::registrar::is_sips;
use super::reply::{Answer, Reply, Request, phrase};
use super::slots::{SlotId, Slots};
use super::timers::Kind;
use super::undo::Undo;
use super::{Engine, record};
use crate::policy::Party;
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, parse};
use crate::sip::net::{Destination, Source};
use crate::sip::time::Now;
use crate::sip::transaction::ServerId;
use crate::sip::uri::Aor;
use crate::sip::write;

/// Delivery that failed is tried again after this, while the user is registered.
const RETRY_MS: u64 = 30_000;
/// A message that is not durable yet is looked at again after this.
const SETTLING_MS: u64 = 20;
/// RFC 3261 section 18.1.1: what is longer does not go out as a datagram.
pub(super) const MAX_DATAGRAM: usize = 1_300;

/// One kept message: the request as it came.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: [u8; 16],
    pub(super) request: Bytes,
    /// Where the journal stood when it was kept.
    pub(super) position: u64,
}

/// Kept messages of one user.
#[derive(Debug)]
struct Box_ {
    aor: Aor,
    queue: VecDeque<Stored>,
    delivering: bool,
}

/// All kept messages.
#[derive(Debug, Default)]
pub(super) struct Offline {
    boxes: Slots<Box_>,
    by_aor: HashMap<Aor, SlotId>,
    /// Messages kept since the start, which tells those of one millisecond apart.
    count: u32,
}

impl Offline {
    /// How many messages wait for a user.
    pub(super) fn waiting(&self, aor: &Aor) -> usize {
        self.by_aor
            .get(aor)
            .and_then(|id| self.boxes.get(*id))
            .map_or(0, |b| b.queue.len())
    }

    /// How many wait in all.
    pub(super) fn len(&self) -> usize {
        self.boxes.iter().map(|(_, b)| b.queue.len()).sum()
    }

    fn entry(&mut self, aor: &Aor) -> SlotId {
        if let Some(id) = self.by_aor.get(aor) {
            return *id;
        }
        let id = self.boxes.insert(Box_ {
            aor: aor.clone(),
            queue: VecDeque::new(),
            delivering: false,
        });
        self.by_aor.insert(aor.clone(), id);
        id
    }

    /// Puts a message at the end of a user's queue.
    pub(super) fn push(&mut self, aor: &Aor, stored: Stored) -> SlotId {
        let id = self.entry(aor);
        if let Some(entry) = self.boxes.get_mut(id) {
            entry.queue.push_back(stored);
        }
        id
    }

    /// A kept message by its id.
    pub(super) fn get(&self, aor: &Aor, id: &[u8]) -> Option<&[u8]> {
        let mailbox = self.boxes.get(*self.by_aor.get(aor)?)?;
        let stored = mailbox.queue.iter().find(|s| s.id == id)?;
        Some(&stored.request)
    }
}

/// Whether a final answer says that the contact will never take the message: 4xx but 408 and 480, and 6xx. A message
/// that all contacts refuse is not kept: the sender hears of it instead of 202.
pub(super) fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=407 | 409..=479 | 481..500 | 600..)
}

impl Engine {
    /// A MESSAGE for a local user.
    pub(super) fn on_local_message(&mut self, now: Now, request: &Request<'_>, who: Party, aor: &Aor) {
        let settings = &self.snapshot.messages;
        if request.view.body().len() > settings.max_size {
            return self.answer(now, request, Answer::new(413, phrase(413)));
        }
        // What is kept may leave by any contact later.
        let keeps = settings.store_offline && !is_sips(request.view.request_uri());
        let mut hops = self.hops_for(aor, request.view.request_uri());
        let manner = Manner {
            strip_credentials: true,
            names: self.names_for_us(request, who),
            ..Manner::default()
        };
        if !hops.is_empty() {
            // What is too long for a datagram goes to the contacts that are reached otherwise.
            if request.source.flow.is_some() && request.view.bytes().len() > MAX_DATAGRAM {
                hops.retain(|hop| {
                    hop.destinations
                        .iter()
                        .any(|to| !matches!(to, Destination::Datagram { .. }))
                });
                if hops.is_empty() {
                    return self.answer(now, request, Answer::new(513, phrase(513)));
                }
            }
            return self.forward_or_store(now, request, hops, manner, keeps.then(|| aor.clone()));
        }
        if !keeps {
            return self.answer(now, request, Answer::new(480, phrase(480)));
        }
        let kept = self.buffers.keep(request.view.bytes());
        let framing = if request.source.flow.is_some() {
            Framing::Stream
        } else {
            Framing::Datagram
        };
        self.store_kept(now, &kept, framing, request.source, request.server, aor);
    }

    /// Keeps a message that no contact took; 202 once it is durable.
    pub(super) fn store_kept(
        &mut self,
        now: Now,
        kept: &Bytes,
        framing: Framing,
        source: &Source,
        server: ServerId,
        aor: &Aor,
    ) {
        let full = self.messages.waiting(aor) >= self.snapshot.messages.max_stored as usize;
        let status = if full {
            480
        } else if !self.journal.is_broken() && self.is_kept_already(now, kept, framing, source) {
            482
        } else {
            202
        };
        let Some(wire) = self.answer_to_kept(kept, framing, source, status, "") else {
            return;
        };
        if status != 202 {
            self.layer.respond(now, server, status, wire);
            return;
        }
        if self.journal.is_broken() {
            let wire = refused(&wire, self.host());
            self.layer.respond(now, server, 500, wire);
            return;
        }
        let id = self.message_id(now);
        self.persist(record::message_key(aor, &id), Some(kept.as_ref().into()));
        let stored = Stored {
            id,
            request: Bytes::copy_from_slice(kept),
            position: self.journal.position(),
        };
        let mailbox = self.messages.push(aor, stored);
        self.or_undo(Undo::Message { mailbox, id });
        let recipe = Bytes::new();
        self.promise(
            now,
            Promise::Answer(Reply {
                server,
                status,
                wire,
                recipe,
            }),
        );
    }

    /// Names a kept message. Records come back in the order of their keys, so time stands first: a user gets messages in
    /// the order they came, after a restart as well.
    pub(super) fn message_id(&mut self, now: Now) -> [u8; 16] {
        self.messages.count = self.messages.count.wrapping_add(1);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&now.wall_ms.to_be_bytes());
        id[8..12].copy_from_slice(&self.messages.count.to_be_bytes());
        id[12..].copy_from_slice(&self.random.token::<4>());
        id
    }

    /// The same message may have come over another path.
    fn is_kept_already(&mut self, now: Now, kept: &Bytes, framing: Framing, source: &Source) -> bool {
        let mut index = self.index.take().unwrap_or_default();
        let merged = parse(kept, framing, &mut index)
            .and_then(|view| Ok((view, view.essentials()?)))
            .is_ok_and(|(view, essentials)| self.is_merged(now, source, &view, &essentials));
        self.index = Some(index);
        merged
    }

    /// The user is registered: the oldest kept message goes first, one at a time.
    pub(super) fn deliver_stored(&mut self, now: Now, aor: &Aor) {
        let Some(id) = self.messages.by_aor.get(aor).copied() else {
            return;
        };
        self.promise(now, Promise::Deliver(id));
    }

    pub(super) fn deliver_next(&mut self, now: Now, id: SlotId) {
        let Some(entry) = self.messages.boxes.get_mut(id).filter(|b| !b.delivering) else {
            return;
        };
        let (aor, Some(stored)) = (entry.aor.clone(), entry.queue.front().cloned()) else {
            return;
        };
        if !self.journal.is_settled(stored.position) {
            // Its sender may yet be told 500.
            return self.wheel.arm(now.mono_ms + SETTLING_MS, Kind::Delivery, id);
        }
        let hops = self.contact_hops(&aor);
        let Some((hop, to)) = hops.first().and_then(|h| Some((h, *h.destinations.first()?))) else {
            return;
        };
        if let Some(entry) = self.messages.boxes.get_mut(id) {
            entry.delivering = true;
        }
        if self.deliver_in_session(now, id, &aor, &stored.request) {
            return;
        }
        let (client, branch) = self.layer.reserve(false, id.pack(Owner::Delivery as u8));
        let via = self.via_value(to, branch.as_bytes());
        let mut index = Index::new();
        let mut buffer = self.buffers.take();
        let route: [(&[u8], &[u8]); 1] = [(b"Route", hop.path.as_deref().unwrap_or_default())];
        let plan = write::Forward {
            uri: hop.uri.as_deref(),
            add: if hop.path.is_some() { &route } else { &[] },
            via: &via,
            max_forwards: 70,
            remove: &[
                Name::Via,
                Name::Authorization,
                Name::ProxyAuthorization,
                Name::Route,
                Name::RecordRoute,
            ],
            ..write::Forward::default()
        };
        let written = parse(&stored.request, Framing::Datagram, &mut index)
            .map(|view| write::forward_request(&mut buffer, &view, &plan))
            .is_ok();
        let wire = self.buffers.finish(buffer);
        if !written {
            self.layer.abandon(client);
            if let Some(entry) = self.messages.boxes.get_mut(id) {
                entry.delivering = false;
            }
            return self.forget_front(id);
        }
        self.layer.send(now, client, to, wire, is_reliable(to));
    }

    /// A message whose sender was told 500.
    pub(super) fn forget_message(&mut self, mailbox: SlotId, id: [u8; 16]) {
        let Some(entry) = self.messages.boxes.get_mut(mailbox) else {
            return;
        };
        entry.queue.retain(|stored| stored.id != id);
        if entry.queue.is_empty() {
            let aor = entry.aor.clone();
            self.messages.boxes.remove(mailbox);
            self.messages.by_aor.remove(&aor);
        }
    }

    fn forget_front(&mut self, id: SlotId) {
        let Some(entry) = self.messages.boxes.get_mut(id) else {
            return;
        };
        let aor = entry.aor.clone();
        if let Some(stored) = entry.queue.pop_front() {
            self.persist(record::message_key(&aor, &stored.id), None);
        }
        if self.messages.waiting(&aor) == 0 {
            self.messages.boxes.remove(id);
            self.messages.by_aor.remove(&aor);
        }
    }

    /// A contact has answered. What it will never take is not kept for ever.
    pub(super) fn on_delivery_response(&mut self, now: Now, id: SlotId, status: u16) {
        if status < 200 {
            return;
        }
        if let Some(entry) = self.messages.boxes.get_mut(id) {
            entry.delivering = false;
        }
        match status {
            _ if status < 300 || is_refusal(status) => {
                self.forget_front(id);
                self.deliver_next(now, id);
            }
            _ => self.wheel.arm(now.mono_ms + RETRY_MS, Kind::Delivery, id),
        }
    }

    pub(super) fn on_delivery_failure(&mut self, now: Now, id: SlotId) {
        if let Some(entry) = self.messages.boxes.get_mut(id) {
            entry.delivering = false;
            self.wheel.arm(now.mono_ms + RETRY_MS, Kind::Delivery, id);
        }
    }

    pub(super) fn on_delivery_timer(&mut self, now: Now, id: SlotId) {
        self.deliver_next(now, id);
    }
}
