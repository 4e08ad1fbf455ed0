//! Record-Route tokens: how a request inside a dialog that passes through the bridge proves which two sides it joins.
//!
//! The user part of our Record-Route is `t` + the two sides + a keyed digest over sides and Call-ID. It needs no state,
//! so such dialogs continue after a restart; and since nobody else can make one, a Route that a stranger writes opens
//! nothing. Sides are named by a hash of the peer's or user's name, so the token survives a reordered configuration.

use core::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use crate::policy::{Party, Snapshot};

/// Length of a token in characters.
const LENGTH: usize = 1 + 2 * 9 + 26;

/// The two sides of a dialog: who sent the request that opened it, and where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) caller: Party,
    pub(super) callee: Party,
}

/// The token for a dialog.
pub(super) fn make(key: &[u8; 16], snapshot: &Snapshot, sides: Sides, call_id: &[u8]) -> SmallVec<[u8; 48]> {
    let mut token = SmallVec::new();
    token.push(b't');
    for party in [sides.caller, sides.callee] {
        token.push(if matches!(party, Party::Peer(_)) { b'p' } else { b'u' });
        token.extend_from_slice(&base32::<8>(u128::from(name_hash(snapshot, party))));
    }
    let digest = seal(key, &token, call_id);
    token.extend_from_slice(&base32::<26>(digest));
    token
}

/// The sides a token names, if it is ours and belongs to this Call-ID.
pub(super) fn read(key: &[u8; 16], snapshot: &Snapshot, token: &[u8], call_id: &[u8]) -> Option<Sides> {
    if token.len() != LENGTH || token.first() != Some(&b't') {
        return None;
    }
    let (head, digest) = token.split_at(LENGTH - 26);
    if base32::<26>(seal(key, head, call_id)) != digest {
        return None;
    }
    let caller = party(snapshot, head.get(1..10)?)?;
    let callee = party(snapshot, head.get(10..19)?)?;
    Some(Sides { caller, callee })
}

fn party(snapshot: &Snapshot, text: &[u8]) -> Option<Party> {
    let (kind, hash) = text.split_first()?;
    let same = |p: Party| base32::<8>(u128::from(name_hash(snapshot, p))) == hash;
    match kind {
        b'p' => snapshot.peers().map(|(id, _)| Party::Peer(id)).find(|p| same(*p)),
        b'u' => snapshot.users.iter().map(|(id, _)| Party::User(id)).find(|p| same(*p)),
        _ => None,
    }
}

fn name_hash(snapshot: &Snapshot, party: Party) -> u64 {
    let mut hasher = SipHasher13::new();
    match party {
        Party::Peer(id) => hasher.write(snapshot.peer(id).map_or(&b""[..], |p| p.name.as_bytes())),
        Party::User(id) => {
            if let Some(user) = snapshot.user(id) {
                hasher.write(user.user.as_bytes());
                hasher.write(b"@");
                hasher.write(user.domain.as_bytes());
            }
        }
    }
    hasher.finish128().h1
}

fn seal(key: &[u8; 16], head: &[u8], call_id: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(&(head.len() as u64).to_le_bytes());
    hasher.write(head);
    hasher.write(call_id);
    hasher.finish128().as_u128()
}

fn base32<const N: usize>(mut bits: u128) -> [u8; N] {
    let mut out = [0; N];
    for byte in &mut out {
        *byte = b"abcdefghijkmnpqrstuvwxyz23456789"[(bits & 31) as usize];
        bits >>= 5;
    }
    out
}
