//! Users here whose clients take sessions: what waits for them, and what a lost connection does.

use bytes::Bytes;

use super::super::messages::is_refusal;
use super::super::slots::SlotId;
use super::{End, Engine, Parcel};
use crate::dialect::ImMode;
use crate::im::content;
use crate::policy::Party;
use crate::sip::field::NameAddr;
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, parse};
use crate::sip::net::FlowId;
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri};

impl Engine {
    /// It cannot be delivered now: for an absent user here it is kept, anybody else's sender hears of it.
    pub(super) fn give_up(&mut self, now: Now, id: SlotId, status: u16, why: &str) {
        let waits = |p: &Parcel| p.delivery.is_none() && self.is_local(&p.to.aor) && !is_refusal(status);
        if self.talks.parcels.get(id).is_some_and(waits) {
            self.keep_for_local(now, id);
        } else {
            self.conclude_parcel(now, id, status, why);
        }
    }

    /// One client of a user here did not come: the next is invited, if there is one.
    pub(super) fn invite_next_client(&mut self, now: Now, line: SlotId, contact: usize) -> bool {
        let Some(entry) = self.talks.lines.get(line).filter(|l| !l.outbox.is_empty()) else {
            return false;
        };
        let aor = &entry.remote.aor;
        let more = self.is_local(aor) && self.registrar.bindings(aor).len() > contact + 1;
        if more {
            self.open_session(now, line, contact + 1);
        }
        more
    }

    /// Whether no client of a user here is registered.
    pub(super) fn is_absent(&self, aor: &Aor) -> bool {
        self.is_local(aor) && self.registrar.bindings(aor).is_empty()
    }

    /// Sends a kept message in a session, if the user's client takes such; false if it shall go by itself.
    pub(in crate::engine) fn deliver_in_session(&mut self, now: Now, mailbox: SlotId, aor: &Aor, kept: &Bytes) -> bool {
        let Some(party) = self.party_of(aor) else { return false };
        let to = End {
            aor: aor.clone(),
            party,
        };
        if self.mode_of(now, &to) != ImMode::Session {
            return false;
        }
        let Some(parcel) = self.parcel_of(to, kept) else {
            return false;
        };
        let parcel = Parcel {
            silent: true,
            delivery: Some(mailbox),
            id: self.parcel_id(now),
            ..parcel
        };
        let id = self.talks.parcels.insert(parcel);
        self.dispatch_parcel(now, id);
        true
    }

    fn parcel_of(&self, to: End, kept: &[u8]) -> Option<Parcel> {
        let mut index = Index::new();
        let view = parse(kept, Framing::Datagram, &mut index).ok()?;
        // What was written here has no Via, so it is no complete request.
        let from = NameAddr::parse(view.header(Name::From)?).ok()?;
        let aor = Aor::from_uri(&Uri::parse(from.uri).ok()?)?;
        let from = End {
            party: self.party_of(&aor)?,
            aor,
        };
        let media = view.header(Name::ContentType).unwrap_or(b"text/plain");
        let media = String::from_utf8_lossy(media).into_owned();
        let said = self.as_meant(&from, content::read(&media, view.body()).ok()?);
        Some(Parcel::new(from, to, said, &media, Bytes::copy_from_slice(view.body())))
    }

    /// A client's connection is gone, and its sessions with it. What was on its way in them goes another way, or waits.
    pub(in crate::engine) fn end_talks_over(&mut self, now: Now, flow: FlowId) {
        let over = |s: &super::Session| s.origin.as_ref().is_some_and(|o| o.flow == Some(flow));
        let of_user = |s: &super::Session| {
            let line = self.talks.lines.get(s.line);
            line.is_some_and(|l| matches!(l.remote.party, Party::User(_)))
        };
        let sessions = self.talks.sessions.iter().filter(|(_, s)| over(s) && of_user(s));
        let gone: Vec<(SlotId, SlotId)> = sessions.map(|(id, s)| (id, s.line)).collect();
        for (id, line) in gone {
            let in_it = |(_, p): &(SlotId, &Parcel)| p.session == Some(id) && p.client.is_some();
            let sent = self.talks.parcels.iter().find(in_it).map(|(id, p)| (id, p.client));
            if let Some(client) = self.talks.sessions.get(id).and_then(|s| s.client) {
                self.layer.abandon(client);
            }
            self.drop_session(id);
            match sent {
                Some((parcel, client)) => {
                    if let Some(client) = client {
                        self.layer.abandon(client);
                    }
                    self.on_session_answer(now, parcel, 481);
                }
                None => self.pump(now, line),
            }
        }
    }
}
