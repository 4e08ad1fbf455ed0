//! `/metrics` for Prometheus, `/healthz` and `/readyz`, on the configured address (loopback by default).

use core::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::metrics::{self, Answers};
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

/// Ready once every peer that is probed has been heard of, up or down, while the store takes records and until the bridge is told to stop.
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

async fn metrics(State(commands): State<Commands>) -> impl IntoResponse {
    let answers = Answers {
        status: ask(&commands, "status").await,
        store: ask(&commands, "store").await,
        peers: ask(&commands, "peers").await,
        certificates: ask(&commands, "certificates").await,
    };
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&answers))
}
