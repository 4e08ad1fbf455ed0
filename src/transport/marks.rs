//! Differentiated services code points of datagrams, by their receivers: all peers share the sockets of a listener, so the
//! mark goes with each datagram.

use core::net::IpAddr;
use std::collections::HashMap;

use ipnet::IpNet;

/// Which receivers' datagrams are marked, and how. Empty, as it mostly is, it costs one comparison.
#[derive(Debug, Default)]
pub(super) struct Marks {
    single: HashMap<IpAddr, u8>,
    /// The narrowest first.
    wide: Vec<(IpNet, u8)>,
}

impl Marks {
    /// The first mark of an address counts.
    pub(super) fn of(all: impl IntoIterator<Item = (IpNet, u8)>) -> Self {
        let mut marks = Self::default();
        for (net, dscp) in all {
            if net.prefix_len() == net.max_prefix_len() {
                marks.single.entry(net.addr()).or_insert(dscp);
            } else {
                marks.wide.push((net, dscp));
            }
        }
        marks.wide.sort_by_key(|(net, _)| core::cmp::Reverse(net.prefix_len()));
        marks
    }

    /// The code point of datagrams to this address, if it has one.
    pub(super) fn find(&self, to: IpAddr) -> Option<u8> {
        if self.single.is_empty() && self.wide.is_empty() {
            return None;
        }
        let wide = || {
            self.wide
                .iter()
                .find(|(net, _)| net.contains(&to))
                .map(|(_, dscp)| *dscp)
        };
        self.single.get(&to).copied().or_else(wide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_counts() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        let marks = Marks::of([
            (net("10.0.0.0/8"), 8),
            (net("10.1.0.0/16"), 16),
            (net("10.1.1.1/32"), 26),
            (net("2001:db8::/32"), 34),
        ]);
        let find = |text: &str| marks.find(text.parse().expect("an address"));
        assert_eq!(find("10.1.1.1"), Some(26));
        assert_eq!(find("10.1.1.2"), Some(16));
        assert_eq!(find("10.2.1.1"), Some(8));
        assert_eq!(find("2001:db8::1"), Some(34));
        assert_eq!((find("192.0.2.1"), find("2001:db9::1")), (None, None));
    }
}
