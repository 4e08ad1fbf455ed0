//! Trusted terminators, and the peers that prove themselves through them.

use ipnet::IpNet;

use super::{Here, Resolver};
use crate::config::at::At;
use crate::config::error::nearest;
use crate::config::value;
use crate::config::written;
use crate::policy::terminator::By;
use crate::policy::{Listener, PeerTerminated, PeerTls, Terminator};
use crate::sip::net::Transport;

/// Networks with a longer prefix than this are one machine's, or a few machines' that one can look after: 16 addresses of
/// IPv4. Of IPv6 a /64 is one link.
const NARROW: (u8, u8) = (28, 64);

impl Resolver<'_> {
    pub(super) fn terminator(&mut self, here: Here<'_>, at: &At<written::Listener>) -> Option<Terminator> {
        let written = at.trusted_terminator.as_ref()?;
        if Transport::from(at.transport.value) != Transport::Tcp {
            let what = "only a tcp listener can have a trusted terminator";
            self.error(
                here,
                written.place,
                what,
                "use `transport: tcp`: the terminator has ended the TLS",
            );
        }
        if written.addresses.is_empty() {
            let what = "`addresses` is empty, so nobody could connect";
            self.error(
                here,
                written.addresses.place,
                what,
                "list the terminator's: addresses: [127.0.0.1, \"::1\"]",
            );
        }
        let mut addresses = Vec::new();
        for item in &written.addresses.value {
            let Some(net) = self.read(here, item, |text| value::net(text)) else {
                continue;
            };
            self.warn_of_wide(here, item, net);
            addresses.push(net);
        }
        let tlv = written.certificate_tlv.as_ref();
        if let Some(wrong) = tlv.filter(|t| t.value < 0xe0) {
            let what = format!("{} is a field with another meaning", wrong.value);
            self.error(
                here,
                wrong.place,
                what,
                "write 225 (0xE1): 224 to 255 are free for such use",
            );
        }
        Some(Terminator {
            addresses,
            counts_as_tls: written.counts_as_tls.unwrap_or(false),
            certificate_tlv: tlv.map(|t| t.value),
            rule: here.rule("listener.trusted_terminator", written.place),
        })
    }

    /// Whoever has an address in there can be anybody.
    fn warn_of_wide(&mut self, here: Here<'_>, at: &At<String>, net: IpNet) {
        let (narrow, local) = match net {
            IpNet::V4(v4) => (NARROW.0, v4.addr().is_loopback()),
            IpNet::V6(v6) => (NARROW.1, v6.addr().is_loopback()),
        };
        if net.prefix_len() < narrow && !local {
            let what = format!("whoever sends from {net} can claim to be any peer that believes this terminator");
            self.warn(
                here,
                at.place,
                what,
                "list the terminator's own addresses, best 127.0.0.1 on the same machine",
            );
        }
    }

    pub(super) fn terminated(
        &mut self,
        here: Here<'_>,
        at: &At<written::Terminated>,
        listeners: &[Listener],
    ) -> PeerTerminated {
        let mut by = Vec::new();
        for item in &at.by.value {
            let named = listeners.iter().find(|l| *l.name == *item.value);
            by.extend(match named {
                Some(listener) if listener.terminator.is_some() => Some(By::Listener(listener.name.clone())),
                Some(_) => {
                    let what = format!("listener {} has no trusted terminator", item.value);
                    self.error(
                        here,
                        item.place,
                        what,
                        "give it `trusted_terminator: {addresses: [...]}`",
                    );
                    None
                }
                None => self.by_address(here, item, listeners),
            });
        }
        if at.by.is_empty() {
            let what = "`by` is empty, so nothing could prove the peer";
            self.error(here, at.by.place, what, "name a listener with a `trusted_terminator`");
        }
        PeerTerminated {
            by,
            allow_cn: at.allow_cn.as_ref().is_some_and(|a| a.value),
        }
    }

    /// What a peer through a terminator must have besides: a way back, and a listener that lets it in as it may come in.
    pub(super) fn ways_through(
        &mut self,
        here: Here<'_>,
        at: &At<written::Peer>,
        accept: &[Transport],
        (tls, listeners): (&PeerTls, &[Listener]),
    ) {
        let Some(through) = &tls.terminated else { return };
        let name = &at.name.value;
        let place = at.tls.as_ref().map_or(at.place, |t| t.place);
        if Transport::from(at.transport.value) != Transport::Tls && at.next_hop.is_none() {
            let what = format!("peer {name} comes through a terminator and has no `next_hop`");
            self.error(
                here,
                place,
                what,
                "write the terminator's port that leads to it: next_hop: 127.0.0.1:5064",
            );
        }
        let terminators = listeners.iter().filter_map(|l| Some((l, l.terminator.as_ref()?)));
        let believed = terminators.filter(|(l, t)| t.addresses.iter().any(|net| through.believes(&l.name, net.addr())));
        let count = |t: &Terminator| {
            if t.counts_as_tls {
                Transport::Tls
            } else {
                Transport::Tcp
            }
        };
        let comes: Vec<Transport> = believed.map(|(_, t)| count(t)).collect();
        // Nothing at all is told elsewhere.
        if !comes.is_empty() && !comes.iter().any(|t| accept.contains(t)) {
            let (what, help) = if accept.contains(&Transport::Tls) {
                let what = format!(
                    "peer {name} must come in over TLS, and what its terminators end counts as TLS on none of them"
                );
                (
                    what,
                    "write `counts_as_tls: true` in `trusted_terminator`, or `accept: [tcp]`",
                )
            } else {
                let what = format!("peer {name} does not accept what its terminators end: that counts as TLS");
                (what, "write `accept: [tls]`")
            };
            self.error(here, place, what, help);
        }
    }

    fn by_address(&mut self, here: Here<'_>, item: &At<String>, listeners: &[Listener]) -> Option<By> {
        let known = || listeners.iter().filter(|l| l.terminator.is_some()).map(|l| &*l.name);
        let net = value::net(item).ok();
        if net.is_none() {
            let help = match nearest(item, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name a listener with a `trusted_terminator`, or the address of one".to_owned(),
            };
            let what = format!("`{}` is no listener, no address and no network", item.value);
            self.error(here, item.place, what, help);
        }
        let net = net?;
        let all = listeners.iter().filter_map(|l| l.terminator.as_ref());
        let overlaps = |other: &IpNet| other.contains(&net) || net.contains(other);
        if !all.flat_map(|t| &t.addresses).any(overlaps) {
            let what = format!("no listener trusts a terminator at {net}");
            self.error(
                here,
                item.place,
                what,
                "add it to the `trusted_terminator` of a listener",
            );
        }
        Some(By::Net(net))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_from;
    use crate::config::tests::Memory;

    /// What loading says: problems, or warnings.
    fn said(listener: &str, peer: &str) -> (bool, String) {
        let text = format!(
            "domains: [a.example]\nlisteners:\n  - {{name: udp, transport: udp, bind: [\"127.0.0.1:5060\"]}}\n  \
             - {{name: old-tls, transport: tcp, bind: [\"127.0.0.1:5063\"], {listener}}}\npeers:\n  \
             - {{name: lcs, domains: [b.example], {peer}}}\n"
        );
        match load_from(Path::new("b.yaml"), &Memory::with(&[("b.yaml", &text), ("ca.pem", "")])) {
            Ok(loaded) => {
                let all: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
                (true, all.join("\n"))
            }
            Err(problems) => (false, problems.to_string()),
        }
    }

    const GOOD: (&str, &str) = (
        "trusted_terminator: {addresses: [127.0.0.1, \"::1\"], counts_as_tls: true}",
        "transport: tcp, accept: [tls], next_hop: \"127.0.0.1:5064\", tls: {terminated: {by: [old-tls], allow_cn: true}}",
    );

    #[test]
    fn a_peer_through_a_terminator_needs_no_anchor_and_no_address() {
        assert_eq!(said(GOOD.0, GOOD.1), (true, String::new()));
        let by_address = GOOD.1.replace("old-tls", "127.0.0.1");
        assert_eq!(said(GOOD.0, &by_address), (true, String::new()));
    }

    #[test]
    fn wide_networks_are_warned_of() {
        for (wide, warned) in [
            ("10.0.0.0/8", true),
            ("192.0.2.0/28", false),
            ("\"2001:db8::/48\"", true),
            ("127.0.0.0/8", false),
        ] {
            let (loads, text) = said(&GOOD.0.replace("127.0.0.1", wide), GOOD.1);
            assert!(loads, "{text}");
            assert_eq!(text.contains("can claim to be any peer"), warned, "{wide}: {text}");
        }
    }

    #[test]
    fn what_cannot_work_is_an_error() {
        for (listener, peer, wanted) in [
            ("trusted_terminator: {addresses: []}", GOOD.1, "nobody could connect"),
            (
                "trusted_terminator: {addresses: [127.0.0.1], certificate_tlv: 32}",
                GOOD.1,
                "another meaning",
            ),
            (GOOD.0, &GOOD.1.replace("old-tls", "old-tsl"), "did you mean `old-tls`?"),
            (
                GOOD.0,
                &GOOD.1.replace("old-tls", "udp"),
                "listener udp has no trusted terminator",
            ),
            (
                GOOD.0,
                &GOOD.1.replace("old-tls", "192.0.2.1"),
                "no listener trusts a terminator at 192.0.2.1",
            ),
            (
                GOOD.0,
                &GOOD.1.replace("[old-tls]", "[]"),
                "nothing could prove the peer",
            ),
            (
                GOOD.0,
                &GOOD.1.replace("next_hop: \"127.0.0.1:5064\", ", ""),
                "has no `next_hop`",
            ),
            (
                "trusted_terminator: {addresses: [127.0.0.1]}",
                GOOD.1,
                "counts as TLS on none of them",
            ),
        ] {
            let (loads, text) = said(listener, peer);
            assert!(!loads && text.contains(wanted), "{wanted}: {text}");
        }
        let text = "domains: [a.example]\nlisteners: [{name: t, transport: tls, bind: [\"127.0.0.1:5061\"], \
                    trusted_terminator: {addresses: [127.0.0.1]}}]\n";
        let loaded = load_from(Path::new("b.yaml"), &Memory::with(&[("b.yaml", text)]));
        assert!(loaded.is_err_and(|p| p.to_string().contains("only a tcp listener")));
    }
}
