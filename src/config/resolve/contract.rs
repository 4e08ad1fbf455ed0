//! Rate contracts, and which local users are assigned to a peer.

use core::time::Duration;

use super::peers::Peers;
use super::{Here, Resolver};
use crate::config::at::At;
use crate::config::error::nearest;
use crate::config::load::fits;
use crate::config::value::Wrong;
use crate::config::written::{self, ContractChoice, Time};
use crate::policy::contract::{Assigned, Contract, PRESETS};
use crate::policy::dialplan::{Dialplan, Phone};
use crate::policy::users::{User, UserId, Users};

impl Resolver<'_> {
    pub(super) fn contract(&mut self, here: Here<'_>, at: Option<&At<ContractChoice>>) -> Option<Contract> {
        let at = at?;
        let written = match &at.value {
            ContractChoice::Named(name) => {
                let found = PRESETS
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, contract)| *contract);
                if found.is_none() {
                    let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
                    let meant = nearest(name, names.iter().copied())
                        .map_or_else(String::new, |n| format!("did you mean `{n}`? "));
                    let help = format!(
                        "{meant}known: {}; or {{messages: 20/s, watched: 1000}}",
                        names.join(", ")
                    );
                    self.error(here, at.place, format!("there is no contract `{name}`"), help);
                }
                return found;
            }
            ContractChoice::Is(written) => written,
        };
        let messages = written
            .messages
            .as_ref()
            .and_then(|m| self.read(here, m, |text| a_second(text)));
        if let Some(none) = written.watched.as_ref().filter(|n| n.value == 0) {
            let help = "leave the key out to watch without limit; to watch nothing there, assign nobody";
            self.error(here, none.place, "nothing could be watched at this peer", help);
        }
        if written.messages.is_none() && written.watched.is_none() {
            let help = "write {messages: 20/s, watched: 1000}, or leave it out";
            self.error(here, at.place, "the contract promises nothing", help);
        }
        Some(Contract {
            messages,
            watched: written.watched.as_ref().map(|n| n.value),
        })
    }

    pub(super) fn subscription_timeout(&mut self, here: Here<'_>, at: Option<&At<Time>>) -> Option<Duration> {
        let written = at?;
        let time = self.time(here, at, 3_600_000);
        let (least, most) = (Duration::from_secs(60), Duration::from_secs(86_400));
        if time < least || time > most {
            let what = "no subscription at a peer is held so long";
            self.error(here, written.place, what, "write 60s to 1d");
        }
        Some(time)
    }

    /// Who is assigned to each peer. What fits nobody is an error: whoever was meant would be refused.
    pub(super) fn assign<'a>(
        &mut self,
        files: impl Iterator<Item = (Here<'a>, &'a Vec<At<written::Peer>>)>,
        peers: &mut Peers,
        users: &Users,
        plan: &Dialplan,
    ) {
        for (here, written) in files {
            for at in written {
                let Some(list) = &at.assigned else { continue };
                let assigned = self.assigned(here, list, users, plan, at.front_end.unwrap_or(false));
                if let Some(peer) = peers.named_mut(&at.name) {
                    peer.assigned = Some(assigned);
                }
            }
        }
    }

    fn assigned(
        &mut self,
        here: Here<'_>,
        list: &At<Vec<At<String>>>,
        users: &Users,
        plan: &Dialplan,
        fronts: bool,
    ) -> Assigned {
        let mut assigned = Assigned::default();
        if list.is_empty() {
            let help = "list addresses or patterns such as `*@a.example`; leave the key out to let everybody through";
            self.warn(here, list.place, "nobody may use the way to this peer", help);
        }
        for item in &list.value {
            let text = item.strip_prefix("sip:").unwrap_or(item);
            let pattern = match text.rsplit_once('@') {
                Some((user, host)) => format!("{user}@{}", host.to_ascii_lowercase()),
                None => text.to_owned(),
            };
            let chosen = chosen(&pattern, users, plan);
            if chosen.is_empty() && pattern.contains('*') {
                let what = format!("`{}` fits no user", item.value);
                self.warn(
                    here,
                    item.place,
                    what,
                    "patterns go over addresses, such as `*@a.example`",
                );
            } else if chosen.is_empty() && !fronts {
                let known: Vec<String> = users.iter().map(|(_, user)| user.address()).collect();
                let help = match nearest(&pattern, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name a user, an alias of one, or a pattern such as `*@a.example`".to_owned(),
                };
                self.error(here, item.place, format!("there is no user `{}`", item.value), help);
            }
            for user in chosen {
                assigned.insert(user);
            }
            let rule = here.rule("peer.assigned", item.place);
            assigned.patterns.push((pattern.into(), rule));
        }
        assigned
    }
}

/// The users that a pattern is about: by their addresses, or one by an alias.
fn chosen(pattern: &str, users: &Users, plan: &Dialplan) -> Vec<UserId> {
    let by_address = |user: &User| fits(pattern, &format!("{}@{}", user.user, user.domain));
    let found: Vec<UserId> = users.iter().filter(|(_, u)| by_address(u)).map(|(id, _)| id).collect();
    if !found.is_empty() {
        return found;
    }
    let alias = match pattern.rsplit_once('@') {
        Some((user, host)) => users.aliases().address(user.as_bytes(), host.as_bytes()),
        None => Phone::of(pattern.strip_prefix("tel:").unwrap_or(pattern).as_bytes())
            .digits(plan.numbers.separators.as_bytes(), |_| false)
            .and_then(|number| users.aliases().number(&plan.normalise(&number).number)),
    };
    alias.map(|(id, _)| id).into_iter().collect()
}

/// `20/s`, or the number alone.
fn a_second(text: &str) -> Result<u32, Wrong> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    match number.parse::<u32>() {
        Ok(n @ 1..=1_000_000) => Ok(n),
        _ => Err((
            format!("`{text}` is no rate"),
            "write requests a second: 20/s, at least 1/s".to_owned(),
        )),
    }
}
