//! Reading single values. An error is a pair: what is wrong, what to write.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::HostPort;

/// What is wrong, what to write.
pub(super) type Wrong = (String, String);

fn wrong<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err((what.into(), help.into()))
}

/// `200ms`, `5s`, `30m`, `1h`, `1d`; a bare `0` is none.
pub(super) fn time(text: &str) -> Result<Duration, Wrong> {
    const HELP: &str = "write a whole number with its unit: 200ms, 5s, 30m, 1h, 1d";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == "0" => 0,
        "" if digits > 0 => return wrong(format!("`{text}` has no unit"), format!("{HELP}; perhaps {text}s")),
        _ => return wrong(format!("`{text}` is no time"), HELP),
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => wrong(format!("`{text}` is no time"), HELP),
    }
}

/// `4096`, `64KiB`, `1MiB`.
pub(super) fn size(text: &str) -> Result<usize, Wrong> {
    let (number, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(number), _) => (number, 1 << 10),
        (_, Some(number)) => (number, 1 << 20),
        _ => (text, 1),
    };
    match number
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| *n > 0)
    {
        Some(bytes) => Ok(bytes),
        None => wrong(format!("`{text}` is no number of bytes"), "write 4096, 64KiB or 1MiB"),
    }
}

/// A domain or host name in lower case without its trailing dot.
pub(super) fn name(text: &str) -> Result<Arc<str>, Wrong> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if !bare.is_ascii() {
        return wrong(
            format!("`{text}` is not ASCII"),
            "write the name as it goes over the wire (xn--...)",
        );
    }
    if bare.contains("://") || bare.starts_with("sip:") || bare.contains('@') || bare.contains(':') {
        return wrong(
            format!("`{text}` is more than a name"),
            "write the bare name, such as b.example",
        );
    }
    if bare.contains('*') {
        return wrong(
            format!("`{text}` has a wildcard"),
            "list the names; routes take a `suffix: .b.example`",
        );
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if bare.len() > 253 || !bare.split('.').all(label) {
        return wrong(
            format!("`{text}` is no host or domain name"),
            "letters, digits and hyphens between dots",
        );
    }
    Ok(bare.to_ascii_lowercase().into())
}

/// `.b.example` in lower case.
pub(super) fn suffix(text: &str) -> Result<Arc<str>, Wrong> {
    match text.strip_prefix('.').map(name) {
        Some(Ok(rest)) => Ok(format!(".{rest}").into()),
        Some(Err(error)) => Err(error),
        None => wrong(
            format!("suffix `{text}` does not start with a dot"),
            format!("write `.{text}`"),
        ),
    }
}

/// `+1555`, `9`, `*69`.
pub(super) fn digits(text: &str) -> Result<Arc<str>, Wrong> {
    let rest = text.strip_prefix('+').unwrap_or(text);
    let good =
        !text.is_empty() && text.len() <= 32 && rest.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#');
    if good {
        Ok(text.into())
    } else {
        wrong(
            format!("`{text}` is no digit prefix"),
            "write it like \"+1555\", in quotes",
        )
    }
}

/// Whether a written word can only be a digit prefix.
pub(super) fn looks_like_digits(text: &str) -> bool {
    !text.contains('.') && digits(text).is_ok()
}

/// An address or a network; IPv4-mapped IPv6 becomes IPv4.
pub(super) fn net(text: &str) -> Result<IpNet, Wrong> {
    const HELP: &str = "write an address (192.0.2.1, 2001:db8::1) or a network (192.0.2.0/24)";
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return wrong(format!("`{text}` is no address and no network"), HELP);
    };
    let net = unmapped(net);
    if net.trunc() != net {
        return wrong(
            format!("`{text}` has bits behind its prefix"),
            format!("write {}", net.trunc()),
        );
    }
    Ok(net)
}

fn unmapped(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (ip @ IpAddr::V4(_), Some(length)) if net.addr().is_ipv6() => IpNet::new(ip, length).unwrap_or(net),
        _ => net,
    }
}

/// `host`, `host:port`, `192.0.2.1:5061`, `[2001:db8::1]:5061`, `[fe80::1%eth0]`.
pub(super) fn host_port(text: &str) -> Result<HostPort, Wrong> {
    const HELP: &str = "write host or host:port; an IPv6 address in brackets";
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((inner, after)) = rest.split_once(']') else {
            return wrong(format!("`{text}` lacks its closing bracket"), HELP);
        };
        if inner.split('%').next().is_none_or(|ip| ip.parse::<Ipv6Addr>().is_err()) {
            return wrong(format!("`{inner}` is no IPv6 address"), HELP);
        }
        (
            Arc::from(inner),
            after
                .strip_prefix(':')
                .map(str::to_owned)
                .or((!after.is_empty()).then(|| after.to_owned())),
        )
    } else if text.matches(':').count() > 1 {
        return wrong(
            format!("`{text}` is an IPv6 address without brackets"),
            format!("write [{text}]"),
        );
    } else {
        let (host, port) = text
            .split_once(':')
            .map_or((text, None), |(h, p)| (h, Some(p.to_owned())));
        (name(host)?, port)
    };
    let Some(port) = port else {
        return Ok(HostPort { host, port: None });
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(HostPort { host, port: Some(port) }),
        _ => wrong(format!("`{port}` is no port"), "write a number from 1 to 65535"),
    }
}

/// A host and port to send to: a link-local address needs its zone.
pub(super) fn next_hop(text: &str) -> Result<HostPort, Wrong> {
    let hop = host_port(text)?;
    if hop.host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_unicast_link_local()) {
        let (what, port) = (format!("`{text}` is the same on every interface"), hop.port);
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        return wrong(what, format!("write the zone: [{}%eth0]{port}", hop.host));
    }
    Ok(hop)
}

/// 64 hexadecimal digits, colons between pairs allowed.
pub(super) fn sha256(text: &str) -> Result<[u8; 32], Wrong> {
    let bare: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    let mut out = [0_u8; 32];
    let good = bare.len() == 64
        && bare.chunks(2).zip(&mut out).all(|(pair, slot)| {
            let parsed = core::str::from_utf8(pair)
                .ok()
                .and_then(|p| u8::from_str_radix(p, 16).ok());
            *slot = parsed.unwrap_or_default();
            parsed.is_some()
        });
    if good {
        Ok(out)
    } else {
        wrong(
            "a SHA-256 pin has 64 hexadecimal digits",
            "copy it from `trestle cert list`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(time("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(time("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        for bad in [
            "5",
            "s",
            "",
            "5 s",
            "-1s",
            "1.5s",
            "99999999999999999999s",
            "999999999999999999d",
            "5S",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_lower_case_without_dot_and_nothing_else() {
        assert_eq!(name("B.Example.").as_deref(), Ok("b.example"));
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a b",
            "sip:b.example",
            "b.example:5060",
            "*.b.example",
            "bücher.example",
            "u@b",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_are_exact_and_mapped_ones_are_ipv4() {
        assert_eq!(
            net("::ffff:192.0.2.1").map(|n| n.to_string()).as_deref(),
            Ok("192.0.2.1/32")
        );
        assert_eq!(
            net("::ffff:192.0.2.0/120").map(|n| n.to_string()).as_deref(),
            Ok("192.0.2.0/24")
        );
        assert!(net("192.0.2.1/24").is_err_and(|(_, help)| help.contains("192.0.2.0/24")));
        assert!(net("b.example").is_err());
    }

    #[test]
    fn hosts_and_ports() {
        let show = |text: &str| host_port(text).map(|h| h.to_string());
        for good in [
            "b.example",
            "b.example:5061",
            "192.0.2.1:5061",
            "[2001:db8::1]",
            "[fe80::1%eth0]:5061",
        ] {
            assert_eq!(show(good).as_deref(), Ok(good));
        }
        for bad in [
            "2001:db8::1",
            "[::1",
            "b.example:0",
            "b.example:x",
            "b.example:70000",
            "[::1]5060x",
            "[x]:1",
            "",
        ] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
        assert!(next_hop("[fe80::1%eth0]:5061").is_ok() && next_hop("[2001:db8::1]").is_ok());
        let zone = next_hop("[fe80::1]:5061").map_err(|(_, help)| help);
        assert_eq!(zone.err().as_deref(), Some("write the zone: [fe80::1%eth0]:5061"));
    }
}
