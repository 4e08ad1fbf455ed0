//! Steps that judge what a request is for: canonical address, enablement, loops and hops.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Checked, Judge, Shown};
use crate::policy::acl::canonical;
use crate::policy::canonical::Meant;
use crate::policy::decision::{Party, Who};
use crate::policy::dialplan::Number;
use crate::policy::facts::Scheme;
use crate::policy::names::same;
use crate::policy::rule::RuleRef;
use crate::policy::snapshot::DomainId;
use crate::policy::trace::{Step, Trace, Verdict};
use crate::policy::users::UserId;
use crate::sip::net::{PeerId, Transport};

/// What a request is for, in canonical form.
pub(super) enum Aim<'a> {
    /// An address of a local domain, or of a user under another name.
    Local(DomainId, Option<UserId>, Option<Meant<'a>>),
    /// The bridge itself.
    Bridge,
    /// An address of another domain.
    Foreign(&'a [u8]),
    /// A number that a route by digits takes, and the rule of the dial plan that made it so.
    Number(Number, Option<&'a RuleRef>),
    /// The other side of a dialog that passes through.
    Dialog(Party),
}

impl<'a, T: Trace> Judge<'a, T> {
    /// Step 6.
    pub(super) fn canonical_address(&mut self, who: Who) -> Checked<Aim<'a>> {
        const STEP: Step = Step::CanonicalAddress;
        let (rules, facts) = (&self.snapshot.rules, self.facts);
        let uri = &facts.uri;
        if uri.scheme == Scheme::Other {
            let because = format_args!("nobody here speaks this scheme");
            return self.refuse(STEP, 416, "Unsupported URI Scheme", &rules.scheme, because);
        }
        if uri.scheme == Scheme::Sips && facts.transport != Transport::Tls {
            let because = format_args!("sips: over {}", facts.transport.param());
            return self.refuse(STEP, 403, "TLS Required", &rules.sips, because);
        }
        if uri.maddr {
            return self.refuse(
                STEP,
                403,
                "maddr Not Followed",
                &rules.maddr,
                format_args!("maddr is never followed"),
            );
        }
        let aim = self.aim(who);
        match &aim {
            Aim::Local(_, _, Some(meant)) => self.by_another_name(meant),
            Aim::Local(domain, user, None) => {
                let found = self.snapshot.domains.at(usize::from(domain.0));
                let (name, rule) = found.map_or(("", None), |(name, rule)| (&**name, Some(rule)));
                let known = if user.is_some() {
                    "a known user"
                } else {
                    "no known user"
                };
                self.allow(STEP, rule, format_args!("local domain {name}, {known}"));
            }
            Aim::Bridge => self.allow(STEP, None, format_args!("the bridge itself")),
            Aim::Foreign(host) => self.allow(STEP, None, format_args!("foreign domain {}", Shown(host))),
            Aim::Number(digits, rule) => self.allow(STEP, *rule, format_args!("number {}", Shown(digits))),
            Aim::Dialog(_) => self.allow(STEP, None, format_args!("the other side of its dialog")),
        }
        Ok(aim)
    }

    fn by_another_name(&mut self, meant: &Meant<'a>) {
        let written = Shown(self.facts.uri.user.unwrap_or_default());
        let address = self
            .snapshot
            .user(meant.user)
            .map_or_else(String::new, crate::policy::User::address);
        match &meant.number {
            Some((number, Some(made))) => {
                let because = format_args!("{written} is {} by {made}, which is {address}", Shown(number));
                self.allow(Step::CanonicalAddress, meant.alias, because);
            }
            _ => self.allow(
                Step::CanonicalAddress,
                meant.alias,
                format_args!("{written} is {address}"),
            ),
        }
    }

    fn aim(&self, who: Who) -> Aim<'a> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        let uri = &facts.uri;
        let from = match who {
            Party::Peer(peer) => Some(peer),
            Party::User(_) => None,
        };
        match facts.dialog.map(|d| d.towards) {
            Some(Some(party)) => return Aim::Dialog(party),
            Some(None) => return Aim::Bridge,
            None => {}
        }
        if uri.scheme == Scheme::Tel {
            return match snapshot.meant(uri, from, false) {
                Some(meant) => self.user_meant(meant),
                None => self.number(from).unwrap_or_else(|| {
                    let readings = snapshot.readings(uri, from);
                    let first = readings.and_then(|all| all.into_iter().next());
                    first.map_or(Aim::Number(Number::new(), None), |r| Aim::Number(r.number, r.rule))
                }),
            };
        }
        // A REGISTER goes to the registrar of its To, whatever name of ours its Request-URI has.
        let registers = facts.method == b"REGISTER";
        let host = if registers { facts.to.host } else { uri.host };
        let Some(domain) = snapshot.local_domain(host) else {
            let bridge = self.is_bridge(host, uri.port);
            return match snapshot.meant(uri, from, bridge).filter(|_| !registers) {
                Some(meant) => self.user_meant(meant),
                None if bridge => Aim::Bridge,
                None => Aim::Foreign(host),
            };
        };
        match uri.user {
            _ if registers => Aim::Local(domain, None, None),
            None => Aim::Bridge,
            Some(_) => match snapshot.meant(uri, from, false) {
                Some(meant) if meant.alias.is_none() => Aim::Local(domain, Some(meant.user), None),
                Some(meant) => self.user_meant(meant),
                None => self.number(from).unwrap_or(Aim::Local(domain, None, None)),
            },
        }
    }

    /// A user under another name: what follows judges the user, in the user's own domain.
    fn user_meant(&self, meant: Meant<'a>) -> Aim<'a> {
        let snapshot = self.snapshot;
        let domain = snapshot
            .user(meant.user)
            .and_then(|user| snapshot.local_domain(user.domain.as_bytes()));
        Aim::Local(domain.unwrap_or(DomainId(0)), Some(meant.user), Some(meant))
    }

    /// What is no user, but a number that a route takes.
    fn number(&self, from: Option<PeerId>) -> Option<Aim<'a>> {
        let (number, rule) = self.snapshot.routed_number(&self.facts.uri, from)?;
        Some(Aim::Number(number, rule))
    }

    /// Whether host and port are the bridge's own: its name, what a listener advertises or binds, where this came in.
    pub(super) fn is_bridge(&self, host: &[u8], port: Option<u16>) -> bool {
        let (snapshot, facts) = (self.snapshot, self.facts);
        if same(host, snapshot.identity.host.as_bytes()) {
            return true;
        }
        let wanted = port.unwrap_or(facts.transport.default_port());
        let literal = address(host).map(canonical);
        let here = |ip: IpAddr, at: u16| literal == Some(canonical(ip)) && at == wanted;
        facts.local.is_some_and(|local| here(local.ip(), local.port()))
            || snapshot.listeners.iter().any(|listener| {
                listener.bind.iter().any(|socket| here(socket.ip(), socket.port()))
                    || listener.advertise.as_ref().is_some_and(|public| {
                        same(host, public.host.as_bytes())
                            || literal.is_some_and(|ip| address(public.host.as_bytes()) == Some(ip))
                    })
            })
    }

    /// Step 7.
    pub(super) fn enablement(&mut self, who: Who, aim: &Aim<'_>) -> Checked<()> {
        const STEP: Step = Step::Enablement;
        let (snapshot, method) = (self.snapshot, self.facts.method);
        if let Party::User(id) = who
            && let Some(user) = snapshot.user(id)
        {
            if !user.client {
                let because = format_args!("the sender is disabled as a client");
                return self.refuse(STEP, 403, "User Disabled", &user.enabled_rule, because);
            }
            if method == b"PUBLISH" && !user.presence {
                let because = format_args!("the sender is disabled for presence");
                return self.refuse(STEP, 403, "Presence Disabled", &user.enabled_rule, because);
            }
        }
        let Aim::Local(_, user, _) = aim else {
            self.pass(
                STEP,
                Verdict::NotConfigured,
                None,
                format_args!("the target is no local user"),
            );
            return Ok(());
        };
        match user.and_then(|id| snapshot.user(id)) {
            None if method == b"REGISTER" => {
                self.allow(STEP, None, format_args!("the registrar"));
                Ok(())
            }
            None if self.is_fronted(aim) => {
                self.allow(STEP, None, format_args!("a front end keeps the users of this domain"));
                Ok(())
            }
            None => {
                let rule = &snapshot.rules.user_unknown;
                self.refuse(
                    STEP,
                    404,
                    "Not Found",
                    rule,
                    format_args!("no such user in a local domain"),
                )
            }
            Some(user) if !user.presence && (self.watches_presence() || method == b"PUBLISH") => {
                let because = format_args!("presence of {} is disabled", user.address());
                self.refuse(STEP, 403, "Presence Disabled", &user.enabled_rule, because)
            }
            Some(user) => {
                self.allow(
                    STEP,
                    Some(&user.rule),
                    format_args!("{} is enabled", user.user.escape_debug()),
                );
                Ok(())
            }
        }
    }

    /// Whether a front end speaks for the local domain: then its users need not be listed here.
    fn is_fronted(&self, aim: &Aim<'_>) -> bool {
        let Aim::Local(domain, ..) = aim else { return false };
        let name = self
            .snapshot
            .domains
            .at(usize::from(domain.0))
            .map(|(name, _)| name.as_bytes());
        name.is_some_and(|name| self.snapshot.peers.iter().any(|p| p.domains.get(name).is_some()))
    }

    /// A SUBSCRIBE to presence or one of its templates; one without a package counts as one.
    fn watches_presence(&self) -> bool {
        let package = |event: &[u8]| {
            event
                .get(..8)
                .is_some_and(|head| head.eq_ignore_ascii_case(b"presence"))
        };
        self.facts.method == b"SUBSCRIBE" && self.facts.event.is_none_or(package)
    }

    /// Step 8. Max-Forwards counts only where the request would be passed on (RFC 3261 16.3).
    pub(super) fn hops(&mut self, aim: &Aim<'_>) -> Checked<()> {
        let (rules, facts) = (&self.snapshot.rules, self.facts);
        if facts.looped {
            let because = format_args!("it has been here before with the same target");
            return self.refuse(Step::Hops, 482, "Loop Detected", &rules.looped, because);
        }
        if facts.ring {
            let because = format_args!("it went out to a peer, and a peer brings it back");
            return self.refuse(Step::Hops, 482, "Loop Detected", &rules.ring, because);
        }
        let passed_on = match aim {
            Aim::Bridge => false,
            Aim::Local(..) => !matches!(facts.method, b"REGISTER" | b"PUBLISH" | b"SUBSCRIBE"),
            Aim::Foreign(_) | Aim::Number(..) | Aim::Dialog(_) => true,
        };
        if passed_on && facts.max_forwards == Some(0) {
            return self.refuse(
                Step::Hops,
                483,
                "Too Many Hops",
                &rules.hops,
                format_args!("Max-Forwards is 0"),
            );
        }
        match facts.max_forwards {
            Some(left) => self.allow(Step::Hops, None, format_args!("no loop, {left} hops left")),
            None => self.allow(Step::Hops, None, format_args!("no loop, no Max-Forwards")),
        }
        Ok(())
    }
}

/// The address a host literal means, brackets allowed.
fn address(host: &[u8]) -> Option<IpAddr> {
    let bare = match host {
        [b'[', inner @ .., b']'] => inner,
        _ => host,
    };
    let text = core::str::from_utf8(bare).ok()?;
    text.parse::<Ipv4Addr>()
        .map(IpAddr::V4)
        .or_else(|_| text.parse::<Ipv6Addr>().map(IpAddr::V6))
        .ok()
}
