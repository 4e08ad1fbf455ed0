//! `trestle explain`: what the bridge would decide about a request, step by step, with the rule and its line.
//!
//! It asks the very function that the engine asks.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

mod spoken;
mod terminated;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::config::load;
use crate::event::package::{ALLOW_EVENTS, Package};
use crate::policy::decision::{Allow, Party};
use crate::policy::identity::CertNames;
use crate::policy::snapshot::ClientCertificate;
use crate::policy::trace::{Record, Recorded};
use crate::policy::{
    AuthState, Decision, Facts, Identity, Over, Peer, Snapshot, Target, UriFacts, Verdict, Watched, decide,
};
use crate::sip::net::{ListenerId, PeerId, Transport};

/// Say what the bridge would decide about a request, and why.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "config/bridge.yaml")]
    pub config: PathBuf,
    /// Who speaks: the From address.
    #[arg(long, value_name = "URI")]
    pub from: String,
    /// Who is meant: To and Request-URI.
    #[arg(long, value_name = "URI")]
    pub to: String,
    /// The method.
    #[arg(long, default_value = "MESSAGE")]
    pub method: String,
    /// The event package of a SUBSCRIBE, NOTIFY or PUBLISH.
    #[arg(long)]
    pub event: Option<String>,
    /// Assume that this peer sends it and has proved itself.
    #[arg(long, value_name = "NAME", conflicts_with = "cert")]
    pub peer: Option<String>,
    /// Assume that the sender shows this certificate (PEM) and judge its names and its chain.
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Assume that a trusted terminator reports this common name of a certificate that it verified.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cert", "peer"])]
    pub cn: Option<String>,
    /// Assume that it comes through the trusted terminator at this address; with --cert that passes the certificate on.
    #[arg(long, value_name = "IP")]
    pub terminator: Option<IpAddr>,
    /// The address it comes from. Default: one the peer lists, else 127.0.0.1.
    #[arg(long, value_name = "IP")]
    pub source: Option<IpAddr>,
    /// The listener it comes in by. Default: the one made for such a sender.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// Assume the digest of this local user.
    #[arg(long, value_name = "AOR")]
    pub user: Option<String>,
    /// Its Max-Forwards.
    #[arg(long, value_name = "N", default_value_t = 70)]
    pub max_forwards: u32,
    /// Assume that the sender, peer or user, holds so many subscriptions here already.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub held: u32,
    /// Assume that so many addresses are watched at the peer it goes to, this one not among them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub watched: u32,
    /// An Accept line of a SUBSCRIBE, media types with commas; may be repeated, once for each line.
    #[arg(long, value_name = "TYPES")]
    pub accept: Vec<String>,
    /// The Content-Type of a MESSAGE, PUBLISH or NOTIFY. Default: text/plain, and PIDF for documents.
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// The body of a PUBLISH, NOTIFY or MESSAGE: shows what it is read as, and by which lines of which mapping file.
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Machine-readable output.
    #[arg(long)]
    pub json: bool,
}

/// So many addresses are watched at every peer, none of them the one that is asked about.
#[derive(Debug)]
struct Assumed(u32);

impl Watched for Assumed {
    fn count(&self, _: PeerId) -> u32 {
        self.0
    }

    fn has(&self, _: PeerId, _: &UriFacts<'_>) -> bool {
        false
    }
}

/// Exits 0 when the request is allowed, 1 when it is refused or challenged, 2 when the question makes no sense.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let answer = load(&args.config)
        .map_err(|p| p.to_string())
        .and_then(|loaded| explain(&loaded.snapshot, args));
    let (text, code) = match answer {
        Ok((text, allowed)) => (text, u8::from(!allowed)),
        Err(error) => {
            let _nobody_reads = writeln!(std::io::stderr(), "{error}");
            return ExitCode::from(2);
        }
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(if written.is_err() { 2 } else { code })
}

/// The answer as text, and whether the request is allowed.
fn explain(snapshot: &Snapshot, args: &Args) -> Result<(String, bool), String> {
    let peer = args
        .peer
        .as_deref()
        .map(|name| peer_named(snapshot, name))
        .transpose()?;
    let (listener, transport) = listener(snapshot, args, peer)?;
    let target = if args.method == "REGISTER" {
        registrar(&args.to)
    } else {
        args.to.clone()
    };
    let listed = peer
        .and_then(|id| snapshot.peer(id))
        .and_then(|p| p.addresses.first())
        .map(ipnet::IpNet::addr);
    let source = args.source.or(listed).unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let identity = match snapshot.listener(listener).filter(|l| l.terminator.is_some()) {
        Some(behind) => terminated::identity(snapshot, args, behind, peer, source)?,
        None if args.cn.is_some() || args.terminator.is_some() => {
            return Err("--cn and --terminator are about a listener with a `trusted_terminator`".to_owned());
        }
        None => identity(snapshot, args, peer)?,
    };
    let held = vec![args.held; snapshot.peers.len()];
    let watched = Assumed(args.watched);
    let over = Over {
        subscriptions: peer.is_none() && args.held >= snapshot.presence.max_subscriptions,
        ..Over::default()
    };
    let facts = Facts {
        listener: Some(listener),
        transport: identity.counts_as(transport),
        source,
        local: None,
        identity: &identity,
        method: args.method.as_bytes(),
        uri: uri("--to", &target)?,
        from: uri("--from", &args.from)?,
        to: uri("--to", &args.to)?,
        event: args.event.as_deref().map(str::as_bytes),
        max_forwards: Some(args.max_forwards),
        dialog: None,
        credentials: credentials(snapshot, args)?,
        looped: false,
        ring: false,
        over,
        held: &held,
        watched: Some(&watched),
    };
    let mut record = Record::default();
    let decision = decide(snapshot, &facts, &mut record);
    let allowed = matches!(decision, Decision::Allow(_));
    let notes = notes(args, &identity, &decision);
    let near = peer.and_then(|id| snapshot.peer(id)).map(|p| p.dialect);
    let near = snapshot.dialect(near.unwrap_or_default());
    let mut spoken = match &decision {
        Decision::Allow(allow) => spoken::of(snapshot, args, allow, listener)?,
        _ => Vec::new(),
    };
    spoken.extend(
        near.map(|near| spoken::notify(args, near))
            .transpose()?
            .unwrap_or_default(),
    );
    let text = if args.json {
        let mut answer = as_json(snapshot, &record.0, &decision);
        answer["spoken"] = spoken::as_json(&spoken);
        answer["notes"] = json!(notes);
        format!("{answer:#}\n")
    } else {
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let mut table = as_table(snapshot, &record.0, &decision, color);
        spoken::add(&mut table, &spoken);
        for note in notes {
            let _fits = writeln!(table, "note: {note}");
        }
        table
    };
    Ok((text, allowed))
}

/// What the decision does not say and whoever asks about it should know.
fn notes(args: &Args, identity: &Identity, decision: &Decision) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(file) = &args.cert
        && !identity.is_named()
    {
        let file = file.display();
        notes.push(format!(
            "{file} proves no peer; `trestle cert doctor PEER --files {file}` says why not"
        ));
    }
    let served = matches!(
        decision,
        Decision::Allow(Allow {
            target: Target::Local { .. },
            ..
        })
    ) && matches!(&*args.method, "SUBSCRIBE" | "PUBLISH");
    let package = args.event.as_deref().map(str::as_bytes);
    if served && package.and_then(Package::from_name).is_none() {
        let asked = args
            .event
            .as_deref()
            .map_or("no event package".into(), |e| format!("`{e}`"));
        notes.push(format!(
            "what serves it knows {ALLOW_EVENTS} only, so it answers {asked} with 489 Bad Event; see --event"
        ));
    }
    notes
}

fn peer_named(snapshot: &Snapshot, name: &str) -> Result<PeerId, String> {
    snapshot.peer_named(name).ok_or_else(|| {
        let known: Vec<&str> = snapshot.peers.iter().map(|p| &*p.name).collect();
        match known.as_slice() {
            [] => format!("there is no peer `{name}`: the configuration has no peers"),
            known => format!("there is no peer `{name}`; peers: {}", known.join(", ")),
        }
    })
}

/// What the handshake would have proved.
fn identity(snapshot: &Snapshot, args: &Args, peer: Option<PeerId>) -> Result<Identity, String> {
    if let Some(file) = &args.cert {
        let chain = crate::pki::files::certificates(file).map_err(|e| e.to_string())?;
        let store = crate::pki::settings::peer_store(snapshot).map_err(|e| e.to_string())?;
        let now = rustls_pki_types::UnixTime::now();
        return Ok(crate::pki::identify(
            Some(&chain),
            &store,
            now,
            crate::pki::Usage::Client,
        ));
    }
    let assumed = peer.and_then(|id| Some((id, snapshot.peer(id)?)));
    Ok(match assumed {
        Some((id, peer)) if peer.accept.contains(&Transport::Tls) => assumed_identity(id, peer),
        Some(_) => Identity::no_tls("a plain transport"),
        None => Identity::no_tls("no certificate"),
    })
}

/// What a peer that has proved itself would have proved: its own anchors and every domain it may speak for.
fn assumed_identity(id: PeerId, peer: &Peer) -> Identity {
    let dns = peer.domains.iter().map(|(name, _)| Box::from(&**name)).collect();
    let names = CertNames {
        dns,
        has_san: true,
        ..CertNames::default()
    };
    Identity::TlsPeer {
        names,
        anchored: vec![id],
        pinned: Vec::new(),
        chain: Arc::from([]),
    }
}

/// The listener that was asked for, or the one made for such a sender.
fn listener(snapshot: &Snapshot, args: &Args, peer: Option<PeerId>) -> Result<(ListenerId, Transport), String> {
    let listeners = || snapshot.listeners.iter().map(|l| (l.id, l));
    if let Some(name) = &args.listener {
        return listeners()
            .find(|(_, l)| *l.name == **name)
            .map(|(id, l)| (id, l.transport))
            .ok_or_else(|| {
                let known: Vec<&str> = snapshot.listeners.iter().map(|l| &*l.name).collect();
                format!("there is no listener `{name}`; listeners: {}", known.join(", "))
            });
    }
    let peer = peer.and_then(|id| snapshot.peer(id));
    if let Some(behind) = terminated::listener(snapshot, args, peer) {
        return Ok((behind.id, behind.transport));
    }
    let sips = [&args.from, &args.to]
        .iter()
        .any(|uri| uri.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("sips:")));
    let secure = sips || args.cert.is_some() || peer.is_some_and(|p| p.accept.contains(&Transport::Tls));
    let found = if secure {
        let wanted =
            |asked| listeners().find(move |(_, l)| l.transport == Transport::Tls && l.client_certificate == asked);
        let proved = args.cert.is_some() || peer.is_some();
        let (first, second) = if proved {
            (ClientCertificate::Require, ClientCertificate::Request)
        } else {
            (ClientCertificate::Request, ClientCertificate::None)
        };
        wanted(first).or_else(|| wanted(second))
    } else {
        listeners().find(|(_, l)| peer.map_or(l.transport != Transport::Tls, |p| p.accept.contains(&l.transport)))
    };
    found
        .or_else(|| listeners().next())
        .map(|(id, l)| (id, l.transport))
        .ok_or_else(|| "the configuration has no listener".to_owned())
}

fn credentials(snapshot: &Snapshot, args: &Args) -> Result<AuthState, String> {
    let Some(aor) = &args.user else {
        return Ok(AuthState::None);
    };
    let bare = aor.strip_prefix("sip:").unwrap_or(aor);
    let found = bare
        .rsplit_once('@')
        .and_then(|(user, host)| snapshot.users.find(user.as_bytes(), host.as_bytes()));
    found
        .map(AuthState::Valid)
        .ok_or_else(|| format!("--user: there is no local user `{aor}`"))
}

fn uri<'a>(option: &str, text: &'a str) -> Result<UriFacts<'a>, String> {
    UriFacts::of(text.as_bytes()).ok_or_else(|| format!("{option}: `{text}` is no URI; write sip:alice@a.example"))
}

/// The Request-URI of a REGISTER: the domain alone.
fn registrar(to: &str) -> String {
    match to
        .split_once(':')
        .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)))
    {
        Some((scheme, host)) => format!("{scheme}:{host}"),
        None => to.to_owned(),
    }
}

fn as_json(snapshot: &Snapshot, steps: &[Recorded], decision: &Decision) -> Value {
    let steps: Vec<Value> = steps
        .iter()
        .map(|s| {
            let rule = s.rule.as_ref();
            json!({
                "step": s.step.name(),
                "verdict": s.verdict.name(),
                "rule": rule.map(|r| &*r.id),
                "file": rule.map(|r| &*r.file),
                "line": rule.map(|r| r.line),
                "because": s.because,
            })
        })
        .collect();
    let rule = decision.rule();
    let (verdict, reason) = match decision {
        Decision::Allow(_) => ("allow", None),
        Decision::Refuse(refusal) => ("refuse", Some(refusal.reason)),
        Decision::Challenge { .. } => ("challenge", None),
    };
    json!({
        "verdict": verdict,
        "status": decision.status(),
        "reason": reason,
        "rule": rule.map(|r| &*r.id),
        "file": rule.map(|r| &*r.file),
        "line": rule.map(|r| r.line),
        "target": match decision { Decision::Allow(allow) => Some(target(snapshot, allow)), _ => None },
        "steps": steps,
    })
}

fn as_table(snapshot: &Snapshot, steps: &[Recorded], decision: &Decision, color: bool) -> String {
    let place = |s: &Recorded| s.rule.as_ref().map_or_else(String::new, ToString::to_string);
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let verdicts = width(&mut steps.iter().map(|s| s.verdict.name().len()));
    let places = width(&mut steps.iter().map(|s| place(s).chars().count()));
    let paint = |verdict: Verdict, text: String| match (color, verdict) {
        (false, _) => text,
        (true, Verdict::Allow) => format!("\x1b[32m{text}\x1b[0m"),
        (true, Verdict::NotConfigured) => format!("\x1b[2m{text}\x1b[0m"),
        (true, Verdict::Challenge) => format!("\x1b[33m{text}\x1b[0m"),
        (true, Verdict::Refuse) => format!("\x1b[31m{text}\x1b[0m"),
    };
    let mut out = String::new();
    for (number, s) in (1..).zip(steps) {
        let verdict = paint(s.verdict, format!("{:verdicts$}", s.verdict.name()));
        let _fits = writeln!(
            out,
            "{number:>2}  {:17}  {verdict}  {:places$}  {}",
            s.step.name(),
            place(s),
            s.because
        );
    }
    let _fits = match decision {
        Decision::Allow(allow) => writeln!(
            out,
            "\n{}: {}",
            paint(Verdict::Allow, "allow".into()),
            target(snapshot, allow)
        ),
        Decision::Refuse(refusal) => {
            let word = paint(Verdict::Refuse, "refuse".into());
            writeln!(
                out,
                "\n{word}: {} {}, by {}",
                refusal.status, refusal.reason, refusal.rule
            )
        }
        Decision::Challenge { rule, .. } => {
            let word = paint(Verdict::Challenge, "challenge".into());
            let hint = "assume the digest with --user";
            writeln!(
                out,
                "\n{word}: {}, by {rule}; {hint}",
                decision.status().unwrap_or_default()
            )
        }
    };
    out
}

/// Where an allowed request goes, in words.
fn target(snapshot: &Snapshot, allow: &Allow) -> String {
    let party = |party: Party| match party {
        Party::Peer(id) => format!("peer {}", snapshot.peer(id).map_or("", |p| &p.name)),
        Party::User(id) => format!(
            "user {}",
            snapshot.user(id).map_or_else(String::new, crate::policy::User::address)
        ),
    };
    match allow.target {
        Target::Local { user: Some(user), .. } => format!("local {}", party(Party::User(user))),
        Target::Local { domain, user: None } => {
            let name = snapshot.domains.at(usize::from(domain.0)).map_or("", |(name, _)| name);
            format!("the registrar of {name}")
        }
        Target::Bridge => "the bridge itself".into(),
        Target::Dialog(other) => party(other),
        Target::Route { set, .. } => {
            let routes = snapshot.routes.set(set).map(|s| s.routes()).unwrap_or_default();
            let way = |r: &crate::policy::Route| {
                let hop = r.next_hop.as_ref();
                format!(
                    "{} by {} over {} (priority {}, weight {})",
                    party(Party::Peer(r.peer)),
                    hop.map_or_else(|| "RFC 3263".to_owned(), ToString::to_string),
                    r.transport.param(),
                    r.priority,
                    r.weight
                )
            };
            routes.iter().map(way).collect::<Vec<_>>().join(", then ")
        }
    }
}

#[cfg(test)]
mod numbers;

#[cfg(test)]
mod tests;
