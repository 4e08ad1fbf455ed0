//! Which DNS servers are asked.

use core::net::{IpAddr, SocketAddr};

use super::{Here, Resolver};
use crate::config::written;
use crate::policy::settings::Dns;

impl Resolver<'_> {
    pub(super) fn dns(&mut self, here: Here<'_>, written: &written::Dns) -> Dns {
        let servers = written.servers.iter().flatten().filter_map(|at| {
            self.read(here, at, |text| {
                address(text).ok_or_else(|| {
                    let help = "write addresses such as 192.0.2.53 or \"[2001:db8::53]:5353\"".to_owned();
                    (format!("`{text}` is no address"), help)
                })
            })
        });
        Dns {
            servers: servers.collect(),
        }
    }
}

/// An address with or without a port.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let with_usual_port = || Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, 53));
    text.parse().ok().or_else(with_usual_port)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_with_and_without_a_port() {
        for (text, meant) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(address(text).map(|a| a.to_string()).as_deref(), Some(meant));
        }
        for text in ["", "dns.example", "192.0.2.53:", "192.0.2", "[::1]:x"] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
