//! What the sockets tell the app, and why connections end or sends fail. Every reason says who is to blame.

use core::net::IpAddr;

use rustls::pki_types::CertificateDer;

use super::{Expect, resolver};
use crate::policy::Reported;
use crate::policy::acl::SourceLoad;
use crate::sip::message::{Framing, Malformed};
use crate::sip::net::{Destination, FlowId, ListenerId, PeerId, Source};

/// Who is called when something comes in. Calls are synchronous and never nested: while one runs, no other is made.
pub trait Handler {
    /// Whether a source may connect, judged before the handshake; the reason it may not goes to the log.
    ///
    /// # Errors
    /// The reason, for the log.
    fn admit(&self, listener: ListenerId, ip: IpAddr, load: SourceLoad) -> Result<(), String>;
    /// What is expected of the trusted terminators in front of a listener; `None`: there are none, and nothing is believed.
    fn expects(&self, _listener: ListenerId) -> Option<Expect> {
        None
    }
    /// The same as [`Handler::admit`] for a source that a trusted terminator reports, which was admitted itself.
    ///
    /// # Errors
    /// The reason, for the log.
    fn admit_behind(&self, _listener: ListenerId, _ip: IpAddr, _load: SourceLoad) -> Result<(), String> {
        Err("nobody is expected here".to_owned())
    }
    /// Messages a second that this source may send, with bursts of one second's worth; `None` is no limit, which is what
    /// an authenticated peer gets. All sources of one address (IPv6: one /64) share. Too many datagrams are dropped; a
    /// stream is read no faster.
    fn message_rate(&self, _source: &Source) -> Option<u32> {
        None
    }
    /// A connection is established, for TLS after the handshake; false closes it. `peer` is set on connections we opened
    /// to one; `chain` is what the other end presented, leaf first.
    fn opened(&self, source: &Source, peer: Option<PeerId>, chain: Option<Vec<CertificateDer<'static>>>) -> bool;
    /// A connection through a trusted terminator is established; `source` has the address that the terminator reports.
    /// False closes it.
    fn introduced(&self, _source: &Source, _reported: Reported) -> bool {
        false
    }
    /// One message.
    fn message(&self, source: &Source, bytes: &[u8], framing: Framing);
    /// A stream that cannot be framed any more; `bytes` is its last header section. What is sent to the flow from inside
    /// this call and the [`Handler::batch_done`] that follows still goes out; then the connection is closed.
    fn broken(&self, source: &Source, bytes: &[u8], problem: Malformed);
    /// A connection that was [`Handler::opened`] takes nothing more.
    fn closed(&self, flow: FlowId, why: &CloseReason);
    /// Bytes sent with this token, which is never 0, did not go out, or not certainly.
    fn send_failed(&self, token: u64, to: Destination, why: &SendError);
    /// The answer of the resolver.
    fn resolved(&self, token: u64, targets: resolver::Targets);
    /// A batch has been handled: time to drain outputs and to call [`super::Transports::flush`].
    fn batch_done(&self);
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// Peer: it closed in an orderly way.
    #[error("the other end closed it")]
    Ended,
    /// Peer or network: reset, or cut without a TLS goodbye.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// Peer: what it sent cannot be framed.
    #[error("what it sent cannot be framed: {0}")]
    Unframable(&'static str),
    /// Peer: it left a message unfinished for too long.
    #[error("a message was not finished in time")]
    Unfinished,
    /// Peer: it, or its source, or all together left too much unfinished.
    #[error("too much is unfinished")]
    Greedy,
    /// Peer: it does not read what it is sent.
    #[error("the other end reads too slowly")]
    SlowReader,
    /// Nobody: nothing was said for the idle time.
    #[error("it was idle")]
    Idle,
    /// Ours: [`super::Transports::close`] was called.
    #[error("closed by the bridge: {0}")]
    Closed(&'static str),
}

/// Why bytes did not go out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The flow has ended.
    #[error("the connection is closed")]
    Gone,
    /// The flow ended while the bytes waited; part of them may have arrived.
    #[error("the connection ended before all was written: {0}")]
    Ended(CloseReason),
    /// Peer or network: nobody answers there.
    #[error("connecting failed: {0}")]
    Connect(String),
    /// Peer or network: no answer within the connect time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// Peer, or our settings for it: TLS was refused.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// Peer: TLS stalled.
    #[error("the TLS handshake took too long")]
    HandshakeTimeout,
    /// Ours: the app did not want the connection once it saw the certificate.
    #[error("the certificate is not this peer's")]
    Unwanted,
    /// Ours: the peer's settings changed while the connection was being made.
    #[error("the peer's settings changed meanwhile")]
    Reconfigured,
    /// Ours: TLS without settings.
    #[error("there are no TLS settings for this peer")]
    NoTlsSettings,
    /// Ours: no socket of this kind and address family.
    #[error("no UDP listener of this address family")]
    NoSocket,
    /// Ours: a bounded queue is full.
    #[error("too much waits to be sent")]
    Full,
    /// The operating system refuses the datagram.
    #[error("the datagram could not be sent: {0}")]
    Datagram(String),
}
