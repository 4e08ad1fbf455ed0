//! Services and limits: values, their defaults and their bounds.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::{Here, Resolver};
use crate::config::at::{At, Place};
use crate::config::load::DEFAULT_SOCKET;
use crate::config::value;
use crate::config::written::{self, Count, Http, StoreSync, Time};
use crate::policy::rule::RuleRef;
use crate::policy::settings::{Admin, Limits, Log, Messages, PerSource, Presence, Registrar, Store, Sync};
use crate::presence::{Mark, Rules};
use crate::sip::digest::Algorithm;
use crate::sip::message::MAX_HEADERS;

/// The longest expiry anybody gets (RFC 3261 and 3903 leave it to us).
const DAY: Duration = Duration::from_secs(86_400);

/// Shortest, longest and usual expiry.
type Expiries = (Duration, Duration, Duration);

impl Resolver<'_> {
    /// A written time, or a default in milliseconds.
    pub(super) fn time(&mut self, here: Here<'_>, at: Option<&At<Time>>, default_ms: u64) -> Duration {
        at.and_then(|at| self.read(here, at, |time| value::time(&time.0)))
            .unwrap_or(Duration::from_millis(default_ms))
    }

    fn size(&mut self, here: Here<'_>, at: Option<&At<Count>>, default: usize) -> usize {
        at.and_then(|at| self.read(here, at, |count| value::size(&count.0)))
            .unwrap_or(default)
    }

    /// A written number that must not be 0, or a default.
    fn number(&mut self, here: Here<'_>, at: Option<&At<u32>>, default: u32) -> u32 {
        let Some(at) = at else { return default };
        if at.value == 0 {
            self.error(
                here,
                at.place,
                "0 would let nothing through",
                format!("write at least 1; the default is {default}"),
            );
        }
        at.value
    }

    fn expiries(
        &mut self,
        here: Here<'_>,
        min: Option<&At<Time>>,
        max: Option<&At<Time>>,
        usual: Option<&At<Time>>,
    ) -> Expiries {
        let shortest = self.time(here, min, 60_000);
        let longest = self.time(here, max, 86_400_000);
        let default = self.time(here, usual, 3_600_000);
        if let Some(at) = max.filter(|_| longest > DAY) {
            self.error(here, at.place, "longer than a day", "write at most 1d");
        }
        let written = [usual, max, min]
            .into_iter()
            .flatten()
            .next()
            .map_or(Place::default(), |at| at.place);
        if shortest > default || default > longest {
            let what = "min_expires <= default_expires <= max_expires does not hold";
            self.error(here, written, what, "defaults: 60s, 3600s, 1d");
        }
        (shortest, longest, default)
    }

    pub(super) fn presence(
        &mut self,
        here: Here<'_>,
        written: &written::Presence,
        notify: &written::Notify,
    ) -> Presence {
        let (min_expires, max_expires, default_expires) = self.expiries(
            here,
            written.min_expires.as_ref(),
            written.max_expires.as_ref(),
            written.default_expires.as_ref(),
        );
        if let Some(at) = &written.max_subscriptions {
            self.rules.subscriptions = here.rule("presence.max_subscriptions", at.place);
        }
        let rules = self.composition(here, written);
        Presence {
            notify_min_interval: self.time(here, notify.min_interval.as_ref(), 5_000),
            min_expires,
            max_expires,
            default_expires,
            rules,
            max_publications: self.number(here, written.max_publications.as_ref(), 16),
            max_subscriptions: self.number(here, written.max_subscriptions.as_ref(), 1_000),
        }
    }

    fn composition(&mut self, here: Here<'_>, written: &written::Presence) -> Rules {
        let words = |list: Option<&Vec<At<String>>>, default: &[&str]| -> Vec<Box<str>> {
            match list {
                Some(list) => list.iter().map(|w| w.value.as_str().into()).collect(),
                None => default.iter().map(|w| (*w).into()).collect(),
            }
        };
        let classes = words(written.manual_classes.as_ref(), &["manual"]);
        let tuples = words(written.manual_tuples.as_ref(), &["manual*"]);
        let classes = classes.into_iter().map(|class| Mark {
            class: Some(class),
            ..Mark::default()
        });
        let tuples = tuples.into_iter().map(|tuple| Mark {
            tuple: Some(tuple),
            ..Mark::default()
        });
        let dnd = written.dnd.as_ref();
        let elements = dnd.and_then(|d| d.elements.as_ref());
        Rules {
            ignore_lone_phone: written.lone_idle_phone == Some(written::LoneIdlePhone::Ignored),
            manual: classes
                .chain(tuples)
                .chain(self.marks(here, written.manual.as_ref()))
                .collect(),
            dnd: self.marks(here, dnd.and_then(|d| d.marks.as_ref())),
            dnd_elements: words(elements, &["dnd", "do-not-disturb"]),
        }
    }

    fn marks(&mut self, here: Here<'_>, written: Option<&Vec<At<written::Mark>>>) -> Vec<Mark> {
        let mut marks = Vec::new();
        for at in written.map(Vec::as_slice).unwrap_or_default() {
            let dialect = at.dialect.as_ref();
            if at.class.is_none() && at.tuple.is_none() && dialect.is_none() {
                let help = "write at least one of `class`, `tuple`, `dialect`";
                self.error(here, at.place, "a mark without keys marks nothing", help);
            }
            self.dialect(here, dialect);
            marks.push(Mark {
                class: at.class.as_deref().map(Into::into),
                tuple: at.tuple.as_deref().map(Into::into),
                dialect: dialect.map(|d| d.value.as_str().into()),
            });
        }
        marks
    }

    pub(super) fn registrar(&mut self, here: Here<'_>, written: &written::Registrar) -> Registrar {
        let (min_expires, max_expires, default_expires) = self.expiries(
            here,
            written.min_expires.as_ref(),
            written.max_expires.as_ref(),
            written.default_expires.as_ref(),
        );
        let max_contacts = self.number(here, written.max_contacts.as_ref(), 10);
        let digest = match written.digest.as_deref() {
            None | Some([]) => vec![Algorithm::Md5],
            Some(list) => list
                .iter()
                .map(|hash| match hash {
                    written::WrittenDigest::Md5 => Algorithm::Md5,
                    written::WrittenDigest::Sha256 => Algorithm::Sha256,
                })
                .collect(),
        };
        Registrar {
            digest,
            min_expires,
            max_expires,
            default_expires,
            max_contacts,
        }
    }

    pub(super) fn messages(&mut self, here: Here<'_>, written: &written::Messages) -> Messages {
        if let Some(at) = &written.max_sessions {
            self.rules.sessions = here.rule("messages.max_sessions", at.place);
        }
        Messages {
            max_sessions: self.number(here, written.max_sessions.as_ref(), 20_000),
            remember_mode: self.time(here, written.remember_mode.as_ref(), 3_600_000),
            store_offline: written.store_offline.unwrap_or(true),
            max_stored: written.max_stored.as_ref().map_or(100, |n| n.value),
            max_size: self.size(here, written.max_size.as_ref(), 64 << 10),
        }
    }

    pub(super) fn store(&self, here: Here<'_>, written: &written::Store) -> Store {
        Store {
            path: here.path(written.path.as_ref().map_or("../data", |p| &p.value)),
            sync: match written.sync {
                Some(StoreSync::Process) => Sync::Process,
                Some(StoreSync::Group) | None => Sync::Group,
            },
        }
    }

    pub(super) fn limits(&mut self, here: Here<'_>, written: &written::Limits) -> Limits {
        let source = &written.per_source;
        let places = [
            (&mut self.rules.source_connections, &source.connections),
            (&mut self.rules.source_handshakes, &source.handshakes),
            (&mut self.rules.source_requests, &source.requests),
            (&mut self.rules.all_connections, &written.max_connections),
            (&mut self.rules.overloaded, &written.max_transactions),
        ];
        for (rule, at) in places {
            if let Some(at) = at {
                *rule = RuleRef {
                    line: at.place.line,
                    file: here.source.name.clone(),
                    id: rule.id.clone(),
                };
            }
        }
        let drain_timeout = self.time(here, written.drain_timeout.as_ref(), 5_000);
        if let Some(at) = written
            .drain_timeout
            .as_ref()
            .filter(|_| drain_timeout > Duration::from_secs(600))
        {
            self.error(here, at.place, "longer than ten minutes", "write at most 10m");
        }
        let half_request_timeout = self.time(here, written.half_request_timeout.as_ref(), 20_000);
        if let Some(at) = &written.half_request_timeout
            && (half_request_timeout.is_zero() || half_request_timeout > Duration::from_secs(60))
        {
            let what = "slow writers would hold connections too long, or nobody could finish";
            self.error(here, at.place, what, "write more than 0 and at most 60s");
        }
        if let Some(at) = &written.max_headers
            && !(16..=MAX_HEADERS).contains(&(at.value as usize))
        {
            let what = format!(
                "{} header lines are too few for a request, or too many to be worth reading",
                at.value
            );
            self.error(here, at.place, what, format!("write 16 to {MAX_HEADERS}"));
        }
        Limits {
            per_source: PerSource {
                connections: self.number(here, source.connections.as_ref(), 1_000),
                handshakes: self.number(here, source.handshakes.as_ref(), 200),
                requests: self.number(here, source.requests.as_ref(), 50_000),
            },
            idle_timeout: self.time(here, written.idle_timeout.as_ref(), 3_600_000),
            half_request_timeout,
            drain_timeout,
            max_header_bytes: self.size(here, written.max_header_bytes.as_ref(), 64 << 10),
            max_headers: self.number(here, written.max_headers.as_ref(), 256) as usize,
            max_body_bytes: self.size(here, written.max_body_bytes.as_ref(), 1 << 20),
            max_transactions: self.number(here, written.max_transactions.as_ref(), 200_000),
            max_connections: self.number(here, written.max_connections.as_ref(), 20_000),
        }
    }

    pub(super) fn admin(&mut self, here: Here<'_>, written: &written::Admin) -> Admin {
        let socket = here.path(written.socket.as_ref().map_or(DEFAULT_SOCKET, |s| &s.value));
        let usual = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 9090);
        let http = match &written.http {
            None => Some(usual),
            Some(at) => match &at.value {
                Http::Off => None,
                Http::Address(text) => self.read(here, at, |_| {
                    let help = "write 127.0.0.1:9090, or `off`".to_owned();
                    text.parse::<SocketAddr>()
                        .map_err(|_| (format!("`{text}` is no address with a port"), help))
                }),
            },
        };
        if let (Some(address), Some(at)) = (http, &written.http)
            && !address.ip().is_loopback()
        {
            let what = format!("metrics are open to everybody who reaches {address}");
            self.warn(here, at.place, what, "127.0.0.1 keeps them on this machine");
        }
        Admin { socket, http }
    }

    pub(super) fn log(&mut self, here: Here<'_>, written: &written::Log) -> Log {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let level = written.level.as_ref().map_or("info", |l| &l.value);
        for (at, part) in written
            .level
            .iter()
            .flat_map(|at| at.split(',').map(move |part| (at, part)))
        {
            let word = part.rsplit('=').next().unwrap_or_default().trim();
            if !LEVELS.contains(&word) {
                self.error(
                    here,
                    at.place,
                    format!("`{word}` is no level"),
                    format!("levels: {}", LEVELS.join(", ")),
                );
            }
        }
        Log {
            level: level.into(),
            json: written.json.unwrap_or(false),
            redact: written.redact.unwrap_or(false),
        }
    }
}
