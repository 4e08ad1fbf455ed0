//! Users with their secrets, and the access list.

use core::net::IpAddr;

use super::peers::Peers;
use super::{Domains, Here, Resolver};
use crate::config::at::At;
use crate::config::value;
use crate::config::written::{self, AclEntry, AclSubject, Password};
use crate::policy::acl::{Acl, Entry, Subject};
use crate::policy::users::{Secret, User, Users};

impl Resolver<'_> {
    pub(super) fn users<'a>(
        &mut self,
        files: impl Iterator<Item = (Here<'a>, &'a Vec<At<written::User>>)>,
        domains: &Domains,
        peers: &Peers,
    ) -> Users {
        let mut users = Users::default();
        let mut plain = 0_usize;
        for (here, written) in files {
            for at in written {
                let Some(user) = self.user(here, at, (domains, peers), &mut plain) else {
                    continue;
                };
                let address = user.address();
                if users.insert(user).is_err() {
                    self.error(
                        here,
                        at.aor.place,
                        format!("there are two users `{address}`"),
                        "keep one of them",
                    );
                }
            }
        }
        users
    }

    fn user(
        &mut self,
        here: Here<'_>,
        at: &At<written::User>,
        (domains, peers): (&Domains, &Peers),
        plain: &mut usize,
    ) -> Option<User> {
        let secret = self.secret(here, &at.password, plain);
        let lines = self.lines(here, at.lines.as_deref().unwrap_or_default(), (domains, peers));
        let (user, domain) = self.read(here, &at.aor, |text| aor(text))?;
        let Some((domain, _)) = domains.index(domain.as_bytes()).and_then(|i| domains.at(i)) else {
            let help = "add the domain to `domains`, or correct the address";
            self.error(here, at.aor.place, format!("`{domain}` is no local domain"), help);
            return None;
        };
        let enabled = at.enabled.as_ref();
        Some(User {
            user: user.into(),
            domain: domain.clone(),
            password: secret?,
            presence: enabled.and_then(|e| e.presence).unwrap_or(true),
            client: enabled.and_then(|e| e.client).unwrap_or(true),
            aliases: Vec::new(),
            lines,
            rule: here.rule("user", at.place),
            enabled_rule: here.rule("user.enabled", enabled.map_or(at.place, |e| e.place)),
        })
    }

    fn secret(&mut self, here: Here<'_>, at: &At<Password>, plain: &mut usize) -> Option<Secret> {
        let (place, text) = match &at.value {
            Password::Plain(text) => {
                if *plain == 0 {
                    let help = "use {env: NAME} or {file: PATH} outside a laboratory (said once, for all users)";
                    self.warn(here, at.place, "a password stands in the configuration", help);
                }
                *plain += 1;
                (text.place, text.value.clone())
            }
            Password::Env(name) => {
                let Some(text) = self.world.variable(name) else {
                    let what = format!("the environment variable `{}` is not set", name.value);
                    self.error(here, name.place, what, "set it where the bridge is started");
                    return None;
                };
                (name.place, text)
            }
            Password::File(written) => {
                let path = here.path(written);
                if self.world.world_readable(&path) == Some(true) {
                    let what = format!("everybody on this machine can read {}", path.display());
                    self.warn(here, written.place, what, format!("chmod 600 {}", path.display()));
                }
                match self.world.read(&path) {
                    Ok(text) => (written.place, text.trim_end_matches(['\r', '\n']).to_owned()),
                    Err(error) => {
                        let what = format!("{} cannot be read: {error}", path.display());
                        self.error(here, written.place, what, "the path is relative to this file");
                        return None;
                    }
                }
            }
        };
        if text.is_empty() {
            self.error(
                here,
                place,
                "the password is empty",
                "an empty password is never accepted; set one",
            );
            return None;
        }
        Some(Secret::new(&text))
    }

    pub(super) fn acl<'a>(&mut self, files: impl Iterator<Item = (Here<'a>, &'a written::Acl)>) -> Acl {
        let mut acl = Acl::default();
        for (here, written) in files {
            for at in &written.incoming {
                let (subject, allow) = match &at.value {
                    AclEntry::Allow(subject) => (subject, true),
                    AclEntry::Deny(subject) => (subject, false),
                };
                let Some(resolved) = self.subject(here, subject) else {
                    continue;
                };
                if allow && resolved == Subject::All {
                    let help = "list networks, so that only they can try";
                    self.warn(here, at.place, "`allow: all` lets every address connect", help);
                }
                let id = if allow {
                    "acl.incoming.allow"
                } else {
                    "acl.incoming.deny"
                };
                let list = if allow { &mut acl.allow } else { &mut acl.deny };
                list.push(Entry {
                    subject: resolved,
                    rule: here.rule(id, at.place),
                });
            }
        }
        acl
    }

    fn subject(&mut self, here: Here<'_>, at: &At<AclSubject>) -> Option<Subject> {
        match &at.value {
            AclSubject::Word(word) if word == "all" => Some(Subject::All),
            AclSubject::Word(word) => self
                .read(here, at, |_| {
                    value::net(word)
                        .map_err(|(what, help)| (what, format!("{help}, `all`, {{host: ...}} or {{name: ...}}")))
                })
                .map(Subject::Net),
            AclSubject::Host(name) if name.parse::<IpAddr>().is_ok() => {
                let help = "write it without `host`";
                self.error(
                    here,
                    name.place,
                    format!("`{}` is an address, no host name", name.value),
                    help,
                );
                None
            }
            AclSubject::Host(name) => self
                .read(here, name, |text| value::name(text))
                .map(|name| Subject::Host(name, Vec::new())),
            AclSubject::Name(name) => self.read(here, name, |text| value::name(text)).map(Subject::Name),
        }
    }
}

/// `user@domain`, a leading `sip:` allowed; the user part as it is meant, without escapes.
pub(super) fn aor(text: &str) -> Result<(String, String), value::Wrong> {
    let bare = text.strip_prefix("sip:").unwrap_or(text);
    let help = || "write alice@a.example".to_owned();
    let Some((user, domain)) = bare.rsplit_once('@') else {
        return Err((format!("`{text}` has no `@`"), help()));
    };
    if user.is_empty() || user.chars().any(char::is_control) {
        return Err((format!("`{text}` has no user part"), help()));
    }
    Ok((user.to_owned(), value::name(domain)?.to_string()))
}
