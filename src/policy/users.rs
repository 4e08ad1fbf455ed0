//! Local users and their secrets.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashTable;

use super::aliases::{Alias, AliasName, Aliases};
use super::names::{HASH_SEED, hash_lower, same, trim};
use super::rule::RuleRef;
use crate::sip::net::PeerId;
use crate::sip::uri::Aor;

/// Index of a user in the running configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub u32);

/// A password. It never prints.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a password.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// Whether it is the same password; for comparing configurations, not for logins.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// The password itself, for the digest computation only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A line of a user at a peer.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its address there.
    pub address: Aor,
    /// Where it is.
    pub peer: PeerId,
    /// It speaks for the person. At most one of a user's does.
    pub primary: bool,
    /// Where it is written.
    pub rule: RuleRef,
}

/// A local user.
#[derive(Clone, Debug)]
pub struct User {
    /// The user part, unescaped; case counts (RFC 3261 19.1.4).
    pub user: Arc<str>,
    /// The local domain, lower case.
    pub domain: Arc<str>,
    /// What the digest is computed with.
    pub password: Secret,
    /// Whether the user can be watched and may publish.
    pub presence: bool,
    /// Whether the user may register and send.
    pub client: bool,
    /// Further addresses and numbers.
    pub aliases: Vec<Alias>,
    /// Lines at peers.
    pub lines: Vec<Line>,
    /// Where it is written.
    pub rule: RuleRef,
    /// Where `enabled` is written, else where the user is.
    pub enabled_rule: RuleRef,
}

/// All local users, found by address without allocation.
#[derive(Clone, Debug, Default)]
pub struct Users {
    list: Vec<User>,
    table: HashTable<u32>,
    aliases: Aliases,
}

impl Users {
    /// Gives a user a further address or number; an error names whose it is already, and where.
    pub fn add_alias(&mut self, of: UserId, alias: Alias) -> Result<(), (UserId, RuleRef)> {
        let taken = match &alias.name {
            AliasName::Address(user, host) => self.find_plain(user, host),
            AliasName::Number(_) => None,
        };
        if let Some(other) = taken {
            return Err((
                other,
                self.get(other).map_or_else(|| alias.rule.clone(), |u| u.rule.clone()),
            ));
        }
        self.aliases.insert(&alias, of)?;
        if let Some(user) = self.list.get_mut(of.0 as usize) {
            user.aliases.push(alias);
        }
        Ok(())
    }

    /// All aliases.
    #[must_use]
    pub fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// Adds a user; the address must be new, else the index it already has is returned.
    pub fn insert(&mut self, user: User) -> Result<UserId, UserId> {
        let escaped = user.escaped();
        if let Some(id) = self.find(escaped.as_bytes(), user.domain.as_bytes()) {
            return Err(id);
        }
        let id = UserId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        let hash = hash(user.user.bytes(), user.domain.as_bytes());
        self.list.push(user);
        let list = &self.list;
        self.table.insert_unique(hash, id.0, |i| {
            list.get(*i as usize)
                .map_or(0, |u| self::hash(u.user.bytes(), u.domain.as_bytes()))
        });
        Ok(id)
    }

    /// Finds a user by the user part as on the wire (escapes are undone) and the host in any case.
    #[must_use]
    pub fn find(&self, user: &[u8], host: &[u8]) -> Option<UserId> {
        let matches = |i: &u32| {
            let Some(candidate) = self.list.get(*i as usize) else {
                return false;
            };
            same(candidate.domain.as_bytes(), host) && unescaped(user).eq(candidate.user.bytes())
        };
        self.table
            .find(hash(unescaped(user), host), matches)
            .map(|i| UserId(*i))
    }

    /// Finds a user by the unescaped user part and the domain in any case.
    #[must_use]
    pub fn find_plain(&self, user: &str, domain: &str) -> Option<UserId> {
        let matches = |i: &u32| {
            let Some(candidate) = self.list.get(*i as usize) else {
                return false;
            };
            same(candidate.domain.as_bytes(), domain.as_bytes()) && *candidate.user == *user
        };
        self.table
            .find(hash(user.bytes(), domain.as_bytes()), matches)
            .map(|i| UserId(*i))
    }

    /// The user of an id.
    #[must_use]
    pub fn get(&self, id: UserId) -> Option<&User> {
        self.list.get(id.0 as usize)
    }

    /// All users in the order they were written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (UserId, &User)> {
        self.list
            .iter()
            .enumerate()
            .map(|(i, u)| (UserId(u32::try_from(i).unwrap_or(u32::MAX)), u))
    }
}

impl User {
    /// The line that speaks for the person.
    #[must_use]
    pub fn primary_line(&self) -> Option<&Line> {
        self.lines.iter().find(|l| l.primary)
    }

    /// The address of record.
    #[must_use]
    pub fn aor(&self) -> Aor {
        Aor::new(&self.user, &self.domain)
    }

    /// The user part as it goes into a URI.
    #[must_use]
    pub fn escaped(&self) -> String {
        escape(&self.user)
    }

    /// Its first alias that is a number.
    #[must_use]
    pub fn number(&self) -> Option<&str> {
        self.aliases.iter().find_map(|alias| match &alias.name {
            AliasName::Number(number) => Some(&**number),
            AliasName::Address(..) => None,
        })
    }

    /// `user@domain`, escaped where it must be.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}@{}", self.escaped(), self.domain)
    }
}

fn hash(user: impl Iterator<Item = u8>, host: &[u8]) -> u64 {
    let seed = user.fold(HASH_SEED, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash_lower(seed.rotate_left(17), trim(host))
}

/// The bytes of a user part with `%hh` undone (RFC 3261 19.1.4); a broken escape stays as it is.
pub(crate) fn unescaped(raw: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = raw;
    core::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        if first == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        rest = tail;
        Some(first)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok())
}

/// The user part with everything escaped that RFC 3261 `user` does not allow plainly.
fn escape(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
