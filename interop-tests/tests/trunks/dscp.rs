//! `peers[].dscp`: what goes to a peer is marked, over every transport and in both directions of opening; other traffic
//! is not.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::time::Duration;

use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::{Outcome, eventually, installed};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use super::site::{A, ALICE, Site};

const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// AF41 as the byte in the header.
const AF41: u8 = 34 << 2;

/// A socket that tells the traffic class of what it receives.
fn watching(at: SocketAddr) -> Outcome<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let options = socket2::SockRef::from(&socket);
    if at.is_ipv4() {
        options.set_recv_tos_v4(true)?;
    } else {
        options.set_recv_tclass_v6(true)?;
    }
    Ok(socket)
}

/// The traffic class of the next datagram that begins so.
fn class(socket: &UdpSocket, begins: &str) -> Outcome<u8> {
    loop {
        let (mut bytes, mut space) = ([0; 4000], nix::cmsg_space!([u8; 64]));
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let found = message.cmsgs()?.find_map(|c| match c {
            ControlMessageOwned::Ipv4Tos(tos) => Some(i32::from(tos)),
            ControlMessageOwned::Ipv6TClass(class) => Some(class),
            _ => None,
        });
        if bytes.starts_with(begins.as_bytes()) {
            return Ok(u8::try_from(found.ok_or("no class came along")?)?);
        }
    }
}

/// The traffic class of the bridge's end of its connections that match a filter of `ss`, and how many there are.
fn classes(filter: &str) -> Outcome<Vec<u8>> {
    let args = ["-tinH", "--tos", "state", "established"];
    let output = Command::new("ss").args(args).arg(filter).output()?;
    let text = String::from_utf8(output.stdout)?;
    let one = |word: &str| {
        let value = word.strip_prefix("tos:").or_else(|| word.strip_prefix("tclass:"))?;
        u8::from_str_radix(value.trim_start_matches("0x"), 16).ok()
    };
    // Each connection is a line and an indented one. Over IPv6 both marks are shown, and one of them is nought.
    let lines = text.lines().filter(|l| !l.starts_with([' ', '\t']));
    Ok(lines
        .map(|l| l.split_whitespace().filter_map(one).max().unwrap_or(0))
        .collect())
}

#[test]
fn datagrams_to_a_peer_are_marked_and_those_to_others_are_not() -> Outcome {
    for family in BOTH {
        let other = SocketAddr::new(
            if family == Family::V4 {
                "127.0.0.2".parse()?
            } else {
                family.ip()
            },
            0,
        );
        let carl = watching(other)?;
        let at = carl.local_addr()?;
        let peer = format!(
            "  - name: c\n    domains: [c.example]\n    transport: udp\n    next_hop: \"{at}\"\n    \
             addresses: [\"{}\"]\n    dscp: 34\n    probe: {{ interval: 1s, timeout: 1s }}\n",
            at.ip()
        );
        let mut site = Site::start(family, "", &peer)?;
        assert_eq!(class(&carl, "OPTIONS")?, AF41, "{family:?}: a probe");
        let mut alice = site.alice()?;
        let request = interop_tests::wire::Request::new("MESSAGE", "sip:carl@c.example").body("text/plain", "hi");
        let asked = std::thread::spawn(move || alice.ask(&request).map(|_| ()).map_err(|e| e.to_string()));
        assert_eq!(class(&carl, "MESSAGE")?, AF41, "{family:?}: a message");
        drop(asked);
        if family == Family::V4 {
            let stranger = watching(family.at(0))?;
            let via = format!("SIP/2.0/UDP {};branch=z9hG4bKx;rport", stranger.local_addr()?);
            let request = interop_tests::wire::Request::new("OPTIONS", "sip:a.example")
                .from("<sip:x@x.example>;tag=1")
                .to("<sip:a.example>");
            let bytes = interop_tests::wire::Request {
                call_id: Some("dscp@x.example".into()),
                ..request
            }
            .write(&via);
            stranger.send_to(&bytes, site.bridge.ports.client())?;
            assert_eq!(class(&stranger, "SIP/2.0")?, 0, "somebody else's");
        }
        // Nobody answers the message: a stop in good order would wait for that.
        site.bridge.kill();
    }
    Ok(())
}

#[test]
fn connections_of_a_peer_are_marked_whoever_opened_them() -> Outcome {
    if !installed("connections_of_a_peer_are_marked_whoever_opened_them", &["ss"]) {
        return Ok(());
    }
    for family in BOTH {
        let site = Site::start(family, "    dscp: 34\n", "")?;
        let accepted = |bridge: u16, agent: &Agent| format!("sport = :{bridge} and dport = :{}", agent.local().port());
        let (mut bob, ports) = (site.bob()?, site.bridge.ports);
        let mut alice = Agent::tcp("alice", A, ports.client())?;
        assert_eq!(alice.register(60)?.status(), 200);
        assert_eq!(bob.message(ALICE, "hello")?.status(), 200);
        assert_eq!(classes(&accepted(ports.peers, &bob))?, [AF41], "{family:?}: accepted");
        assert_eq!(classes(&accepted(ports.plain, &alice))?, [0], "{family:?}: a user's");
        assert_eq!(alice.message("sip:bob@b.example", "over ours")?.status(), 200);
        let ours = format!("dport = :{}", site.trunk.at.port());
        eventually("the bridge's own connection is marked", PATIENCE, || {
            classes(&ours).is_ok_and(|all| all == [AF41])
        })?;
    }
    Ok(())
}
