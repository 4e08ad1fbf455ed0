//! Free ports and the two loopback families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// A loopback family that scenarios run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// 127.0.0.1.
    V4,
    /// ::1.
    V6,
}

impl Family {
    /// Its loopback address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// A socket address on it.
    #[must_use]
    pub fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }
}

/// Ports are taken from below the range the kernel gives to outgoing connections, so that none of those can take one
/// between the look and the use.
const FIRST: u16 = 10_240;
const LAST: u16 = 31_999;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that is free for UDP and TCP in both families right now, and that no other test of this process was given.
///
/// # Panics
/// When the machine has no free port left.
#[must_use]
pub fn free_port() -> u16 {
    let span = LAST - FIRST;
    // Each test process starts elsewhere, so that two of them rarely look at the same port.
    let start = u16::try_from(std::process::id().wrapping_mul(379) % u32::from(span)).unwrap_or(0);
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + u16::try_from((u32::from(start) + u32::from(step)) % u32::from(span)).unwrap_or(0);
        if [Family::V4, Family::V6].iter().all(|f| is_free(f.at(port))) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}");
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
