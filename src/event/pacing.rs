//! Pacing of one subscription (`notify.min_interval`; RFC 3856 section 6.10 asks for 5 s): the first change goes at once,
//! then only the latest. Refreshes and terminations are exempt and do not come here.

/// When the last paced NOTIFY went, on the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Milliseconds plus one; 0 means never.
    last: u64,
}

impl Pacing {
    /// Whether a change may go now; otherwise the time at which it may.
    ///
    /// # Errors
    /// The monotonic millisecond at which to try again.
    pub fn try_send(&mut self, now_ms: u64, min_interval_ms: u64) -> Result<(), u64> {
        match self.last.checked_sub(1) {
            Some(last) if now_ms < last + min_interval_ms => Err(last + min_interval_ms),
            _ => {
                self.last = now_ms + 1;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_changes_in_a_second_are_two_notifies_and_the_last_is_right() {
        let (mut pacing, mut sent, mut waiting, mut wake) = (Pacing::default(), Vec::new(), None, None);
        for now in 0..10_000u64 {
            if now < 1000 && now % 50 == 0 {
                waiting = Some(now / 50);
            }
            if waiting.is_some() && wake.is_none_or(|w| now >= w) {
                match pacing.try_send(now, 5000) {
                    Ok(()) => sent.extend(waiting.take()),
                    Err(at) => wake = Some(at),
                }
            }
        }
        assert_eq!(sent, [0, 19]);
    }
}
