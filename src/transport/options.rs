//! Socket options: address families apart, reuse, buffers, packet information, differentiated services (RFC 2474).

use core::net::{IpAddr, SocketAddr};
use std::io;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// A burst waits in the kernel while a batch is handled.
const DATAGRAM_BUFFER: usize = 4 << 20;

/// A listening or datagram socket: non-blocking, IPv6 without IPv4. `shared` lets one socket for each shard bind the same
/// address (`SO_REUSEPORT`).
pub(super) fn bind(address: SocketAddr, kind: Type, shared: bool) -> io::Result<Socket> {
    let protocol = if kind == Type::DGRAM {
        Protocol::UDP
    } else {
        Protocol::TCP
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER);
        let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// Marks what a socket sends with a code point (0 to 63).
pub(super) fn set_dscp<S: std::os::fd::AsFd>(socket: &S, ipv4: bool, dscp: u8) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let class = u32::from(dscp & 63) << 2;
    if ipv4 {
        socket.set_tos_v4(class)
    } else {
        socket.set_tclass_v6(class)
    }
}

/// A socket for an outgoing connection, bound to `local` if that is of the right family.
pub(super) fn outgoing(remote: SocketAddr, local: Option<IpAddr>) -> io::Result<tokio::net::TcpSocket> {
    let socket = if remote.is_ipv4() {
        tokio::net::TcpSocket::new_v4()
    } else {
        tokio::net::TcpSocket::new_v6()
    }?;
    if let Some(local) = local.filter(|l| l.is_ipv4() == remote.is_ipv4()) {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    Ok(socket)
}
