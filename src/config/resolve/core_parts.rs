//! Domains, the bridge's own identity, listeners.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use super::{Domains, Here, Resolver};
use crate::config::at::{At, Place};
use crate::config::load::World;
use crate::config::value;
use crate::config::written::{self, WrittenTransport};
use crate::policy::HostPort;
use crate::policy::rule::RuleRef;
use crate::policy::settings::LocalIdentity;
use crate::policy::snapshot::{ClientCertificate, Listener};
use crate::sip::net::{ListenerId, Transport};

impl Resolver<'_> {
    pub(super) fn domains(&mut self, here: Here<'_>, written: &[At<String>]) -> Domains {
        let mut domains = Domains::default();
        if written.is_empty() {
            let start = Place { line: 1, column: 1 };
            self.error(here, start, "there is no local domain", "add `domains: [a.example]`");
        }
        for at in written {
            let Some(name) = self.read(here, at, |text| value::name(text)) else {
                continue;
            };
            if domains.insert(&name, here.rule("domains", at.place)).is_err() {
                self.error(here, at.place, format!("`{name}` is listed twice"), "keep one of them");
            }
        }
        domains
    }

    pub(super) fn identity(
        &mut self,
        here: Here<'_>,
        written: Option<&written::Identity>,
        domains: &Domains,
    ) -> Option<LocalIdentity> {
        let host = match written.and_then(|w| w.host.as_ref()) {
            Some(at) => self.read(here, at, |text| value::name(text)),
            None => domains.at(0).map(|(name, _)| Arc::from(format!("bridge.{name}"))),
        };
        let path = |at: Option<&At<String>>, default: &str| here.path(at.map_or(default, |a| &a.value));
        let certificate = path(written.and_then(|w| w.certificate.as_ref()), "../certs/bridge.pem");
        let written_key = written.and_then(|w| w.key.as_ref());
        let key = path(written_key, "../certs/bridge.key");
        if self.world.world_readable(&key) == Some(true) {
            let place = written_key.map_or(Place::default(), |k| k.place);
            let what = format!("everybody on this machine can read the key {}", key.display());
            self.warn(here, place, what, format!("chmod 600 {}", key.display()));
        }
        Some(LocalIdentity {
            host: host?,
            certificate,
            key,
        })
    }

    pub(super) fn listeners(&mut self, here: Here<'_>, written: Option<&[At<written::Listener>]>) -> Vec<Listener> {
        let Some(written) = written else {
            return default_listeners();
        };
        let mut out: Vec<Listener> = Vec::new();
        for at in written {
            if let Some(listener) = self.listener(here, at, &out) {
                out.push(listener);
            }
        }
        if written.is_empty() {
            let start = Place { line: 1, column: 1 };
            self.error(
                here,
                start,
                "`listeners` is empty",
                "leave it out to get the default listeners",
            );
        }
        out
    }

    fn listener(&mut self, here: Here<'_>, at: &At<written::Listener>, before: &[Listener]) -> Option<Listener> {
        let name = &at.name.value;
        if before.iter().any(|l| &*l.name == name) {
            self.error(
                here,
                at.name.place,
                format!("there are two listeners `{name}`"),
                "name them apart",
            );
        }
        let transport = Transport::from(at.transport.value);
        let client_certificate = match &at.client_certificate {
            Some(asked) if at.transport.value != WrittenTransport::Tls => {
                let what = format!("a {} listener cannot ask for a certificate", transport.param());
                self.error(
                    here,
                    asked.place,
                    what,
                    "drop `client_certificate`, or use `transport: tls`",
                );
                ClientCertificate::None
            }
            Some(asked) => asked.value.into(),
            None if transport == Transport::Tls => ClientCertificate::Request,
            None => ClientCertificate::None,
        };
        let terminator = self.terminator(here, at);
        let bind = self.sockets(here, &at.bind, transport, before);
        let advertise = at
            .advertise
            .as_ref()
            .and_then(|a| self.read(here, a, |text| advertised(text)));
        let dialect = self.client_dialect(here, at.dialect.as_ref(), transport);
        let rule = here.rule("listener", at.place);
        Some(Listener {
            id: ListenerId(u16::try_from(before.len()).unwrap_or(u16::MAX)),
            name: name.as_str().into(),
            transport,
            bind,
            client_certificate,
            terminator,
            advertise,
            dialect,
            rule,
        })
    }

    fn sockets(
        &mut self,
        here: Here<'_>,
        at: &At<Vec<At<String>>>,
        transport: Transport,
        before: &[Listener],
    ) -> Vec<SocketAddr> {
        let mut bind = Vec::new();
        let world = self.world;
        for address in &at.value {
            let Some(socket) = self.read(here, address, |text| socket(text, world)) else {
                continue;
            };
            let taken = before
                .iter()
                .filter(|l| l.transport.is_reliable() == transport.is_reliable());
            if taken.flat_map(|l| &l.bind).chain(&bind).any(|other| *other == socket) {
                self.error(
                    here,
                    address.place,
                    format!("{socket} is bound twice"),
                    "choose another port",
                );
            }
            bind.push(socket);
        }
        if at.is_empty() {
            self.error(
                here,
                at.place,
                "`bind` is empty",
                "write [\"0.0.0.0:5060\", \"[::]:5060\"]",
            );
        }
        bind
    }
}

/// What others are told. A zone means something on this machine alone.
fn advertised(text: &str) -> Result<HostPort, value::Wrong> {
    let public = value::host_port(text)?;
    if public.host.contains('%') {
        let help = "leave the zone out; it stands in `bind`".to_owned();
        return Err((format!("`{text}` names an interface that others do not have"), help));
    }
    Ok(public)
}

/// An address with a port; a link-local one with its zone, as a number or an interface's name.
fn socket(text: &str, world: &dyn World) -> Result<SocketAddr, value::Wrong> {
    let wrong = || {
        let what = format!("`{text}` is no address with a port");
        (what, "write 0.0.0.0:5060 or [::]:5060".to_owned())
    };
    let Some((ip, zone, port)) = zoned(text) else {
        let socket: SocketAddr = text.parse().map_err(|_| wrong())?;
        return match socket {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err((
                format!("`{text}` is the same on every interface"),
                format!("write the zone: [{}%eth0]:{}", v6.ip(), v6.port()),
            )),
            socket => Ok(socket),
        };
    };
    let ip: Ipv6Addr = ip.parse().map_err(|_| wrong())?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let known = zone.parse().ok().or_else(|| world.interface(zone));
    let Some(number) = known.filter(|n| *n > 0) else {
        let help = "`ip -brief link` lists them".to_owned();
        return Err((format!("there is no network interface `{zone}`"), help));
    };
    Ok(SocketAddrV6::new(ip, port, 0, number).into())
}

/// The parts of `[fe80::1%eth0]:5060`.
fn zoned(text: &str) -> Option<(&str, &str, &str)> {
    let (inside, port) = text.strip_prefix('[')?.rsplit_once("]:")?;
    let (ip, zone) = inside.split_once('%')?;
    Some((ip, zone, port))
}

/// The ports of the original: 5060, 5061 that asks for a certificate, 5062 that requires one.
fn default_listeners() -> Vec<Listener> {
    let make = |id, name: &str, transport, port, client_certificate| Listener {
        id: ListenerId(id),
        name: name.into(),
        transport,
        bind: vec![
            SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into(),
            SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into(),
        ],
        client_certificate,
        terminator: None,
        advertise: None,
        dialect: crate::policy::snapshot::DialectId::default(),
        rule: RuleRef::built_in("listener"),
    };
    vec![
        make(0, "udp", Transport::Udp, 5060, ClientCertificate::None),
        make(1, "tcp", Transport::Tcp, 5060, ClientCertificate::None),
        make(2, "tls", Transport::Tls, 5061, ClientCertificate::Request),
        make(3, "tls-peers", Transport::Tls, 5062, ClientCertificate::Require),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_from;
    use crate::config::tests::Memory;

    fn bound(listener: &str) -> Result<String, String> {
        let text = format!("domains: [a.example]\nlisteners: [{{name: l, transport: udp, {listener}}}]\n");
        let loaded = load_from(Path::new("b.yaml"), &Memory::with(&[("b.yaml", &text)]));
        let loaded = loaded.map_err(|p| p.to_string())?;
        let all = loaded.snapshot.listeners.iter().flat_map(|l| &l.bind);
        Ok(all.map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_zone_is_a_number_or_the_name_of_an_interface() {
        let both = bound("bind: [\"[fe80::1%2]:5060\", \"[fe80::1%eth0]:5060\"]");
        assert_eq!(both.as_deref(), Ok("[fe80::1%2]:5060 [fe80::1%7]:5060"));
        for (bad, wanted) in [
            (
                "bind: [\"[fe80::1%eth9]:5060\"]",
                "there is no network interface `eth9`",
            ),
            ("bind: [\"[fe80::1%0]:5060\"]", "there is no network interface `0`"),
            ("bind: [\"[fe80::1]:5060\"]", "write the zone: [fe80::1%eth0]:5060"),
            (
                "bind: [\"[fe80::1%eth0]:x\"]",
                "`[fe80::1%eth0]:x` is no address with a port",
            ),
            (
                "bind: [\"[::1]:5060\"], advertise: \"[fe80::1%eth0]:5060\"",
                "leave the zone out; it stands in `bind`",
            ),
        ] {
            let text = bound(bad).unwrap_or_default() + &bound(bad).err().unwrap_or_default();
            assert!(text.contains(wanted), "{bad}: {text}");
        }
    }
}
