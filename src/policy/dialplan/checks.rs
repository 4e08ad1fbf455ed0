//! What a dial plan says in vain, or says twice: for `trestle check`.

use super::Dialplan;
use super::rules::Prefix;
use crate::policy::rule::RuleRef;

/// A rule that does not do what its author may think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Where the rule is written.
    pub rule: RuleRef,
    /// What is odd about it.
    pub what: String,
    /// What to do.
    pub help: &'static str,
}

/// What a rule asks of a number.
struct Asks<'a> {
    digits: Option<u8>,
    begins: &'a str,
    rule: &'a RuleRef,
    /// What it does, to tell a rule that is only needless from one that contradicts.
    does: (u8, &'a str),
}

impl Asks<'_> {
    /// Whether every number that the other asks for is one that this one takes.
    fn covers(&self, other: &Asks<'_>) -> bool {
        self.digits.is_none_or(|n| other.digits == Some(n)) && bare(other.begins).starts_with(bare(self.begins)) && {
            // A rule for the full form only leaves the others to those behind it.
            !self.begins.starts_with('+') || other.begins.starts_with('+')
        }
    }

    /// Whether some numbers fit both, others only one of them, and the two do different things. A narrow rule before a
    /// wide one is how exceptions are written.
    fn competes(&self, later: &Asks<'_>) -> bool {
        let (a, b) = (bare(self.begins), bare(later.begins));
        let meet = self.digits.is_none() || later.digits.is_none() || self.digits == later.digits;
        let long = a.len().max(b.len());
        let room = self.digits.or(later.digits).is_none_or(|n| usize::from(n) >= long);
        meet && room
            && (a.starts_with(b) || b.starts_with(a))
            && self.does != later.does
            && !self.covers(later)
            && !later.covers(self)
            && !self.is_impossible()
            && !self.leaves_nothing()
    }

    /// Whether no number at all can be what the rule asks for.
    fn is_impossible(&self) -> bool {
        self.digits.is_some_and(|n| usize::from(n) < bare(self.begins).len())
    }

    /// Whether nothing is left of a number, so that the rule is passed over.
    fn leaves_nothing(&self) -> bool {
        self.digits.is_some_and(|n| self.does.0 >= n) && self.does.1.is_empty()
    }
}

fn bare(begins: &str) -> &str {
    begins.strip_prefix('+').unwrap_or(begins)
}

/// Everything odd, in the order it is written.
#[must_use]
pub fn doubts(plan: &Dialplan) -> Vec<Doubt> {
    let prefix = |p: &'_ Prefix| -> (Option<u8>, RuleRef) { (p.digits, p.rule.clone()) };
    let mut out = Vec::new();
    let normal: Vec<Asks<'_>> = plan
        .numbers
        .rules
        .iter()
        .map(|r| Asks {
            digits: r.digits,
            begins: &r.begins,
            rule: &r.rule,
            does: (r.remove, &r.add),
        })
        .collect();
    in_order(&normal, &mut out);
    for (length, rule) in plan.numbers.rules.iter().map(prefix) {
        if let Some(length) = length.filter(|n| plan.numbers.extensions.contains(n)) {
            out.push(Doubt {
                rule,
                what: format!("numbers of {length} digits are also listed in `extensions`"),
                help: "the rule comes first for the numbers that it fits; leave out one of them if that is not meant",
            });
        }
    }
    lengths(plan, &mut out);
    let dial: Vec<Asks<'_>> = plan
        .dial
        .iter()
        .map(|r| Asks {
            digits: r.digits,
            begins: &r.begins,
            rule: &r.rule,
            does: (r.remove, &r.add),
        })
        .collect();
    in_order(&dial, &mut out);
    peers(plan, &mut out);
    out
}

/// Rules of which the first that fits is taken.
fn in_order(rules: &[Asks<'_>], out: &mut Vec<Doubt>) {
    for (at, rule) in rules.iter().enumerate() {
        let doubt = |what: String, help| Doubt {
            rule: rule.rule.clone(),
            what,
            help,
        };
        if rule.is_impossible() {
            let what = format!(
                "it never fits: no number of {} digits begins with `{}`",
                rule.digits.unwrap_or_default(),
                rule.begins
            );
            out.push(doubt(what, "correct `digits` or `begins`"));
            continue;
        }
        if rule.leaves_nothing() {
            out.push(doubt(
                "it removes every digit, so it is passed over".to_owned(),
                "remove fewer digits, or add some",
            ));
            continue;
        }
        let earlier = || rules.iter().take(at);
        let Some(first) = earlier().find(|earlier| earlier.covers(rule)) else {
            if let Some(other) = earlier().find(|other| other.competes(rule)) {
                let longer = if bare(rule.begins).len() > bare(other.begins).len() {
                    rule
                } else {
                    other
                };
                let length = rule
                    .digits
                    .or(other.digits)
                    .map_or_else(String::new, |n| format!(" of {n} digits"));
                let what = format!(
                    "numbers{length} that begin with `{}` fit {}:{} as well",
                    longer.begins, other.rule.file, other.rule.line
                );
                out.push(doubt(
                    what,
                    "the first one takes them; write a rule for them before both if that is not meant",
                ));
            }
            continue;
        };
        let place = format!("{}:{}", first.rule.file, first.rule.line);
        out.push(if first.does == rule.does {
            doubt(
                format!("it is never reached: {place} does the same first"),
                "leave it out",
            )
        } else {
            doubt(
                format!("it is never reached: {place} takes every such number first"),
                "put the narrower rule before the wider one",
            )
        });
    }
}

/// A length that means two things means the first of them.
fn lengths(plan: &Dialplan, out: &mut Vec<Doubt>) {
    let numbers = &plan.numbers;
    let Some(rule) = numbers.area.as_ref().or(numbers.country.as_ref()).map(|(_, rule)| rule) else {
        return;
    };
    let named = [
        ("extensions", &numbers.extensions),
        ("national", &numbers.national),
        ("local", &numbers.local),
    ];
    for (at, (later, lengths)) in named.iter().enumerate() {
        for (earlier, others) in named.iter().take(at) {
            for length in lengths.iter().filter(|n| others.contains(n)) {
                out.push(Doubt {
                    rule: rule.clone(),
                    what: format!("numbers of {length} digits are listed in `{earlier}` and in `{later}`"),
                    help: "the first of extensions, national, local counts; list each length once",
                });
            }
        }
    }
}

fn peers(plan: &Dialplan, out: &mut Vec<Doubt>) {
    for numbers in plan.peers.iter().flatten() {
        let strip = numbers.strip.as_bytes();
        if !strip.is_empty() && strip.first() != Some(&b'+') {
            // Whatever its length, a number that begins so is normalised first.
            let longer = [strip, b"00000000".as_slice()].concat();
            let gone = (strip.len() + 1..=longer.len())
                .all(|n| longer.get(..n).is_some_and(|n| plan.numbers.apply(n).is_some()));
            if gone {
                out.push(Doubt {
                    rule: numbers.rule.clone(),
                    what: format!(
                        "`strip: {}` never fits: normalised numbers begin otherwise",
                        numbers.strip
                    ),
                    help: "write the full form, beginning with `+`",
                });
            }
        }
        if numbers.strip.is_empty() && !numbers.prefix.is_empty() {
            out.push(Doubt {
                rule: numbers.rule.clone(),
                what: format!(
                    "numbers that begin with `+` do not get the prefix `{}`: a `+` stands in front only",
                    numbers.prefix
                ),
                help: "write `strip: \"+\"` to take the `+` away first",
            });
        }
    }
}
