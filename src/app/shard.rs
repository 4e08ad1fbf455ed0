//! One shard at work: the engine between its sockets, its store and its clock, on one runtime.

use core::cell::{Cell, OnceCell, RefCell};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::oneshot;

use super::events;
use crate::config::plan::Plan;
use crate::engine::{Engine, Input, ListenerAddress, Output};
use crate::pki::{Settings, Usage, identify, identify_terminated};
use crate::policy::acl::{Admission, SourceLoad};
use crate::policy::{Identity, Peer, Reported, Snapshot, admit, admit_behind};
use crate::sip::message::{Framing, Malformed};
use crate::sip::net::{Destination, FlowId, ListenerId, PeerId, Source, Transport};
use crate::sip::random::Random;
use crate::sip::time::Now;
use crate::store::{self, Store};
use crate::transport::resolver::{self, Resolver};
use crate::transport::{CloseReason, Expect, Handler, PeerSpec, SendError, Transports};

/// What an administrator asks of a running shard.
#[derive(Debug)]
pub enum Command {
    /// A question about its state; the answer is JSON.
    Ask(String, oneshot::Sender<serde_json::Value>),
    /// An event of the store.
    Store(store::Event),
    /// Show messages live; the answer says that it has begun.
    Trace(crate::admin::trace::Tap, oneshot::Sender<()>),
    /// Refuse new work, let the old end, then stop.
    Drain,
}

/// Host names of the access list are looked up again after this, or sooner when their time to live is shorter.
const ACL_AGAIN: Duration = Duration::from_secs(60);
/// No sooner than this, whatever DNS says.
const ACL_SOONEST: Duration = Duration::from_secs(1);

/// The shard.
pub struct Shard {
    engine: RefCell<Engine>,
    transports: OnceCell<Transports>,
    settings: RefCell<Arc<Settings>>,
    store: RefCell<Option<Store>>,
    resolver: Resolver,
    started: Instant,
    /// Monotonic milliseconds up to which the timer task sleeps.
    sleeping_until: Cell<u64>,
    wake: tokio::sync::Notify,
    reloaded: tokio::sync::Notify,
    /// Number of the last record handed to the store.
    appended: Cell<u64>,
    /// Why the store does not take records, while it does not.
    store_failure: RefCell<Option<String>>,
    taps: RefCell<crate::admin::trace::Taps>,
}

impl core::fmt::Debug for Shard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Shard")
    }
}

impl Shard {
    /// A shard around an engine that has been restored already.
    #[must_use]
    pub fn new(
        engine: Engine,
        settings: Arc<Settings>,
        store: Option<Store>,
        resolver: Resolver,
        started: Instant,
    ) -> Rc<Self> {
        Rc::new(Self {
            engine: RefCell::new(engine),
            transports: OnceCell::new(),
            settings: RefCell::new(settings),
            store: RefCell::new(store),
            resolver,
            started,
            sleeping_until: Cell::new(u64::MAX),
            wake: tokio::sync::Notify::new(),
            reloaded: tokio::sync::Notify::new(),
            appended: Cell::new(0),
            store_failure: RefCell::new(None),
            taps: RefCell::default(),
        })
    }

    /// Gives the shard its sockets; once.
    pub fn attach(self: &Rc<Self>, transports: Transports) {
        let _ = self.transports.set(transports);
        self.set_peers(&[]);
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        clock(self.started)
    }

    /// The engine, for questions.
    pub fn with_engine<R>(&self, ask: impl FnOnce(&Engine, Now) -> R) -> R {
        ask(&self.engine.borrow(), self.now())
    }

    /// Refuses new work from now on.
    pub fn start_draining(&self) {
        self.engine.borrow_mut().start_draining();
    }

    /// One more listener to live traces.
    pub fn add_tap(&self, tap: crate::admin::trace::Tap) {
        self.taps.borrow_mut().add(tap);
    }

    /// Shows something received to those who listen.
    fn trace_received(&self, source: &Source, bytes: &[u8]) {
        let mut taps = self.taps.borrow_mut();
        if !taps.is_empty() {
            let ends = self.engine.borrow().ends_of_source(source);
            taps.put(self.now(), true, &ends, bytes);
        }
    }

    fn trace_sent(&self, to: Destination, bytes: &[u8]) {
        let mut taps = self.taps.borrow_mut();
        if !taps.is_empty() {
            let ends = self.engine.borrow().ends_of(to);
            taps.put(self.now(), false, &ends, bytes);
        }
    }

    /// Passes the peers' connection settings to the transports; `moved` are those whose connections go on.
    fn set_peers(&self, moved: &[(PeerId, PeerId)]) {
        let Some(transports) = self.transports.get() else {
            return;
        };
        let snapshot = Arc::clone(self.engine.borrow().snapshot());
        let settings = self.settings.borrow();
        let spec = |(id, peer): (PeerId, &Peer)| {
            let tls = settings.client_config(id).unwrap_or_else(|error| {
                tracing::error!(peer = &*peer.name, %error, "no TLS settings");
                None
            });
            let mut domains = peer.domains.iter();
            let server_name = domains.next().map_or_else(String::new, |(d, _)| d.to_string());
            let spec = PeerSpec {
                tls,
                server_name,
                bind: None,
                dscp: peer.dscp,
            };
            (id, spec)
        };
        transports.set_peers(snapshot.peers().map(spec).collect(), moved);
        self.mark_datagrams();
    }

    fn mark_datagrams(&self) {
        if let Some(transports) = self.transports.get() {
            transports.mark_datagrams(self.engine.borrow().datagram_marks());
        }
    }

    fn handle(&self, input: Input<'_>) {
        let now = self.now();
        self.engine.borrow_mut().handle(now, input);
    }

    /// Carries out what the engine wants.
    fn drain(&self) {
        let Some(transports) = self.transports.get() else {
            return;
        };
        let mut persisted = false;
        loop {
            let output = self.engine.borrow_mut().poll();
            let Some(output) = output else { break };
            match output {
                Output::Send { to, wire, token } => {
                    self.trace_sent(to, &wire);
                    transports.send(to, wire, token);
                }
                Output::Resolve {
                    token,
                    host,
                    port,
                    transport,
                } => self.resolve(token, host, port, transport),
                Output::Persist {
                    lsn,
                    key,
                    value,
                    awaited,
                } => {
                    if let Some(store) = &*self.store.borrow() {
                        match awaited {
                            true => store.append(lsn, &key, value.as_deref()),
                            false => store.append_lazily(lsn, &key, value.as_deref()),
                        }
                        self.appended.set(lsn);
                        persisted = true;
                    }
                }
                Output::Reuse { flow, peer, at } => transports.adopt(flow, peer, at),
                Output::Disown { flow } => transports.disown(flow),
                Output::Reloaded { peers } => self.set_peers(&peers),
                Output::Mark { flow, dscp } => {
                    if let Err(error) = transports.set_dscp(flow, dscp) {
                        tracing::warn!(flow = flow.0, %error, "a connection cannot be marked");
                    }
                }
                Output::Close { flow, why } => transports.close(flow, why),
                Output::Log(event) => events::log(&event, self.engine.borrow().snapshot().log.redact),
            }
        }
        if persisted && let Some(store) = &*self.store.borrow() {
            store.kick();
        }
        transports.flush();
        let next = self.engine.borrow().next_timeout().unwrap_or(u64::MAX);
        if next < self.sleeping_until.get() {
            self.wake.notify_one();
        }
    }

    fn resolve(&self, token: u64, host: String, port: Option<u16>, transport: Transport) {
        let resolver = self.resolver.clone();
        let mut random = seeded();
        let Some(handler) = self.transports.get().map(Transports::handler) else {
            return;
        };
        tokio::task::spawn_local(async move {
            let query = resolver::Query {
                host: &host,
                port,
                transport: Some(transport),
                allowed: &[],
            };
            let targets = resolver.resolve(&query, &mut || random.next_u64()).await;
            handler.resolved(token, targets);
        });
    }

    /// Resolves the host names of the access list, forward only, now and whenever their time to live is over, until the
    /// shard is dropped. A name that does not resolve keeps its last addresses.
    pub async fn run_acl_names(self: Rc<Self>) {
        loop {
            let snapshot = Arc::clone(self.engine.borrow().snapshot());
            let hosts: Vec<String> = snapshot.acl.hosts().map(|host| host.to_string()).collect();
            let mut again = ACL_AGAIN;
            for host in hosts {
                let (addresses, left) = self.resolver.addresses_of(&host).await;
                again = again.min(left.unwrap_or(ACL_AGAIN));
                if addresses.is_empty() {
                    tracing::warn!(host, "a host name in acl.incoming has no address");
                } else {
                    self.handle(Input::AclResolved { host, addresses });
                    self.drain();
                }
            }
            tokio::select! {
                () = tokio::time::sleep(again.max(ACL_SOONEST)) => {}
                () = self.reloaded.notified() => {}
            }
        }
    }

    /// Runs the timers until the shard is dropped.
    pub async fn run_timers(self: Rc<Self>) {
        loop {
            let now = self.now().mono_ms;
            let next = self.engine.borrow().next_timeout().unwrap_or(u64::MAX);
            if next > now {
                self.sleeping_until.set(next);
                let sleep = tokio::time::sleep(Duration::from_millis((next - now).min(60_000)));
                tokio::select! {
                    () = sleep => {}
                    () = self.wake.notified() => continue,
                }
            } else {
                // A slice of work is due: sockets get their turn between slices.
                tokio::task::yield_now().await;
            }
            self.sleeping_until.set(0);
            self.handle(Input::Tick);
            self.drain();
        }
    }

    /// Takes the store's word.
    pub fn on_store(&self, event: store::Event) {
        match event {
            store::Event::Durable { lsn } => self.handle(Input::Durable { lsn }),
            store::Event::Failed { keys, error, .. } => return self.on_store_failed(keys, &error),
            store::Event::Recovered => {
                tracing::info!("the store takes records again");
                *self.store_failure.borrow_mut() = None;
                self.handle(Input::StoreRecovered);
            }
        }
        self.drain();
    }

    fn on_store_failed(&self, keys: Vec<Box<[u8]>>, error: &store::StoreError) {
        // One line a failure: what was on its way when it happened adds nothing.
        if self.store_failure.borrow().is_none() {
            tracing::error!(%error, "the store does not take records; what needs it is answered 500");
            *self.store_failure.borrow_mut() = Some(error.to_string());
        }
        self.handle(Input::StoreFailed { keys });
        self.drain();
        if let Some(store) = &*self.store.borrow() {
            store.give_up(self.appended.get());
        }
    }

    /// Why the store does not take records; `None` while it does.
    pub fn store_failure(&self) -> Option<String> {
        self.store_failure.borrow().clone()
    }

    /// A new configuration: the engine follows, connections whose identity is not what it was are closed. `closed` are
    /// sockets that listen no more.
    pub fn reload(
        &self,
        snapshot: &Arc<Snapshot>,
        settings: &Arc<Settings>,
        plan: Plan,
        listeners: Vec<ListenerAddress>,
        closed: &[(ListenerId, SocketAddr)],
    ) {
        let now = self.now();
        *self.settings.borrow_mut() = Arc::clone(settings);
        self.handle(Input::Reload(Arc::clone(snapshot), plan));
        self.engine.borrow_mut().set_listeners(listeners);
        self.reloaded.notify_one();
        if let Some(transports) = self.transports.get() {
            for listener in snapshot.listeners.iter().filter(|l| l.transport == Transport::Tls) {
                match settings.server_config(listener.client_certificate) {
                    Ok(tls) => transports.set_server_tls(listener.id, tls),
                    Err(error) => tracing::error!(listener = &*listener.name, %error, "keeps its old certificate"),
                }
            }
        }
        let store = Arc::clone(settings.store());
        let wall = UnixTime::since_unix_epoch(Duration::from_millis(now.wall_ms));
        self.engine
            .borrow_mut()
            .judge_flows_again(closed, |identity, listener| match identity {
                Identity::TlsPeer { chain, .. } => {
                    let chain: Vec<CertificateDer<'_>> = chain.iter().map(|c| CertificateDer::from(&c[..])).collect();
                    let usage = if listener.is_none() {
                        Usage::Server
                    } else {
                        Usage::Client
                    };
                    Some(identify(Some(&chain), &store, wall, usage))
                }
                Identity::Terminated(before) => {
                    let listener = listener.and_then(|id| snapshot.listener(id))?;
                    let reported = Arc::clone(&before.reported);
                    Some(identify_terminated(reported, listener, snapshot, &store, wall))
                }
                Identity::NoTls { .. } => None,
            });
        self.drain();
    }

    /// Flushes and closes the store.
    pub fn close_store(&self) {
        self.engine.borrow_mut().save_delivered();
        self.drain();
        if let Some(store) = self.store.borrow_mut().take()
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "closing the store failed");
        }
    }

    /// The TLS settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// The sockets.
    pub fn transports(&self) -> Option<&Transports> {
        self.transports.get()
    }
}

impl Shard {
    /// Tells the engine of a connection; whether it takes it.
    fn take(&self, source: &Source, identity: Identity, peer: Option<PeerId>) -> bool {
        self.handle(Input::Opened {
            source: *source,
            identity: Arc::new(identity),
            peer,
        });
        let taken = source.flow.is_some_and(|flow| self.engine.borrow().has_flow(flow));
        if !taken {
            // Nothing follows that would carry out what the engine wants said of it.
            self.drain();
        }
        taken
    }
}

impl Handler for Shard {
    fn admit(&self, listener: ListenerId, ip: IpAddr, load: SourceLoad) -> Result<(), String> {
        let engine = self.engine.borrow();
        match admit(engine.snapshot(), listener, ip, load) {
            Admission::Admit => Ok(()),
            Admission::Drop { reason, rule } => Err(format!("{reason}: {rule}")),
        }
    }

    fn expects(&self, listener: ListenerId) -> Option<Expect> {
        let engine = self.engine.borrow();
        let terminator = engine.snapshot().listener(listener)?.terminator.as_ref()?;
        Some(Expect {
            certificate: terminator.certificate_tlv,
        })
    }

    fn admit_behind(&self, _listener: ListenerId, ip: IpAddr, load: SourceLoad) -> Result<(), String> {
        let engine = self.engine.borrow();
        match admit_behind(engine.snapshot(), ip, load) {
            Admission::Admit => Ok(()),
            Admission::Drop { reason, rule } => Err(format!("{reason}: {rule}")),
        }
    }

    fn message_rate(&self, source: &Source) -> Option<u32> {
        self.engine.borrow().message_rate(source)
    }

    fn opened(&self, source: &Source, peer: Option<PeerId>, chain: Option<Vec<CertificateDer<'static>>>) -> bool {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(self.now().wall_ms));
        let usage = if source.listener.is_some() {
            Usage::Client
        } else {
            Usage::Server
        };
        let identity = match (source.transport, chain) {
            (Transport::Tls, chain) => identify(chain.as_deref(), self.settings.borrow().store(), now, usage),
            _ => Identity::no_tls("the transport carries no certificate"),
        };
        self.take(source, identity, peer)
    }

    fn introduced(&self, source: &Source, reported: Reported) -> bool {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(self.now().wall_ms));
        let snapshot = Arc::clone(self.engine.borrow().snapshot());
        // A reload may have come since its first byte.
        let listener = source.listener.and_then(|id| snapshot.listener(id));
        let Some(listener) = listener.filter(|l| l.terminator.as_ref().is_some_and(|t| t.is_at(reported.terminator)))
        else {
            return false;
        };
        let settings = self.settings();
        let identity = identify_terminated(Arc::new(reported), listener, &snapshot, settings.store(), now);
        tracing::debug!(remote = %source.remote, %identity, "connection through a terminator");
        self.take(source, identity, None)
    }

    fn message(&self, source: &Source, bytes: &[u8], framing: Framing) {
        self.trace_received(source, bytes);
        self.handle(Input::Message {
            source: *source,
            bytes,
            framing,
        });
    }

    fn broken(&self, source: &Source, bytes: &[u8], problem: Malformed) {
        self.trace_received(source, bytes);
        self.handle(Input::Broken {
            source: *source,
            bytes,
            problem,
        });
    }

    fn closed(&self, flow: FlowId, why: &CloseReason) {
        tracing::debug!(flow = flow.0, %why, "connection closed");
        self.handle(Input::Closed { flow });
    }

    fn send_failed(&self, token: u64, to: Destination, why: &SendError) {
        tracing::debug!(?to, %why, "could not send");
        self.handle(Input::SendFailed { token });
    }

    fn batch_done(&self) {
        self.drain();
    }

    fn resolved(&self, token: u64, targets: Vec<(Transport, core::net::SocketAddr)>) {
        self.handle(Input::Resolved { token, targets });
        self.mark_datagrams();
        self.drain();
    }
}

/// Both clocks, the monotonic one counted from `started`.
pub(super) fn clock(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    }
}

/// A generator seeded by the operating system.
pub(super) fn seeded() -> Random {
    let mut seed = [0; 32];
    // Without randomness nothing here is safe; the provider's own source fails in the same case.
    if crate::pki::provider().secure_random.fill(&mut seed).is_err() {
        tracing::error!("the operating system gives no randomness");
        std::process::exit(70);
    }
    Random::from_seed(seed)
}
