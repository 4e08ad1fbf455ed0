//! Where DNS may not lead: to this machine, to its own link, to the bridge itself.
//!
//! Who answers for a peer's name must not be able to aim the bridge at what only this machine can reach. An address that
//! the configuration names is another matter: a literal next hop, `localhost`, what the peer lists in `addresses`.

use core::net::{IpAddr, SocketAddr};

use super::{Engine, Event, Output};
use crate::policy::addresses::is_near;
use crate::sip::net::{Destination, PeerId, Transport};
use crate::sip::time::Now;

impl Engine {
    /// The addresses of a peer's next hop without those that DNS may not give it; the log names what was left out.
    pub(super) fn not_misled(
        &mut self,
        now: Now,
        peer: PeerId,
        host: &str,
        mut targets: Vec<(Transport, SocketAddr)>,
    ) -> Vec<(Transport, SocketAddr)> {
        if is_written(host) {
            return targets;
        }
        let mut left_out = None;
        targets.retain(|&(transport, to)| {
            let fine = self.may_be_at(peer, transport, to);
            if !fine {
                left_out = Some(to.ip());
            }
            fine
        });
        if let (Some(ip), Some(peer)) = (left_out, self.snapshot.peer(peer))
            && self.rates.worth_logging(now.mono_ms, ip, host)
        {
            let note = format!(
                "DNS says that {host} is at {ip}, which is this machine or its own link: not used for peer {}, unless \
                 its `addresses` list it",
                peer.name
            );
            self.outputs.push_back(Output::Log(Event::Note(note)));
        }
        targets
    }

    fn may_be_at(&self, peer: PeerId, transport: Transport, to: SocketAddr) -> bool {
        let listed = self.snapshot.peer(peer).is_some_and(|p| p.lists(to.ip()));
        listed || !(is_near(to.ip()) || self.is_self(Destination::Peer { peer, transport, to }))
    }
}

/// Whether a host stands for an address that nobody else decides: a literal, with or without zone, or `localhost`
/// (RFC 6761 section 6.3).
fn is_written(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let address = bare.split('%').next().unwrap_or(bare);
    let label = host.rsplit('.').next().unwrap_or(host);
    address.parse::<IpAddr>().is_ok() || label.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_are_written() {
        for host in [
            "127.0.0.1",
            "::1",
            "[::1]",
            "fe80::1%eth0",
            "localhost",
            "LOCALHOST.",
            "b.localhost",
        ] {
            assert!(is_written(host), "{host}");
        }
        for host in [
            "b.example",
            "localhost.example",
            "127.0.0.1.example",
            "notlocalhost",
            "",
        ] {
            assert!(!is_written(host), "{host}");
        }
    }
}
