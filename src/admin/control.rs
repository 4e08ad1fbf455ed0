//! The control socket: one question a line, one JSON answer a line. Only the owner of the process may connect.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::trace::{Filter, Tap};
use crate::app::Command;

/// Opens the socket. One that is left over from a dead process is replaced; a living one is not.
pub(super) fn serve(path: &Path, commands: mpsc::UnboundedSender<Command>) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::AddrInUse,
            "another bridge is running on this socket",
        ));
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(talk(stream, commands.clone()));
        }
    });
    Ok(())
}

async fn talk(stream: UnixStream, commands: mpsc::UnboundedSender<Command>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = line.trim();
        if let Some(filter) = line.strip_prefix("trace") {
            return trace(writer, commands, filter).await;
        }
        let answer = match line {
            "drain" => {
                let _ = commands.send(Command::Drain);
                serde_json::json!({ "draining": true })
            }
            question => {
                let (sender, receiver) = oneshot::channel();
                let _ = commands.send(Command::Ask(question.to_string(), sender));
                receiver
                    .await
                    .unwrap_or_else(|_| serde_json::json!({ "error": "the bridge is stopping" }))
            }
        };
        if writer.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Messages that may wait for a listener.
const ROOM: usize = 4096;

/// Shows messages until the listener goes. The filter is JSON behind the word; the first line says that it has begun.
async fn trace(mut writer: tokio::net::unix::OwnedWriteHalf, commands: mpsc::UnboundedSender<Command>, filter: &str) {
    let filter = match filter.trim() {
        "" => Ok(Filter::default()),
        text => serde_json::from_str(text),
    };
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => {
            let answer = serde_json::json!({ "error": format!("the filter: {error}") });
            let _ = writer.write_all(format!("{answer}\n").as_bytes()).await;
            return;
        }
    };
    let (tap, mut messages) = Tap::new(ROOM, filter);
    let (begun, has_begun) = oneshot::channel();
    let _ = commands.send(Command::Trace(tap, begun));
    if has_begun.await.is_err() || writer.write_all(b"{\"tracing\":true}\n").await.is_err() {
        return;
    }
    let mut out = Vec::new();
    while let Some(message) = messages.recv().await {
        out.clear();
        if serde_json::to_writer(&mut out, &message).is_err() {
            continue;
        }
        out.push(b'\n');
        if writer.write_all(&out).await.is_err() {
            return;
        }
    }
}
