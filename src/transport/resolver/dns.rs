//! Asking DNS through the cache: each question once at a time, whoever waits for it.

use core::cell::RefCell;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder, TokioResolver};
use tokio::sync::watch;

use super::cache::{Cache, Found, Key, Kind, Records};
use super::order::{Naptr, Srv};

/// One question to one server.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Who has a stale answer waits only so long for a fresh one (RFC 8767 section 5).
const PATIENCE: Duration = Duration::from_millis(1_800);
/// How long nothing is trusted when the answer does not say.
const NEGATIVE_TTL_S: u32 = 30;
/// Records of one answer that are used.
const MAX_RECORDS: usize = 64;

/// DNS, the hosts file, and what they said.
pub(super) struct Dns {
    resolver: Option<TokioResolver>,
    hosts: Hosts,
    cache: RefCell<Cache>,
    pending: RefCell<HashMap<Key, watch::Receiver<()>>>,
    started: Instant,
}

impl Dns {
    pub(super) fn new(resolver: Option<TokioResolver>, max_stale: Duration) -> Rc<Self> {
        let max_stale_ms = u64::try_from(max_stale.as_millis())
            .unwrap_or(u64::MAX / 2)
            .min(u64::MAX / 2);
        Rc::new(Self {
            resolver,
            hosts: Hosts::from_system().unwrap_or_default(),
            cache: RefCell::new(Cache::new(max_stale_ms)),
            pending: RefCell::default(),
            started: Instant::now(),
        })
    }

    pub(super) fn is_configured(&self) -> bool {
        self.resolver.is_some()
    }

    fn clock_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The addresses that need no DNS: those in the hosts file, and `localhost` (RFC 6761).
    pub(super) fn written(&self, host: &str) -> Vec<IpAddr> {
        let Ok(name) = fqdn(host) else { return Vec::new() };
        let mut out = Vec::new();
        for kind in [RecordType::AAAA, RecordType::A] {
            if let Some(found) = self.hosts.lookup_static_host(&Query::query(name.clone(), kind)) {
                out.extend(found.answers().iter().filter_map(|r| r.data.ip_addr()));
            }
        }
        if out.is_empty() && host.eq_ignore_ascii_case("localhost") {
            out = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        }
        out
    }

    /// How long what is known of a name's addresses needs no asking; `None` when nothing is known.
    pub(super) fn fresh_for(&self, name: &str) -> Option<Duration> {
        let (now_ms, cache) = (self.clock_ms(), self.cache.borrow());
        let left = |kind| cache.fresh_for(now_ms, &(name.to_ascii_lowercase(), kind));
        let shortest = [left(Kind::A), left(Kind::Aaaa)].into_iter().flatten().min();
        shortest.map(Duration::from_millis)
    }

    /// Begins to ask, for an answer that will be wanted soon.
    pub(super) fn prefetch(self: &Rc<Self>, name: &str, kind: Kind) {
        let key = (name.to_ascii_lowercase(), kind);
        if !matches!(self.cache.borrow().find(self.clock_ms(), &key), Found::Fresh(_)) {
            self.ask(&key);
        }
    }

    /// The records of a name; none when there are none, or when DNS is down and was never asked before.
    pub(super) async fn lookup(self: &Rc<Self>, name: &str, kind: Kind) -> Rc<Records> {
        let key = (name.to_ascii_lowercase(), kind);
        let found = self.cache.borrow().find(self.clock_ms(), &key);
        match found {
            Found::Fresh(records) => records,
            Found::Stale(old) => {
                let mut asked = self.ask(&key);
                let _ = tokio::time::timeout(PATIENCE, asked.changed()).await;
                match self.cache.borrow().find(self.clock_ms(), &key) {
                    Found::Fresh(records) => records,
                    Found::Stale(_) | Found::Unknown => old,
                }
            }
            Found::Unknown => {
                let mut asked = self.ask(&key);
                let _ = asked.changed().await;
                match self.cache.borrow().find(self.clock_ms(), &key) {
                    Found::Fresh(records) | Found::Stale(records) => records,
                    Found::Unknown => Rc::default(),
                }
            }
        }
    }

    /// Asks unless it is being asked already. The receiver ends when the cache has the answer.
    fn ask(self: &Rc<Self>, key: &Key) -> watch::Receiver<()> {
        if let Some(asked) = self.pending.borrow().get(key) {
            return asked.clone();
        }
        let (done, asked) = watch::channel(());
        self.pending.borrow_mut().insert(key.clone(), asked.clone());
        let (dns, key) = (Rc::clone(self), key.clone());
        tokio::task::spawn_local(async move {
            let result = dns.query(&key).await;
            let now_ms = dns.clock_ms();
            match result {
                Ok((records, ttl_s)) => dns
                    .cache
                    .borrow_mut()
                    .store(now_ms, key.clone(), records, u64::from(ttl_s)),
                Err(why) => {
                    tracing::warn!(name = key.0, kind = ?key.1, why, "DNS does not answer; what is known stays in use");
                    dns.cache.borrow_mut().failed(now_ms, key.clone());
                }
            }
            dns.pending.borrow_mut().remove(&key);
            drop(done);
        });
        asked
    }

    async fn query(&self, (name, kind): &Key) -> Result<(Records, u32), String> {
        let Some(resolver) = &self.resolver else {
            return Ok((Records::default(), NEGATIVE_TTL_S));
        };
        // What is no name in DNS has no records there.
        let Ok(name) = fqdn(name) else {
            return Ok((Records::default(), NEGATIVE_TTL_S));
        };
        let wanted = match kind {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Srv => RecordType::SRV,
            Kind::Naptr => RecordType::NAPTR,
        };
        match resolver.lookup(name, wanted).await {
            Ok(lookup) => {
                let ttl_s = lookup.answers().iter().map(|r| r.ttl).min().unwrap_or(NEGATIVE_TTL_S);
                Ok((collect(lookup.answers(), wanted), ttl_s))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                Ok((Records::default(), none.negative_ttl.unwrap_or(NEGATIVE_TTL_S)))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The system's resolver; without a configuration there is none.
pub(super) fn system() -> Option<TokioResolver> {
    match TokioResolver::builder_tokio().and_then(finish) {
        Ok(resolver) => Some(resolver),
        Err(error) => {
            tracing::warn!(%error, "no DNS configuration; only literal addresses and the hosts file resolve");
            None
        }
    }
}

/// A resolver that asks the given servers.
pub(super) fn asking(servers: &[SocketAddr]) -> Option<TokioResolver> {
    let servers = servers.iter().map(|server| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        NameServerConfig::new(server.ip(), true, connections.into())
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    match finish(TokioResolver::builder_with_config(
        config,
        TokioRuntimeProvider::default(),
    )) {
        Ok(resolver) => Some(resolver),
        Err(error) => {
            tracing::warn!(%error, "the DNS servers cannot be used");
            None
        }
    }
}

fn finish(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.timeout = TIMEOUT;
    options.attempts = 2;
    // The cache here knows how to serve stale answers; the hosts file is read here too.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

fn fqdn(name: &str) -> Result<Name, ()> {
    let mut name = Name::from_ascii(name.trim_end_matches('.')).map_err(drop)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name as text, without the dot at the end.
fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

fn collect(answers: &[Record], wanted: RecordType) -> Records {
    let mut out = Records::default();
    for record in answers.iter().filter(|r| r.record_type() == wanted).take(MAX_RECORDS) {
        match &record.data {
            RData::A(_) | RData::AAAA(_) => out.addresses.extend(record.data.ip_addr()),
            RData::SRV(s) => out.srv.push(Srv {
                priority: s.priority,
                weight: s.weight,
                port: s.port,
                target: text(&s.target),
            }),
            RData::NAPTR(n) => out.naptr.push(Naptr {
                order: n.order,
                preference: n.preference,
                flags: String::from_utf8_lossy(&n.flags).to_ascii_lowercase(),
                service: String::from_utf8_lossy(&n.services).into_owned(),
                replacement: text(&n.replacement),
            }),
            _ => {}
        }
    }
    out
}
