//! What a server takes: CPU time and memory of a process and its children, from `/proc`.

use std::collections::BTreeMap;
use std::time::Duration;

/// A process tree.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    root: u32,
}

impl Meter {
    /// Of this process and what it has started.
    #[must_use]
    pub fn new(root: u32) -> Self {
        Self { root }
    }

    fn tree(self) -> Vec<u32> {
        let mut parents: BTreeMap<u32, u32> = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            if let Some(parent) = fields(id).and_then(|f| f.get(1)?.parse().ok()) {
                parents.insert(id, parent);
            }
        }
        let mut tree = vec![self.root];
        let mut at = 0;
        while let Some(id) = tree.get(at).copied() {
            tree.extend(parents.iter().filter(|(_, p)| **p == id).map(|(child, _)| *child));
            at += 1;
        }
        tree
    }

    /// User and system time so far; steps of 10 ms.
    #[must_use]
    pub fn cpu(self) -> Duration {
        let ticks: u64 = self.tree().into_iter().filter_map(ticks).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Proportional memory in bytes: what is shared is counted once.
    #[must_use]
    pub fn memory(self) -> u64 {
        let pss = |id: u32| -> Option<u64> {
            let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
            let line = text.lines().find(|l| l.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        self.tree().into_iter().filter_map(pss).sum::<u64>() * 1024
    }
}

/// The fields of `/proc/PID/stat` behind the name: state, parent, ...
fn fields(id: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, tail) = text.rsplit_once(')')?;
    Some(tail.split_whitespace().map(ToString::to_string).collect())
}

/// `utime` and `stime`, in the hundredths of a second that Linux gives to user space.
fn ticks(id: u32) -> Option<u64> {
    let fields = fields(id)?;
    let at = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok());
    Some(at(11)? + at(12)?)
}

/// Times that operations took.
#[derive(Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Microseconds that this share of the operations (per thousand) stayed within.
    #[must_use]
    pub fn within(&mut self, per_mille: usize) -> u32 {
        self.0.sort_unstable();
        let at = (self.0.len() * per_mille / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let mut times = Latencies::default();
        assert_eq!(times.within(500), 0);
        (1..=1000).rev().for_each(|n| times.add(Duration::from_micros(n)));
        assert_eq!((times.within(500), times.within(990)), (501, 991));
    }

    #[test]
    fn our_own_process_takes_cpu_and_memory() {
        let meter = Meter::new(std::process::id());
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while meter.cpu().is_zero() {
            assert!(std::time::Instant::now() < end, "no CPU time seen");
            std::hint::spin_loop();
        }
        assert!(meter.memory() > 100_000);
    }
}
