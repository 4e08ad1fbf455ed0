//! Nonces: made with a keyed digest over their time, so that none need be stored until it is used; the counts of used
//! ones are, so that a replay is refused.

use core::hash::Hasher;
use std::collections::BTreeMap;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::sip::random::Random;
use crate::sip::time::Now;

/// What a nonce and its count are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours, young, and this count was not seen.
    Fresh,
    /// Ours, but expired, or its count was used already.
    Stale,
    /// Not ours.
    Forged,
}

/// Used counts of one nonce: the highest, and a bit for each of the 64 below.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    highest: u32,
    seen: u64,
}

/// Makes and judges nonces of one realm.
#[derive(Debug)]
pub struct Nonces {
    key: [u8; 16],
    lifetime_ms: u64,
    /// Used nonces by the time they were made and their digest, so that the oldest stands first.
    used: BTreeMap<(u64, u128), Window>,
    /// Nonces made up to here may have had counts that were forgotten: without an entry they count no more.
    forgotten_ms: Option<u64>,
}

/// So many nonces may be in use at once; past it, the oldest is forgotten and its client is asked again.
const MAX_USED: usize = 100_000;

impl Nonces {
    /// A maker whose nonces live for `lifetime_ms`.
    #[must_use]
    pub fn new(random: &mut Random, lifetime_ms: u64) -> Self {
        let mut key = [0; 16];
        random.fill(&mut key);
        Self {
            key,
            lifetime_ms,
            used: BTreeMap::new(),
            forgotten_ms: None,
        }
    }

    /// A new nonce: time, random part and digest, hexadecimal.
    pub fn make(&self, now: Now, random: &mut Random) -> String {
        let (time, salt) = (now.mono_ms, random.next_u64());
        format!("{time:016x}{salt:016x}{:032x}", self.digest(time, salt))
    }

    /// Judges a nonce and marks its count as used when it is fresh.
    pub fn take(&mut self, now: Now, nonce: &str, count: u32) -> Verdict {
        let Some((time, salt, digest)) = split(nonce) else {
            return Verdict::Forged;
        };
        if digest != self.digest(time, salt) {
            return Verdict::Forged;
        }
        if now.mono_ms.saturating_sub(time) > self.lifetime_ms || count == 0 {
            return Verdict::Stale;
        }
        self.forget_expired(now);
        if let Some(window) = self.used.get_mut(&(time, digest)) {
            return if window.take(count) {
                Verdict::Fresh
            } else {
                Verdict::Stale
            };
        }
        if self.forgotten_ms.is_some_and(|until| time <= until) {
            return Verdict::Stale;
        }
        if self.used.len() >= MAX_USED
            && let Some(oldest) = self.used.first_entry()
        {
            let made = oldest.key().0;
            // The newcomer may be the oldest itself.
            if time <= made {
                return Verdict::Stale;
            }
            oldest.remove();
            self.forgotten_ms = Some(made);
        }
        let mut window = Window::default();
        window.take(count);
        self.used.insert((time, digest), window);
        Verdict::Fresh
    }

    /// Forgets the counts of expired nonces, which are stale by their time.
    fn forget_expired(&mut self, now: Now) {
        while let Some(entry) = self.used.first_entry()
            && now.mono_ms.saturating_sub(entry.key().0) > self.lifetime_ms
        {
            entry.remove();
        }
    }

    fn digest(&self, time: u64, salt: u64) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(time);
        hasher.write_u64(salt);
        hasher.finish128().as_u128()
    }
}

impl Window {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            self.seen = if step >= 64 { 0 } else { self.seen << step };
            self.seen |= 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= 64 || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

fn split(nonce: &str) -> Option<(u64, u64, u128)> {
    let (time, rest) = nonce.split_at_checked(16)?;
    let (salt, digest) = rest.split_at_checked(16)?;
    if digest.len() != 32 {
        return None;
    }
    let number = |t: &str| u64::from_str_radix(t, 16).ok();
    Some((number(time)?, number(salt)?, u128::from_str_radix(digest, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_good_once_and_an_old_nonce_is_stale() {
        let mut random = Random::from_seed([1; 32]);
        let mut nonces = Nonces::new(&mut random, 1000);
        let start = Now {
            mono_ms: 5000,
            wall_ms: 0,
        };
        let nonce = nonces.make(start, &mut random);
        assert_eq!(nonces.take(start, &nonce, 1), Verdict::Fresh);
        assert_eq!(nonces.take(start, &nonce, 1), Verdict::Stale);
        assert_eq!(nonces.take(start, &nonce, 3), Verdict::Fresh);
        assert_eq!(nonces.take(start, &nonce, 2), Verdict::Fresh);
        assert_eq!(nonces.take(start, &nonce, 2), Verdict::Stale);
        assert_eq!(nonces.take(start.after(1001), &nonce, 9), Verdict::Stale);
        assert_eq!(nonces.take(start, "invented", 1), Verdict::Forged);
        let forged = nonce.replace(&nonce[40..41], if &nonce[40..41] == "0" { "1" } else { "0" });
        assert_eq!(nonces.take(start, &forged, 1), Verdict::Forged);
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_lets_nothing_be_used_again() {
        let mut random = Random::from_seed([1; 32]);
        let mut nonces = Nonces::new(&mut random, 1_000_000);
        let at = |ms: u64| Now {
            mono_ms: 5000 + ms,
            wall_ms: 0,
        };
        let all: Vec<String> = (0..=MAX_USED as u64 + 1)
            .map(|ms| nonces.make(at(ms), &mut random))
            .collect();
        let (unused, all) = all
            .split_first()
            .map(|(first, rest)| (first.clone(), rest))
            .unwrap_or_default();
        let end = at(MAX_USED as u64 + 1);
        for nonce in all {
            assert_eq!(nonces.take(end, nonce, 1), Verdict::Fresh);
        }
        assert_eq!(nonces.used.len(), MAX_USED);
        // The oldest that was used, and an older one that nobody used: asked again. All others go on.
        assert_eq!(nonces.take(end, &all[0], 1), Verdict::Stale);
        assert_eq!(nonces.take(end, &all[0], 2), Verdict::Stale);
        assert_eq!(nonces.take(end, &unused, 1), Verdict::Stale);
        for nonce in &all[1..] {
            assert_eq!(nonces.take(end, nonce, 1), Verdict::Stale, "a replay");
            assert_eq!(nonces.take(end, nonce, 2), Verdict::Fresh);
        }
        assert_eq!(nonces.take(end.after(1_000_000), &all[1], 3), Verdict::Stale);
        let late = nonces.make(end.after(1_000_000), &mut random);
        assert_eq!(nonces.take(end.after(1_000_001), &late, 1), Verdict::Fresh);
        assert_eq!(nonces.used.len(), 1, "expired ones are gone");
    }
}
