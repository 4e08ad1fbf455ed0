//! Static routes: exact domain, longest suffix, longest digit prefix; then priority, then weight (RFC 2782 wise).

use std::sync::Arc;

use smallvec::SmallVec;

use super::names::{NameMap, trim};
use super::rule::RuleRef;
use super::snapshot::HostPort;
use crate::sip::net::{PeerId, Transport};

/// Index of a set of routes in the running configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteSetId(pub u32);

/// One way to a foreign address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The peer whose trust settings, limits and dialect apply.
    pub peer: PeerId,
    /// Lower is tried first.
    pub priority: u16,
    /// Share among routes of one priority; 0 only when nothing else is left.
    pub weight: u16,
    /// The transport to use.
    pub transport: Transport,
    /// Where to; `None`: RFC 3263 on the domain.
    pub next_hop: Option<HostPort>,
    /// Where it is written.
    pub rule: RuleRef,
}

/// What a set of routes is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// Exactly this domain.
    Domain(Arc<str>),
    /// Every domain that ends so, leading dot included; not the bare domain.
    Suffix(Arc<str>),
    /// Every number that starts so.
    Digits(Arc<str>),
}

impl Pattern {
    /// The domain, if it is for exactly one.
    #[must_use]
    pub fn exact(&self) -> Option<&Arc<str>> {
        match self {
            Self::Domain(name) => Some(name),
            Self::Suffix(_) | Self::Digits(_) => None,
        }
    }
}

impl core::fmt::Display for Pattern {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Domain(name) => f.write_str(name),
            Self::Suffix(name) => write!(f, "*{name}"),
            Self::Digits(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// All routes of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSet {
    /// What it is for.
    pub pattern: Pattern,
    /// Sorted by priority; within one priority in written order.
    routes: SmallVec<[Route; 2]>,
}

impl RouteSet {
    /// The routes by priority; within one priority as written.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The order to try them in: by priority, within one priority drawn by weight with the random numbers of `draw`.
    pub fn order(&self, mut draw: impl FnMut() -> u64) -> SmallVec<[&Route; 4]> {
        let mut out: SmallVec<[&Route; 4]> = self.routes.iter().collect();
        let mut start = 0;
        while let Some(first) = out.get(start) {
            let priority = first.priority;
            let same = out[start..].iter().take_while(|r| r.priority == priority).count();
            draw_by_weight(&mut out[start..start + same], &mut draw);
            start += same;
        }
        out
    }
}

/// RFC 2782: each next one is drawn among those left with the chance of its weight.
fn draw_by_weight(group: &mut [&Route], draw: &mut impl FnMut() -> u64) {
    for at in 0..group.len().saturating_sub(1) {
        let left = &mut group[at..];
        let total: u64 = left.iter().map(|r| u64::from(r.weight)).sum();
        if total == 0 {
            return;
        }
        let mut mark = draw() % total;
        let chosen = left.iter().position(|r| {
            let weight = u64::from(r.weight);
            let hit = mark < weight;
            mark = mark.saturating_sub(weight);
            hit
        });
        left[..=chosen.unwrap_or(0)].rotate_right(1);
    }
}

/// All routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    sets: Vec<RouteSet>,
    exact: NameMap<RouteSetId>,
    suffix: NameMap<RouteSetId>,
    digits: NameMap<RouteSetId>,
    /// Bit n: there is a digit prefix of n bytes (31 stands for 31 and more).
    digit_lengths: u32,
}

impl Routes {
    /// Adds a route to the set of its pattern.
    pub fn insert(&mut self, pattern: Pattern, route: Route) {
        let next = RouteSetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX));
        let (map, key) = match &pattern {
            Pattern::Domain(name) => (&mut self.exact, name),
            Pattern::Suffix(name) => (&mut self.suffix, name),
            Pattern::Digits(prefix) => {
                self.digit_lengths |= 1 << prefix.len().min(31);
                (&mut self.digits, prefix)
            }
        };
        if let Some(id) = map.get(key.as_bytes()).copied() {
            if let Some(set) = self.sets.get_mut(id.0 as usize) {
                let at = set.routes.partition_point(|r| r.priority <= route.priority);
                set.routes.insert(at, route);
            }
            return;
        }
        let _new = map.insert(key, next);
        self.sets.push(RouteSet {
            pattern,
            routes: SmallVec::from_iter([route]),
        });
    }

    /// The set for a domain: exact before suffix, longer suffix before shorter.
    #[must_use]
    pub fn domain(&self, name: &[u8]) -> Option<RouteSetId> {
        let name = trim(name);
        if let Some(id) = self.exact.get(name) {
            return Some(*id);
        }
        if self.suffix.is_empty() {
            return None;
        }
        memchr::memchr_iter(b'.', name)
            .filter(|at| *at > 0)
            .find_map(|at| self.suffix.get(name.get(at..)?).copied())
    }

    /// The set for a number: the longest prefix. Visual separators (RFC 3966 5.1.1) must be gone already.
    #[must_use]
    pub fn number(&self, digits: &[u8]) -> Option<RouteSetId> {
        (1..=digits.len().min(64))
            .rev()
            .filter(|length| self.digit_lengths & 1 << (*length).min(31) != 0)
            .find_map(|length| self.digits.get(digits.get(..length)?).copied())
    }

    /// A set by its id.
    #[must_use]
    pub fn set(&self, id: RouteSetId) -> Option<&RouteSet> {
        self.sets.get(id.0 as usize)
    }

    /// The set of a pattern.
    #[must_use]
    pub fn find(&self, pattern: &Pattern) -> Option<&RouteSet> {
        let (map, key) = match pattern {
            Pattern::Domain(name) => (&self.exact, name),
            Pattern::Suffix(name) => (&self.suffix, name),
            Pattern::Digits(prefix) => (&self.digits, prefix),
        };
        self.set(*map.get(key.as_bytes())?)
    }

    /// All sets in the order they were written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RouteSet> {
        self.sets.iter()
    }
}

/// Whether a number starts with a prefix.
#[must_use]
pub(super) fn starts_with_digits(number: &[u8], prefix: &[u8]) -> bool {
    number.starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(peer: u16, priority: u16, weight: u16) -> Route {
        let rule = RuleRef::built_in("route");
        Route {
            peer: PeerId(peer),
            priority,
            weight,
            transport: Transport::Tls,
            next_hop: None,
            rule,
        }
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let name = "[ab]{1,2}(\\.[ab]{1,2}){0,2}";
        prop_oneof![
            name.prop_map(|n| Pattern::Domain(n.into())),
            name.prop_map(|n| Pattern::Suffix(format!(".{n}").into())),
            "\\+?[12]{1,4}".prop_map(|d| Pattern::Digits(d.into())),
        ]
    }

    /// What the documentation says, said without cleverness: look at every written pattern and keep the best.
    fn naive<'a>(written: &'a [Pattern], name: &str, number: bool) -> Option<&'a Pattern> {
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        let rank = |p: &&Pattern| match p {
            Pattern::Domain(d) if !number && **d == *name => Some(usize::MAX),
            Pattern::Suffix(s) if !number && name.ends_with(&**s) && name.len() > s.len() => Some(s.len()),
            Pattern::Digits(d) if number && name.starts_with(&**d) => Some(d.len()),
            _ => None,
        };
        written.iter().filter(|p| rank(p).is_some()).max_by_key(|p| rank(p))
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_the_naive_reference(
            written in prop::collection::vec(pattern(), 0..12),
            name in "[abAB]{1,2}(\\.[abAB]{1,2}){0,3}\\.?",
            digits in "\\+?[12]{1,6}",
        ) {
            let mut routes = Routes::default();
            for (i, p) in (0..).zip(&written) {
                routes.insert(p.clone(), route(i, 10, 50));
            }
            let pattern = |id: Option<RouteSetId>| id.and_then(|id| routes.set(id)).map(|s| &s.pattern);
            prop_assert_eq!(pattern(routes.domain(name.as_bytes())), naive(&written, &name, false));
            prop_assert_eq!(pattern(routes.number(digits.as_bytes())), naive(&written, &digits, true));
        }

        #[test]
        fn the_order_is_a_permutation_sorted_by_priority(
            ways in prop::collection::vec((0_u16..3, 0_u16..4), 1..8),
            draws in prop::collection::vec(any::<u64>(), 8),
        ) {
            let mut routes = Routes::default();
            for (i, (priority, weight)) in (0..).zip(&ways) {
                routes.insert(Pattern::Domain("b".into()), route(i, *priority, *weight));
            }
            let set = routes.domain(b"b").and_then(|id| routes.set(id)).expect("a set");
            let mut draws = draws.into_iter().cycle();
            let order = set.order(|| draws.next().unwrap_or(0));
            prop_assert!(order.windows(2).all(|w| w[0].priority <= w[1].priority));
            // Within a priority nobody of weight 0 comes before somebody with weight.
            prop_assert!(order.windows(2).all(|w| w[0].priority < w[1].priority || w[0].weight > 0 || w[1].weight == 0));
            let mut seen: Vec<u16> = order.iter().map(|r| r.peer.0).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..).take(ways.len()).collect::<Vec<u16>>());
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let mut routes = Routes::default();
        for (peer, weight) in [(0, 10), (1, 30), (2, 60)] {
            routes.insert(Pattern::Domain("b".into()), route(peer, 1, weight));
        }
        let set = routes.domain(b"b").and_then(|id| routes.set(id)).expect("a set");
        let mut random = crate::sip::random::Random::from_seed([3; 32]);
        let mut first = [0_u32; 3];
        for _ in 0..10_000 {
            first[usize::from(set.order(|| random.next_u64())[0].peer.0)] += 1;
        }
        for (count, share) in first.into_iter().zip([1_000_u32, 3_000, 6_000]) {
            assert!(count.abs_diff(share) < 250, "{first:?}");
        }
    }
}
