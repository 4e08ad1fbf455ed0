//! Further addresses and numbers of local users: one person with several addresses is one presentity.
//!
//! Addresses compare like those of users: the user part without escapes, the host in any case. Numbers are kept in the
//! form that the dial plan gives them.

use std::sync::Arc;

use hashbrown::HashTable;

use super::names::{HASH_SEED, NameMap, hash_lower, same, trim};
use super::rule::RuleRef;
use super::users::{UserId, unescaped};

/// One alias of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// What it is.
    pub name: AliasName,
    /// Where it is written.
    pub rule: RuleRef,
}

/// What an alias can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasName {
    /// Another address: user part without escapes, and host in lower case.
    Address(Arc<str>, Arc<str>),
    /// A number in its normal form, perhaps with `;ext=` and an extension.
    Number(Arc<str>),
}

impl core::fmt::Display for AliasName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Address(user, host) => write!(f, "{user}@{host}"),
            Self::Number(number) => f.write_str(number),
        }
    }
}

#[derive(Clone, Debug)]
struct Address {
    user: Arc<str>,
    host: Arc<str>,
    of: UserId,
    rule: RuleRef,
}

/// All aliases, found without allocation.
#[derive(Clone, Debug, Default)]
pub struct Aliases {
    addresses: Vec<Address>,
    table: HashTable<u32>,
    numbers: NameMap<(UserId, RuleRef)>,
}

impl Aliases {
    /// Adds an alias; an error names whose it is already, and where.
    pub fn insert(&mut self, alias: &Alias, of: UserId) -> Result<(), (UserId, RuleRef)> {
        match &alias.name {
            AliasName::Number(number) => match self.numbers.insert(number, (of, alias.rule.clone())) {
                Ok(_) => Ok(()),
                Err(at) => Err(self.numbers.at(at).map_or((of, alias.rule.clone()), |(_, v)| v.clone())),
            },
            AliasName::Address(user, host) => {
                let found = self.position(|| user.bytes(), host.as_bytes());
                if let Some(known) = found.and_then(|at| self.addresses.get(at)) {
                    return Err((known.of, known.rule.clone()));
                }
                let position = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
                self.addresses.push(Address {
                    user: user.clone(),
                    host: host.clone(),
                    of,
                    rule: alias.rule.clone(),
                });
                let list = &self.addresses;
                let again = |i: &u32| {
                    list.get(*i as usize)
                        .map_or(0, |a| hash(a.user.bytes(), a.host.as_bytes()))
                };
                self.table
                    .insert_unique(hash(user.bytes(), host.as_bytes()), position, again);
                Ok(())
            }
        }
    }

    /// Whose alias an address is: the user part as on the wire, the host in any case.
    #[must_use]
    pub fn address(&self, user: &[u8], host: &[u8]) -> Option<(UserId, &RuleRef)> {
        if self.addresses.is_empty() {
            return None;
        }
        let at = self.position(|| unescaped(user), host)?;
        self.addresses.get(at).map(|a| (a.of, &a.rule))
    }

    /// Whose alias a number is, in its normal form.
    #[must_use]
    pub fn number(&self, number: &[u8]) -> Option<(UserId, &RuleRef)> {
        self.numbers.get(number).map(|(of, rule)| (*of, rule))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.numbers.is_empty()
    }

    /// Whether any is a number.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    fn position<I: Iterator<Item = u8>>(&self, user: impl Fn() -> I, host: &[u8]) -> Option<usize> {
        let matches = |i: &u32| {
            self.addresses
                .get(*i as usize)
                .is_some_and(|a| same(a.host.as_bytes(), host) && user().eq(a.user.bytes()))
        };
        self.table.find(hash(user(), host), matches).map(|i| *i as usize)
    }
}

fn hash(user: impl Iterator<Item = u8>, host: &[u8]) -> u64 {
    let seed = user.fold(HASH_SEED, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash_lower(seed.rotate_left(17), trim(host))
}
