//! Floor 4: how administrators see and steer a running bridge: the control socket, metrics, health, logs, live traces.

mod control;
mod http;
pub mod logging;
mod metrics;
pub mod pcapng;
pub mod redact;
pub mod trace;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::app::{Command, Shard};
use crate::policy::Snapshot;

/// Opens the control socket and the HTTP port.
///
/// # Errors
/// The file or address that could not be opened, and why.
pub fn serve(snapshot: &Snapshot, commands: &mpsc::UnboundedSender<Command>) -> Result<(), (PathBuf, std::io::Error)> {
    STARTED.get_or_init(Instant::now);
    control::serve(&snapshot.admin.socket, commands.clone()).map_err(|error| (snapshot.admin.socket.clone(), error))?;
    if let Some(address) = snapshot.admin.http {
        http::serve(address, commands.clone()).map_err(|error| (PathBuf::from(address.to_string()), error))?;
    }
    Ok(())
}

/// Answers a question of `trestle ctl` or of the HTTP port.
#[must_use]
pub fn answer(shard: &Rc<Shard>, config: &Path, question: &str) -> Value {
    let encode = |value: Result<Value, serde_json::Error>| value.unwrap_or_else(|e| json!({ "error": e.to_string() }));
    match question {
        "status" => {
            let counted = encode(shard.with_engine(|engine, _| serde_json::to_value(engine.status())));
            about(config, counted)
        }
        pair if pair.starts_with("why ") => {
            let mut words = pair.split_whitespace().skip(1);
            let (watcher, presentity) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match shard.with_engine(|engine, now| engine.why(now, watcher, presentity)) {
                Ok(why) => encode(serde_json::to_value(why)),
                Err(problem) => json!({ "error": problem }),
            }
        }
        "store" => json!({ "failure": shard.store_failure() }),
        "peers" => {
            let peers = encode(shard.with_engine(|engine, now| serde_json::to_value(engine.peer_status(now))));
            with_refused_certificates(peers, shard)
        }
        "certificates" => encode(serde_json::to_value(shard.settings().rejections().counts())),
        "subscriptions" => {
            encode(shard.with_engine(|engine, now| serde_json::to_value(engine.subscription_status(now))))
        }
        "registrations" => {
            encode(shard.with_engine(|engine, now| serde_json::to_value(engine.registration_status(now))))
        }
        "reload" => match crate::app::reload(config, shard) {
            Ok(plan) => json!({
                "changes": plan.items.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "withdrawn": plan.withdrawn.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "restart": plan.restart,
            }),
            Err(problem) => json!({ "error": problem.to_string() }),
        },
        other => json!({ "error": format!("unknown question {other}") }),
    }
}

/// Since when the bridge can be asked.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// What runs, on what and for how long, before what it has counted.
fn about(config: &Path, counted: Value) -> Value {
    let mut all = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": config.display().to_string(),
        "uptime_s": STARTED.get().map_or(0, |at| at.elapsed().as_secs()),
    });
    if let (Some(all), Value::Object(counted)) = (all.as_object_mut(), counted) {
        all.extend(counted);
    }
    all
}

/// Adds to each peer that is not up why the latest certificate of its server was refused, if one was.
fn with_refused_certificates(mut peers: Value, shard: &Rc<Shard>) -> Value {
    let latest = shard.settings().rejections().latest();
    for peer in peers
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let name = peer.get("name").and_then(Value::as_str);
        let is_up = peer.get("state").is_some_and(|s| s == "up");
        let refused = latest
            .iter()
            .rev()
            .find(|r| !is_up && !r.incoming && r.peer.as_deref() == name);
        let why = refused.map_or(Value::Null, |r| json!(r.problem.to_string()));
        peer.insert("certificate_refused".into(), why);
    }
    peers
}
