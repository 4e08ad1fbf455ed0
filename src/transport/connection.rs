//! The life of a stream connection: handshake, service, an end that loses no answer. One task each, no timer of its own
//! once it is open: the sweep looks after idle and stuck ones.

use core::time::Duration;
use std::io::Read;
use std::net::Shutdown;
use std::rc::Rc;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::time::timeout;

use super::stream::{Got, Reader, Stream};
use super::{CloseReason, SendError, Transports};
use crate::policy::Reported;
use crate::sip::net::{Destination, PeerId};

/// For what is queued when a connection ends.
const FLUSH: Duration = Duration::from_secs(2);
/// How long, and how many bytes, are still read and thrown away so that our last words are not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Brings the TLS handshake to its end, if there is TLS. Returns plaintext that came along.
pub(super) async fn handshake(transports: &Transports, stream: &Stream) -> Result<Vec<u8>, CloseReason> {
    let mut rest = Vec::new();
    if stream.tls.borrow().is_none() {
        return Ok(rest);
    }
    while !stream.shake(transports, &mut rest)? {
        let interest = if stream.blocked.get() {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        stream
            .socket
            .ready(interest)
            .await
            .map_err(|e| CloseReason::Lost(e.to_string()))?;
    }
    Ok(rest)
}

/// Makes a connection known; false when the handler does not want it.
pub(super) fn open(transports: &Transports, stream: &Rc<Stream>, peer: Option<PeerId>) -> bool {
    let taken = transports.0.handler.opened(&stream.source, peer, stream.chain());
    if taken {
        know(transports, stream);
    }
    taken
}

/// The same for one through a trusted terminator.
pub(super) fn open_behind(transports: &Transports, stream: &Rc<Stream>, reported: Reported) -> bool {
    let taken = transports.0.handler.introduced(&stream.source, reported);
    if taken {
        know(transports, stream);
    }
    taken
}

fn know(transports: &Transports, stream: &Rc<Stream>) {
    stream.active_ms.set(transports.clock_ms());
    transports.0.streams.borrow_mut().insert(stream.flow, Rc::clone(stream));
}

/// Serves an open connection until it ends, then ends it.
pub(super) async fn serve(transports: &Transports, stream: &Rc<Stream>, rest: Vec<u8>) {
    let mut reader = Reader::new(transports, stream, rest);
    let why = exchange(transports, stream, &mut reader).await;
    stream.stop(why.clone());
    drop(reader);
    let why = stream.stopped.borrow().clone().unwrap_or(why);
    transports.0.streams.borrow_mut().remove(&stream.flow);
    transports.forget_pooled(stream);
    transports.0.handler.closed(stream.flow, &why);
    transports.0.handler.batch_done();
    part(transports, stream, &why).await;
    fail_rest(transports, stream, &why);
}

async fn exchange(transports: &Transports, stream: &Rc<Stream>, reader: &mut Reader) -> CloseReason {
    let mut got = match reader.resume(transports, stream) {
        Ok(got) => got,
        Err(why) => return why,
    };
    loop {
        if let Some(why) = &*stream.stopped.borrow() {
            return why.clone();
        }
        let next = match got {
            Got::Later(wait_ms) => {
                pause(stream, wait_ms).await;
                reader.resume(transports, stream)
            }
            Got::End => match ended(transports, stream).await {
                Some(why) => return why,
                None => Ok(Got::End),
            },
            Got::Some | Got::Nothing => turn(transports, stream, reader).await,
        };
        got = match next {
            Ok(next) => next,
            Err(why) => return why,
        };
        if stream.blocked.get()
            && let Err(why) = stream.write(transports.clock_ms())
        {
            return why;
        }
        tokio::task::consume_budget().await;
    }
}

/// Waits for the socket and reads once.
async fn turn(transports: &Transports, stream: &Rc<Stream>, reader: &mut Reader) -> Result<Got, CloseReason> {
    let interest = if stream.blocked.get() {
        Interest::READABLE | Interest::WRITABLE
    } else {
        Interest::READABLE
    };
    tokio::select! {
        biased;
        () = stream.wake.notified() => Ok(Got::Nothing),
        ready = stream.socket.ready(interest) => match ready {
            Ok(ready) if ready.is_readable() || ready.is_read_closed() => reader.read(transports, stream),
            Ok(_) => Ok(Got::Nothing),
            Err(e) => Err(CloseReason::Lost(e.to_string())),
        },
    }
}

/// The source sends more than it may: it is read no faster, and learns that from its own full buffers.
async fn pause(stream: &Stream, wait_ms: u64) {
    let end = tokio::time::sleep(Duration::from_millis(wait_ms));
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            () = stream.wake.notified() => if stream.is_stopped() { return },
            ready = stream.socket.ready(Interest::WRITABLE), if stream.blocked.get() => {
                let now_ms = stream.active_ms.get();
                if ready.is_err() || stream.write(now_ms).is_err() { return }
            }
        }
    }
}

/// The other end sends no more, but it may still read: answers that are due go out first.
async fn ended(transports: &Transports, stream: &Rc<Stream>) -> Option<CloseReason> {
    if stream.ended_ms.get() == 0 {
        stream.ended_ms.set(transports.clock_ms());
        // Nothing new is sent to where perhaps nobody reads.
        transports.forget_pooled(stream);
    }
    if stream.unanswered.get() == 0 && stream.queue.borrow().is_empty() && !stream.blocked.get() {
        return Some(CloseReason::Ended);
    }
    if !stream.blocked.get() {
        stream.wake.notified().await;
        return None;
    }
    tokio::select! {
        () = stream.wake.notified() => None,
        ready = stream.socket.ready(Interest::WRITABLE) => ready.err().map(|e| CloseReason::Lost(e.to_string())),
    }
}

/// Last words, then a close that does not destroy them.
async fn part(transports: &Transports, stream: &Stream, why: &CloseReason) {
    if matches!(why, CloseReason::Lost(_)) {
        return;
    }
    if !matches!(why, CloseReason::SlowReader) {
        let _ = timeout(FLUSH, flush(transports, stream)).await;
    }
    if let Some(tls) = &mut *stream.tls.borrow_mut() {
        tls.send_close_notify();
    }
    let _ = stream.write(transports.clock_ms());
    let _ = SockRef::from(&stream.socket).shutdown(Shutdown::Write);
    if !matches!(why, CloseReason::Ended | CloseReason::SlowReader) {
        let _ = timeout(LINGER, discard(stream)).await;
    }
}

async fn flush(transports: &Transports, stream: &Stream) {
    while stream.write(transports.clock_ms()).is_ok() && stream.blocked.get() {
        if stream.socket.writable().await.is_err() {
            return;
        }
    }
}

async fn discard(stream: &Stream) {
    let mut seen = 0;
    let mut buffer = [0; 4096];
    while seen < LINGER_BYTES && stream.socket.readable().await.is_ok() {
        let read = stream.socket.try_io(Interest::READABLE, || {
            (&*SockRef::from(&stream.socket)).read(&mut buffer)
        });
        match read {
            Ok(0) => return,
            Ok(n) => seen += n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Tells of all that was queued and did not go out.
pub(super) fn fail_rest(transports: &Transports, stream: &Stream, why: &CloseReason) {
    let tokens: Vec<u64> = stream.queue.borrow_mut().abandon().collect();
    if tokens.is_empty() {
        return;
    }
    let error = SendError::Ended(why.clone());
    for token in tokens {
        transports
            .0
            .handler
            .send_failed(token, Destination::Flow(stream.flow), &error);
    }
    transports.0.handler.batch_done();
}

/// Looks after all connections at intervals; it ends with the shard.
pub(super) fn start_sweep(transports: &Transports) {
    let shared = Rc::downgrade(&transports.0);
    let limits = transports.0.limits.get();
    let shortest = limits.idle.min(limits.half).min(limits.linger);
    let every = (shortest / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
    tokio::task::spawn_local(async move {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(shared) = shared.upgrade() else { return };
            sweep(&Transports(shared));
        }
    });
}

fn sweep(transports: &Transports) {
    let now_ms = transports.clock_ms();
    let limits = transports.0.limits.get();
    let over = |since_ms: u64, most: Duration| u128::from(now_ms.saturating_sub(since_ms)) > most.as_millis();
    for stream in transports.0.streams.borrow().values() {
        let (half, ended) = (stream.half_ms.get(), stream.ended_ms.get());
        if ended != 0 && over(ended, limits.linger) {
            stream.stop(CloseReason::Ended);
        } else if half != 0 && over(half, limits.half) {
            stream.stop(CloseReason::Unfinished);
        } else if stream.blocked.get() && over(stream.progress_ms.get(), limits.half) {
            stream.stop(CloseReason::SlowReader);
        } else if over(stream.active_ms.get(), limits.idle) {
            stream.stop(CloseReason::Idle);
        }
    }
    transports.0.sources.borrow_mut().tidy(now_ms);
}
