//! A new configuration for a running bridge: read, compared, its sockets opened, then put into force as a whole.

use core::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::shard::Shard;
use super::start::{StartError, limits, planned_addresses, spec};
use crate::config::{self, plan};
use crate::pki::Settings;
use crate::policy::{Listener, Snapshot};
use crate::sip::net::{ListenerId, Transport};

/// A socket that listens, by the listener it belongs to.
type Socket = (ListenerId, SocketAddr);

/// Which sockets are opened and which closed.
#[derive(Debug, Default)]
struct Sockets {
    open: Vec<(Listener, Vec<SocketAddr>)>,
    close: Vec<Socket>,
    /// What has to wait for a restart, since an old socket is in the way.
    restart: Vec<String>,
}

/// Reads the configuration again and puts it into force; a bad file, or an address that cannot be had, changes nothing.
///
/// # Errors
/// Says what is wrong, with file, line and column.
pub fn reload(path: &Path, shard: &Rc<Shard>) -> Result<plan::Plan, StartError> {
    let loaded = config::load(path).map_err(StartError::Config)?;
    let mut snapshot = loaded.snapshot;
    let old = shard.with_engine(|engine, _| Arc::clone(engine.snapshot()));
    keep_listener_ids(&old, &mut snapshot);
    let settings = Arc::new(Settings::load(&snapshot)?.after(&shard.settings()));
    let mut plan = plan::plan(&old, &snapshot);
    for name in shard.settings().withdrawn(&settings) {
        if let Some(id) = old.peer_named(&name) {
            plan.distrust(id, &name);
        }
    }
    let mut sockets = sockets(&old, &snapshot);
    open(shard, &settings, &sockets)?;
    plan.restart.append(&mut sockets.restart);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for item in &plan.items {
        tracing::info!(kind = ?item.kind, name = item.name, change = ?item.change, "reload");
    }
    for what in &plan.restart {
        tracing::warn!(what, "takes effect only after a restart");
    }
    crate::admin::redact::set(snapshot.log.redact);
    let snapshot = Arc::new(snapshot);
    let listeners = planned_addresses(&snapshot);
    shard.reload(&snapshot, &settings, plan.clone(), listeners, &sockets.close);
    if let Some(transports) = shard.transports() {
        transports.set_limits(limits(&snapshot));
        for (id, address) in sockets.close {
            transports.close_address(id, address);
        }
    }
    Ok(plan)
}

/// A listener keeps what its sockets are called: it is the same when it has the same name and transport, or else an
/// address in common.
fn keep_listener_ids(old: &Snapshot, new: &mut Snapshot) {
    let mut free: Vec<&Listener> = old.listeners.iter().collect();
    let mut ids: Vec<Option<ListenerId>> = vec![None; new.listeners.len()];
    let named = |a: &Listener, b: &Listener| a.name == b.name;
    let placed = |a: &Listener, b: &Listener| a.bind.iter().any(|at| b.bind.contains(at));
    for alike in [&named as &dyn Fn(&Listener, &Listener) -> bool, &placed] {
        for (id, listener) in ids.iter_mut().zip(&new.listeners).filter(|(id, _)| id.is_none()) {
            let found = free
                .iter()
                .position(|o| o.transport == listener.transport && alike(o, listener));
            *id = found.map(|at| free.remove(at).id);
        }
    }
    let mut next = old
        .listeners
        .iter()
        .map(|l| l.id.0)
        .max()
        .map_or(0, |id| id.wrapping_add(1));
    for (listener, id) in new.listeners.iter_mut().zip(ids) {
        listener.id = id.unwrap_or_else(|| {
            while old.listeners.iter().any(|l| l.id.0 == next) {
                next = next.wrapping_add(1);
            }
            next = next.wrapping_add(1);
            ListenerId(next.wrapping_sub(1))
        });
    }
}

fn sockets(old: &Snapshot, new: &Snapshot) -> Sockets {
    let all = |snapshot: &Snapshot| -> Vec<(Socket, bool)> {
        let of = |l: &Listener| {
            let (id, datagrams) = (l.id, l.transport == Transport::Udp);
            l.bind.iter().map(move |at| ((id, *at), datagrams)).collect::<Vec<_>>()
        };
        snapshot.listeners.iter().flat_map(of).collect()
    };
    let (before, after) = (all(old), all(new));
    let mut out = Sockets::default();
    let mut close: Vec<(Socket, bool)> = before.iter().filter(|s| !after.contains(s)).copied().collect();
    for listener in &new.listeners {
        let datagrams = listener.transport == Transport::Udp;
        let mut open = Vec::new();
        for at in &listener.bind {
            if before.contains(&((listener.id, *at), datagrams)) {
                continue;
            }
            match close
                .iter()
                .position(|((_, held), kind)| *kind == datagrams && overlap(*held, *at))
            {
                None => open.push(*at),
                Some(held) => {
                    let ((id, address), _) = close[held];
                    out.restart
                        .push(format!("listener {} on {at}: {address} is in its way", listener.name));
                    // What still belongs to somebody goes on serving until then.
                    if new.listener(id).is_some() {
                        close.remove(held);
                    }
                }
            }
        }
        if !open.is_empty() {
            out.open.push((listener.clone(), open));
        }
    }
    out.close = close.into_iter().map(|(socket, _)| socket).collect();
    out
}

/// Whether two sockets of one kind cannot be open at once.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (any || a.ip() == b.ip())
}

/// Opens the new sockets: all of them, or none.
fn open(shard: &Rc<Shard>, settings: &Settings, sockets: &Sockets) -> Result<(), StartError> {
    let Some(transports) = shard.transports() else {
        return Ok(());
    };
    let mut done: Vec<Socket> = Vec::new();
    for (listener, addresses) in &sockets.open {
        let opened = spec(settings, listener, addresses.clone()).and_then(|spec| Ok(transports.listen(&spec)?));
        match opened {
            Ok(bound) => done.extend(bound.into_iter().map(|at| (listener.id, at))),
            Err(error) => {
                for (id, at) in done {
                    transports.close_address(id, at);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::snapshot;

    fn with(listeners: &str) -> Snapshot {
        snapshot(&format!("domains: [a.example]\nlisteners:\n{listeners}"))
    }

    fn ids(snapshot: &Snapshot) -> Vec<(String, u16)> {
        snapshot
            .listeners
            .iter()
            .map(|l| (l.name.to_string(), l.id.0))
            .collect()
    }

    #[test]
    fn listeners_keep_their_ids_by_name_or_by_address() {
        let old = with(
            "  - {name: u, transport: udp, bind: [\"127.0.0.1:5060\"]}\n  - {name: t, transport: tcp, bind: [\"127.0.0.1:5060\"]}\n",
        );
        let mut new = with(
            "  - {name: n, transport: tcp, bind: [\"127.0.0.1:5070\"]}\n  - {name: renamed, transport: udp, bind: [\"127.0.0.1:5060\"]}\n  - {name: t, transport: tcp, bind: [\"127.0.0.1:5060\", \"127.0.0.2:5060\"]}\n",
        );
        keep_listener_ids(&old, &mut new);
        let wanted = [("n", 2), ("renamed", 0), ("t", 1)].map(|(n, id)| (n.to_owned(), id));
        assert_eq!(ids(&new), wanted);
        assert_eq!(new.listener(ListenerId(1)).map(|l| &*l.name), Some("t"));
        let sockets = sockets(&old, &new);
        let opened: Vec<_> = sockets.open.iter().map(|(l, at)| (l.id.0, at.len())).collect();
        assert_eq!(
            (opened, sockets.close, sockets.restart),
            (vec![(2, 1), (1, 1)], vec![], vec![])
        );
    }

    #[test]
    fn a_socket_in_the_way_needs_a_restart_and_says_so() {
        let old = with("  - {name: t, transport: tcp, bind: [\"0.0.0.0:5060\"]}\n");
        let mut new = with("  - {name: t, transport: tcp, bind: [\"127.0.0.1:5060\"]}\n");
        keep_listener_ids(&old, &mut new);
        let sockets = sockets(&old, &new);
        assert!(sockets.open.is_empty() && sockets.close.is_empty());
        assert_eq!(
            sockets.restart,
            ["listener t on 127.0.0.1:5060: 0.0.0.0:5060 is in its way"]
        );
    }
}
