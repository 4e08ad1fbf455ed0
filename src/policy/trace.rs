//! The steps of a decision as they can be watched. `()` watches nothing and costs nothing.

use core::fmt::Arguments;

use super::rule::RuleRef;

/// The steps of [`decide`](super::decide()) in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Limits of the source and the address ACL; also judged before the handshake.
    Source,
    /// What the listener asks for.
    Listener,
    /// Which peer the flow proved to be.
    PeerIdentity,
    /// ACL entries by certificate name.
    NameAcl,
    /// Who speaks.
    Authentication,
    /// Which address is meant.
    CanonicalAddress,
    /// Whether the users concerned are enabled.
    Enablement,
    /// Loops and Max-Forwards.
    Hops,
    /// Which partitions the watcher may see.
    SearchSpace,
    /// Which groups may watch which.
    PresenceGroup,
    /// Where it goes.
    Route,
    /// What is spoken there.
    Dialect,
    /// What is too much right now.
    Limits,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Self; 13] = [
        Self::Source,
        Self::Listener,
        Self::PeerIdentity,
        Self::NameAcl,
        Self::Authentication,
        Self::CanonicalAddress,
        Self::Enablement,
        Self::Hops,
        Self::SearchSpace,
        Self::PresenceGroup,
        Self::Route,
        Self::Dialect,
        Self::Limits,
    ];

    /// The name as `explain` prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Listener => "listener",
            Self::PeerIdentity => "peer identity",
            Self::NameAcl => "name ACL",
            Self::Authentication => "authentication",
            Self::CanonicalAddress => "canonical address",
            Self::Enablement => "enablement",
            Self::Hops => "loop and hops",
            Self::SearchSpace => "search space",
            Self::PresenceGroup => "presence group",
            Self::Route => "route",
            Self::Dialect => "dialect",
            Self::Limits => "limits",
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It allows.
    Allow,
    /// Nothing is configured, so it allows.
    NotConfigured,
    /// It asks for credentials: the last step of the trace.
    Challenge,
    /// It refuses: the last step of the trace.
    Refuse,
}

impl Verdict {
    /// The word as `explain` prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::NotConfigured => "not configured, allow",
            Self::Challenge => "challenge",
            Self::Refuse => "refuse",
        }
    }
}

/// Watches a decision being made.
pub trait Trace {
    /// A step ended. `because` is formatted only by a trace that keeps it.
    fn step(&mut self, step: Step, verdict: Verdict, rule: Option<&RuleRef>, because: Arguments<'_>);
}

impl Trace for () {
    #[inline(always)]
    fn step(&mut self, _: Step, _: Verdict, _: Option<&RuleRef>, _: Arguments<'_>) {}
}

/// A trace that keeps everything, for `explain`.
#[derive(Debug, Default)]
pub struct Record(pub Vec<Recorded>);

/// One step as it was recorded.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Which step.
    pub step: Step,
    /// How it ended.
    pub verdict: Verdict,
    /// The rule it rests on.
    pub rule: Option<RuleRef>,
    /// Why, in words.
    pub because: String,
}

impl Trace for Record {
    fn step(&mut self, step: Step, verdict: Verdict, rule: Option<&RuleRef>, because: Arguments<'_>) {
        self.0.push(Recorded {
            step,
            verdict,
            rule: rule.cloned(),
            because: std::fmt::format(because),
        });
    }
}

/// A trace that keeps the sentence of a refusal and nothing else, for the log.
#[derive(Debug, Default)]
pub struct WhyRefused(pub String);

impl Trace for WhyRefused {
    fn step(&mut self, _: Step, verdict: Verdict, _: Option<&RuleRef>, because: Arguments<'_>) {
        if verdict == Verdict::Refuse {
            self.0 = std::fmt::format(because);
        }
    }
}
