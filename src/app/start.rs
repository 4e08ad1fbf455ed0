//! Starting and stopping: certificates, store, engine, sockets, signals.

use core::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::reload::reload;
use super::shard::{Command, Shard, clock, seeded};
use crate::config::{self, Loaded};
use crate::engine::{Engine, ListenerAddress, RestoreError, Setup};
use crate::pki::{self, FileProblem, Settings};
use crate::policy::{Listener, Snapshot, settings};
use crate::sip::frame;
use crate::sip::net::Transport;
use crate::store::{self, StoreError};
use crate::transport::resolver::Resolver;
use crate::transport::{self, ListenError, ListenerSpec, Transports};

/// Why the bridge does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error("{0}")]
    Config(config::Problems),
    /// A certificate or key.
    #[error("{0}")]
    Pki(#[from] FileProblem),
    /// TLS settings that do not go together.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A record of the store.
    #[error("the store holds what cannot be used: {0}; move the directory away to start empty")]
    Restore(#[from] RestoreError),
    /// A socket.
    #[error("{0}")]
    Listen(#[from] ListenError),
    /// The admin socket or another file.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
}

/// How much of a stop is for the answers to NOTIFYs: what a watcher confirms now need not be repeated after the restart, and
/// one that is gone is not waited for long.
const LAST_ANSWERS: core::time::Duration = core::time::Duration::from_secs(1);

/// Runs the bridge until it is told to stop.
///
/// # Errors
/// Only before it serves; afterwards errors are logged and survived.
pub fn run(path: &Path) -> Result<(), StartError> {
    // Huge pages buy nothing here, and a table that has just begun one holds two megabytes for it: a fifth of all memory at
    // 100,000 subscriptions. A kernel without them refuses, which is as good.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let loaded = config::load(path).map_err(StartError::Config)?;
    let snapshot = Arc::new(loaded.snapshot.clone());
    crate::admin::logging::init(&snapshot.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Io {
            path: path.to_path_buf(),
            error,
        })?;
    LocalSet::new().block_on(&runtime, serve(path, loaded, snapshot))
}

async fn serve(path: &Path, loaded: Loaded, snapshot: Arc<Snapshot>) -> Result<(), StartError> {
    ensure_development(&snapshot)?;
    let settings = Arc::new(Settings::load(&snapshot)?);
    let (commands, inbox) = mpsc::unbounded_channel();
    let (store, recovered) = open_store(&snapshot, commands.clone())?;
    let started = Instant::now();
    let now = clock(started);
    let setup = Setup {
        snapshot: Arc::clone(&snapshot),
        listeners: Vec::new(),
        random: seeded(),
        durable: true,
        route_key: route_key(&snapshot)?,
    };
    let mut engine = Engine::new(setup, now);
    engine.set_listeners(planned_addresses(&snapshot));
    let restored = engine.restore(now, recovered.records)?;
    if restored > 0 {
        tracing::info!(records = restored, "restored");
    }
    let shard = Shard::new(engine, settings, Some(store), resolver(&snapshot), started);
    let transports = Transports::new(Rc::clone(&shard) as Rc<dyn transport::Handler>, limits(&snapshot));
    shard.attach(transports.clone());
    listen(&shard, &transports, &snapshot)?;
    crate::admin::serve(&snapshot, &commands).map_err(|(path, error)| StartError::Io { path, error })?;
    tokio::task::spawn_local(Rc::clone(&shard).run_timers());
    tokio::task::spawn_local(Rc::clone(&shard).run_acl_names());
    crate::cli::banner::print(path, &loaded);
    main_loop(path, &shard, inbox, &transports).await;
    shard.close_store();
    let _ = std::fs::remove_file(&snapshot.admin.socket);
    Ok(())
}

fn resolver(snapshot: &Snapshot) -> Resolver {
    match &snapshot.dns.servers[..] {
        [] => Resolver::system(),
        servers => Resolver::asking(servers),
    }
}

/// At the first start: a CA and a certificate where the configuration wants them, if it wants them under the usual names.
fn ensure_development(snapshot: &Snapshot) -> Result<(), StartError> {
    let (certificate, key) = (&snapshot.identity.certificate, &snapshot.identity.key);
    let directory = certificate.parent().unwrap_or(Path::new("."));
    let usual = certificate.ends_with("bridge.pem") && *key == directory.join("bridge.key");
    if !usual || certificate.exists() {
        return Ok(());
    }
    let domains: Vec<String> = snapshot.domains.iter().map(|(d, _)| d.to_string()).collect();
    let now = clock(Instant::now()).wall_ms / 1000;
    for file in pki::authority::ensure_development(directory, &snapshot.identity.host, &domains, now)?.made {
        tracing::info!(file = %file.display(), "made for development");
    }
    Ok(())
}

fn open_store(
    snapshot: &Snapshot,
    commands: mpsc::UnboundedSender<Command>,
) -> Result<(store::Store, store::Recovered), StoreError> {
    let mut options = store::Options::new(&*snapshot.store.path);
    options.sync = match snapshot.store.sync {
        settings::Sync::Group => store::Sync::default(),
        settings::Sync::Process => store::Sync::Process,
    };
    store::open(options, move |event| {
        // The shard is gone only when the process ends.
        let _ = commands.send(Command::Store(event));
    })
}

/// The key of Record-Route tokens: made once, kept beside the store so that dialogs survive a restart.
fn route_key(snapshot: &Snapshot) -> Result<[u8; 16], StartError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = snapshot.store.path.join("route.key");
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = <[u8; 16]>::try_from(bytes)
    {
        return Ok(key);
    }
    let mut key = [0; 16];
    seeded().fill(&mut key);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    written
        .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
        .map_err(|error| StartError::Io { path, error })?;
    Ok(key)
}

pub(super) fn limits(snapshot: &Snapshot) -> transport::Limits {
    let limits = &snapshot.limits;
    transport::Limits {
        frame: frame::Limits {
            max_header_bytes: limits.max_header_bytes,
            max_body_bytes: limits.max_body_bytes,
        },
        idle: limits.idle_timeout,
        half: limits.half_request_timeout,
        handshake: limits.half_request_timeout.min(transport::Limits::default().handshake),
        ..transport::Limits::default()
    }
}

/// What each socket is called on the wire. A wildcard address names nobody, so the bridge's host name stands in.
pub(super) fn planned_addresses(snapshot: &Snapshot) -> Vec<ListenerAddress> {
    let mut out = Vec::new();
    for listener in &snapshot.listeners {
        for bound in &listener.bind {
            let advertised = match &listener.advertise {
                Some(public) => public.to_string(),
                None if bound.ip().is_unspecified() => format!("{}:{}", snapshot.identity.host, bound.port()),
                // Without the zone, which means something on this machine alone.
                None => SocketAddr::new(bound.ip(), bound.port()).to_string(),
            };
            out.push(ListenerAddress {
                id: listener.id,
                transport: listener.transport,
                bound: *bound,
                advertised,
            });
        }
    }
    out
}

fn listen(shard: &Rc<Shard>, transports: &Transports, snapshot: &Snapshot) -> Result<(), StartError> {
    for listener in &snapshot.listeners {
        transports.listen(&spec(&shard.settings(), listener, listener.bind.clone())?)?;
    }
    Ok(())
}

/// What opens these sockets of a listener.
pub(super) fn spec(
    settings: &Settings,
    listener: &Listener,
    bind: Vec<SocketAddr>,
) -> Result<ListenerSpec, StartError> {
    let tls = match listener.transport {
        Transport::Tls => Some(settings.server_config(listener.client_certificate)?),
        _ => None,
    };
    Ok(ListenerSpec {
        id: listener.id,
        transport: listener.transport,
        bind,
        tls,
        dscp: None,
        shared: false,
    })
}

/// Commands and signals, until it is time to stop.
async fn main_loop(
    path: &Path,
    shard: &Rc<Shard>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    transports: &Transports,
) {
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::hangup()),
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be caught");
        return;
    };
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Drain) | None => break,
                Some(command) => serve_command(path, shard, command),
            },
            _ = hangup.recv() => {
                if let Err(problem) = reload(path, shard) {
                    tracing::error!("the configuration stays as it was: {problem}");
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tokio::select! {
        () = drain(path, shard, transports, &mut inbox) => {}
        _ = terminate.recv() => tracing::warn!("told to stop again: what is under way is given up"),
        _ = interrupt.recv() => tracing::warn!("told to stop again: what is under way is given up"),
    }
}

/// Whatever does not end the bridge.
fn serve_command(path: &Path, shard: &Rc<Shard>, command: Command) {
    match command {
        Command::Ask(question, answer) => {
            let _ = answer.send(crate::admin::answer(shard, path, &question));
        }
        Command::Store(event) => shard.on_store(event),
        Command::Trace(tap, begun) => {
            shard.add_tap(tap);
            let _ = begun.send(());
        }
        Command::Drain => {}
    }
}

/// Refuses new work with 503, lets what is under way end, and closes the listeners last.
async fn drain(path: &Path, shard: &Rc<Shard>, transports: &Transports, inbox: &mut mpsc::UnboundedReceiver<Command>) {
    let limit = shard.with_engine(|engine, _| engine.snapshot().limits.drain_timeout);
    tracing::info!(
        limit_s = limit.as_secs(),
        "stopping: new work is refused, what is under way may end"
    );
    shard.start_draining();
    let begin = tokio::time::Instant::now();
    let awaits_watchers = || begin.elapsed() < LAST_ANSWERS && shard.with_engine(|engine, _| engine.awaits_watchers());
    let busy = || shard.with_engine(|engine, _| engine.busy()) || transports.queued() > 0 || awaits_watchers();
    while busy() {
        if begin.elapsed() >= limit {
            tracing::warn!("the time to stop is up; what is still under way is given up");
            break;
        }
        tokio::select! {
            command = inbox.recv() => if let Some(command) = command {
                serve_command(path, shard, command);
            },
            () = tokio::time::sleep(core::time::Duration::from_millis(20)) => {}
        }
    }
    transports.stop_listening();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_and_a_wildcard_stay_at_home() {
        let snapshot = crate::config::tests::snapshot(
            "domains: [a.example]\nlisteners:\n  - {name: u, transport: udp, bind: [\"[fe80::1%7]:5060\", \"[::]:5070\"]}\n",
        );
        let told: Vec<String> = planned_addresses(&snapshot).into_iter().map(|a| a.advertised).collect();
        assert_eq!(told, ["[fe80::1]:5060", "bridge.a.example:5070"]);
    }
}
