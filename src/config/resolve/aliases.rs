//! Aliases of users: further addresses and numbers, each of one person.

use super::peers::Peers;
use super::users::aor;
use super::{Domains, Here, Resolver};
use crate::config::at::At;
use crate::config::value::Wrong;
use crate::config::written;
use crate::policy::aliases::{Alias, AliasName};
use crate::policy::dialplan::{Dialplan, Phone};
use crate::policy::rule::RuleRef;
use crate::policy::users::{UserId, Users};

impl Resolver<'_> {
    /// Further addresses and numbers of the users. One of two people, or the address of another one, is an error.
    pub(super) fn aliases<'a>(
        &mut self,
        files: impl Iterator<Item = (Here<'a>, &'a Vec<At<written::User>>)>,
        users: &mut Users,
        (peers, domains): (&Peers, &Domains),
        plan: &Dialplan,
    ) {
        for (here, written) in files {
            for at in written {
                let owner = aor(&at.aor).ok();
                let owner = owner.and_then(|(user, domain)| users.find_plain(&user, &domain));
                let (Some(owner), Some(list)) = (owner, &at.aliases) else {
                    continue;
                };
                for item in &list.value {
                    let name = self.read(here, item, |text| alias(text, plan));
                    if let Some(name) = name {
                        let rule = here.rule("user.alias", item.place);
                        self.alias(here, item, (owner, Alias { name, rule }), users, (peers, domains));
                    }
                }
            }
        }
    }

    fn alias(
        &mut self,
        here: Here<'_>,
        at: &At<String>,
        (owner, alias): (UserId, Alias),
        users: &mut Users,
        (peers, domains): (&Peers, &Domains),
    ) {
        if let AliasName::Address(_, host) = &alias.name {
            let granted = |p: &crate::policy::Peer| Some((p.name.clone(), p.domains.get(host.as_bytes())?.clone()));
            let theirs = peers.list.iter().find_map(granted);
            let ours = domains.get(host.as_bytes()).is_some();
            if let Some((name, rule)) = theirs.filter(|_| !ours) {
                let what = format!("`{host}` belongs to peer {name} ({}:{})", rule.file, rule.line);
                let help = "a person here has addresses here; leave it out";
                return self.error(here, at.place, what, help);
            }
        }
        let taken = match &alias.name {
            AliasName::Number(number) => same_digits(number, at, owner, users),
            AliasName::Address(..) => None,
        };
        let added = match taken {
            Some(taken) => Err(taken),
            None => users.add_alias(owner, alias),
        };
        let Err((of, rule)) = added else { return };
        let whose = users.get(of).map(crate::policy::User::address).unwrap_or_default();
        if of == owner {
            let what = format!("`{}` is {whose} already ({}:{})", at.value, rule.file, rule.line);
            return self.warn(here, at.place, what, "leave it out");
        }
        let what = format!("`{}` is {whose} ({}:{})", at.value, rule.file, rule.line);
        self.error(
            here,
            at.place,
            what,
            "an address or number is one person's; keep one of the two lines",
        );
    }
}

/// Another user whose very address begins with the number.
fn same_digits(number: &str, at: &At<String>, owner: UserId, users: &Users) -> Option<(UserId, RuleRef)> {
    let written = at.strip_prefix("tel:").unwrap_or(at);
    let found = users
        .iter()
        .find(|(id, user)| *id != owner && (*user.user == *number || *user.user == *written));
    found.map(|(id, user)| (id, user.rule.clone()))
}

/// An alias as written.
fn alias(text: &str, plan: &Dialplan) -> Result<AliasName, Wrong> {
    let number = text
        .get(..4)
        .filter(|s| s.eq_ignore_ascii_case("tel:"))
        .and(text.get(4..));
    if number.is_none() && text.contains('@') {
        let scheme = ["sip:", "sips:", "pres:", "im:"]
            .into_iter()
            .find(|s| text.starts_with(s));
        let (user, host) = aor(text.get(scheme.map_or(0, str::len)..).unwrap_or(text))?;
        return Ok(AliasName::Address(user.into(), host.into()));
    }
    let phone = Phone::of(number.unwrap_or(text).as_bytes());
    let Some(digits) = phone.digits(plan.numbers.separators.as_bytes(), |_| false) else {
        return Err((
            format!("`{text}` is neither an address nor a number"),
            "write sip:alice@other.a.example, tel:+15551001 or 1001, numbers in quotes".to_owned(),
        ));
    };
    let key = plan.normalise(&digits).number;
    let ext = phone
        .ext()
        .map_or_else(String::new, |ext| format!(";ext={}", String::from_utf8_lossy(ext)));
    Ok(AliasName::Number(
        format!("{}{ext}", String::from_utf8_lossy(&key)).into(),
    ))
}
