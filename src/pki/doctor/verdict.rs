//! Turns what a connection showed into findings.

use std::time::Duration;

use rustls::AlertDescription as Alert;
use rustls_pki_types::UnixTime;

use super::finding::{Finding, Report, Side};
use super::look::{End, Seen};
use super::probe::{Answer, probe};
use super::{DoctorTarget, their_side};
use crate::pki::tls::provider;

/// Judges a connection to `address`; asks the server a second time, as an old client, if it did not come to TLS.
pub(super) fn judge_connection(
    target: &DoctorTarget,
    seen: &Seen,
    address: &str,
    timeout: Duration,
    now: UnixTime,
    report: &mut Report,
) {
    report.looked_at.push(match &seen.agreed {
        Some(agreed) => format!(
            "{address}, which speaks {agreed} and sent {} certificates",
            seen.chain.len()
        ),
        None => address.to_owned(),
    });
    if let Some(answer) = &seen.answer {
        report
            .looked_at
            .push(format!("its answer to OPTIONS: {}", answer.start));
        report.findings.extend(super::clock::compare(answer, now));
    }
    let found = &mut report.findings;
    if seen.chain.is_empty() {
        found.extend(seen.end.as_ref().map(|end| no_handshake(target, end, address, timeout)));
        return;
    }
    let faults = their_side(target, Some(address), &seen.chain, now);
    let unverifiable = faults.iter().any(|f| matches!(f.id, "rsa-short" | "x509-v1"));
    found.extend(faults);
    if seen.signature_fits == Some(false) && !unverifiable {
        let what = "the server signs with a key that does not belong to the certificate it shows";
        found.push(Finding::error(
            "key-mismatch",
            Side::Theirs,
            what,
            "the peer installs the key of this certificate",
        ));
        return;
    }
    let without_ours = found
        .iter()
        .any(|f| matches!(f.id, "own-files" | "key-mismatch" | "x509-v1") && f.side == Side::Ours);
    match &seen.end {
        Some(End::Alert(alert)) => found.push(our_certificate(*alert, without_ours)),
        Some(End::Closed) if seen.asked => found.push(Finding::error(
            "our-certificate-refused",
            Side::Ours,
            "the server closed the connection after it had seen our certificate, without saying why",
            "ask the peer for its log; give it our chain with `trestle cert export`",
        )),
        Some(End::Tls(error)) => {
            let what = format!("the handshake failed: {error}");
            found.push(Finding::error(
                "handshake",
                Side::Theirs,
                what,
                "look at the server's own log",
            ));
        }
        _ => {}
    }
    if seen.finished && !seen.asked {
        found.push(Finding::error(
            "no-client-certificate-asked",
            Side::Theirs,
            "the server asks for no client certificate, so it cannot know that it is us",
            "the peer switches on client certificates on this port (mutual TLS), or names the port that has them",
        ));
    }
}

/// The server refused what we showed, or that we showed nothing.
fn our_certificate(alert: Alert, without_ours: bool) -> Finding {
    if without_ours {
        let what = "the server wants a client certificate and we have none to send";
        return Finding::error("no-client-certificate-sent", Side::Ours, what, "`trestle cert issue`");
    }
    let (id, side, fix) = match alert {
        Alert::UnknownCA => (
            "our-ca-unknown",
            Side::Theirs,
            "give the peer our authority with `trestle cert export`; it adds it to what it trusts",
        ),
        // Our key fits our certificate, so it is the signature of our authority that does not fit.
        Alert::DecryptError => (
            "our-ca-unknown",
            Side::Theirs,
            "the peer has an authority of ours of the same name, but with another key: `trestle cert export` again, for it \
             to install in the place of the one it has",
        ),
        Alert::CertificateExpired => (
            "our-certificate-refused",
            Side::Ours,
            "renew ours, or compare the clocks",
        ),
        Alert::CertificateRevoked => ("our-certificate-refused", Side::Ours, "issue a new one with a new key"),
        Alert::UnsupportedCertificate => ("our-certificate-refused", Side::Ours, "issue it with clientAuth"),
        Alert::CertificateRequired => (
            "our-certificate-refused",
            Side::Ours,
            "our certificate did not reach the peer",
        ),
        _ => (
            "our-certificate-refused",
            Side::Ours,
            "compare the names in it with what the peer expects of us",
        ),
    };
    let name = alert.as_str().unwrap_or("unknown alert");
    Finding::error(
        id,
        side,
        format!("the server refused our certificate: alert {name}"),
        fix,
    )
}

/// It never came to a certificate.
fn no_handshake(target: &DoctorTarget, end: &End, address: &str, timeout: Duration) -> Finding {
    match end {
        End::Unreachable(why) => {
            let fix = "check next_hop, the firewall between, and that the peer listens";
            return Finding::error(
                "unreachable",
                Side::Network,
                format!("no connection to {address}: {why}"),
                fix,
            );
        }
        End::NotTls => {
            let fix = "the port speaks plain SIP or something else: name the TLS port, usually 5061";
            return Finding::error(
                "not-tls",
                Side::Configuration,
                format!("{address} does not answer with TLS"),
                fix,
            );
        }
        _ => {}
    }
    let sni = target.peer.domains.first().map(|d| &**d);
    match probe(address, sni, timeout) {
        Ok(Answer::Hello { version, suite }) if version < 0x0303 => Finding::error(
            "protocol-too-old",
            Side::Theirs,
            format!(
                "the server speaks at most {} (suite 0x{suite:04x}{})",
                version_name(version),
                suite_name(suite)
            ),
            format!("the peer enables TLS 1.2 with ECDHE and AES-GCM; where it cannot, {TERMINATOR}"),
        ),
        Ok(Answer::Hello { suite, .. }) if !supports(suite) => Finding::error(
            "no-common-suite",
            Side::Theirs,
            format!(
                "of TLS 1.2 the server chooses suite 0x{suite:04x}{}, which this bridge does not have",
                suite_name(suite)
            ),
            format!(
                "the peer enables an ECDHE suite with AES-GCM or ChaCha20-Poly1305, and a certificate that fits it; where it \
                 cannot, {TERMINATOR}"
            ),
        ),
        _ => {
            let what = match end {
                End::Alert(alert) => format!("{address} answers with alert {}", alert.as_str().unwrap_or("unknown")),
                End::Closed => format!("{address} closes the connection during the handshake"),
                End::Silent => format!("{address} accepts the connection and then says nothing"),
                End::Tls(error) => format!("the handshake with {address} fails: {error}"),
                End::Unreachable(_) | End::NotTls => format!("{address} does not answer with TLS"),
            };
            Finding::error(
                "handshake",
                Side::Theirs,
                what,
                "look at the server's own log; it may know why it refuses us",
            )
        }
    }
}

/// What reaches a server whose TLS is too old for us.
const TERMINATOR: &str =
    "put a trusted terminator between: config/peers/lcs2005-haproxy/ is the recipe, for both directions";

/// What old servers choose, behind a comma, as OpenSSL's `ciphers` names it (and HAProxy's configuration).
fn suite_name(suite: u16) -> &'static str {
    match suite {
        0x0004 => ", RC4-MD5",
        0x0005 => ", RC4-SHA",
        0x000a => ", DES-CBC3-SHA",
        0x002f => ", AES128-SHA",
        0x0035 => ", AES256-SHA",
        0x003c => ", AES128-SHA256",
        0x003d => ", AES256-SHA256",
        0x009c => ", AES128-GCM-SHA256",
        0x009d => ", AES256-GCM-SHA384",
        0xc009 => ", ECDHE-ECDSA-AES128-SHA",
        0xc00a => ", ECDHE-ECDSA-AES256-SHA",
        0xc013 => ", ECDHE-RSA-AES128-SHA",
        0xc014 => ", ECDHE-RSA-AES256-SHA",
        _ => "",
    }
}

fn supports(suite: u16) -> bool {
    provider().cipher_suites.iter().any(|s| u16::from(s.suite()) == suite)
}

fn version_name(version: u16) -> &'static str {
    match version {
        0x0302 => "TLS 1.1",
        0x0301 => "TLS 1.0",
        _ => "SSL 3.0",
    }
}
