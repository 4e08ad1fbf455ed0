//! Dials the peer as the bridge would, and carries questions and answers to and fro.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::link::{Came, Link, OURS, Way};
use super::report::Report;
use super::{ProbeArgs, Problem};
use crate::config::load;
use crate::pki::settings::Settings;
use crate::policy::snapshot::ClientCertificate;
use crate::policy::{Peer, Snapshot, UriFacts};
use crate::probe::{Action, Finding, Session, Setup, judge, overlay};
use crate::sip::net::{PeerId, Transport};
use crate::sip::random::Random;
use crate::transport::resolver::{Query, Resolver};

/// How often a connection is made anew.
const MOST_CONNECTS: usize = 4;

/// Asks everything.
pub(super) fn probe(args: &ProbeArgs) -> Result<Report, Problem> {
    let unusable = |e: &dyn core::fmt::Display| Problem::Unusable(e.to_string());
    if let Some(path) = args.overlay.as_ref().filter(|p| p.exists()) {
        return Err(Problem::Unusable(format!(
            "{} is there already: name a new file",
            path.display()
        )));
    }
    let snapshot = load(&args.config).map_err(|e| unusable(&e))?.snapshot;
    let id = snapshot.peer_named(&args.name).ok_or_else(|| {
        let names: Vec<String> = snapshot.peers().map(|(_, p)| p.name.to_string()).collect();
        Problem::Unusable(format!("there is no peer `{}`; peers: {}", args.name, names.join(", ")))
    })?;
    let peer = snapshot.peer(id).ok_or_else(|| unusable(&"the peer is gone"))?;
    let uris = Uris::of(args, &snapshot, peer)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| unusable(&e))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, ask(args, &snapshot, (id, peer), uris))
}

/// The addresses of the questions.
struct Uris {
    from: String,
    to: Option<String>,
    message_to: Option<String>,
    domain: String,
}

impl Uris {
    fn of(args: &ProbeArgs, snapshot: &Snapshot, peer: &Peer) -> Result<Self, Problem> {
        let uri = |option: &str, text: &String| {
            let uri = if text.contains(':') {
                text.clone()
            } else {
                format!("sip:{text}")
            };
            let well = uri.starts_with("sip:") && !uri.contains(['<', '>', '"', ' ', '?']);
            match UriFacts::of(uri.as_bytes()).filter(|_| well) {
                Some(_) => Ok(uri),
                None => Err(Problem::Unusable(format!(
                    "{option}: `{text}` is no address; write sip:user@domain"
                ))),
            }
        };
        let named = |option: &str, value: &Option<String>| value.as_ref().map(|v| uri(option, v)).transpose();
        let to = named("--to", &args.to)?;
        let domain = peer.domains.iter().next().map(|(name, _)| name.to_string());
        let domain = to
            .as_ref()
            .and_then(|to| {
                to.rsplit_once('@')
                    .map(|(_, d)| d.split(';').next().unwrap_or(d).to_owned())
            })
            .or(domain)
            .or_else(|| peer.next_hop.as_ref().map(|hop| hop.host.to_string()))
            .ok_or_else(|| {
                Problem::Unusable(format!("peer {} has no domain: name a user of it with --to", peer.name))
            })?;
        Ok(Self {
            from: named("--from", &args.from)?.unwrap_or_else(|| format!("sip:{}", snapshot.identity.host)),
            message_to: named("--message-to", &args.message_to)?,
            to,
            domain,
        })
    }
}

async fn ask(
    args: &ProbeArgs,
    snapshot: &Snapshot,
    (id, peer): (PeerId, &Peer),
    uris: Uris,
) -> Result<Report, Problem> {
    let way = way(args, snapshot, (id, peer), &uris.domain).await?;
    let mut link = Link::open(way).await?;
    let setup = Setup {
        from: uris.from.clone(),
        domain: uris.domain,
        to: uris.to,
        message_to: uris.message_to,
        transport: peer.transport,
        local: link.local.to_string(),
        contact: reached_at(args.listen, link.local).to_string(),
        patience_ms: args.timeout.saturating_mul(1000),
    };
    let mut session = Session::new(setup, seeded()?);
    let (at, agreed) = (link.remote, link.agreed.clone());
    converse(&mut session, &mut link, args).await;
    let seen = session.seen();
    let mut findings = judge::judge(&seen);
    if let Some(tls) = agreed {
        findings.insert(
            0,
            Finding {
                sent: "TLS handshake".into(),
                came: tls.what,
                ms: Some(tls.ms),
                means: "it takes our certificate, and we take its".into(),
                key: None,
            },
        );
    }
    let dialect = snapshot
        .dialect(peer.dialect)
        .map_or_else(|| "rfc".to_owned(), |d| d.name.to_string());
    Ok(Report {
        peer: peer.name.to_string(),
        at: format!("{at} over {}", peer.transport.param()),
        from: uris.from,
        findings,
        suggestion: overlay::suggest(&peer.name, &seen, &snapshot.dialects, &dialect),
        seen,
        dialect,
    })
}

/// Where the peer reaches us: what listens on any address is reached at the one that we connected from.
fn reached_at(listen: Option<SocketAddr>, local: SocketAddr) -> SocketAddr {
    match listen {
        Some(at) if at.ip().is_unspecified() => SocketAddr::new(local.ip(), at.port()),
        Some(at) => at,
        None => local,
    }
}

fn seeded() -> Result<Random, Problem> {
    let mut seed = [0; 32];
    crate::pki::provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| Problem::Unusable("the operating system gives no randomness".into()))?;
    Ok(Random::from_seed(seed))
}

/// How the bridge would reach the peer.
async fn way(args: &ProbeArgs, snapshot: &Snapshot, (id, peer): (PeerId, &Peer), domain: &str) -> Result<Way, Problem> {
    let unusable = |e: &dyn core::fmt::Display| Problem::Unusable(e.to_string());
    let (mut tls, mut server) = (None, None);
    if peer.transport == Transport::Tls {
        let settings = Settings::load(snapshot).map_err(|e| unusable(&e))?;
        let config = settings.client_config(id).map_err(|e| unusable(&e))?;
        // The same name as the bridge asks for.
        let name = peer
            .domains
            .iter()
            .next()
            .map_or_else(String::new, |(d, _)| d.to_string());
        tls = config.map(|config| (config, name));
        if args.listen.is_some() {
            server = Some(
                settings
                    .server_config(ClientCertificate::Require)
                    .map_err(|e| unusable(&e))?,
            );
        }
    }
    let (host, port) = match (&args.connect, &peer.next_hop) {
        (Some(connect), _) => split(connect)?,
        (None, Some(hop)) => (hop.host.to_string(), hop.port),
        (None, None) => (domain.to_owned(), None),
    };
    let resolver = match &snapshot.dns.servers[..] {
        [] => Resolver::system(),
        servers => Resolver::asking(servers),
    };
    let query = Query {
        host: &host,
        port,
        transport: Some(peer.transport),
        allowed: &[],
    };
    let mut random = seeded()?;
    let found = resolver.resolve(&query, &mut || random.next_u64()).await;
    let targets: Vec<SocketAddr> = found.into_iter().map(|(_, at)| at).take(4).collect();
    if targets.is_empty() {
        return Err(Problem::Unreachable(format!("{host} has no address")));
    }
    Ok(Way {
        transport: peer.transport,
        targets,
        tls,
        server,
        listen: args.listen,
    })
}

fn split(connect: &str) -> Result<(String, Option<u16>), Problem> {
    let wrong = || Problem::Unusable(format!("--connect: `{connect}` is not HOST:PORT"));
    let (host, port) = connect.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    Ok((host.to_owned(), Some(port)))
}

/// Carries out what the session wants until it is over.
async fn converse(session: &mut Session, link: &mut Link, args: &ProbeArgs) {
    let (began, mut connects) = (Instant::now(), 0);
    let now = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut shown = Progress::new(args.json);
    loop {
        let action = session.poll(now());
        shown.show(session);
        match action {
            Action::Done => return,
            Action::Send(bytes) => {
                if !link.is_open() {
                    connects += 1;
                    if connects > MOST_CONNECTS {
                        return session.give_up("it closes its connections");
                    }
                    if let Err(Problem::Unusable(e) | Problem::Refused(e) | Problem::Unreachable(e)) =
                        link.connect().await
                    {
                        return session.give_up(&e);
                    }
                    session.connected(&link.local.to_string());
                }
                if let Err(why) = link.send(OURS, &bytes).await
                    && !link.is_udp()
                {
                    link.drop_ours();
                    session.lost(now(), &why);
                }
            }
            Action::Wait(until) => {
                let left = Duration::from_millis(until.saturating_sub(now()).max(1));
                match link.next(left).await {
                    None => {}
                    Some(Came::Message(from, bytes)) => {
                        if let Some(answer) = session.take(now(), &bytes) {
                            // Who does not wait for the answer to its own request is not asked why.
                            let _gone = link.send(from, &answer).await;
                        }
                    }
                    Some(Came::Pong) => session.pong(now()),
                    Some(Came::Closed(_, _, why)) => session.lost(now(), &why),
                    Some(Came::Opened(_)) => {}
                }
            }
        }
    }
}

/// One line on a terminal.
struct Progress {
    on: bool,
    last: usize,
}

impl Progress {
    fn new(json: bool) -> Self {
        Self {
            on: !json && std::io::stderr().is_terminal(),
            last: 0,
        }
    }

    fn show(&mut self, session: &Session) {
        let (done, all) = session.progress();
        if self.on && done != self.last {
            self.last = done;
            let _nobody_looks = write!(std::io::stderr(), "\r\x1b[K[{done}/{all}] {}", session.current());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on {
            let _nobody_looks = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
