//! Finding a server (RFC 3263): literal addresses, the hosts file, NAPTR, SRV, then A and AAAA.
//!
//! Ordering is in [`order`] and pure. Answers are kept for their time to live and served stale while DNS is down. Whether
//! an address may be used is not judged here.

mod cache;
mod dns;
pub mod order;
#[cfg(test)]
mod tests;

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::rc::Rc;

use crate::sip::net::Transport;
use cache::Kind;
use dns::Dns;
use order::{by_priority_and_weight, interleave, usable};

/// How long after its time to live an answer is served when DNS is down.
const MAX_STALE: Duration = Duration::from_secs(6 * 3600);
/// Targets that are worth trying.
const MAX_TARGETS: usize = 64;

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// A domain, a host name or an address literal, in brackets or not.
    pub host: &'a str,
    /// The written port, which rules out SRV.
    pub port: Option<u16>,
    /// The written or configured transport.
    pub transport: Option<Transport>,
    /// The transports that may be used where none is written, the preferred one first.
    pub allowed: &'a [Transport],
}

/// Addresses of one target, in the order to try.
pub type Targets = Vec<(Transport, SocketAddr)>;

/// The resolver of a shard; copies share what it knows.
#[derive(Clone)]
pub struct Resolver(Rc<Dns>);

impl core::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Resolver({})",
            if self.0.is_configured() {
                "DNS"
            } else {
                "hosts file only"
            }
        )
    }
}

impl Resolver {
    /// Asks the servers in the system's configuration; without one only literal addresses and the hosts file resolve.
    #[must_use]
    pub fn system() -> Self {
        Self(Dns::new(dns::system(), MAX_STALE))
    }

    /// Asks these servers, over UDP and, for long answers, TCP.
    #[must_use]
    pub fn asking(servers: &[SocketAddr]) -> Self {
        Self(Dns::new(dns::asking(servers), MAX_STALE))
    }

    /// Addresses in the order to try; empty when there are none. `draw` chooses among SRV records by weight. Must be
    /// called inside a `LocalSet`.
    pub async fn resolve(&self, query: &Query<'_>, draw: &mut impl FnMut() -> u64) -> Targets {
        let given = query.transport.as_slice();
        let allowed = if given.is_empty() { query.allowed } else { given };
        let Some(&preferred) = allowed.first() else {
            return Targets::new();
        };
        let host = query.host.trim_end_matches('.');
        let port = query.port.unwrap_or(preferred.default_port());
        if let Some(literal) = literal(host, port) {
            return vec![(preferred, literal)];
        }
        let written = self.0.written(host);
        if !written.is_empty() {
            return targets(&written, preferred, port);
        }
        let mut found = match query.port {
            Some(port) => self.addresses(host, port, preferred).await,
            None => self.services(host, allowed, preferred, draw).await,
        };
        found.truncate(MAX_TARGETS);
        found
    }

    /// All addresses of a host name, sorted, and how long they hold: the rest of their time to live, `None` when they
    /// are written in a file.
    pub async fn addresses_of(&self, host: &str) -> (Vec<IpAddr>, Option<Duration>) {
        let host = host.trim_end_matches('.');
        let mut all = self.0.written(host);
        let mut left = None;
        if all.is_empty() {
            let (v6, v4) = tokio::join!(self.0.lookup(host, Kind::Aaaa), self.0.lookup(host, Kind::A));
            all = v6.addresses.iter().chain(&v4.addresses).copied().collect();
            left = self.0.fresh_for(host);
        }
        all.sort_unstable();
        all.dedup();
        (all, left)
    }

    /// NAPTR, else SRV of every allowed transport, else addresses (RFC 3263 sections 4.1 and 4.2).
    async fn services(
        &self,
        host: &str,
        allowed: &[Transport],
        preferred: Transport,
        draw: &mut impl FnMut() -> u64,
    ) -> Targets {
        for transport in allowed {
            self.0.prefetch(&service_name(host, *transport), Kind::Srv);
        }
        let naptr = self.0.lookup(host, Kind::Naptr).await;
        let mut found = Targets::new();
        for (transport, record) in usable(&naptr.naptr, allowed) {
            let name = &record.replacement;
            match record.flags.as_str() {
                "s" => found.extend(self.srv(name, transport, draw).await.unwrap_or_default()),
                "a" => found.extend(self.addresses(name, transport.default_port(), transport).await),
                _ => {}
            }
        }
        if !found.is_empty() {
            return found;
        }
        let mut is_listed = false;
        for transport in allowed {
            if let Some(targets) = self.srv(&service_name(host, *transport), *transport, draw).await {
                is_listed = true;
                found.extend(targets);
            }
        }
        if is_listed {
            found
        } else {
            self.addresses(host, preferred.default_port(), preferred).await
        }
    }

    /// The targets of an SRV name; `None` when it has no records. A target of `.` says that there is no service.
    async fn srv(&self, name: &str, transport: Transport, draw: &mut impl FnMut() -> u64) -> Option<Targets> {
        let records = self.0.lookup(name, Kind::Srv).await;
        if records.srv.is_empty() {
            return None;
        }
        let order = by_priority_and_weight(records.srv.clone(), draw);
        for record in order.iter().filter(|r| !r.target.is_empty()) {
            self.0.prefetch(&record.target, Kind::A);
            self.0.prefetch(&record.target, Kind::Aaaa);
        }
        let mut out = Targets::new();
        for record in order.iter().filter(|r| !r.target.is_empty()) {
            out.extend(self.addresses(&record.target, record.port, transport).await);
        }
        Some(out)
    }

    async fn addresses(&self, host: &str, port: u16, transport: Transport) -> Targets {
        let written = self.0.written(host);
        if !written.is_empty() {
            return targets(&written, transport, port);
        }
        let (v6, v4) = tokio::join!(self.0.lookup(host, Kind::Aaaa), self.0.lookup(host, Kind::A));
        let all: Vec<IpAddr> = v6.addresses.iter().chain(&v4.addresses).copied().collect();
        targets(&all, transport, port)
    }
}

fn targets(addresses: &[IpAddr], transport: Transport, port: u16) -> Targets {
    interleave(addresses, has_route)
        .into_iter()
        .map(|ip| (transport, SocketAddr::new(ip, port)))
        .collect()
}

/// Whether there is a way to an address. Connecting a datagram socket asks the routing table and sends nothing.
fn has_route(ip: &IpAddr) -> bool {
    let any: SocketAddr = match ip {
        IpAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
    };
    std::net::UdpSocket::bind(any).is_ok_and(|socket| socket.connect(SocketAddr::new(*ip, 9)).is_ok())
}

/// An address literal, in brackets or not; an IPv6 one may have a zone, as a number or an interface's name.
fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let Some((ip, zone)) = host.split_once('%') else {
        return Some(SocketAddr::new(host.parse().ok()?, port));
    };
    let ip: Ipv6Addr = ip.parse().ok()?;
    let zone = match zone.parse() {
        Ok(number) => number,
        Err(_) => nix::net::if_::if_nametoindex(zone).ok()?,
    };
    Some(core::net::SocketAddrV6::new(ip, port, 0, zone).into())
}

fn service_name(host: &str, transport: Transport) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{host}"),
        Transport::Tcp => format!("_sip._tcp.{host}"),
        Transport::Tls => format!("_sips._tcp.{host}"),
    }
}
