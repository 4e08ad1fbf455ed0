//! One name for everybody: which local user or number an address means, and what both are called at a peer.
//!
//! The step "canonical address" of the decision asks here, and so does whoever acts on a decision: there is one answer.

use core::fmt;
use std::borrow::Cow;

use smallvec::SmallVec;

use super::dialplan::{Number, Phone, Readings};
use super::facts::{Scheme, UriFacts};
use super::names::same;
use super::rule::RuleRef;
use super::snapshot::Snapshot;
use super::users::UserId;
use crate::sip::net::PeerId;
use crate::sip::uri::Aor;

/// The local user that an address means, and why.
#[derive(Clone, Debug)]
pub struct Meant<'a> {
    /// The user.
    pub user: UserId,
    /// The alias that says so; `None` for the user's own address.
    pub alias: Option<&'a RuleRef>,
    /// The number that was an alias, and the rule of the dial plan that made it, if one did.
    pub number: Option<(Number, Option<&'a RuleRef>)>,
}

/// What an address is called at a peer.
#[derive(Clone, Debug)]
pub struct Abroad<'a> {
    /// The number there.
    pub number: Number,
    /// Its extension, if it has one.
    pub ext: Option<&'a [u8]>,
    /// The host there.
    pub host: Cow<'a, str>,
    /// Whether `;user=phone` is added.
    pub phone: bool,
    /// The rule that says so.
    pub rule: &'a RuleRef,
}

impl Abroad<'_> {
    fn user(&self) -> String {
        let mut user = String::from_utf8_lossy(&self.number).into_owned();
        if let Some(ext) = self.ext {
            user.push_str(";ext=");
            user.push_str(&String::from_utf8_lossy(ext));
        }
        user
    }

    /// The address alone.
    #[must_use]
    pub fn aor(&self) -> Aor {
        Aor::new(&self.user(), &self.host)
    }
}

impl fmt::Display for Abroad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sip:{}", self.aor())?;
        if self.phone { f.write_str(";user=phone") } else { Ok(()) }
    }
}

impl Snapshot {
    /// The local user that an address means: by its own address, by an alias, or by a number as `from` would mean it.
    /// `bridge` says that the host is the bridge itself, where numbers are known as well.
    #[must_use]
    pub fn meant(&self, uri: &UriFacts<'_>, from: Option<PeerId>, bridge: bool) -> Option<Meant<'_>> {
        let part = uri.user?;
        match uri.scheme {
            Scheme::Other => return None,
            Scheme::Tel => {}
            Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im => {
                if let Some(user) = self.users.find(part, uri.host) {
                    return Some(Meant {
                        user,
                        alias: None,
                        number: None,
                    });
                }
                if let Some((user, alias)) = self.users.aliases().address(part, uri.host) {
                    let alias = Some(alias);
                    return Some(Meant {
                        user,
                        alias,
                        number: None,
                    });
                }
                if !bridge && self.local_domain(uri.host).is_none() {
                    return None;
                }
            }
        }
        self.users
            .aliases()
            .has_numbers()
            .then(|| self.meant_by_number(uri, from))
            .flatten()
    }

    fn meant_by_number(&self, uri: &UriFacts<'_>, from: Option<PeerId>) -> Option<Meant<'_>> {
        let ext = self.phone(uri)?.ext();
        self.readings(uri, from)?.into_iter().find_map(|reading| {
            let mut key: SmallVec<[u8; 48]> = SmallVec::from_slice(&reading.number);
            if let Some(ext) = ext {
                // Whoever is behind an extension is not the one who has the number in front of it.
                key.extend_from_slice(b";ext=");
                key.extend_from_slice(ext);
            }
            let (user, alias) = self.users.aliases().number(&key)?;
            Some(Meant {
                user,
                alias: Some(alias),
                number: Some((reading.number, reading.rule)),
            })
        })
    }

    fn phone<'u>(&self, uri: &UriFacts<'u>) -> Option<Phone<'u>> {
        Some(Phone::of(uri.user?).with(uri.number_params))
    }

    /// The readings of an address that is a number.
    #[must_use]
    pub fn readings(&self, uri: &UriFacts<'_>, from: Option<PeerId>) -> Option<Readings<'_>> {
        let separators = self.dialplan.numbers.separators.as_bytes();
        let digits = self
            .phone(uri)?
            .digits(separators, |domain| self.local_domain(domain).is_some())?;
        Some(self.dialplan.readings(&digits, from))
    }

    /// The reading of an address that a route takes.
    #[must_use]
    pub fn routed_number(&self, uri: &UriFacts<'_>, from: Option<PeerId>) -> Option<(Number, Option<&RuleRef>)> {
        let readings = self.readings(uri, from)?;
        let found = readings
            .into_iter()
            .find(|reading| self.routes.number(&reading.number).is_some())?;
        Some((found.number, found.rule))
    }

    /// What an address is called at `peer`, where the dial plan calls it otherwise than it is written.
    #[must_use]
    pub fn abroad<'a>(&'a self, uri: &UriFacts<'a>, from: Option<PeerId>, peer: PeerId) -> Option<Abroad<'a>> {
        let numbers = self.dialplan.peer(peer)?;
        let ours = uri.scheme == Scheme::Tel || self.local_domain(uri.host).is_some();
        let canonical = match self.routed_number(uri, from).filter(|_| ours) {
            Some((number, _)) => number,
            None => {
                let readings = self.readings(uri, None)?;
                let there = readings.iter().find(|reading| numbers.covers(&reading.number));
                there.or_else(|| readings.first().filter(|_| ours))?.number.clone()
            }
        };
        let written = core::str::from_utf8(uri.host).ok()?;
        let host = match (&numbers.host, ours) {
            (Some(host), _) => Cow::Borrowed(&**host),
            (None, false) => Cow::Borrowed(written),
            (None, true) => Cow::Borrowed(&**self.peer(peer)?.domains.iter().next()?.0),
        };
        let there = Abroad {
            number: numbers.to_peer(&canonical),
            ext: self.phone(uri)?.ext(),
            host,
            phone: numbers.phone,
            rule: &numbers.rule,
        };
        let same_user = uri.user.is_some_and(|user| user == there.number.as_slice());
        let alike = !ours && same_user && same(uri.host, there.host.as_bytes());
        (!alike).then_some(there)
    }

    /// What a local user is called in From at `peer`, where that is a number.
    #[must_use]
    pub fn caller_abroad(&self, user: UserId, peer: PeerId) -> Option<Abroad<'_>> {
        let numbers = self.dialplan.peer(peer).filter(|n| n.from)?;
        let user = self.user(user)?;
        let (number, ext) = match user.number()?.split_once(";ext=") {
            Some((number, ext)) => (number, Some(ext.as_bytes())),
            None => (user.number()?, None),
        };
        Some(Abroad {
            number: numbers.to_peer(number.as_bytes()),
            ext,
            host: Cow::Borrowed(&user.domain),
            phone: numbers.phone,
            rule: &numbers.rule,
        })
    }

    /// The From of a peer's own number as we call it: its full form at the host that it came from, so that an answer to it
    /// finds its way back. Never a local user, whatever the number: only its digest proves one.
    #[must_use]
    pub fn caller_here<'a>(&'a self, from: &UriFacts<'a>, peer: PeerId) -> Option<Abroad<'a>> {
        let numbers = self.dialplan.peer(peer)?;
        if from.scheme == Scheme::Tel || self.local_domain(from.host).is_some() {
            return None;
        }
        let phone = self.phone(from)?;
        let digits = phone.digits(self.dialplan.numbers.separators.as_bytes(), |_| false)?;
        let (number, rule) = numbers.from_peer(&digits)?;
        Some(Abroad {
            number,
            ext: phone.ext(),
            host: Cow::Borrowed(core::str::from_utf8(from.host).ok()?),
            phone: false,
            rule,
        })
    }
}
