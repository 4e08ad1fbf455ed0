//! Questions about what comes through a trusted terminator.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Args, assumed_identity};
use crate::policy::terminator::{Origin, Terminated};
use crate::policy::{Identity, Listener, Peer, Reported, ReportedTls, Snapshot};
use crate::sip::net::PeerId;

/// The listener that such a question is about: one of the terminator that is named, else of one that the peer believes,
/// unless the peer can also do without.
pub(super) fn listener<'a>(snapshot: &'a Snapshot, args: &Args, peer: Option<&Peer>) -> Option<&'a Listener> {
    let mut behind = snapshot
        .listeners
        .iter()
        .filter_map(|l| Some((l, l.terminator.as_ref()?)));
    let found = match (args.terminator, peer) {
        (Some(ip), _) => behind.clone().find(|(_, t)| t.is_at(ip)).or_else(|| behind.next()),
        (None, Some(peer)) => {
            let through = peer.tls.terminated.as_ref()?;
            if !peer.tls.ca.is_empty() || !peer.tls.pin.is_empty() {
                return None;
            }
            behind.find(|(l, t)| t.addresses.iter().any(|net| through.believes(&l.name, net.addr())))
        }
        (None, None) if args.cn.is_some() => behind.next(),
        (None, None) => None,
    };
    found.map(|(listener, _)| listener)
}

/// What the terminator's report would prove.
pub(super) fn identity(
    snapshot: &Snapshot,
    args: &Args,
    listener: &Listener,
    peer: Option<PeerId>,
    source: IpAddr,
) -> Result<Identity, String> {
    let Some(terminator) = &listener.terminator else {
        return Ok(Identity::no_tls("no terminator"));
    };
    let first = terminator.addresses.first().map(ipnet::IpNet::addr);
    let at = args.terminator.or(first).unwrap_or(IpAddr::from([127, 0, 0, 1]));
    if let Some((id, peer)) = peer.and_then(|id| Some((id, snapshot.peer(id)?))) {
        return assumed(id, peer, listener, (at, source));
    }
    let chain = match &args.cert {
        Some(file) => crate::pki::files::certificates(file).map_err(|e| e.to_string())?,
        None => Vec::new(),
    };
    let certificate: Vec<u8> = chain.iter().flat_map(|c| c.as_ref()).copied().collect();
    let tls = ReportedTls {
        shown_now: args.cn.is_some() || args.cert.is_some(),
        common_name: args.cn.as_deref().map(|cn| cn.as_bytes().into()),
        certificate: Some(certificate.into_boxed_slice()).filter(|c| !c.is_empty()),
        ..ReportedTls::default()
    };
    let store = crate::pki::settings::peer_store(snapshot).map_err(|e| e.to_string())?;
    let now = rustls_pki_types::UnixTime::now();
    let reported = Arc::new(reported(at, source, tls));
    Ok(crate::pki::identify_terminated(
        reported, listener, snapshot, &store, now,
    ))
}

/// What a peer that has proved itself there would have proved.
fn assumed(id: PeerId, peer: &Peer, listener: &Listener, (at, source): (IpAddr, IpAddr)) -> Result<Identity, String> {
    let believed = peer
        .tls
        .terminated
        .as_ref()
        .is_some_and(|t| t.believes(&listener.name, at));
    let trusted = listener.terminator.as_ref().is_some_and(|t| t.is_at(at));
    if !trusted {
        return Ok(Identity::no_tls(
            "what reports it is no trusted terminator of its listener",
        ));
    }
    let names = assumed_identity(id, peer).names().cloned().unwrap_or_default();
    Ok(Identity::Terminated(Box::new(Terminated {
        names: if believed { names } else { Default::default() },
        listener: Arc::clone(&listener.name),
        anchored: if believed { vec![id] } else { Vec::new() },
        pinned: Vec::new(),
        counts_as_tls: listener.terminator.as_ref().is_some_and(|t| t.counts_as_tls),
        why_not: (!believed).then_some("the peer's tls.terminated does not believe this terminator"),
        reported: Arc::new(reported(at, source, ReportedTls::default())),
    })))
}

fn reported(terminator: IpAddr, source: IpAddr, tls: ReportedTls) -> Reported {
    Reported {
        terminator: terminator.to_canonical(),
        origin: Origin::From((source.to_canonical(), 0).into()),
        tls: Some(tls),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Args, explain};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const CONFIG: &str = "domains: [a.example]\nusers: [{aor: alice@a.example, password: {plain: x}}]\nlisteners:\n  \
        - {name: udp, transport: udp, bind: [\"127.0.0.1:5060\"]}\n  - {name: old-tls, transport: tcp, bind: [\"127.0.0.1:5063\"], \
        trusted_terminator: {addresses: [127.0.0.9], counts_as_tls: true}}\npeers:\n  - {name: lcs, domains: [b.example], transport: \
        tcp, accept: [tls], next_hop: \"127.0.0.1:1\", tls: {names: [lcs.b.example], terminated: {by: [old-tls], allow_cn: true}}}\n";

    fn ask(words: &str) -> (String, bool) {
        let fixed = "explain --from sip:bob@b.example --to sips:alice@a.example";
        let line = Line::try_parse_from(fixed.split(' ').chain(words.split_whitespace()));
        let args = line.map(|l| l.args).map_err(|e| e.to_string());
        let answer = args.and_then(|args| explain(&crate::config::tests::snapshot(CONFIG), &args));
        answer.unwrap_or_else(|e| (e, false))
    }

    #[test]
    fn what_a_terminator_reports_can_be_assumed() {
        let (text, allowed) = ask("--cn lcs.b.example --source 192.0.2.20");
        assert!(allowed, "{text}");
        let by =
            "peer lcs: a certificate with CN=lcs.b.example, as the terminator 127.0.0.9 of listener old-tls reports";
        assert!(text.contains(by), "{text}");
        assert!(
            text.contains("listener old-tls behind terminator 127.0.0.9 (tls)"),
            "{text}"
        );
        assert!(ask("--peer lcs").1, "{}", ask("--peer lcs").0);
        for (words, wanted) in [
            ("--cn evil.example", "403 Forbidden, by peer.tls"),
            (
                "--cn lcs.b.example --terminator 127.0.0.1",
                "by listener.trusted_terminator",
            ),
            ("--peer lcs --terminator 127.0.0.1", "by listener.trusted_terminator"),
            ("--listener old-tls", "no certificate was shown"),
            (
                "--cn lcs.b.example --listener udp",
                "are about a listener with a `trusted_terminator`",
            ),
        ] {
            let (text, allowed) = ask(words);
            assert!(!allowed && text.contains(wanted), "{words}: {text}");
        }
    }
}
