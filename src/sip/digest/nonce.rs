//! Nonces: made with a keyed digest over their time, so that none need be stored until it is used; the counts of used
//! ones are, so that a replay is refused.

use core::hash::Hasher;

use hashbrown::HashMap;
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
#[derive(Clone, Copy, Debug)]
struct Window {
    highest: u32,
    seen: u64,
    expires_ms: u64,
}

/// Makes and judges nonces of one realm.
#[derive(Debug)]
pub struct Nonces {
    key: [u8; 16],
    lifetime_ms: u64,
    used: HashMap<u128, Window>,
    swept_ms: u64,
}

/// So many nonces may be in use at once; past it, the oldest table is dropped and clients are asked again.
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
            used: HashMap::new(),
            swept_ms: 0,
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
        self.sweep(now);
        let expires_ms = time + self.lifetime_ms;
        let window = self.used.entry(digest).or_insert(Window {
            highest: 0,
            seen: 0,
            expires_ms,
        });
        if window.take(count) {
            Verdict::Fresh
        } else {
            Verdict::Stale
        }
    }

    /// Forgets the counts of expired nonces, now and then.
    fn sweep(&mut self, now: Now) {
        if now.mono_ms < self.swept_ms + self.lifetime_ms / 2 && self.used.len() < MAX_USED {
            return;
        }
        self.swept_ms = now.mono_ms;
        self.used.retain(|_, w| w.expires_ms >= now.mono_ms);
        if self.used.len() >= MAX_USED {
            // The key changes with the table, so that no count that was forgotten can be used again.
            self.used.clear();
            self.key[0] = self.key[0].wrapping_add(1);
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
}
