//! Branch parameters that we write (RFC 3261 section 8.1.1.7): they lead straight to the transaction's slot.
//!
//! After the magic cookie come slot and generation, then 64 bits of a keyed hash of them that nobody can guess. A
//! response is matched by reading its branch and comparing all of it; nothing is searched. The key lives as long as
//! the layer, so a branch is known as our own when its transaction has ended, too.

use super::ClientId;
use crate::sip::random::Random;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// What the branch of an RFC 3261 element begins with.
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const COOKIE: usize = MAGIC_COOKIE.len();
const GENERATION: usize = COOKIE + 7;
const MAC: usize = GENERATION + 7;

/// Whether a branch makes the rules of RFC 3261 apply: the magic cookie (in any case) with something behind it.
#[must_use]
pub fn has_magic_cookie(branch: &[u8]) -> bool {
    branch.len() > COOKIE && branch[..COOKIE].eq_ignore_ascii_case(MAGIC_COOKIE)
}

/// The branch of one client transaction, to be written into the top Via.
///
/// The owner may append a dot and characters of its own (the loop check of RFC 5393 lives in the branch); responses
/// are matched by what stands before the dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch([u8; Self::LEN]);

impl Branch {
    /// Its length in bytes.
    pub const LEN: usize = MAC + 13;

    /// The text, cookie included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn new(key: &BranchKey, id: ClientId) -> Self {
        let mut text = [0; Self::LEN];
        text[..COOKIE].copy_from_slice(MAGIC_COOKIE);
        encode(&mut text[COOKIE..GENERATION], u64::from(id.slot));
        encode(&mut text[GENERATION..MAC], u64::from(id.generation));
        encode(&mut text[MAC..], key.mac(id));
        Self(text)
    }

    /// Whose branch this is, if we have written it.
    pub(super) fn read(key: &BranchKey, branch: &[u8]) -> Option<ClientId> {
        let (text, suffix) = branch.split_at_checked(Self::LEN)?;
        if !has_magic_cookie(text) || suffix.first().is_some_and(|&first| first != b'.') {
            return None;
        }
        let slot = u32::try_from(decode(&text[COOKIE..GENERATION])?).ok()?;
        let generation = u32::try_from(decode(&text[GENERATION..MAC])?).ok()?;
        let id = ClientId { slot, generation };
        (decode(&text[MAC..])? == key.mac(id)).then_some(id)
    }
}

/// A branch with the mark of RFC 5393 section 4.2 behind a dot: a hash of what decided where the request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkedBranch([u8; Self::LEN]);

impl MarkedBranch {
    /// Its length in bytes.
    pub const LEN: usize = Branch::LEN + 14;

    /// The text, cookie and mark included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Branch {
    /// The branch that also tells a loop from a spiral, with the value of `Layer::target_hash`.
    #[must_use]
    pub fn marked(&self, target: u64) -> MarkedBranch {
        let mut text = [b'.'; MarkedBranch::LEN];
        text[..Self::LEN].copy_from_slice(&self.0);
        encode(&mut text[Self::LEN + 1..], target);
        MarkedBranch(text)
    }

    /// The mark of a branch; `None` when it has none that can be read.
    pub(super) fn mark(branch: &[u8]) -> Option<u64> {
        let suffix = branch.get(Self::LEN..)?.strip_prefix(b".")?;
        (suffix.len() == 13).then(|| decode(suffix)).flatten()
    }
}

/// What makes our branches unguessable.
#[derive(Debug)]
pub(super) struct BranchKey(u64, u64);

impl BranchKey {
    pub(super) fn new(random: &mut Random) -> Self {
        Self(random.next_u64(), random.next_u64())
    }

    /// A hash of fields in order, each set off from the next.
    pub(super) fn hash<'a>(&self, fields: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(!self.0, self.1);
        for field in fields {
            hasher.write_u64(field.len() as u64);
            hasher.write(field);
        }
        hasher.finish()
    }

    fn mac(&self, id: ClientId) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write_u64(u64::from(id.slot) << 32 | u64::from(id.generation));
        hasher.finish()
    }
}

fn encode(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
}

fn decode(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, &byte| {
        let digit = DIGITS[usize::from(byte)];
        (digit < 32 && value >> 59 == 0).then_some((value << 5) | u64::from(digit))
    })
}

const DIGITS: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        table[ALPHABET[digit] as usize] = digit as u8;
        table[ALPHABET[digit].to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: BranchKey = BranchKey(1, 2);

    proptest! {
        #[test]
        fn what_is_written_is_read(slot: u32, generation: u32, at in 0..Branch::LEN, byte: u8) {
            let id = ClientId { slot, generation };
            let branch = Branch::new(&KEY, id);
            let text = branch.as_bytes();
            prop_assert_eq!(Branch::read(&KEY, text), Some(id));
            prop_assert_eq!(Branch::read(&KEY, &text.to_ascii_uppercase()), Some(id));
            prop_assert_eq!(Branch::read(&KEY, &[text, b".loop"].concat()), Some(id));
            prop_assert_eq!(Branch::read(&KEY, &[text, b"x"].concat()), None);
            prop_assert_eq!(Branch::read(&KEY, &text[..Branch::LEN - 1]), None);
            prop_assert_eq!(Branch::read(&BranchKey(1, 3), text), None);
            let mut forged = text.to_vec();
            forged[at] = byte;
            let same = forged.eq_ignore_ascii_case(text);
            prop_assert_eq!(Branch::read(&KEY, &forged), same.then_some(id));
        }

        #[test]
        fn anything_may_be_read(branch: Vec<u8>) {
            prop_assert_eq!(Branch::read(&KEY, &branch), None);
            prop_assert_eq!(Branch::read(&KEY, &[MAGIC_COOKIE, &branch].concat()), None);
        }
    }

    #[test]
    fn a_mark_changes_nothing_but_what_stands_behind_the_dot() {
        let id = ClientId { slot: 7, generation: 9 };
        let branch = Branch::new(&KEY, id);
        for target in [0, 1, u64::MAX] {
            let marked = branch.marked(target);
            assert_eq!(Branch::read(&KEY, marked.as_bytes()), Some(id));
            assert_eq!(Branch::mark(marked.as_bytes()), Some(target));
            assert_eq!(Branch::mark(&marked.as_bytes().to_ascii_uppercase()), Some(target));
            assert_eq!(Branch::mark(&marked.as_bytes()[..MarkedBranch::LEN - 1]), None);
        }
        assert_eq!(Branch::mark(branch.as_bytes()), None);
        assert_ne!(KEY.hash([&b"ab"[..], b"c"]), KEY.hash([&b"a"[..], b"bc"]));
        assert_ne!(KEY.hash([&b""[..]]), KEY.hash([]));
    }

    #[test]
    fn overflowing_and_foreign_digits_are_refused() {
        assert_eq!(decode(b"9999999999999"), None);
        assert_eq!(decode(b"r999999999999"), Some(u64::MAX));
        assert_eq!(decode(b"aaaaaa0"), None);
    }

    #[test]
    fn the_cookie_alone_is_not_an_rfc_3261_branch() {
        assert!(has_magic_cookie(b"z9hG4bKx") && has_magic_cookie(b"Z9HG4BKx"));
        assert!(!has_magic_cookie(b"z9hG4bK") && !has_magic_cookie(b"") && !has_magic_cookie(b"1234567890"));
    }
}
