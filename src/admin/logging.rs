//! Structured logs on standard error, without SIP identities where `log.redact` says so.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::policy::settings::Log;

/// Starts logging as configured; `RUST_LOG` overrides the level. A second call changes nothing.
pub fn init(log: &Log) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&*log.level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    super::redact::set(log.redact);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| super::redact::Masked)
        .with_ansi(colour);
    // Another subscriber, as tests set one, stays.
    let _ = if log.json {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
}
