//! The order in which targets are tried: NAPTR by order and preference (RFC 3403), SRV by priority and weight (RFC 2782),
//! addresses of both families in turn (RFC 8305 section 4). Pure: chance comes in as `draw`.

use core::net::IpAddr;

use crate::sip::net::Transport;

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share within a priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, without a dot at the end; empty says that there is no such service.
    pub target: String,
}

/// A NAPTR record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first.
    pub order: u16,
    /// Lower first, within one order.
    pub preference: u16,
    /// `s` or `a`: what the replacement names.
    pub flags: String,
    /// Such as `SIP+D2U`.
    pub service: String,
    /// The next name, without a dot at the end.
    pub replacement: String,
}

/// Sorts by priority; within one priority each next record is drawn with the chance of its weight.
pub fn by_priority_and_weight(mut records: Vec<Srv>, draw: &mut impl FnMut() -> u64) -> Vec<Srv> {
    // Records of weight 0 stand first: only then have they any chance at all.
    records.sort_by_key(|r| (r.priority, r.weight));
    let mut out = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let group = records.iter().take_while(|r| r.priority == priority);
        let total: u64 = group.clone().map(|r| u64::from(r.weight)).sum();
        let mark = draw() % (total + 1);
        let mut sum = 0;
        let at = group.take_while(|r| {
            sum += u64::from(r.weight);
            sum < mark
        });
        let at = at.count();
        out.push(records.remove(at.min(records.len() - 1)));
    }
    out
}

/// The NAPTR records that name a SIP transport among `allowed` (RFC 3263 section 4.1), in the order to follow them.
#[must_use]
pub fn usable(records: &[Naptr], allowed: &[Transport]) -> Vec<(Transport, Naptr)> {
    let transport = |service: &str| {
        let known = [
            ("SIP+D2U", Transport::Udp),
            ("SIP+D2T", Transport::Tcp),
            ("SIPS+D2T", Transport::Tls),
        ];
        known
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(service))
            .map(|(_, t)| t)
    };
    let mut out: Vec<(Transport, Naptr)> = records
        .iter()
        .filter_map(|r| Some((transport(&r.service)?, r.clone())))
        .filter(|(t, r)| allowed.contains(t) && !r.replacement.is_empty())
        .collect();
    out.sort_by_key(|(_, r)| (r.order, r.preference));
    out
}

/// Families in turn, beginning with IPv6; what has no route goes to the end, so that a host without IPv6 tries none first.
#[must_use]
pub fn interleave(addresses: &[IpAddr], has_route: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
    let (routed, unrouted): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| has_route(ip));
    let mut out = Vec::with_capacity(addresses.len());
    for part in [routed, unrouted] {
        let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = part.into_iter().partition(IpAddr::is_ipv6);
        let longer = v6.len().max(v4.len());
        out.extend((0..longer).flat_map(|at| [v6.get(at), v4.get(at)]).flatten());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::random::Random;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 5060,
            target: target.into(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn weights_share_the_load_and_priorities_do_not() {
        let mut random = Random::from_seed([3; 32]);
        let mut first = [0u32; 2];
        for _ in 0..10_000 {
            let records = vec![srv(2, 0, "c"), srv(1, 30, "a"), srv(1, 70, "b")];
            let order = by_priority_and_weight(records, &mut || random.next_u64());
            assert_eq!(order[2].target, "c");
            first[usize::from(order[0].target == "b")] += 1;
        }
        assert!((2_800..3_200).contains(&first[0]), "{first:?}");
    }

    #[test]
    fn weight_zero_has_a_very_small_chance_and_equals_share() {
        let mut random = Random::from_seed([4; 32]);
        let mut zero_first = 0;
        let mut equal = [0u32; 2];
        for _ in 0..10_000 {
            let order = by_priority_and_weight(vec![srv(1, 99, "a"), srv(1, 0, "z")], &mut || random.next_u64());
            zero_first += u32::from(order[0].target == "z");
            let order = by_priority_and_weight(vec![srv(1, 5, "a"), srv(1, 5, "b")], &mut || random.next_u64());
            equal[usize::from(order[0].target == "b")] += 1;
        }
        assert!((50..160).contains(&zero_first), "{zero_first}");
        assert!((4_200..6_000).contains(&equal[0]), "{equal:?}");
    }

    #[test]
    fn every_record_comes_once_whatever_is_drawn() {
        for drawn in [0, 1, 7, u64::MAX] {
            let records: Vec<Srv> = (0..20).map(|n| srv(n % 3, n * 1000, &n.to_string())).collect();
            let mut order = by_priority_and_weight(records.clone(), &mut || drawn);
            assert!(order.windows(2).all(|w| w[0].priority <= w[1].priority));
            order.sort_by_key(|r| r.target.parse::<u16>().expect("a number"));
            assert_eq!(order, records);
        }
        assert!(by_priority_and_weight(Vec::new(), &mut || 1).is_empty());
    }

    #[test]
    fn naptr_counts_only_for_transports_that_may_be_used() {
        let naptr = |order, preference, service: &str| Naptr {
            order,
            preference,
            flags: "s".into(),
            service: service.into(),
            replacement: service.to_lowercase(),
        };
        let records = [
            naptr(20, 1, "sip+d2t"),
            naptr(10, 2, "SIPS+D2T"),
            naptr(10, 1, "SIP+D2U"),
            naptr(1, 1, "E2U+sip"),
        ];
        let order: Vec<Transport> = usable(&records, &[Transport::Tcp, Transport::Tls])
            .into_iter()
            .map(|(t, _)| t)
            .collect();
        assert_eq!(order, [Transport::Tls, Transport::Tcp]);
    }

    #[test]
    fn families_take_turns_and_those_without_a_route_come_last() {
        let all = [ip("10.0.0.1"), ip("10.0.0.2"), ip("::1")];
        assert_eq!(interleave(&all, |_| true), [ip("::1"), ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(
            interleave(&all, IpAddr::is_ipv4),
            [ip("10.0.0.1"), ip("10.0.0.2"), ip("::1")]
        );
    }
}
