//! What an administrator uses: `trestle ctl` and its traces, the small clients, logs, and the way the bridge stops.

#[path = "console/bench.rs"]
mod bench;
#[path = "console/clients.rs"]
mod clients;
#[path = "console/ctl.rs"]
mod ctl;
#[path = "console/redact.rs"]
mod redact;
#[path = "console/stop.rs"]
mod stop;
#[path = "console/trace.rs"]
mod trace;
