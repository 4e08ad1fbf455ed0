//! Lines of users at peers, and whose state a peer may publish.

use super::peers::Peers;
use super::users::aor;
use super::{Domains, Here, Resolver};
use crate::config::at::At;
use crate::config::written;
use crate::policy::peer::Publishes;
use crate::policy::users::Line;
use crate::sip::uri::Aor;

impl Resolver<'_> {
    pub(super) fn lines(
        &mut self,
        here: Here<'_>,
        written: &[At<written::Line>],
        (domains, peers): (&Domains, &Peers),
    ) -> Vec<Line> {
        let said = |at: &At<written::Line>| at.primary.as_ref().is_some_and(|p| p.value);
        if let Some(second) = written.iter().filter(|at| said(at)).nth(1) {
            let help = "one line speaks for the person; take `primary` from the others";
            self.error(here, second.place, "a user has two primary lines", help);
        }
        let chosen = written.iter().position(said).unwrap_or(0);
        let mut lines: Vec<Line> = Vec::new();
        for (n, at) in written.iter().enumerate() {
            let Some(mut line) = self.line(here, at, (domains, peers)) else {
                continue;
            };
            line.primary = n == chosen;
            if lines.iter().any(|l| l.address == line.address) {
                let what = format!("the line {} is listed twice", line.address);
                self.error(here, at.place, what, "keep one of them");
            }
            lines.push(line);
        }
        lines
    }

    fn line(&mut self, here: Here<'_>, at: &At<written::Line>, (domains, peers): (&Domains, &Peers)) -> Option<Line> {
        let number = &at.number.value;
        if number.is_empty() || number.chars().any(|c| c.is_control() || c.is_whitespace() || c == '@') {
            let help = "write the user part of the line's address there: \"4711\"";
            self.error(
                here,
                at.number.place,
                format!("`{number}` is no number of a line"),
                help,
            );
            return None;
        }
        let Some((id, peer)) = peers.id(&at.peer) else {
            let what = format!("there is no peer `{}`", at.peer.value);
            self.error(here, at.peer.place, what, "name a peer under `peers`");
            return None;
        };
        let Some((domain, _)) = peer.domains.iter().find(|(d, _)| domains.get(d.as_bytes()).is_none()) else {
            let what = format!("peer {} has no domain of its own that the line could be in", peer.name);
            self.error(here, at.peer.place, what, "give the peer a domain that is not local");
            return None;
        };
        Some(Line {
            address: Aor::new(number, domain),
            peer: id,
            primary: false,
            rule: here.rule("user.lines", at.place),
        })
    }

    pub(super) fn publishes(
        &mut self,
        here: Here<'_>,
        written: Option<&At<Vec<At<String>>>>,
        domains: &Domains,
    ) -> Publishes {
        let mut publishes = Publishes::default();
        for at in written.iter().flat_map(|list| &list.value) {
            if at.value == "*" {
                publishes.all = true;
                continue;
            }
            let Some((user, domain)) = self.read(here, at, |text| aor(text)) else {
                continue;
            };
            if domains.get(domain.as_bytes()).is_none() {
                let what = format!("`{domain}` is no local domain");
                self.error(
                    here,
                    at.place,
                    what,
                    "a peer publishes for local users only, or for `\"*\"`",
                );
                continue;
            }
            publishes.users.push(Aor::new(&user, &domain));
        }
        publishes
    }
}
