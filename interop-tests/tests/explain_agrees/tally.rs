//! What was reached: verdicts of each step, refusals by rule, kinds of cases.

use std::collections::BTreeMap;
use std::fmt;

use interop_tests::Outcome;
use trestle::policy::{RuleRef, Step, Trace, Verdict};

use super::cases::Case;

/// Counts.
#[derive(Default)]
pub(crate) struct Tally {
    steps: BTreeMap<Step, [u32; 4]>,
    rules: BTreeMap<String, u32>,
    kinds: BTreeMap<&'static str, [u32; 2]>,
}

/// Steps that nothing configured today can refuse.
const NEVER_REFUSE: [Step; 3] = [Step::SearchSpace, Step::PresenceGroup, Step::Dialect];

/// Rules that must have refused or challenged. `dialog.gone` needs a change of the configuration and stands
/// in the tests of the decision.
const RULES: [&str; 29] = [
    "acl.incoming.allow",
    "acl.incoming.deny",
    "dialog.owner",
    "domains",
    "from.domain",
    "hops.loop",
    "hops.max_forwards",
    "limits.max_transactions",
    "limits.per_source.requests",
    "listener",
    "listener.gone",
    "peer.addresses",
    "peer.assigned",
    "peer.contract",
    "peer.domains",
    "peer.identity",
    "peer.limits",
    "peer.tls",
    "peer.transit",
    "peer.transport",
    "publish.own",
    "register.own",
    "route.none",
    "uri.maddr",
    "uri.scheme",
    "uri.sips",
    "user.enabled",
    "user.own_identity",
    "user.unknown",
];

impl Trace for Tally {
    fn step(&mut self, step: Step, verdict: Verdict, _: Option<&RuleRef>, _: fmt::Arguments<'_>) {
        let at = match verdict {
            Verdict::Allow => 0,
            Verdict::Refuse => 1,
            Verdict::Challenge => 2,
            Verdict::NotConfigured => 3,
        };
        self.steps.entry(step).or_default()[at] += 1;
    }
}

impl Tally {
    /// Counts one case by the rule that ended it; `None` when it was allowed.
    pub(crate) fn note(&mut self, case: &Case, rule: Option<String>) {
        for kind in &case.kinds {
            self.kinds.entry(kind).or_default()[usize::from(rule.is_some())] += 1;
        }
        *self.rules.entry(rule.unwrap_or_else(|| "allowed".into())).or_default() += 1;
    }

    /// Fails when a step, a rule or a kind of case was not reached.
    pub(crate) fn complete(&self) -> Outcome {
        let mut missing = Vec::new();
        for step in Step::ALL {
            let [allow, refuse, challenge, not_configured] = self.steps.get(&step).copied().unwrap_or_default();
            if allow + not_configured == 0 {
                missing.push(format!("step {} never allowed", step.name()));
            }
            if refuse == 0 && !NEVER_REFUSE.contains(&step) {
                missing.push(format!("step {} never refused", step.name()));
            }
            if step == Step::Authentication && challenge == 0 {
                missing.push("nobody was challenged".into());
            }
        }
        let unreached = |rule: &&&str| !self.rules.contains_key(**rule);
        missing.extend(
            RULES
                .iter()
                .filter(unreached)
                .map(|rule| format!("rule {rule} was not reached")),
        );
        for (kind, [allowed, refused]) in &self.kinds {
            let must_allow = kind.starts_with('+') && *allowed == 0;
            if must_allow || (!kind.starts_with('+') && *refused == 0) {
                missing.push(format!("{kind}: {allowed} allowed, {refused} refused"));
            }
        }
        let allowed = self.rules.get("allowed").copied().unwrap_or(0);
        if allowed < 10_000 {
            missing.push(format!("only {allowed} cases were allowed"));
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing.join("\n").into())
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:24} {:>8} {:>8} {:>9} {:>14}",
            "step", "allow", "refuse", "challenge", "not configured"
        )?;
        for (step, [allow, refuse, challenge, not]) in &self.steps {
            writeln!(f, "{:24} {allow:8} {refuse:8} {challenge:9} {not:14}", step.name())?;
        }
        writeln!(f, "\n{:40} {:>8} {:>8}", "kind of case", "allowed", "refused")?;
        for (kind, [allowed, refused]) in &self.kinds {
            writeln!(f, "{kind:40} {allowed:8} {refused:8}")?;
        }
        writeln!(f, "\n{:40} {:>8}", "ended by", "cases")?;
        for (rule, count) in &self.rules {
            writeln!(f, "{rule:40} {count:8}")?;
        }
        Ok(())
    }
}
