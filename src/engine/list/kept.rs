//! Lists in the store: one record each, as of any subscription, with all that is on it.

use super::{Entry, List, Standing};
use crate::engine::Engine;
use crate::engine::record::{self, Reader, Writer};
use crate::engine::slots::SlotId;
use crate::engine::timers::Kind;
use crate::event::Reason;
use crate::event::list::Instance;
use crate::sip::time::Now;
use crate::sip::uri::Aor;

const WATCHED: u64 = 0;
/// Beyond it the place of a reason.
const REASONS: [Reason; 7] = [
    Reason::Deactivated,
    Reason::Probation,
    Reason::Rejected,
    Reason::Timeout,
    Reason::Giveup,
    Reason::NoResource,
    Reason::Invariant,
];

fn code(reason: Reason) -> u64 {
    REASONS.iter().position(|r| *r == reason).map_or(1, |at| at as u64 + 1)
}

impl Engine {
    /// The record of a list; `None` once it ends.
    pub(in crate::engine) fn list_value(&self, id: SlotId) -> Option<Box<[u8]>> {
        let subscription = self.presence.subscriptions.get(id).filter(|s| s.ending.is_none())?;
        let list = self.lists.lists.get(&id)?;
        let party = self.party_name(subscription.reach.party);
        let dialect = self.snapshot.dialect(subscription.showing.dialect)?;
        let head = record::subscription(subscription, &"", None, party, &dialect.name);
        let mut writer = Writer::on(&head);
        writer
            .text(&list.uri)
            .number(u64::from(list.eventlist))
            .number(list.entries.len() as u64);
        for entry in &list.entries {
            writer.text(&entry.uri);
            match entry.standing {
                Standing::Ended(reason) => writer.number(code(reason)),
                Standing::Watched(member) => {
                    let member = self.presence.subscriptions.get(member)?;
                    let resource = self.presence.resources.get(member.resource)?;
                    let upstream = resource.upstream.and_then(|id| self.upstreams.slots.get(id));
                    let view = upstream.map(|u| record::upstream_key(&u.key)).unwrap_or_default();
                    writer
                        .number(WATCHED)
                        .text(&resource.aor)
                        .bytes(&view)
                        .bytes(&member.tag)
                        .number(member.born)
                }
            };
        }
        Some(writer.done())
    }

    /// Puts back what is on a list; `None` is damage.
    pub(in crate::engine) fn restore_list(&mut self, now: Now, id: SlotId, r: &mut Reader<'_>) -> Option<()> {
        let (uri, eventlist, count) = (r.text()?.into(), r.number()? != 0, r.number()?);
        let (mut entries, mut lost) = (Vec::new(), false);
        for _ in 0..count {
            let entry = self.restore_entry(id, r)?;
            // Its presentity went with the configuration.
            lost |= entry.told.is_none();
            entries.push(entry);
        }
        let list = List {
            uri,
            eventlist,
            entries,
            before: None,
            more: false,
        };
        self.lists.lists.insert(id, list);
        // What is sent next is sent in full; whether anything is, its members say.
        let subscription = self.presence.subscriptions.get_mut(id)?;
        (subscription.dirty, subscription.owed) = (lost, false);
        if lost {
            self.wheel.arm(now.mono_ms + 1, Kind::Subscription, id);
        }
        Some(())
    }

    fn restore_entry(&mut self, list: SlotId, r: &mut Reader<'_>) -> Option<Entry> {
        let (uri, state) = (r.text()?, r.number()?);
        if state != WATCHED {
            let reason = *REASONS.get(usize::try_from(state - 1).ok()?)?;
            return Some(Entry {
                uri: uri.into(),
                standing: Standing::Ended(reason),
                told: Some(Instance::Terminated(reason)),
            });
        }
        let (aor, view) = (Aor::parse(r.text()?)?, r.bytes()?);
        let (tag, born) = (r.bytes()?.try_into().ok()?, r.number()?);
        let resource = match view.is_empty() {
            true => Some(self.local_resource(&aor)),
            false => self.upstream_resource(view),
        };
        let member = resource.and_then(|resource| self.put_member(list, uri, (resource, tag, born)));
        Some(Entry {
            uri: uri.into(),
            standing: member.map_or(Standing::Ended(Reason::NoResource), Standing::Watched),
            told: member.map(|_| Instance::Active),
        })
    }
}
