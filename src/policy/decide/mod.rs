//! The one decision: thirteen steps in a fixed order, the first that does not allow ends it.
//!
//! Pure and without allocation: rates, credentials, dialogs and loops come in as facts. A refusal names its rule.

mod aim;
mod assigned;
mod flow;
mod speaker;
mod way;

#[cfg(test)]
mod tests;

use core::fmt::Arguments;

use super::decision::{Allow, Decision, Refusal};
use super::facts::Facts;
use super::rule::RuleRef;
use super::snapshot::Snapshot;
use super::trace::{Step, Trace, Verdict};

/// Decides one request.
pub fn decide<T: Trace>(snapshot: &Snapshot, facts: &Facts<'_>, trace: &mut T) -> Decision {
    match (Judge { snapshot, facts, trace }).run() {
        Ok(allow) => Decision::Allow(allow),
        Err(decision) => decision,
    }
}

/// What a step comes to: its result, or the decision that ends it all.
type Checked<V> = Result<V, Decision>;

struct Judge<'a, T> {
    snapshot: &'a Snapshot,
    facts: &'a Facts<'a>,
    trace: &'a mut T,
}

impl<T: Trace> Judge<'_, T> {
    fn run(&mut self) -> Checked<Allow> {
        let pending = self.source()?;
        self.listener()?;
        let peer = self.peer_identity()?;
        self.name_acl(pending)?;
        let who = self.authentication(peer)?;
        let aim = self.canonical_address(who)?;
        self.enablement(who, &aim)?;
        self.hops(&aim)?;
        self.pass(
            Step::SearchSpace,
            Verdict::NotConfigured,
            None,
            format_args!("no search spaces"),
        );
        self.pass(
            Step::PresenceGroup,
            Verdict::NotConfigured,
            None,
            format_args!("no presence groups"),
        );
        let target = self.route(who, &aim)?;
        let dialect = self.dialect(who, target);
        self.limits(who, target)?;
        Ok(Allow { who, target, dialect })
    }

    fn pass(&mut self, step: Step, verdict: Verdict, rule: Option<&RuleRef>, because: Arguments<'_>) {
        self.trace.step(step, verdict, rule, because);
    }

    fn allow(&mut self, step: Step, rule: Option<&RuleRef>, because: Arguments<'_>) {
        self.trace.step(step, Verdict::Allow, rule, because);
    }

    #[cold]
    fn refuse<V>(
        &mut self,
        step: Step,
        status: u16,
        reason: &'static str,
        rule: &RuleRef,
        because: Arguments<'_>,
    ) -> Checked<V> {
        self.trace.step(step, Verdict::Refuse, Some(rule), because);
        Err(Decision::Refuse(Refusal {
            status,
            reason,
            rule: rule.clone(),
        }))
    }

    #[cold]
    fn challenge<V>(&mut self, stale: bool, rule: &RuleRef, because: Arguments<'_>) -> Checked<V> {
        // The bridge answers these itself, as a user agent server: 401. What it passes on it asks for as a proxy.
        let proxy =
            self.asks_as_proxy() || !matches!(self.facts.method, b"REGISTER" | b"PUBLISH" | b"SUBSCRIBE" | b"OPTIONS");
        self.trace
            .step(Step::Authentication, Verdict::Challenge, Some(rule), because);
        Err(Decision::Challenge {
            stale,
            proxy,
            rule: rule.clone(),
        })
    }
}

impl<T> Judge<'_, T> {
    /// Whether the listener's clients take challenges as from a proxy only.
    fn asks_as_proxy(&self) -> bool {
        let listener = self.facts.listener.and_then(|id| self.snapshot.listener(id));
        listener.is_some_and(|l| self.snapshot.dialect(l.dialect).is_some_and(|d| d.sip.roaming))
    }
}

/// Bytes of a message as text for a trace: only that, never for a comparison. Control bytes are escaped.
struct Shown<'a>(&'a [u8]);

impl core::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.0.escape_ascii(), f)
    }
}
