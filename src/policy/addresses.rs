//! Which peers list an address: single addresses by binary search, wider networks one by one.

use core::net::IpAddr;

use ipnet::IpNet;

use super::acl::canonical;
use super::peer::Peer;
use crate::sip::net::PeerId;

/// The listed addresses of all peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAddresses {
    single: Vec<(IpAddr, PeerId)>,
    wide: Vec<(IpNet, PeerId)>,
}

impl PeerAddresses {
    /// The table of these peers.
    pub fn of<'a>(peers: impl Iterator<Item = (PeerId, &'a Peer)>) -> Self {
        let mut table = Self::default();
        for (id, peer) in peers {
            for net in &peer.addresses {
                if net.prefix_len() == net.max_prefix_len() {
                    table.single.push((canonical(net.addr()), id));
                } else {
                    table.wide.push((*net, id));
                }
            }
        }
        table.single.sort_unstable();
        table.single.dedup();
        table
    }

    /// The peers that list this address.
    pub fn peers(&self, ip: IpAddr) -> impl Iterator<Item = PeerId> + '_ {
        let ip = canonical(ip);
        let start = self.single.partition_point(|(a, _)| *a < ip);
        let single = self
            .single
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(move |(a, _)| *a == ip);
        let wide = self.wide.iter().filter(move |(net, _)| net.contains(&ip));
        single.map(|(_, id)| *id).chain(wide.map(|(_, id)| *id))
    }
}

/// Whether nobody but this machine or its own link can be at an address: loopback, unspecified, link-local, multicast and
/// broadcast. IPv4-mapped IPv6 counts as IPv4.
#[must_use]
pub fn is_near(ip: IpAddr) -> bool {
    match canonical(ip) {
        IpAddr::V4(v4) => {
            let this_host = v4.is_loopback() || v4.octets()[0] == 0;
            this_host || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::tests::snapshot;

    #[test]
    fn near_addresses_are_told_from_those_of_others() {
        for near in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(is_near(near.parse().expect("an address")), "{near}");
        }
        for far in [
            "192.0.2.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "fd00::1",
            "2001:db8::1",
            "128.0.0.1",
        ] {
            assert!(!is_near(far.parse().expect("an address")), "{far}");
        }
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_asking_every_peer(hosts in prop::collection::vec((0_u8..4, 0_u8..8), 1..6), ask in 0_u8..8) {
            let mut text = String::from("domains: [a.example]\npeers:\n");
            for (i, (net, host)) in hosts.iter().enumerate() {
                let address = if *net == 0 { "192.0.2.0/30".to_owned() } else { format!("192.0.2.{host}") };
                text.push_str(&format!("  - {{name: p{i}, domains: [p{i}.example], transport: udp, addresses: [{address}]}}\n"));
            }
            let s = snapshot(&text);
            let ip = IpAddr::from([192, 0, 2, ask]);
            let mut found: Vec<PeerId> = s.addresses.peers(ip).collect();
            found.sort_unstable();
            let asked: Vec<PeerId> = s.peers().filter(|(_, p)| p.lists(ip)).map(|(id, _)| id).collect();
            prop_assert_eq!(found, asked);
        }
    }
}
