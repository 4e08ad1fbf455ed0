//! A refresh that names whom the list is to hold from now on.

use super::is_adrl;
use crate::engine::Engine;
use crate::engine::reply::{Answer, Request};
use crate::engine::slots::SlotId;
use crate::sip::header::Name;
use crate::sip::time::Now;

impl Engine {
    /// Takes what a refresh says of a list; `false` when it has been answered. Without a body the list stays as it is.
    pub(in crate::engine) fn relist(&mut self, now: Now, request: &Request<'_>, id: SlotId) -> bool {
        let accepts = request.view.header(Name::Accept).is_some();
        if accepts && !self.takes_lists(now, request) {
            return false;
        }
        if request.view.body().is_empty() && !is_adrl(request) {
            return true;
        }
        let Some(uris) = self.read_list(now, request) else {
            return false;
        };
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return false;
        };
        let who = subscription.reach.party;
        let Some(list) = self.lists.lists.get_mut(&id) else {
            return false;
        };
        if list.before.is_some() {
            let headers: [(&[u8], &[u8]); 1] = [(b"Retry-After", b"1")];
            self.answer(now, request, Answer::new(500, "Earlier Refresh Pending").with(&headers));
            return false;
        }
        let there = std::mem::take(&mut list.entries);
        let entries = self.entries_of(now, request, who, (id, &there), &uris);
        if let Some(list) = self.lists.lists.get_mut(&id) {
            (list.entries, list.before) = (entries, Some(there));
        }
        true
    }

    /// A refresh is durable: whom it left out is watched no more. Or it was refused, and all is as before.
    pub(in crate::engine) fn settle_relist(&mut self, id: SlotId, durable: bool) {
        let Some(list) = self.lists.lists.get_mut(&id) else {
            return;
        };
        let Some(mut left) = list.before.take() else { return };
        if !durable {
            std::mem::swap(&mut list.entries, &mut left);
            // The number of what the refused answer held is used up: what follows is all of it.
            if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
                subscription.sent = 0;
            }
        }
        let kept = list.members();
        for member in left.iter().filter_map(super::Entry::member) {
            if !kept.contains(&member) {
                self.lists.members.remove(&member);
                self.remove_subscription(member);
            }
        }
    }
}
