//! `/metrics` for Prometheus, `/healthz` and `/readyz`, on the configured address (loopback by default).

use core::fmt::Write as _;
use core::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::app::Command;

type Commands = mpsc::UnboundedSender<Command>;

/// Opens the port.
pub(super) fn serve(address: SocketAddr, commands: Commands) -> std::io::Result<()> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(commands);
    tokio::task::spawn_local(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the HTTP port has failed");
        }
    });
    Ok(())
}

async fn ask(commands: &Commands, question: &str) -> Value {
    let (sender, receiver) = oneshot::channel();
    let _ = commands.send(Command::Ask(question.to_string(), sender));
    receiver.await.unwrap_or_default()
}

/// Ready once every peer has been heard of, up or down, while the store takes records and until the bridge is told to stop.
async fn ready(State(commands): State<Commands>) -> (StatusCode, String) {
    if ask(&commands, "status").await["draining"] == true {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    let peers = ask(&commands, "peers").await;
    let unknown: Vec<&str> = peers
        .as_array()
        .into_iter()
        .flatten()
        .filter(|p| p["state"] == "unknown")
        .filter_map(|p| p["name"].as_str())
        .collect();
    let store = ask(&commands, "store").await;
    if let Some(failure) = store["failure"].as_str() {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the store: {failure}\n"))
    } else if unknown.is_empty() {
        (StatusCode::OK, "ready\n".into())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for: {}\n", unknown.join(", ")),
        )
    }
}

async fn metrics(State(commands): State<Commands>) -> String {
    let mut out = String::new();
    let status = ask(&commands, "status").await;
    const COUNTERS: [&str; 7] = [
        "requests",
        "refused",
        "forwarded",
        "notifies",
        "malformed",
        "stray_responses",
        "connections_refused",
    ];
    for (name, value) in status.as_object().into_iter().flatten() {
        let (kind, suffix) = if COUNTERS.contains(&name.as_str()) {
            ("counter", "_total")
        } else {
            ("gauge", "")
        };
        let value = value
            .as_bool()
            .map_or_else(|| value.to_string(), |set| u8::from(set).to_string());
        let _ = writeln!(
            out,
            "# TYPE trestle_{name}{suffix} {kind}\ntrestle_{name}{suffix} {value}"
        );
    }
    let store = ask(&commands, "store").await;
    let failure = store["failure"].as_str();
    let _ = writeln!(
        out,
        "# TYPE trestle_store_failing gauge\ntrestle_store_failing{{cause={:?}}} {}",
        failure.unwrap_or_default(),
        i32::from(failure.is_some())
    );
    let peers = ask(&commands, "peers").await;
    let _ = writeln!(out, "# TYPE trestle_peer_up gauge");
    for peer in peers.as_array().into_iter().flatten() {
        let up = i32::from(peer["state"] == "up");
        let _ = writeln!(out, "trestle_peer_up{{peer={}}} {up}", peer["name"]);
    }
    let _ = writeln!(out, "# TYPE trestle_certificates_refused_total counter");
    let refused = ask(&commands, "certificates").await;
    for (reason, count) in refused.as_object().into_iter().flatten() {
        let _ = writeln!(out, "trestle_certificates_refused_total{{reason=\"{reason}\"}} {count}");
    }
    out
}
