//! Runs of equal datagrams as one (generic segmentation offload): what 20 watchers behind one peer are told at once costs
//! one walk through the kernel instead of 20, and still arrives as 20 datagrams.
//!
//! Where the kernel, the device or the path does not do it, datagrams go as they always did.

use core::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use smallvec::SmallVec;

use super::batch::{Outgoing, packet_info};

/// Fewer are not worth a call of their own.
const WORTH: usize = 4;
/// What every kernel with this offload takes in one call.
const MOST: usize = 64;
/// One IP packet is the bound of a run, headers included.
const BYTES: usize = 65_000;
/// After so many failures in a row it is not tried again on this socket.
const GIVE_UP: u8 = 4;

/// Whether one socket may try.
#[derive(Debug, Default)]
pub(super) struct Segments {
    failures: Cell<u8>,
}

impl Segments {
    /// How many of the front may go as one run; 0 when it is not worth it.
    pub(super) fn run(&self, queue: &[Outgoing]) -> usize {
        let Some(first) = queue.first().filter(|_| self.failures.get() < GIVE_UP) else {
            return 0;
        };
        let length = first.wire.len();
        let most = MOST.min(BYTES / length.max(1));
        let alike = |o: &&Outgoing| {
            o.wire.len() == length && o.to == first.to && o.from == first.from && o.mark.is_none() && length > 0
        };
        let run = queue.iter().take(most).take_while(alike).count();
        if run < WORTH { 0 } else { run }
    }

    /// Sends a run. `Ok(false)`: not that way; each datagram has to go by itself.
    ///
    /// # Errors
    /// Whatever sending a single datagram meets too, a full socket first of all.
    pub(super) fn send(&self, socket: &impl AsRawFd, run: &[Outgoing]) -> io::Result<bool> {
        let Some(first) = run.first() else { return Ok(false) };
        let Ok(size) = u16::try_from(first.wire.len()) else {
            return Ok(false);
        };
        let slices: SmallVec<[IoSlice<'_>; MOST]> = run.iter().map(|o| IoSlice::new(&o.wire)).collect();
        let (v4, v6) = packet_info(first.from);
        let mut control: SmallVec<[ControlMessage<'_>; 2]> = SmallVec::new();
        control.push(ControlMessage::UdpGsoSegments(&size));
        control.extend(first.from.map(|ip| {
            if ip.is_ipv4() {
                ControlMessage::Ipv4PacketInfo(&v4)
            } else {
                ControlMessage::Ipv6PacketInfo(&v6)
            }
        }));
        let to = SockaddrStorage::from(first.to);
        match sendmsg(socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_DONTWAIT, Some(&to)) {
            Ok(_) => {
                self.failures.set(0);
                Ok(true)
            }
            Err(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT) => {
                self.failures.set(self.failures.get().saturating_add(1));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Brings together what goes to the same place. What goes to one place keeps its order.
pub(super) fn group(queue: &mut [Outgoing]) {
    if queue.len() >= WORTH {
        queue.sort_by_key(|o| (o.to, o.from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn outgoing(port: u16, length: usize, mark: Option<u8>) -> Outgoing {
        Outgoing {
            wire: Bytes::from(vec![b'x'; length]),
            to: ([127, 0, 0, 1], port).into(),
            from: None,
            mark,
            token: 0,
        }
    }

    #[test]
    fn a_run_is_of_one_size_to_one_place() {
        let segments = Segments::default();
        let run = |list: &[(u16, usize)]| {
            let queue: Vec<_> = list
                .iter()
                .map(|(port, length)| outgoing(*port, *length, None))
                .collect();
            segments.run(&queue)
        };
        assert_eq!(run(&[(1, 100); 10]), 10);
        assert_eq!(run(&[(1, 100); 100]), 64);
        assert_eq!(run(&[(1, 30_000); 100]), 0, "two of that size fill a packet");
        assert_eq!(run(&[(1, 100), (1, 100), (1, 100), (1, 101), (1, 100)]), 0);
        assert_eq!(run(&[(1, 100), (1, 100), (1, 100), (1, 100), (2, 100)]), 4);
        assert_eq!(run(&[(1, 0); 10]), 0);
        assert_eq!(
            segments.run(&vec![outgoing(1, 100, Some(46)); 10]),
            0,
            "marks go with each datagram"
        );
        segments.failures.set(GIVE_UP);
        assert_eq!(run(&[(1, 100); 10]), 0);
    }

    #[test]
    fn grouping_keeps_the_order_of_each_place() {
        let mut queue: Vec<_> = (0..20)
            .map(|n| outgoing(if n % 3 == 0 { 2 } else { 1 }, n + 1, None))
            .collect();
        group(&mut queue);
        let order: Vec<_> = queue.iter().map(|o| (o.to.port(), o.wire.len())).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(order, sorted);
    }
}
