//! The client half of the layer: requests that we send.
//!
//! A CANCEL has the branch of its INVITE (RFC 3261 section 9.1), so its record hangs on the INVITE's and its responses
//! come in by the INVITE's slot. It tells the owner nothing: the INVITE has the outcome, at the latest after 64*T1.

use super::client_invite::{Answer, ClientInvite};
use super::client_non_invite::ClientNonInvite;
use super::deadlines::{Fired, Timer, Timers};
use super::pool::{NEVER, Pool, Timed};
use super::{Branch, Cancelled, ClientId, ClientInfo, Delivered, Layer, Output, State, Why};
use crate::sip::net::Destination;
use crate::sip::time::Now;
use bytes::Bytes;

#[derive(Debug)]
enum Machine {
    Reserved { invite: bool },
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
}

#[derive(Debug)]
pub(super) struct Client {
    machine: Machine,
    user: u64,
    /// Where it was sent to and what; unset until then.
    sent: Option<(Destination, Bytes)>,
    /// An INVITE's CANCEL, a CANCEL's INVITE.
    link: Option<ClientId>,
}

pub(super) type Clients = Pool<Client>;

impl Timed for Client {
    fn due(&self) -> u64 {
        match &self.machine {
            Machine::Reserved { .. } => NEVER,
            Machine::Invite(machine) => machine.deadlines.next(),
            Machine::NonInvite(machine) => machine.deadlines.next(),
        }
    }
}

impl Client {
    fn state(&self) -> State {
        match &self.machine {
            Machine::Reserved { .. } => State::Reserved,
            Machine::Invite(machine) => machine.state,
            Machine::NonInvite(machine) => machine.state,
        }
    }

    fn is_invite(&self) -> bool {
        matches!(self.machine, Machine::Invite(_) | Machine::Reserved { invite: true })
    }

    /// A CANCEL is no business of the owner's.
    fn is_cancel(&self) -> bool {
        self.link.is_some() && !self.is_invite()
    }

    fn fire(&mut self, now: u64, timers: &Timers) -> Fired {
        match &mut self.machine {
            Machine::Reserved { .. } => Fired::Nothing,
            Machine::Invite(machine) => machine.timer(now, timers),
            Machine::NonInvite(machine) => machine.timer(now, timers),
        }
    }

    /// Frees the bytes that no timer will send any more.
    fn drop_wire(&mut self) {
        if let Some((_, wire)) = &mut self.sent {
            *wire = Bytes::new();
        }
    }
}

impl ClientId {
    fn key(self) -> (u32, u32) {
        (self.slot, self.generation)
    }
}

impl Layer {
    /// Makes a client transaction, so that its branch can be written into the request. Send or abandon it: it has no
    /// timer yet. `user` is the owner's token. CANCEL is sent by [`Layer::cancel`], ACK for a 2xx without a
    /// transaction.
    pub fn reserve(&mut self, invite: bool, user: u64) -> (ClientId, Branch) {
        let machine = Machine::Reserved { invite };
        let (slot, generation) = self.clients.insert(Client {
            machine,
            user,
            sent: None,
            link: None,
        });
        let id = ClientId { slot, generation };
        (id, Branch::new(&self.branches, id))
    }

    /// Sends a reserved request: queues it and starts Timers A (UDP) and B, or E (UDP) and F. Does nothing if
    /// nothing is reserved by that id.
    pub fn send(&mut self, now: Now, id: ClientId, to: Destination, wire: Bytes, reliable: bool) {
        let Some(client) = self.clients.get_mut(id.key()) else {
            return;
        };
        let Machine::Reserved { invite } = client.machine else {
            return;
        };
        client.machine = if invite {
            Machine::Invite(ClientInvite::new(now.mono_ms, &self.timers, reliable))
        } else {
            Machine::NonInvite(ClientNonInvite::new(now.mono_ms, &self.timers, reliable))
        };
        let kept = if reliable && !invite {
            Bytes::new()
        } else {
            wire.clone()
        };
        client.sent = Some((to, kept));
        self.clients.arm(id.key());
        self.outputs.push_back(Output::Transmit {
            to,
            wire,
            client: Some(id),
        });
    }

    /// Takes a response by the branch of its top Via and the method in its CSeq. `ack` is called for the first final
    /// response to an INVITE that is not 2xx and makes the ACK for it out of the INVITE as it was sent (RFC 3261
    /// section 17.1.1.3). `None`: it
    /// belongs to no transaction; drop it.
    pub fn response(
        &mut self,
        now: Now,
        branch: &[u8],
        cseq_method: &[u8],
        status: u16,
        ack: impl FnOnce(&Bytes) -> Bytes,
    ) -> Option<Delivered> {
        let mut id = Branch::read(&self.branches, branch)?;
        let mut client = self.clients.get(id.key())?;
        if client.is_invite() && cseq_method == b"CANCEL" {
            id = client.link?;
            client = self.clients.get(id.key())?;
        } else if client.is_invite() != (cseq_method == b"INVITE") {
            return None;
        }
        if client.state() == State::Reserved || !(100..700).contains(&status) {
            return None;
        }
        self.deliver(now.mono_ms, id, status, ack)
    }

    fn deliver(&mut self, now: u64, id: ClientId, status: u16, ack: impl FnOnce(&Bytes) -> Bytes) -> Option<Delivered> {
        let client = self.clients.get_mut(id.key())?;
        let pass = match &mut client.machine {
            Machine::Reserved { .. } => return None,
            Machine::NonInvite(machine) => {
                let pass = machine.response(now, &self.timers, status);
                if machine.state != State::Proceeding {
                    client.drop_wire();
                }
                pass
            }
            Machine::Invite(machine) => {
                let answer = machine.response(now, &self.timers, status);
                if machine.state == State::Accepted {
                    client.drop_wire();
                }
                if let Some((to, wire)) = &mut client.sent {
                    if answer == Answer::PassAndAck {
                        *wire = ack(wire);
                    }
                    if matches!(answer, Answer::PassAndAck | Answer::RepeatAck) && !wire.is_empty() {
                        let (to, wire) = (*to, wire.clone());
                        self.outputs.push_back(Output::Transmit {
                            to,
                            wire,
                            client: Some(id),
                        });
                    }
                }
                matches!(answer, Answer::Pass | Answer::PassAndAck)
            }
        };
        let delivered = Delivered {
            id,
            user: client.user,
            pass: pass && !client.is_cancel(),
        };
        if client.state() == State::Terminated {
            self.free_client(id);
        } else {
            self.clients.arm(id.key());
        }
        Some(delivered)
    }

    /// Cancels an INVITE (RFC 3261 section 9.1). `wire` makes the CANCEL out of the INVITE as it was sent, whose
    /// branch it has, and is called only if it may be sent now; it goes where the INVITE went and is repeated by the
    /// layer. Nothing is sent if `wire` makes nothing, as with the ACK of [`Layer::response`].
    pub fn cancel(&mut self, now: Now, id: ClientId, wire: impl FnOnce(&Bytes) -> Bytes) -> Cancelled {
        let Some(client) = self.clients.get_mut(id.key()) else {
            return Cancelled::Pointless;
        };
        let (Machine::Invite(machine), Some((to, invite)), None) = (&mut client.machine, &client.sent, client.link)
        else {
            return Cancelled::Pointless;
        };
        if machine.state == State::Calling {
            return Cancelled::Wait;
        }
        if !machine.cancel(now.mono_ms, &self.timers) {
            return Cancelled::Pointless;
        }
        let (to, wire) = (*to, wire(invite));
        if wire.is_empty() {
            return Cancelled::Pointless;
        }
        let (reliable, user) = (machine.is_reliable(), client.user);
        let machine = Machine::NonInvite(ClientNonInvite::new(now.mono_ms, &self.timers, reliable));
        let kept = if reliable { Bytes::new() } else { wire.clone() };
        let cancel = Client {
            machine,
            user,
            sent: Some((to, kept)),
            link: Some(id),
        };
        let (slot, generation) = self.clients.insert(cancel);
        let cancel = ClientId { slot, generation };
        if let Some(client) = self.clients.get_mut(id.key()) {
            client.link = Some(cancel);
        }
        self.clients.arm(id.key());
        self.clients.arm(cancel.key());
        self.outputs.push_back(Output::Transmit {
            to,
            wire,
            client: Some(cancel),
        });
        Cancelled::Sent
    }

    /// The owner could not send what [`Output::Transmit`] named this transaction for. Ends it with
    /// [`Output::Failed`], unless its final response has come already.
    pub fn transport_failed(&mut self, _now: Now, id: ClientId) {
        let Some(client) = self.clients.get_mut(id.key()) else {
            return;
        };
        let why = match &mut client.machine {
            Machine::Reserved { .. } => Some(Why::Transport),
            Machine::Invite(machine) => machine.transport_failed(),
            Machine::NonInvite(machine) => machine.transport_failed(),
        };
        if let Some(why) = why {
            self.fail(id, why);
        } else if client.state() == State::Terminated {
            self.free_client(id);
        }
    }

    /// Frees a client transaction at once and says nothing; responses to it are dropped from now on.
    pub fn abandon(&mut self, id: ClientId) {
        self.free_client(id);
    }

    /// Looks at a client transaction.
    #[must_use]
    pub fn client(&self, id: ClientId) -> Option<ClientInfo> {
        let client = self.clients.get(id.key())?;
        Some(ClientInfo {
            user: client.user,
            state: client.state(),
            invite: client.is_invite(),
        })
    }

    fn fail(&mut self, id: ClientId, why: Why) {
        let Some(client) = self.free_client(id) else { return };
        if !client.is_cancel() {
            self.outputs.push_back(Output::Failed {
                id,
                user: client.user,
                why,
            });
        }
    }

    /// Frees a record; an INVITE takes its CANCEL along, which is pointless without it.
    fn free_client(&mut self, id: ClientId) -> Option<Client> {
        let client = self.clients.remove(id.key())?;
        if let Some(link) = client.link
            && client.is_invite()
        {
            self.clients.remove(link.key());
        }
        Some(client)
    }

    pub(super) fn fire_clients(&mut self, now: u64) {
        while let Some((slot, generation)) = self.clients.fire(now) {
            let id = ClientId { slot, generation };
            let Some(client) = self.clients.get_mut(id.key()) else {
                continue;
            };
            match client.fire(now, &self.timers) {
                Fired::Nothing => {}
                Fired::Repeat(_) => {
                    if let Some((to, wire)) = client.sent.clone() {
                        self.outputs.push_back(Output::Transmit {
                            to,
                            wire,
                            client: Some(id),
                        });
                    }
                }
                Fired::Warn(_) => self.outputs.push_back(Output::TimerC { id, user: client.user }),
                Fired::Expired(_) => self.fail(id, Why::Timeout),
                Fired::Ended(timer) => {
                    let user = client.user;
                    self.free_client(id);
                    if timer == Timer::M {
                        self.outputs.push_back(Output::ClientGone { id, user });
                    }
                }
            }
            self.clients.arm(id.key());
        }
    }
}
