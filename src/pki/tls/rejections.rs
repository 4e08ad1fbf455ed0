//! What the verifiers refused: the latest certificates for `trestle ctl`, numbers for `/metrics`, a line in the log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::Error;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::super::names::names_of;
use super::super::verify::CertProblem;

/// A certificate that ended a handshake.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The peer it was verified for; `None` on a listener, where no peer accepted it.
    pub peer: Option<Arc<str>>,
    /// Whether a client came with it; otherwise the peer's server showed it.
    pub incoming: bool,
    /// The names it carries, printable.
    pub names: String,
    /// Why.
    pub problem: CertProblem,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) if self.incoming => write!(
                f,
                "a client certificate ({}) is by the authority of peer {peer}, but not the peer's: {}",
                self.names, self.problem
            ),
            Some(peer) => write!(
                f,
                "the certificate of peer {peer} ({}) was refused: {}",
                self.names, self.problem
            ),
            None => write!(f, "a client certificate ({}) was refused: {}", self.names, self.problem),
        }
    }
}

/// Refused certificates. Bounded; locked only when a handshake fails.
#[derive(Debug, Default)]
pub struct Rejections(Mutex<State>);

/// What lines in the log are told apart by: the peer, whether it came to us, the reason.
type Subject = (Option<Arc<str>>, bool, &'static str);

#[derive(Debug, Default)]
struct State {
    latest: VecDeque<Rejection>,
    counts: BTreeMap<&'static str, u64>,
    /// When a line about a peer, a direction and a reason was last written (seconds), and how many were not since.
    said: HashMap<Subject, (u64, u64)>,
}

impl Rejections {
    const KEPT: usize = 32;
    /// Peers times reasons that are told apart in the log; then it begins anew.
    const MOST_SAID: usize = 4096;
    /// One line about the same peer and reason in so many seconds.
    const QUIET_S: u64 = 60;

    /// The latest ones, oldest first; at most 32.
    #[must_use]
    pub fn latest(&self) -> Vec<Rejection> {
        self.state().latest.iter().cloned().collect()
    }

    /// How many there were since the start, by reason ([`CertProblem::id`]).
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a refused certificate; returns what to tell rustls.
    pub(super) fn refuse(
        &self,
        peer: Option<&Arc<str>>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        problem: CertProblem,
    ) -> Error {
        let error = problem.tls_error();
        self.note(peer, peer.is_none(), chain, now, problem);
        error
    }

    /// Takes note of a client certificate that verifies for a peer and is not named for it.
    pub(super) fn unnamed(&self, peer: &Arc<str>, chain: &[CertificateDer<'_>], now: UnixTime, problem: CertProblem) {
        self.note(Some(peer), true, chain, now, problem);
    }

    fn note(
        &self,
        peer: Option<&Arc<str>>,
        incoming: bool,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        problem: CertProblem,
    ) {
        let names = chain
            .first()
            .and_then(|c| names_of(c).ok())
            .map_or_else(|| "unreadable".into(), |n| n.to_string());
        let rejection = Rejection {
            at: now.as_secs(),
            peer: peer.cloned(),
            incoming,
            names,
            problem,
        };
        let mut state = self.state();
        if let Some(unsaid) = state.count(&rejection) {
            let before = match unsaid {
                0 => String::new(),
                n => format!("; {n} more since the last such line"),
            };
            tracing::warn!(reason = rejection.problem.id(), "{rejection}{before}");
        }
        if state.latest.len() == Self::KEPT {
            state.latest.pop_front();
        }
        state.latest.push_back(rejection);
    }
}

impl State {
    /// Counts it. Whether a line is due, and how many were left out before it.
    fn count(&mut self, rejection: &Rejection) -> Option<u64> {
        let reason = rejection.problem.id();
        *self.counts.entry(reason).or_default() += 1;
        if self.said.len() >= Rejections::MOST_SAID {
            self.said.clear();
        }
        let key = (rejection.peer.clone(), rejection.incoming, reason);
        match self.said.get_mut(&key) {
            Some((last, unsaid)) if rejection.at.saturating_sub(*last) < Rejections::QUIET_S => {
                *unsaid += 1;
                None
            }
            Some((last, unsaid)) => {
                *last = rejection.at;
                Some(core::mem::take(unsaid))
            }
            None => {
                self.said.insert(key, (rejection.at, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_for_each_peer_and_reason_and_every_one_is_counted() {
        let mut state = State::default();
        let mut at = |at, peer: Option<&str>, problem: &CertProblem| {
            state.count(&Rejection {
                at,
                peer: peer.map(Arc::from),
                incoming: peer.is_none(),
                names: String::new(),
                problem: problem.clone(),
            })
        };
        let (unknown, revoked) = (CertProblem::UnknownIssuer, CertProblem::Revoked);
        assert_eq!(at(100, None, &unknown), Some(0));
        assert_eq!(at(159, None, &unknown), None);
        assert_eq!(
            at(159, None, &revoked),
            Some(0),
            "another reason is not hidden by the first"
        );
        assert_eq!(at(159, Some("b"), &unknown), Some(0), "nor is a peer by a stranger");
        assert_eq!(at(160, None, &unknown), Some(1));
        assert_eq!(at(161, None, &unknown), None);
        assert_eq!(state.counts, [("revoked", 1), ("unknown-ca", 5)].into());
    }
}
