//! The server half of the layer: requests that we receive.

use super::deadlines::{Fired, Timers};
use super::matching::{ACK, CANCEL, Fingerprint, INVITE, Keys, ServerKey};
use super::pool::{Pool, Timed};
use super::server_invite::{Acked, ServerInvite};
use super::server_non_invite::ServerNonInvite;
use super::{Arrived, Layer, Output, ServerId, ServerInfo, State};
use crate::sip::net::Destination;
use crate::sip::random::Random;
use crate::sip::time::Now;
use bytes::Bytes;
use hashbrown::HashTable;

#[derive(Debug)]
enum Machine {
    /// Boxed: the other kind is by far the more frequent, and smaller.
    Invite(Box<ServerInvite>),
    NonInvite(ServerNonInvite),
}

#[derive(Debug)]
struct Server {
    fingerprint: Fingerprint,
    machine: Machine,
    user: u64,
    to: Destination,
    /// The last response, or its recipe; empty before the first.
    last: Bytes,
    by_recipe: bool,
}

impl Timed for Server {
    fn due(&self) -> u64 {
        match &self.machine {
            Machine::Invite(machine) => machine.deadlines.next(),
            Machine::NonInvite(machine) => machine.due(),
        }
    }
}

impl Server {
    fn state(&self) -> State {
        match &self.machine {
            Machine::Invite(machine) => machine.state,
            Machine::NonInvite(machine) => machine.state,
        }
    }

    fn fire(&mut self, now: u64, timers: &Timers) -> Fired {
        match &mut self.machine {
            Machine::Invite(machine) => machine.timer(now, timers),
            Machine::NonInvite(machine) => machine.timer(now),
        }
    }

    fn transmit(&self) -> Output {
        Output::Transmit {
            to: self.to,
            wire: self.last.clone(),
            client: None,
        }
    }
}

impl ServerId {
    fn key(self) -> (u32, u32) {
        (self.slot, self.generation)
    }
}

/// The records and the table that finds them: slot numbers, hashed by the low half of the fingerprint.
#[derive(Debug)]
pub(super) struct Servers {
    pool: Pool<Server>,
    table: HashTable<u32>,
    keys: Keys,
}

impl Servers {
    pub(super) fn new(random: &mut Random, now: u64) -> Self {
        Self {
            pool: Pool::new(now),
            table: HashTable::new(),
            keys: Keys::new(random),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pool.len()
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.pool.next()
    }

    fn find(&self, fields: [u64; 2], accept: impl Fn(&Fingerprint) -> bool) -> Option<ServerId> {
        let matches = |&slot: &u32| {
            self.pool
                .at(slot)
                .is_some_and(|(_, server)| accept(&server.fingerprint))
        };
        let &slot = self.table.find(fields[0], matches)?;
        self.pool.at(slot).map(|(generation, _)| ServerId { slot, generation })
    }

    fn insert(&mut self, server: Server) -> ServerId {
        let hash = server.fingerprint.fields[0];
        let (slot, generation) = self.pool.insert(server);
        let pool = &self.pool;
        self.table.insert_unique(hash, slot, |&slot| {
            pool.at(slot).map_or(0, |(_, server)| server.fingerprint.fields[0])
        });
        self.pool.arm((slot, generation));
        ServerId { slot, generation }
    }

    fn remove(&mut self, id: ServerId) -> Option<Server> {
        let server = self.pool.remove(id.key())?;
        if let Ok(entry) = self
            .table
            .find_entry(server.fingerprint.fields[0], |&slot| slot == id.slot)
        {
            entry.remove();
        }
        Some(server)
    }
}

impl Layer {
    /// Takes a request: tells repetitions from new ones and ACKs and CANCELs from their INVITEs. `to` is where
    /// responses go and `user` the owner's token for a new transaction; `reliable` is said of the transport.
    pub fn request(&mut self, now: Now, key: &ServerKey<'_>, to: Destination, reliable: bool, user: u64) -> Arrived {
        let fingerprint = self.servers.keys.fingerprint(key);
        if fingerprint.method == ACK {
            return self.ack(now.mono_ms, &fingerprint);
        }
        if let Some(id) = self.servers.find(fingerprint.fields, |other| *other == fingerprint) {
            return self.replay(id);
        }
        let machine = if fingerprint.method == INVITE {
            Machine::Invite(Box::new(ServerInvite::new(reliable)))
        } else {
            Machine::NonInvite(ServerNonInvite::new(now.mono_ms, &self.timers, reliable))
        };
        let target = (fingerprint.method == CANCEL).then(|| {
            self.servers
                .find(fingerprint.fields, |other| fingerprint.cancels(other))
        });
        let id = self.servers.insert(Server {
            fingerprint,
            machine,
            user,
            to,
            last: Bytes::new(),
            by_recipe: false,
        });
        match target {
            None => Arrived::New(id),
            Some(target) => {
                let invite = target.filter(|&target| self.server(target).is_some_and(|info| info.invite));
                Arrived::Cancel {
                    invite,
                    matched: target.is_some(),
                    id,
                }
            }
        }
    }

    fn replay(&mut self, id: ServerId) -> Arrived {
        let Some(server) = self.servers.pool.get(id.key()) else {
            return Arrived::Retransmission;
        };
        let replay = match &server.machine {
            Machine::Invite(machine) => machine.repeated(),
            Machine::NonInvite(machine) => machine.repeated(),
        };
        if !replay || server.last.is_empty() {
            return Arrived::Retransmission;
        }
        if server.by_recipe {
            return Arrived::Repeated(id);
        }
        self.outputs.push_back(server.transmit());
        Arrived::Retransmission
    }

    fn ack(&mut self, now: u64, fingerprint: &Fingerprint) -> Arrived {
        let found = self
            .servers
            .find(fingerprint.fields, |other| fingerprint.acknowledges(other));
        let Some(id) = found else { return Arrived::AckFor2xx };
        let Some(Server {
            machine: Machine::Invite(machine),
            last,
            ..
        }) = self.servers.pool.get_mut(id.key())
        else {
            return Arrived::AckFor2xx;
        };
        match machine.ack(now, &self.timers) {
            Acked::Pass => Arrived::AckFor2xx,
            Acked::Absorb => Arrived::Retransmission,
            Acked::Confirmed => {
                *last = Bytes::new();
                self.settle(id);
                Arrived::Ack(id)
            }
        }
    }

    /// Queues a response and keeps it for repetitions. `false`: the transaction is gone or must not send this one
    /// now (a second final response, 408 or 101 to 199 to a non-INVITE).
    pub fn respond(&mut self, now: Now, id: ServerId, status: u16, wire: Bytes) -> bool {
        let Some(server) = self.servers.pool.get_mut(id.key()) else {
            return false;
        };
        let accepted = match &mut server.machine {
            Machine::Invite(machine) => machine.respond(now.mono_ms, &self.timers, status),
            Machine::NonInvite(machine) => machine.respond(now.mono_ms, &self.timers, status),
        };
        if accepted {
            (server.last, server.by_recipe) = (wire, false);
            self.outputs.push_back(server.transmit());
            if matches!(&server.machine, Machine::Invite(machine) if !machine.needs_last()) {
                server.last = Bytes::new();
            }
            self.settle(id);
        }
        accepted
    }

    /// Like [`Layer::respond`] to anything but an INVITE, keeping what the owner needs to write the response again
    /// instead of the response: a repeated request comes back as [`Arrived::Repeated`].
    pub fn respond_by_recipe(&mut self, now: Now, id: ServerId, status: u16, wire: Bytes, recipe: Bytes) -> bool {
        let sent = self.respond(now, id, status, wire);
        if sent && let Some(server) = self.servers.pool.get_mut(id.key()) {
            (server.last, server.by_recipe) = (recipe, true);
        }
        sent
    }

    /// The recipe of a response that is to be sent again, and where to.
    #[must_use]
    pub fn recipe(&self, id: ServerId) -> Option<(Destination, Bytes)> {
        let server = self.servers.pool.get(id.key()).filter(|server| server.by_recipe)?;
        Some((server.to, server.last.clone()))
    }

    /// Like [`Layer::respond`] for somebody who has proved nothing: a refused INVITE gets one answer for each time it
    /// comes, without Timer G. A false source address would make us send ten to a third party (RFC 3261 section 26.3.2.4).
    pub fn respond_once(&mut self, now: Now, id: ServerId, status: u16, wire: Bytes) -> bool {
        let accepted = self.respond(now, id, status, wire);
        if accepted
            && let Some(Server {
                machine: Machine::Invite(machine),
                ..
            }) = self.servers.pool.get_mut(id.key())
        {
            machine.hush();
            self.servers.pool.arm(id.key());
        }
        accepted
    }

    /// Like [`Layer::respond`] with a 2xx to an INVITE by a user agent server: repeats it after T1, doubling up to T2,
    /// until [`Layer::acknowledged`]; without that, [`Output::Unacknowledged`] comes after 64*T1 (RFC 3261 section
    /// 13.3.1.4).
    pub fn respond_repeating(&mut self, now: Now, id: ServerId, status: u16, wire: Bytes) -> bool {
        if !self.respond(now, id, status, wire.clone()) {
            return false;
        }
        if let Some(server) = self.servers.pool.get_mut(id.key())
            && let Machine::Invite(machine) = &mut server.machine
            && machine.repeat_2xx(now.mono_ms, &self.timers)
        {
            server.last = wire;
        }
        self.servers.pool.arm(id.key());
        true
    }

    /// The ACK for a 2xx of [`Layer::respond_repeating`] has come (matched by its dialog).
    pub fn acknowledged(&mut self, id: ServerId) {
        if let Some(Server {
            machine: Machine::Invite(machine),
            last,
            ..
        }) = self.servers.pool.get_mut(id.key())
            && machine.acknowledged()
        {
            *last = Bytes::new();
        }
    }

    /// Frees a server transaction at once and says nothing; a repetition of its request counts as new.
    pub fn drop_server(&mut self, id: ServerId) {
        self.servers.remove(id);
    }

    /// Looks at a server transaction.
    #[must_use]
    pub fn server(&self, id: ServerId) -> Option<ServerInfo> {
        let server = self.servers.pool.get(id.key())?;
        let (user, state) = (server.user, server.state());
        let invite = matches!(server.machine, Machine::Invite(_));
        let answered = !matches!(state, State::Trying | State::Proceeding);
        Some(ServerInfo {
            user,
            state,
            invite,
            answered,
        })
    }

    /// Changes the owner's token. `false`: the transaction is gone.
    pub fn set_server_user(&mut self, id: ServerId, user: u64) -> bool {
        self.servers
            .pool
            .get_mut(id.key())
            .map(|server| server.user = user)
            .is_some()
    }

    /// After a transition: frees what is Terminated, sets the timers of the rest.
    fn settle(&mut self, id: ServerId) {
        if self
            .servers
            .pool
            .get(id.key())
            .is_some_and(|server| server.state() == State::Terminated)
        {
            self.server_gone(id);
        } else {
            self.servers.pool.arm(id.key());
        }
    }

    fn server_gone(&mut self, id: ServerId) {
        if let Some(server) = self.servers.remove(id) {
            self.outputs.push_back(Output::ServerGone { user: server.user });
        }
    }

    pub(super) fn fire_servers(&mut self, now: u64) {
        while let Some((slot, generation)) = self.servers.pool.fire(now) {
            let id = ServerId { slot, generation };
            let Some(server) = self.servers.pool.get_mut(id.key()) else {
                continue;
            };
            match server.fire(now, &self.timers) {
                Fired::Nothing | Fired::Warn(_) => {}
                Fired::Repeat(_) => self.outputs.push_back(server.transmit()),
                Fired::Expired(_) => {
                    let user = server.user;
                    self.outputs.push_back(Output::Unacknowledged { id, user });
                }
                Fired::Ended(_) => {}
            }
            self.settle(id);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_server_transaction_is_small() {
        assert!(size_of::<super::Server>() <= 144, "{}", size_of::<super::Server>());
    }
}
