//! Requests a second of each source and peer, and log lines that a flood must not multiply.

use core::net::{IpAddr, Ipv6Addr};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Engine;
use super::reply::Request;
use crate::policy::Over;
use crate::policy::acl::source_of;
use crate::sip::field::parse_expires;
use crate::sip::header::Name;
use crate::sip::net::{PeerId, Source};
use crate::sip::time::Now;

/// So many sources are remembered; past it the table starts again, which forgives at most one second of a flood.
const MAX_SOURCES: usize = 100_000;
/// A refusal of one source by one rule is logged once in this time.
const LOG_AGAIN_MS: u64 = 60_000;
/// So many sources and rules are told apart in the log; the others share one line for each rule, so that addresses which
/// a flood invents do not fill the disk.
const MAX_LOGGED: usize = 4_096;
/// Room among them is looked for no more often than this.
const TIDY_MS: u64 = 1_000;

/// Requests in the second that began at `since_ms`.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    since_ms: u64,
    count: u32,
}

impl Window {
    /// Counts one; true when the limit is passed.
    fn over(&mut self, now_ms: u64, limit: u32) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= 1000 {
            *self = Self {
                since_ms: now_ms,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        self.count > limit
    }
}

/// Counters of this shard.
#[derive(Debug, Default)]
pub(super) struct Rates {
    sources: HashMap<IpAddr, Window>,
    peers: HashMap<PeerId, Window>,
    logged: HashMap<(IpAddr, u64), u64>,
    tidied_ms: u64,
}

impl Rates {
    /// Peers are called as in a new configuration; their seconds go on.
    pub(super) fn follow(&mut self, plan: &crate::config::plan::Plan) {
        let before = core::mem::take(&mut self.peers);
        let kept = plan.kept_peers();
        self.peers = kept.filter_map(|(old, new)| Some((new, *before.get(&old)?))).collect();
    }

    /// Whether a refusal is worth a line.
    pub(super) fn worth_logging(&mut self, now_ms: u64, source: IpAddr, rule: &str) -> bool {
        let hash = rule.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let mut key = (source_of(source), hash);
        if self.logged.len() >= MAX_LOGGED && !self.logged.contains_key(&key) {
            if now_ms >= self.tidied_ms + TIDY_MS {
                self.tidied_ms = now_ms;
                self.logged.retain(|_, at| now_ms < *at + LOG_AGAIN_MS);
            }
            if self.logged.len() >= MAX_LOGGED {
                key.0 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let last = self.logged.entry(key).or_insert(0);
        let due = *last == 0 || now_ms >= *last + LOG_AGAIN_MS;
        if due {
            *last = now_ms.max(1);
        }
        due
    }
}

/// Messages that a source may send for each request it may make: answers and ACKs are messages too, and between the two
/// it is told that it sends too much.
const MESSAGES_A_REQUEST: u32 = 2;

impl Engine {
    /// Messages a second that are read of a source at all, whatever they are; `None` for trunks, which carry many users.
    #[must_use]
    pub fn message_rate(&self, source: &Source) -> Option<u32> {
        let ours = |f: &super::Flow| f.owner.is_some() || f.source.listener.is_none();
        let trunk = match source.flow {
            Some(flow) => self.flows.get(&flow).is_some_and(ours),
            None => self.snapshot.addresses.peers(source.remote.ip()).next().is_some(),
        };
        let most = self.snapshot.limits.per_source.requests;
        (!trunk).then(|| most.saturating_mul(MESSAGES_A_REQUEST))
    }

    /// What is too much right now for a request from `source`.
    pub(super) fn over(&mut self, now: Now, request: &Request<'_>) -> Over {
        Over {
            subscriptions: self.watches_enough(request),
            ..self.over_from(now, request.source)
        }
    }

    /// The same where it does not matter what is asked.
    pub(super) fn over_from(&mut self, now: Now, source: &Source) -> Over {
        let mut over = Over {
            overloaded: self.layer.len() >= self.snapshot.limits.max_transactions as usize,
            ..Over::default()
        };
        let limits = self
            .snapshot
            .peers()
            .filter_map(|(id, p)| Some((id, p.limits.requests?)));
        let limits: SmallVec<[(PeerId, u32); 4]> = limits.filter(|(id, _)| self.is_from_peer(source, *id)).collect();
        for (id, most) in limits {
            over.peer_requests = self.rates.peers.entry(id).or_default().over(now.mono_ms, most);
        }
        if self.rates.sources.len() > MAX_SOURCES {
            self.rates.sources.clear();
        }
        let window = self.rates.sources.entry(source.remote.ip().to_canonical()).or_default();
        over.source_requests = window.over(now.mono_ms, self.snapshot.limits.per_source.requests);
        over
    }

    /// Whether the sender of a SUBSCRIBE that would be kept (a fetch is not) holds as many as one watcher may.
    fn watches_enough(&self, request: &Request<'_>) -> bool {
        let most = self.snapshot.presence.max_subscriptions as usize;
        if self.presence.subscriptions.len() < most
            || request.essentials.method.as_bytes() != b"SUBSCRIBE"
            || request.essentials.to.tag().is_some()
        {
            return false;
        }
        let fetch = matches!(request.view.header(Name::Expires).map(parse_expires), Some(Ok(0)));
        !fetch
            && self
                .presence
                .held_by_watcher(self.watcher_key(request.essentials.from.uri))
                >= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_so_many_and_the_next_starts_anew() {
        let mut window = Window::default();
        assert!((0..5).all(|_| !window.over(10_000, 5)));
        assert!(window.over(10_999, 5));
        assert!(!window.over(11_000, 5));
    }

    #[test]
    fn a_flood_is_one_line() {
        let mut rates = Rates::default();
        let ip = IpAddr::from([10, 0, 0, 1]);
        assert!(rates.worth_logging(1, ip, "a"));
        assert!((2..59_000).all(|now| !rates.worth_logging(now, ip, "a")));
        assert!(rates.worth_logging(5, ip, "b") && rates.worth_logging(60_001, ip, "a"));
    }

    #[test]
    fn invented_addresses_share_a_line() {
        let mut rates = Rates::default();
        let line = |rates: &mut Rates, now, n: u32| rates.worth_logging(now, IpAddr::from(n.to_be_bytes()), "a");
        let lines = (0..100_000)
            .filter(|n| line(&mut rates, 1 + u64::from(*n / 1000), *n))
            .count();
        assert!(
            lines <= MAX_LOGGED + 1 && rates.logged.len() <= MAX_LOGGED + 1,
            "{lines}"
        );
        assert!(
            line(&mut rates, 70_000, 200_000),
            "there is room again when they are old"
        );
        let host = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, n, 0, 0, 1]);
        assert!(rates.worth_logging(70_001, host(1), "b") && !rates.worth_logging(70_002, host(2), "b"));
    }
}
