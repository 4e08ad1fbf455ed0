//! The control socket: one question a line, one JSON answer a line. Only the owner of the process may connect.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::trace::Tap;
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
        let answer = match line.trim() {
            "trace" => return trace(writer, commands).await,
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

async fn trace(mut writer: tokio::net::unix::OwnedWriteHalf, commands: mpsc::UnboundedSender<Command>) {
    let (tap, mut messages) = Tap::new(4096);
    let _ = commands.send(Command::Trace(tap));
    while let Some(message) = messages.recv().await {
        let Ok(mut line) = serde_json::to_string(&message) else {
            continue;
        };
        line.push('\n');
        if writer.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}
