//! Many datagrams in one system call (`recvmmsg`, `sendmmsg`), with the local address each came to or leaves from.
//!
//! Where the kernel or a sandbox refuses these calls, datagrams go one by one and wildcard sockets let the kernel choose.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};

use bytes::Bytes;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrLike, SockaddrStorage, recvmmsg, sendmmsg,
    setsockopt, sockopt,
};
use smallvec::SmallVec;

/// Datagrams in one call.
pub(super) const BATCH: usize = 32;
/// The largest datagram there is.
const LARGEST: usize = 65_535;

/// Buffers for what is received, shared by all sockets of a shard. Pages that no datagram reached are never touched.
#[derive(Debug)]
pub(super) struct Buffers(Vec<u8>);

impl Default for Buffers {
    fn default() -> Self {
        Self(vec![0; BATCH * LARGEST])
    }
}

impl Buffers {
    /// The datagram in the slot `at`.
    pub(super) fn datagram(&self, at: usize, length: usize) -> &[u8] {
        let from = at.saturating_mul(LARGEST);
        self.0.get(from..from.saturating_add(length)).unwrap_or_default()
    }

    /// The first slot, for a single datagram.
    pub(super) fn first(&mut self) -> &mut [u8] {
        let end = LARGEST.min(self.0.len());
        &mut self.0[..end]
    }
}

/// One received datagram, still in its slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) remote: SocketAddr,
    /// The local address it came to, where the socket tells.
    pub(super) local: Option<IpAddr>,
}

/// One datagram to send.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) wire: Bytes,
    pub(super) to: SocketAddr,
    /// The local address it shall leave from; only for wildcard sockets.
    pub(super) from: Option<IpAddr>,
    /// A code point of its own.
    pub(super) mark: Option<u8>,
    pub(super) token: u64,
}

/// The headers one socket's calls need, made once. A socket has its own: the kernel leaves address lengths in them. Each
/// mixture of control messages needs headers of just its size.
#[derive(Debug)]
pub(super) struct Headers {
    receive: MultiHeaders<SockaddrStorage>,
    send: MultiHeaders<SockaddrStorage>,
    send_from: MultiHeaders<SockaddrStorage>,
    /// Made when the first datagram is marked.
    send_marked: Option<MultiHeaders<SockaddrStorage>>,
    send_from_marked: Option<MultiHeaders<SockaddrStorage>>,
}

impl Headers {
    /// Headers for a socket of one family.
    pub(super) fn new(ipv4: bool) -> Self {
        let space = || {
            if ipv4 {
                nix::cmsg_space!(libc::in_pktinfo)
            } else {
                nix::cmsg_space!(libc::in6_pktinfo)
            }
        };
        Self {
            receive: MultiHeaders::preallocate(BATCH, Some(space())),
            send: MultiHeaders::preallocate(BATCH, None),
            send_from: MultiHeaders::preallocate(BATCH, Some(space())),
            send_marked: None,
            send_from_marked: None,
        }
    }

    /// The headers for what is sent from a chosen address, or marked.
    fn sending(&mut self, from: Option<IpAddr>, class: Option<i32>, ipv4: bool) -> &mut MultiHeaders<SockaddrStorage> {
        let marked = |space| MultiHeaders::preallocate(BATCH, Some(space));
        match (from, class) {
            (None, None) => &mut self.send,
            (Some(_), None) => &mut self.send_from,
            (None, Some(_)) => self.send_marked.get_or_insert_with(|| {
                marked(if ipv4 {
                    nix::cmsg_space!(u8)
                } else {
                    nix::cmsg_space!(libc::c_int)
                })
            }),
            (Some(_), Some(_)) => self.send_from_marked.get_or_insert_with(|| {
                marked(if ipv4 {
                    nix::cmsg_space!(libc::in_pktinfo, u8)
                } else {
                    nix::cmsg_space!(libc::in6_pktinfo, libc::c_int)
                })
            }),
        }
    }

    /// Receives what is there, at most [`BATCH`] datagrams.
    pub(super) fn receive(
        &mut self,
        socket: &impl AsRawFd,
        buffers: &mut Buffers,
    ) -> io::Result<SmallVec<[Received; BATCH]>> {
        let mut chunks = buffers.0.chunks_exact_mut(LARGEST);
        let mut slots: [[IoSliceMut<'_>; 1]; BATCH] =
            core::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = recvmmsg(socket.as_raw_fd(), &mut self.receive, slots.iter_mut(), flags, None)?;
        let mut out = SmallVec::new();
        for message in messages {
            let local = message.cmsgs().ok().and_then(|mut all| all.find_map(local_of));
            let remote = message.address.as_ref().and_then(address_of);
            // A datagram without a sender cannot be: a length of nothing lets it pass unseen.
            let length = if remote.is_some() { message.bytes } else { 0 };
            let remote = remote.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
            out.push(Received { length, remote, local });
        }
        Ok(out)
    }

    /// Sends the front of `out`, as many as leave from the same address with the same mark; returns how many went.
    pub(super) fn send(&mut self, socket: &impl AsRawFd, out: &[Outgoing]) -> io::Result<usize> {
        let Some(first) = out.first() else { return Ok(0) };
        let (from, mark, ipv4) = (first.from, first.mark, first.to.is_ipv4());
        let (v4, v6) = packet_info(from);
        let class = mark.map(|dscp| i32::from(dscp & 63) << 2);
        let tos = u8::try_from(class.unwrap_or(0)).unwrap_or(0);
        let run = out
            .iter()
            .take(BATCH)
            .take_while(|o| (o.from, o.mark) == (from, mark))
            .count();
        let nth = |at: usize| out.get(at).filter(|_| at < run);
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            core::array::from_fn(|at| [IoSlice::new(nth(at).map_or(&[], |o| &o.wire[..]))]);
        let addresses: [Option<SockaddrStorage>; BATCH] =
            core::array::from_fn(|at| nth(at).map(|o| SockaddrStorage::from(o.to)));
        let mut control: SmallVec<[ControlMessage<'_>; 2]> = SmallVec::new();
        control.extend(from.map(|ip| match ip {
            IpAddr::V4(_) => ControlMessage::Ipv4PacketInfo(&v4),
            IpAddr::V6(_) => ControlMessage::Ipv6PacketInfo(&v6),
        }));
        control.extend(class.as_ref().map(|class| {
            if ipv4 {
                ControlMessage::Ipv4Tos(&tos)
            } else {
                ControlMessage::Ipv6TClass(class)
            }
        }));
        let headers = self.sending(from, class, ipv4);
        let wires = slices.iter().take(run);
        Ok(sendmmsg(
            socket.as_raw_fd(),
            headers,
            wires,
            addresses,
            control,
            MsgFlags::MSG_DONTWAIT,
        )?
        .count())
    }
}

/// The local address a datagram shall leave from, as the kernel wants it in either family.
pub(super) fn packet_info(from: Option<IpAddr>) -> (libc::in_pktinfo, libc::in6_pktinfo) {
    let mut v4 = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr { s_addr: 0 },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let mut v6 = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
        ipi6_ifindex: 0,
    };
    match from {
        Some(IpAddr::V4(ip)) => v4.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets()),
        Some(IpAddr::V6(ip)) => v6.ipi6_addr.s6_addr = ip.octets(),
        None => {}
    }
    (v4, v6)
}

/// Asks the kernel to tell the local address of each datagram; needed on wildcard sockets only.
pub(super) fn tell_local(socket: &socket2::Socket, ipv4: bool) -> io::Result<()> {
    if ipv4 {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(())
}

/// Whether the kernel, or a sandbox around it, does not know these calls at all.
pub(super) fn is_unknown_call(error: &io::Error) -> bool {
    [Errno::ENOSYS, Errno::EPERM]
        .iter()
        .any(|e| error.raw_os_error() == Some(*e as RawFd))
}

fn local_of(message: ControlMessageOwned) -> Option<IpAddr> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
        _ => None,
    }
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    match address.family()? {
        nix::sys::socket::AddressFamily::Inet => {
            let v4 = address.as_sockaddr_in()?;
            Some(SocketAddr::V4(SocketAddrV4::new(v4.ip(), v4.port())))
        }
        nix::sys::socket::AddressFamily::Inet6 => {
            let v6 = address.as_sockaddr_in6()?;
            Some(SocketAddr::V6(SocketAddrV6::new(
                v6.ip(),
                v6.port(),
                v6.flowinfo(),
                v6.scope_id(),
            )))
        }
        _ => None,
    }
}
