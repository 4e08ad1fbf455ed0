//! Who the other end of a connection through a trusted terminator is.
//!
//! The terminator has done the handshake, so the possession of the key is on its word. A certificate that it passes on is
//! verified here, against each peer's own anchors and pins. Where it reports the common name alone, the chain is on its
//! word too, and a peer that has anchors or pins of its own is not proved by that.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::names::{names_of, only_common_name};
use super::verify::{How, PeerStore, Usage};
use crate::policy::identity::CertNames;
use crate::policy::terminator::{Origin, Terminated};
use crate::policy::{Identity, Listener, Reported, ReportedTls, Snapshot};
use crate::sip::net::PeerId;

/// The most certificates that are taken from one report.
const MAX_CHAIN: usize = 8;

/// What a report proves under this configuration.
#[must_use]
pub fn identify_terminated(
    reported: Arc<Reported>,
    listener: &Listener,
    snapshot: &Snapshot,
    store: &PeerStore,
    now: UnixTime,
) -> Identity {
    let trusted = listener.terminator.as_ref().filter(|t| t.is_at(reported.terminator));
    let Some(terminator) = trusted else {
        return Identity::no_tls("what reports it is no trusted terminator of its listener");
    };
    let mut proved = Proved::default();
    let why_not = match shown(&reported) {
        Ok(tls) => proved.by(tls, &reported, listener, (snapshot, store, now)).err(),
        Err(why) => Some(why),
    };
    Identity::Terminated(Box::new(Terminated {
        names: proved.names,
        listener: Arc::clone(&listener.name),
        anchored: proved.anchored,
        pinned: proved.pinned,
        counts_as_tls: terminator.counts_as_tls && reported.tls.is_some(),
        why_not,
        reported,
    }))
}

/// The TLS in whose handshake a certificate was shown and verified.
fn shown(reported: &Reported) -> Result<&ReportedTls, &'static str> {
    let Some(tls) = &reported.tls else {
        return Err(match reported.origin {
            Origin::Own => "it is the terminator's own connection",
            _ => "it came without TLS, or the terminator does not say",
        });
    };
    match (tls.shown_now, tls.shown_before, tls.verify) {
        (true, _, 0) => Ok(tls),
        (true, ..) => Err("the certificate did not verify at the terminator"),
        (false, true, _) => {
            Err("the certificate was shown in a session that was resumed: switch resumption off at the terminator")
        }
        (false, false, _) => Err("no certificate was shown"),
    }
}

#[derive(Default)]
struct Proved {
    names: CertNames,
    anchored: Vec<PeerId>,
    pinned: Vec<PeerId>,
}

impl Proved {
    fn by(
        &mut self,
        tls: &ReportedTls,
        reported: &Reported,
        listener: &Listener,
        (snapshot, store, now): (&Snapshot, &PeerStore, UnixTime),
    ) -> Result<(), &'static str> {
        let chain = match &tls.certificate {
            Some(bytes) => certificates(bytes).ok_or("the certificate that it passes on cannot be read")?,
            None => Vec::new(),
        };
        self.names = match (chain.first(), &tls.common_name) {
            (Some(first), _) => names_of(first).map_err(|_| "the certificate that it passes on cannot be read")?,
            (None, Some(name)) => only_common_name(name),
            (None, None) => return Err("the terminator names neither the certificate nor its common name"),
        };
        let verifying: Vec<(PeerId, How)> = if chain.is_empty() {
            Vec::new()
        } else {
            let all = store.verifying(&chain, now, Usage::Client);
            all.map(|(peer, how)| (peer.id, how)).collect()
        };
        let mut believed = false;
        for (id, peer) in snapshot.peers() {
            let trust = peer.tls.terminated.as_ref();
            if !trust.is_some_and(|t| t.believes(&listener.name, reported.terminator)) {
                continue;
            }
            believed = true;
            let on_its_word = peer.tls.ca.is_empty() && peer.tls.pin.is_empty();
            match verifying.iter().find(|(verified, _)| *verified == id) {
                Some((_, How::Pin)) => {
                    self.anchored.push(id);
                    self.pinned.push(id);
                }
                Some(_) => self.anchored.push(id),
                None if on_its_word => self.anchored.push(id),
                None => {}
            }
        }
        match (self.anchored.is_empty(), believed, chain.is_empty()) {
            (false, ..) => Ok(()),
            (true, false, _) => Err("no peer's tls.terminated believes this terminator"),
            (true, true, true) => {
                Err("peers with anchors of their own need the certificate, not its common name alone")
            }
            (true, true, false) => Err("the certificate verifies for no peer that believes this terminator"),
        }
    }
}

/// Certificates as a terminator passes them on: DER, one behind the other, or that in base64.
fn certificates(bytes: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    // DER begins with 0x30 and a long length; base64 of that with an M.
    let der = if bytes.first() == Some(&b'M') {
        let text = [
            b"-----BEGIN CERTIFICATE-----\n",
            bytes,
            b"\n-----END CERTIFICATE-----\n",
        ]
        .concat();
        CertificateDer::from_pem_slice(&text).ok()?.as_ref().to_vec()
    } else {
        bytes.to_vec()
    };
    let (mut chain, mut rest) = (Vec::new(), &der[..]);
    while !rest.is_empty() {
        let (one, after) = rest.split_at_checked(length(rest)?)?;
        chain.push(CertificateDer::from(one.to_vec()));
        if chain.len() > MAX_CHAIN {
            return None;
        }
        rest = after;
    }
    Some(chain)
}

/// The length of the DER sequence at the front, its head included.
fn length(der: &[u8]) -> Option<usize> {
    match der {
        [0x30, short @ 0..=0x7f, ..] => Some(2 + usize::from(*short)),
        [0x30, 0x81, one, ..] => Some(3 + usize::from(*one)),
        [0x30, 0x82, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
