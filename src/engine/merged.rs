//! Merged requests (RFC 3261 section 8.2.2.2): one request that reached us over two paths is served once.
//!
//! Only what the bridge answers itself is looked at, and only after the decision has allowed it: a request that was
//! challenged is not remembered, one that is forwarded is the next server's to tell. The table has a fixed size and
//! forgets the oldest of a bucket first; at more than about 2,000 such requests a second it remembers for less than
//! 64*T1. Other people's addresses are other user agents: a fork to two users here is not a merge.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::Engine;
use crate::sip::message::{Essentials, View};
use crate::sip::net::{FlowId, Source};
use crate::sip::random::Random;
use crate::sip::time::Now;
use crate::sip::uri::Uri;

/// 64*T1: as long as a server transaction over UDP.
const LIFETIME_MS: u64 = 32_000;
const BUCKETS: usize = 16 * 1024;
const WAYS: usize = 4;

/// A request that was served, by the hash of what identifies it.
#[derive(Clone, Copy, Debug, Default)]
struct Served {
    identity: u64,
    until_ms: u64,
    /// The connection it came by.
    flow: Option<FlowId>,
}

/// The requests served of late.
#[derive(Debug)]
pub(super) struct Merged {
    keys: (u64, u64),
    /// Made when the first request is served.
    buckets: Vec<[Served; WAYS]>,
}

impl Merged {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            keys: (random.next_u64(), random.next_u64()),
            buckets: Vec::new(),
        }
    }

    fn identity(&self, view: &View<'_>, essentials: &Essentials<'_>) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        let uri = Uri::parse(view.request_uri()).ok();
        let user = uri.as_ref().and_then(|uri| uri.user).unwrap_or_default();
        let host = uri.as_ref().map(Uri::host_bytes).unwrap_or_default();
        let tag = essentials.from.tag().unwrap_or_default();
        for field in [essentials.method.as_bytes(), user, tag, essentials.call_id] {
            hasher.write_u64(field.len() as u64);
            hasher.write(field);
        }
        for byte in host {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        hasher.write_u32(essentials.cseq.number);
        hasher.finish()
    }

    /// Remembers a request; the earlier one when it was served already.
    fn take(&mut self, now: Now, identity: u64, flow: Option<FlowId>) -> Option<Served> {
        if self.buckets.is_empty() {
            self.buckets = vec![[Served::default(); WAYS]; BUCKETS];
        }
        let at = usize::try_from(identity % BUCKETS as u64).unwrap_or(0);
        let bucket = self.buckets.get_mut(at)?;
        let fits = |s: &&mut Served| s.identity == identity && s.until_ms > now.mono_ms;
        let until_ms = now.mono_ms + LIFETIME_MS;
        if let Some(before) = bucket.iter_mut().find(fits) {
            return Some(*before);
        }
        let oldest = bucket.iter_mut().min_by_key(|s| s.until_ms)?;
        *oldest = Served {
            identity,
            until_ms,
            flow,
        };
        None
    }
}

impl Engine {
    /// Whether a request outside a dialog was served already under another branch. One whose connection broke may be
    /// sent again (RFC 3263 section 4.3): that is no second path.
    pub(super) fn is_merged(
        &mut self,
        now: Now,
        source: &Source,
        view: &View<'_>,
        essentials: &Essentials<'_>,
    ) -> bool {
        let identity = self.merged.identity(view, essentials);
        let before = self.merged.take(now, identity, source.flow);
        before.is_some_and(|before| before.flow.is_none_or(|flow| self.flows.contains_key(&flow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_for_64_t1_and_is_bounded() {
        let mut merged = Merged::new(&mut Random::from_seed([3; 32]));
        let now = Now { mono_ms: 1, wall_ms: 1 };
        assert!(merged.take(now, 7, None).is_none());
        assert!(merged.take(now.after(LIFETIME_MS - 1), 7, None).is_some());
        assert!(merged.take(now.after(LIFETIME_MS), 7, None).is_none());
        // More of one bucket than it holds: the oldest goes, the youngest stay.
        let step = BUCKETS as u64;
        for n in 1..=WAYS as u64 {
            assert!(merged.take(now.after(LIFETIME_MS + n), 7 + n * step, None).is_none());
        }
        let late = now.after(LIFETIME_MS + 10);
        assert!(merged.take(late, 7 + WAYS as u64 * step, None).is_some());
        assert!(merged.take(late, 7, None).is_none());
        assert_eq!(merged.buckets.len(), BUCKETS);
    }
}
