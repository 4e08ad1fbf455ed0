//! The dial plan.

use core::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use super::peers::Peers;
use super::{Here, Resolver};
use crate::config::at::{At, Place};
use crate::config::error::{Source, nearest};
use crate::config::load::parse;
use crate::config::value::{self, Wrong};
use crate::config::written::{Mappings, dialplan as file};
use crate::policy::dialplan::{DialRule, Dialplan, MOST_DIGITS, Numbers, PeerNumbers, Prefix, doubts};

/// The file that a directory of mapping files may hold.
const FILE: &str = "dialplan.yaml";
/// What the plan that is compiled in is called.
const COMPILED_IN: &str = "mappings/dialplan.yaml";
/// What is compiled in, to start from: it says nothing.
const BUILT_IN: &str = include_str!("../../../mappings/dialplan.yaml");

/// What a rule asks of a number and what it does: digits, begins, remove, add.
type Parts = (Option<u8>, Arc<str>, u8, Arc<str>);

impl Resolver<'_> {
    /// The file that is named, that of the directory, or none.
    pub(super) fn dialplan(&mut self, here: Here<'_>, written: &Mappings, peers: &Peers) -> Dialplan {
        let path = match self.dialplan_file(here, written) {
            None => PathBuf::from(COMPILED_IN),
            Some((path, _)) => path,
        };
        let text = match self.dialplan_file(here, written) {
            None => BUILT_IN.to_owned(),
            Some((_, place)) => {
                self.files.push(path.clone());
                match self.world.read(&path) {
                    Ok(text) => text,
                    Err(error) => {
                        let what = format!("{} cannot be read: {error}", path.display());
                        self.error(here, place, what, "the path is relative to this file");
                        return Dialplan::default();
                    }
                }
            }
        };
        let source = Source {
            name: path.to_string_lossy().into(),
            text,
        };
        let plan = match parse::<file::Dialplan>(&source) {
            Ok(plan) => plan,
            Err(problem) => {
                self.problems.push(problem);
                return Dialplan::default();
            }
        };
        let directory = path.parent().unwrap_or(std::path::Path::new(""));
        let inside = Here {
            source: &source,
            directory,
        };
        self.plan(inside, &plan, peers)
    }

    fn dialplan_file(&self, here: Here<'_>, written: &Mappings) -> Option<(PathBuf, Place)> {
        if let Some(file) = &written.dialplan {
            return Some((here.path(file), file.place));
        }
        let dir = written.dir.as_ref()?;
        let path = here.path(dir);
        let there = self
            .world
            .list(&path)
            .is_ok_and(|names| names.iter().any(|n| n == FILE));
        there.then(|| (path.join(FILE), dir.place))
    }

    fn plan(&mut self, here: Here<'_>, written: &file::Dialplan, peers: &Peers) -> Dialplan {
        let mut plan = Dialplan {
            numbers: self.numbers(here, &written.numbers),
            dial: written.dial.iter().filter_map(|at| self.dial_rule(here, at)).collect(),
            peers: if written.peers.is_empty() {
                Vec::new()
            } else {
                vec![None; peers.list.len()]
            },
        };
        for (name, at) in &written.peers {
            let Some((id, peer)) = peers.id(name) else {
                let help = match nearest(name, peers.names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name a peer of the configuration".to_owned(),
                };
                self.error(here, at.place, format!("there is no peer `{name}`"), help);
                continue;
            };
            let numbers = self.peer_numbers(here, at);
            if let Some(host) = numbers
                .host
                .as_ref()
                .filter(|h| peer.domains.get(h.as_bytes()).is_none())
            {
                let place = at.host.as_ref().map_or(at.place, |h| h.place);
                let help = "add it to `domains` of the peer: what comes from there says so in From";
                self.error(here, place, format!("peer {name} may not speak for `{host}`"), help);
            }
            if let Some(place) = plan.peers.get_mut(usize::from(id.0)) {
                *place = Some(numbers);
            }
        }
        for doubt in doubts(&plan) {
            let place = Place {
                line: doubt.rule.line,
                column: 1,
            };
            self.warn(here, place, doubt.what, doubt.help);
        }
        plan
    }

    fn numbers(&mut self, here: Here<'_>, written: &file::Numbers) -> Numbers {
        let separators = written
            .separators
            .as_ref()
            .and_then(|s| self.read(here, s, |text| separators(text)));
        let mut code = |at: &Option<At<String>>, id: &str| {
            let at = at.as_ref()?;
            let digits = self.read(here, at, |text| code(text))?;
            Some((digits, here.rule(id, at.place)))
        };
        let country = code(&written.country, "dialplan.country");
        let area = code(&written.area, "dialplan.area");
        if let Some(at) = written.area.as_ref().filter(|_| written.country.is_none()) {
            let help = "write `country` too: an area is part of one";
            self.error(here, at.place, "an area code without a country code", help);
        }
        let needs = [
            ("national", "country", &written.national, country.is_some()),
            ("local", "area", &written.local, area.is_some()),
        ];
        for (name, code, lengths, there) in needs {
            if let Some(at) = lengths.first().filter(|_| !there) {
                let what = format!("`{name}` numbers need `{code}` to be completed by");
                self.error(here, at.place, what, format!("write `{code}`, or leave `{name}` out"));
            }
        }
        let mut lengths = |list: &[At<u8>]| -> Vec<u8> {
            let good = |at: &At<u8>| self.length(here, at);
            list.iter().filter_map(good).collect()
        };
        let (extensions, national, local) = (
            lengths(&written.extensions),
            lengths(&written.national),
            lengths(&written.local),
        );
        Numbers {
            separators: separators.unwrap_or_default(),
            rules: written.rules.iter().filter_map(|at| self.prefix(here, at)).collect(),
            extensions,
            country,
            national,
            area,
            local,
        }
    }

    fn length(&mut self, here: Here<'_>, at: &At<u8>) -> Option<u8> {
        let range: RangeInclusive<usize> = 1..=MOST_DIGITS;
        if range.contains(&usize::from(at.value)) {
            return Some(at.value);
        }
        let what = format!("no number has {} digits", at.value);
        self.error(here, at.place, what, format!("write 1 to {MOST_DIGITS}"));
        None
    }

    /// What normalises makes full numbers: that is why doing it twice is doing it once.
    fn prefix(&mut self, here: Here<'_>, at: &At<file::NumberRule>) -> Option<Prefix> {
        let (digits, begins, remove, add) = self.parts(here, at)?;
        if !add.starts_with('+') {
            let place = at.add.as_ref().map_or(at.place, |a| a.place);
            let what = format!("`add: \"{add}\"` makes no full number");
            let help =
                "let it begin with `+` and the country code; what should stay short goes into `extensions` or `dial`";
            self.error(here, place, what, help);
            return None;
        }
        if begins.starts_with('+') {
            let place = at.begins.as_ref().map_or(at.place, |b| b.place);
            let help = "leave the rule out: what begins with `+` is left alone";
            self.error(here, place, "a full number is never normalised", help);
            return None;
        }
        Some(Prefix {
            digits,
            begins,
            remove,
            add,
            rule: here.rule("dialplan.numbers", at.place),
        })
    }

    fn dial_rule(&mut self, here: Here<'_>, at: &At<file::NumberRule>) -> Option<DialRule> {
        let (digits, begins, remove, add) = self.parts(here, at)?;
        Some(DialRule {
            digits,
            begins,
            remove,
            add,
            rule: here.rule("dialplan.dial", at.place),
        })
    }

    fn parts(&mut self, here: Here<'_>, at: &At<file::NumberRule>) -> Option<Parts> {
        let mut text = |at: &Option<At<String>>| match at {
            Some(at) if !at.is_empty() => self.read(here, at, |text| value::digits(text)),
            _ => Some(Arc::from("")),
        };
        let (begins, add) = (text(&at.begins), text(&at.add));
        let digits = match &at.digits {
            Some(digits) => Some(self.length(here, digits)?),
            None => None,
        };
        let remove = at.remove.as_ref().map_or(0, |n| n.value);
        if usize::from(remove) > MOST_DIGITS {
            let place = at.remove.as_ref().map_or(at.place, |n| n.place);
            let what = format!("no number has {remove} digits to remove");
            self.error(here, place, what, format!("write 0 to {MOST_DIGITS}"));
            return None;
        }
        Some((digits, begins?, remove, add?))
    }

    fn peer_numbers(&mut self, here: Here<'_>, at: &At<file::PeerNumbers>) -> PeerNumbers {
        let mut text = |at: &Option<At<String>>| match at {
            Some(at) if !at.is_empty() => self.read(here, at, |text| value::digits(text)).unwrap_or_default(),
            _ => Arc::from(""),
        };
        let (strip, prefix) = (text(&at.strip), text(&at.prefix));
        let host = at
            .host
            .as_ref()
            .and_then(|h| self.read(here, h, |text| value::name(text)));
        let mut word = |at: &Option<At<String>>, yes: &str, no: &str| match at {
            Some(at) if at.value == yes => true,
            Some(at) if at.value != no => {
                let help = format!("write `{yes}` or `{no}`, or leave it out");
                self.error(here, at.place, format!("`{}` is not known here", at.value), help);
                false
            }
            _ => false,
        };
        let (phone, from) = (word(&at.user, "phone", "ip"), word(&at.from, "number", "address"));
        PeerNumbers {
            strip,
            prefix,
            host,
            phone,
            from,
            rule: here.rule("dialplan.peers", at.place),
        }
    }
}

/// The digits of a country or area code.
fn code(text: &str) -> Result<Arc<str>, Wrong> {
    if !text.is_empty() && text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text.into());
    }
    Err((
        format!("`{text}` is no such code"),
        "write its digits in quotes, without `+`".to_owned(),
    ))
}

fn separators(text: &str) -> Result<Arc<str>, Wrong> {
    let good = |b: u8| b == b' ' || (b.is_ascii_punctuation() && !b"+*#;@%&=?:".contains(&b));
    if text.bytes().all(good) {
        return Ok(text.into());
    }
    Err((
        format!("`{text}` holds what means something in a number or a URI"),
        "list characters such as a blank or `/`".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_in_says_nothing() {
        let source = Source {
            name: FILE.into(),
            text: BUILT_IN.to_owned(),
        };
        let plan = parse::<file::Dialplan>(&source).expect("it parses");
        assert!(plan.dial.is_empty() && plan.peers.is_empty() && plan.numbers.rules.is_empty());
        assert!(plan.numbers.country.is_none() && plan.numbers.extensions.is_empty());
    }
}
