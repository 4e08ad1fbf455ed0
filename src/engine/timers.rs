//! The engine's own timers: what each firing means, and the wheel they wait on.
//!
//! Timers are never cancelled. The owner compares its own due time when one fires and ignores or re-arms it.

use super::Engine;
use super::slots::SlotId;
use crate::sip::time::Now;
use crate::sip::timer;

/// What a timer is for; the discriminant is the kind in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// 3.5 s after a non-INVITE request over UDP: time for the late 100 (RFC 4320 section 4.1).
    LateTrying = 1,
    /// The bound on a forwarded request: answer 504 before the sender's Timer F.
    ForwardDeadline,
    /// A subscription's state may go out again, or it expires.
    Subscription,
    /// A presentity's next publication expires.
    Publication,
    /// A binding expires.
    Binding,
    /// The subscriber machine of an upstream subscription.
    Upstream,
    /// The next OPTIONS to a peer.
    Probe,
    /// The next look-up of a next hop's name.
    Resolve,
    /// Delivery of stored messages is tried again.
    Delivery,
    /// What watchers have seen is written down.
    Delivered,
    /// A session of messages is idle, or due for a refresh.
    Session,
    /// A message's sender has waited long enough, or a kept one is tried again.
    Parcel,
    /// An INVITE that collided is sent again.
    Line,
    /// Somebody who typed has said nothing for too long.
    Typist,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::LateTrying,
        Self::ForwardDeadline,
        Self::Subscription,
        Self::Publication,
        Self::Binding,
        Self::Upstream,
        Self::Probe,
        Self::Resolve,
        Self::Delivery,
        Self::Delivered,
        Self::Session,
        Self::Parcel,
        Self::Line,
        Self::Typist,
    ];

    fn from_u8(kind: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u8 == kind)
    }
}

/// The wheel with typed payloads.
#[derive(Debug)]
pub(super) struct Wheel {
    wheel: timer::Wheel<u64>,
    fired: Vec<u64>,
}

impl Wheel {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            wheel: timer::Wheel::new(now_ms),
            fired: Vec::new(),
        }
    }

    /// Fires `kind` for `id` at `at_ms` on the monotonic clock.
    pub(super) fn arm(&mut self, at_ms: u64, kind: Kind, id: SlotId) {
        self.wheel.insert(at_ms, id.pack(kind as u8));
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.wheel.next()
    }
}

impl Engine {
    /// Fires what is due.
    pub(super) fn run_timers(&mut self, now: Now) {
        let mut fired = std::mem::take(&mut self.wheel.fired);
        self.wheel.wheel.advance(now.mono_ms, |payload| fired.push(payload));
        for payload in fired.drain(..) {
            let (kind, id) = SlotId::unpack(payload);
            match Kind::from_u8(kind) {
                Some(Kind::LateTrying) => self.on_late_trying(now, id),
                Some(Kind::ForwardDeadline) => self.on_forward_deadline(now, id),
                Some(Kind::Subscription) => self.on_subscription_timer(now, id),
                Some(Kind::Publication) => self.on_publication_timer(now, id),
                Some(Kind::Binding) => self.on_binding_timer(now, id),
                Some(Kind::Upstream) => self.on_upstream_timer(now, id),
                Some(Kind::Probe) => self.on_probe_timer(now, id),
                Some(Kind::Resolve) => self.on_resolve_timer(now, id),
                Some(Kind::Delivery) => self.on_delivery_timer(now, id),
                Some(Kind::Delivered) => self.on_delivered_timer(now),
                Some(Kind::Session) => self.on_session_timer(now, id),
                Some(Kind::Parcel) => self.on_parcel_timer(now, id),
                Some(Kind::Line) => self.on_line_timer(now, id),
                Some(Kind::Typist) => self.on_typist_timer(now, id),
                None => {}
            }
        }
        self.wheel.fired = fired;
    }
}
