//! Figures of one phase, and the table that sets two servers side by side.

use std::time::Duration;

use serde_json::{Value, json};

use super::meter::Latencies;

/// What one phase came to.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Operations that ended well.
    pub done: usize,
    /// How long it took.
    pub seconds: f64,
    /// What the CPU time is divided by: operations, or NOTIFYs.
    pub units: usize,
    /// CPU time of the server.
    pub cpu: Duration,
    /// Half of the operations took no longer, in microseconds.
    pub p50: u32,
    /// 99 of 100 took no longer.
    pub p99: u32,
    /// Requests repeated by us.
    pub repeats: u64,
    /// From a PUBLISH to its last NOTIFY, median of the rounds.
    pub last_ms: Option<f64>,
    /// Memory for each subscription.
    pub bytes: Option<u64>,
}

impl Phase {
    /// Figures of a phase that has ended.
    #[must_use]
    pub fn new(name: &str, done: usize, seconds: f64, cpu: Duration, times: &mut Latencies, repeats: u64) -> Self {
        Self {
            name: name.into(),
            done,
            seconds,
            units: done,
            cpu,
            p50: times.within(500),
            p99: times.within(990),
            repeats,
            last_ms: None,
            bytes: None,
        }
    }

    /// The same, counted by something that happened more often than operations.
    #[must_use]
    pub fn per(mut self, units: usize) -> Self {
        self.units = units;
        self
    }

    /// CPU microseconds of the server for each unit.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.units.max(1) as f64
    }

    /// Units in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.units as f64 / self.seconds.max(1e-9)
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "phase": self.name, "done": self.done, "units": self.units, "seconds": self.seconds,
            "cpu_us_per_unit": self.cpu_us(), "per_second": self.rate(), "p50_us": self.p50, "p99_us": self.p99,
            "repeats": self.repeats, "last_ms": self.last_ms, "bytes_per_subscription": self.bytes,
        })
    }
}

/// What one server made of one job.
#[derive(Debug)]
pub struct Row {
    /// The server.
    pub server: String,
    /// The transport.
    pub way: &'static str,
    /// Its phases.
    pub phases: Vec<Phase>,
    /// What ought not to have happened.
    pub faults: Vec<String>,
}

impl Row {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let phases: Vec<Value> = self.phases.iter().map(Phase::json).collect();
        json!({ "server": self.server, "transport": self.way, "phases": phases, "faults": self.faults })
    }
}

fn ratio(ours: f64, theirs: f64) -> String {
    if ours > 0.0 && theirs > 0.0 {
        format!("{:.2}", ours / theirs)
    } else {
        "-".into()
    }
}

/// A line for each phase, CPU first; where a second server did the same, the ratio to it.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<26} {:<9} {:>9} {:>7} {:>10} {:>9} {:>9} {:>9} {:>7} {:>9} {:>7}  {}\n",
        "phase",
        "server",
        "CPU us/op",
        "ratio",
        "per s",
        "p50 us",
        "p99 us",
        "last ms",
        "ratio",
        "bytes/sub",
        "ratio",
        "faults"
    );
    for row in rows {
        for phase in &row.phases {
            let other = rows
                .iter()
                .filter(|r| r.way == row.way && r.server != row.server)
                .flat_map(|r| &r.phases)
                .find(|p| p.name == phase.name)
                .filter(|_| row.server == "trestle");
            let against = |get: fn(&Phase) -> f64| other.map_or_else(|| "".into(), |o| ratio(get(phase), get(o)));
            let optional = |value: Option<String>| value.unwrap_or_default();
            out += &format!(
                "{:<26} {:<9} {:>9.1} {:>7} {:>10.0} {:>9} {:>9} {:>9} {:>7} {:>9} {:>7}  {}\n",
                format!("{} {}", phase.name, row.way),
                row.server,
                phase.cpu_us(),
                against(Phase::cpu_us),
                phase.rate(),
                phase.p50,
                phase.p99,
                optional(phase.last_ms.map(|ms| format!("{ms:.1}"))),
                optional(phase.last_ms.map(|_| against(|p| p.last_ms.unwrap_or(0.0)))),
                optional(phase.bytes.map(|b| b.to_string())),
                optional(phase.bytes.map(|_| against(|p| p.bytes.unwrap_or(0) as f64))),
                row.faults.join("; "),
            );
        }
        if row.phases.is_empty() {
            out += &format!("{:<26} {:<9} {}\n", row.way, row.server, row.faults.join("; "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stand_in_our_lines_only() {
        let phase = |cpu| {
            Phase::new(
                "message",
                1000,
                1.0,
                Duration::from_millis(cpu),
                &mut Latencies::default(),
                0,
            )
        };
        let row = |server: &str, cpu| Row {
            server: server.into(),
            way: "udp",
            phases: vec![phase(cpu)],
            faults: Vec::new(),
        };
        let text = table(&[row("trestle", 20), row("kamailio", 40)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains(" 20.0    0.50 "), "{text}");
        assert!(lines[2].contains(" 40.0         "), "{text}");
        assert_eq!(lines[1].len(), lines[0].len() - "faults".len());
    }
}
