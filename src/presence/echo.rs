//! Echoes: a peer that watches somebody here and feeds state of the same person back, directly or round a ring.
//!
//! Whatever a peer says after it was told the same is taken for an echo and left out, since it adds nothing. An echo
//! follows: when we tell something else, it says that soon. One that stays behind was a true state after all and counts
//! again. States are compared by their [`Gist`], because a peer may be able to say no more. What a source itself has made
//! us say is no evidence against it, and a source that turns out to follow late is given more time from then on.
//!
//! Pure: times are monotonic milliseconds, the owner sets the timer.

use super::gist::Gist;

/// So long an echo may take to follow.
pub const PATIENCE_MS: u64 = 2_000;
/// The patience with a source that is always late.
const LONGEST_MS: u64 = 16_000;
/// So often in a row it must have been late.
const LATE: u8 = 2;
/// Statements remembered. More of them within one state of a source are told apart no more.
const REMEMBERED: usize = 8;

/// Names a source among those of one person.
pub type SourceKey = u64;

/// Something that peers were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Statement {
    at: u64,
    gist: Gist,
    /// The peer's source that won the composition, if one did.
    because_of: Option<SourceKey>,
}

/// What peers were told of one person, and what they say.
#[derive(Clone, Debug, Default)]
pub struct Echoes {
    told: [Option<Statement>; REMEMBERED],
    ears: Vec<Ear>,
}

/// One source that a peer feeds.
#[derive(Clone, Debug)]
struct Ear {
    key: SourceKey,
    gist: Gist,
    /// See [`Echoes::hear`].
    is_phone: bool,
    /// When it last said something of its own.
    own_at: u64,
    echo: bool,
    /// An echo must have followed by then.
    due: Option<u64>,
    /// What it should have followed to when it was given up, and when that was told.
    late: Option<Statement>,
    patience_ms: u64,
    /// How often in a row it followed late.
    was_late: u8,
    heard: bool,
}

impl Echoes {
    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ears.is_empty()
    }

    /// Whether peers have been told anything.
    #[must_use]
    pub fn has_told(&self) -> bool {
        self.told[0].is_some()
    }

    /// Begins the composition with sources anew: those that are not heard again before [`Echoes::forget_unheard`] go.
    pub fn begin(&mut self) {
        self.ears.iter_mut().for_each(|e| e.heard = false);
    }

    /// Forgets sources that are gone.
    pub fn forget_unheard(&mut self) {
        self.ears.retain(|e| e.heard);
    }

    /// A source says this now, or still; returns whether it is an echo. A phone knows nobody who is away: for it that is
    /// the same as available.
    pub fn hear(&mut self, now: u64, key: SourceKey, gist: Gist, is_phone: bool) -> bool {
        let told = self.told;
        let at = self.ears.iter().position(|e| e.key == key).unwrap_or_else(|| {
            self.ears.push(Ear {
                key,
                gist: Gist::Unknown,
                is_phone,
                own_at: 0,
                echo: false,
                due: None,
                late: None,
                patience_ms: PATIENCE_MS,
                was_late: 0,
                heard: true,
            });
            self.ears.len() - 1
        });
        self.ears.get_mut(at).is_some_and(|ear| ear.hear(now, gist, &told))
    }

    /// Whether a source is taken for an echo now.
    #[must_use]
    pub fn is_echo(&self, key: SourceKey) -> bool {
        self.ears.iter().any(|e| e.key == key && e.echo)
    }

    /// A peer is told this; `because_of` names the peer's source that made it so, if one did. `slack_ms` is what peers
    /// may add by telling changes only so often.
    pub fn tell(&mut self, now: u64, gist: Gist, because_of: Option<SourceKey>, slack_ms: u64) {
        let statement = Statement {
            at: now,
            gist,
            because_of,
        };
        match self.told[0] {
            Some(last) if (last.gist, last.because_of) == (gist, because_of) => return,
            _ => {}
        }
        self.told.rotate_right(1);
        self.told[0] = Some(statement);
        for ear in self.ears.iter_mut().filter(|e| e.echo) {
            ear.due = match ear.due {
                _ if ear.is_like(gist) => None,
                None => Some(now + ear.patience_ms + slack_ms),
                due => due,
            };
        }
    }

    /// When [`Echoes::timer`] is due.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.ears.iter().filter_map(|e| e.due).min()
    }

    /// Time has passed; returns whether a source counts again.
    pub fn timer(&mut self, now: u64) -> bool {
        let told = self.told[0];
        let mut changed = false;
        for ear in self.ears.iter_mut().filter(|e| e.due.is_some_and(|due| due <= now)) {
            (ear.echo, ear.due, ear.late) = (false, None, told);
            changed = true;
        }
        changed
    }
}

impl Ear {
    fn hear(&mut self, now: u64, gist: Gist, told: &[Option<Statement>; REMEMBERED]) -> bool {
        self.heard = true;
        if gist == self.gist {
            return self.echo;
        }
        self.gist = gist;
        if let Some(late) = self.late.take() {
            self.note_lateness(now.saturating_sub(late.at), self.is_like(late.gist));
        }
        self.echo = gist != Gist::Unknown && self.was_told(told);
        let last = told.first().copied().flatten();
        match last.filter(|last| self.echo && !self.is_like(last.gist)) {
            // It follows, and is not there yet.
            Some(_) => self.due = Some(self.due.unwrap_or(now + self.patience_ms)),
            None => self.due = None,
        }
        if !self.echo {
            self.own_at = now;
        }
        self.echo
    }

    /// It says something else after it did not follow in time. If it does follow, soon enough to have been on its way, and
    /// not for the first time, it is given more time.
    fn note_lateness(&mut self, took_ms: u64, followed: bool) {
        let late = followed && took_ms <= 4 * self.patience_ms;
        self.was_late = if late { self.was_late.saturating_add(1) } else { 0 };
        if self.was_late >= LATE {
            self.patience_ms = (2 * took_ms).clamp(self.patience_ms, LONGEST_MS);
        }
    }

    /// Whether it says what we told.
    fn is_like(&self, told: Gist) -> bool {
        let told = match told {
            Gist::Away if self.is_phone => Gist::Available,
            other => other,
        };
        told == self.gist
    }

    /// Whether this was said to a peer since the source last spoke for itself, or was in force then, for another reason
    /// than this source.
    fn was_told(&self, told: &[Option<Statement>; REMEMBERED]) -> bool {
        let mut in_force = true;
        told.iter().flatten().any(|statement| {
            let counts = in_force;
            in_force &= statement.at > self.own_at;
            counts && self.is_like(statement.gist) && statement.because_of != Some(self.key)
        })
    }
}

#[cfg(test)]
mod tests;
