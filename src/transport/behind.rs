//! Connections through a trusted terminator: its header is read and judged before anything else is.

use core::net::{IpAddr, SocketAddr};
use std::io;

use tokio::net::TcpStream;

use super::Transports;
use super::proxy_protocol::{self, Header};
use crate::policy::Reported;
use crate::policy::terminator::Origin;
use crate::sip::net::{FlowId, ListenerId};

/// What one read brings; headers are mostly shorter.
const CHUNK: usize = 2048;

/// What a listener behind terminators expects of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The type of the field that holds the client's certificate.
    pub certificate: Option<u8>,
}

/// A connection whose terminator has told of it.
pub(super) struct Introduced {
    /// Where it comes from as far as is told, else the terminator.
    pub(super) remote: SocketAddr,
    pub(super) reported: Reported,
    /// What came behind the header.
    pub(super) rest: Vec<u8>,
}

/// Reads the header, within the time and the limits of half-open handshakes: it is one as far as those go.
pub(super) async fn introduce(
    transports: &Transports,
    socket: &TcpStream,
    remote: SocketAddr,
    flow: FlowId,
    expect: Expect,
) -> Result<Introduced, String> {
    let limits = transports.0.limits.get();
    let ip = remote.ip();
    let (most, all) = (limits.handshakes_per_source, limits.handshakes);
    let give_up = transports.0.sources.borrow_mut().hold(ip, flow, most, all);
    let result = tokio::select! {
        result = tokio::time::timeout(limits.handshake, read(socket, expect)) =>
            result.unwrap_or_else(|_| Err("it was not finished in time".to_owned())),
        () = give_up.notified() => Err("it stalled and had to make room for others".to_owned()),
    };
    transports.0.sources.borrow_mut().end(flow);
    let (header, rest) = result?;
    Ok(Introduced {
        remote: match header.origin {
            Origin::From(remote) => remote,
            Origin::Own | Origin::Untold => remote,
        },
        reported: Reported {
            terminator: ip.to_canonical(),
            origin: header.origin,
            tls: header.tls,
        },
        rest,
    })
}

async fn read(socket: &TcpStream, expect: Expect) -> Result<(Header, Vec<u8>), String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; CHUNK]);
    loop {
        socket.readable().await.map_err(|e| e.to_string())?;
        let n = match socket.try_read(&mut chunk) {
            Ok(0) => return Err("it was closed before its header was complete".to_owned()),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(e) => return Err(e.to_string()),
        };
        bytes.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if let Some((header, end)) = proxy_protocol::parse(&bytes, expect.certificate).map_err(|e| e.to_string())? {
            return Ok((header, bytes.split_off(end.min(bytes.len()))));
        }
    }
}

impl Transports {
    /// Whether whom a terminator reports may hold one more connection; it then counts as that source's, no more as the
    /// terminator's. A terminator's own is its own.
    pub(super) fn admit_behind(&self, id: ListenerId, terminator: IpAddr, introduced: &Introduced) -> bool {
        if introduced.reported.origin == Origin::Own {
            return true;
        }
        let ip = introduced.remote.ip();
        let now_ms = self.clock_ms();
        let mut load = self.0.sources.borrow_mut().load(now_ms, ip);
        if ip.to_canonical() == terminator.to_canonical() {
            // This connection is among them already.
            load.connections = load.connections.saturating_sub(1);
        }
        if let Err(why) = self.0.handler.admit_behind(id, ip, load) {
            self.0.counters.refused.set(self.0.counters.refused.get() + 1);
            self.note(
                ip,
                &format!("{why}; it came by the terminator at {terminator}"),
                "connection refused",
            );
            return false;
        }
        let mut sources = self.0.sources.borrow_mut();
        sources.release(terminator);
        sources.occupy(ip);
        sources.begun(now_ms, ip);
        true
    }
}
