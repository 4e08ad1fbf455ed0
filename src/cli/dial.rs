//! `trestle dial`: what becomes of a number, step by step, each with the line that says so.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::config::load;
use crate::policy::dialplan::{Phone, Readings};
use crate::policy::rule::RuleRef;
use crate::policy::{Snapshot, UriFacts, User};
use crate::sip::net::PeerId;

/// Say what becomes of a number: how it is read, whose it is, where it goes, what it is called there.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A number as somebody dials it, a tel: URI, or a sip: URI.
    pub number: String,
    /// Read it as this peer means it, and say what it is called there.
    #[arg(long, value_name = "NAME")]
    pub peer: Option<String>,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "config/bridge.yaml")]
    pub config: PathBuf,
    /// Machine-readable output.
    #[arg(long)]
    pub json: bool,
}

/// One step.
struct Told {
    step: &'static str,
    value: String,
    rule: Option<RuleRef>,
}

/// Exits 0 when the number is somebody's or goes somewhere, 1 when it is nobody's, 2 when the question makes no sense.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let told = load(&args.config)
        .map_err(|p| p.to_string())
        .and_then(|loaded| dial(&loaded.snapshot, args));
    let (text, code) = match told {
        Ok((steps, found)) if args.json => (as_json(args, &steps, found), u8::from(!found)),
        Ok((steps, found)) => (as_table(&steps), u8::from(!found)),
        Err(error) => {
            let _nobody_reads = writeln!(std::io::stderr(), "{error}");
            return ExitCode::from(2);
        }
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(if written.is_err() { 2 } else { code })
}

fn dial(snapshot: &Snapshot, args: &Args) -> Result<(Vec<Told>, bool), String> {
    let peer = match &args.peer {
        None => None,
        Some(name) => Some(snapshot.peer_named(name).ok_or_else(|| {
            let known: Vec<&str> = snapshot.peers.iter().map(|p| &*p.name).collect();
            format!("there is no peer `{name}`; peers: {}", known.join(", "))
        })?),
    };
    let number = args.number.trim();
    let with_scheme = ["tel:", "sip:", "sips:", "pres:", "im:"]
        .iter()
        .any(|s| number.get(..s.len()).is_some_and(|head| head.eq_ignore_ascii_case(s)));
    let uri = match (with_scheme, number.contains('@')) {
        (true, _) => number.to_owned(),
        (false, true) => format!("sip:{number}"),
        (false, false) => format!("tel:{number}"),
    };
    let facts = UriFacts::of(uri.as_bytes()).ok_or_else(|| format!("`{number}` is no number and no URI"))?;
    let mut told = params(&facts);
    let readings = snapshot.readings(&facts, peer);
    match &readings {
        Some(readings) => told.extend(read(snapshot, readings, peer)),
        None => told.push(Told {
            step: "read",
            value: "no number".to_owned(),
            rule: None,
        }),
    }
    let found = goes(snapshot, &facts, peer, &mut told);
    Ok((told, found))
}

/// What the URI says besides the number. What is not understood is kept and shown.
fn params(uri: &UriFacts<'_>) -> Vec<Told> {
    let phone = Phone::of(uri.user.unwrap_or_default()).with(uri.number_params);
    let named = [
        ("extension", phone.ext()),
        ("context", phone.context()),
        ("device", phone.device()),
        ("partition", phone.partition()),
    ];
    let told = named.into_iter().filter_map(|(step, value)| {
        Some(Told {
            step,
            value: shown(value?),
            rule: None,
        })
    });
    told.collect()
}

fn read(snapshot: &Snapshot, readings: &Readings<'_>, peer: Option<PeerId>) -> Vec<Told> {
    let plan = &snapshot.dialplan;
    let theirs = peer.and_then(|id| plan.peer(id)).map(|p| &p.rule);
    let told = readings.iter().map(|reading| {
        let rule = reading.rule;
        let step = match rule {
            None => "as it stands",
            Some(rule) if Some(rule) == theirs => "as the peer means it",
            Some(rule) if plan.dial.iter().any(|d| d.rule == *rule) => "dial rule",
            Some(_) => "normalised",
        };
        Told {
            step,
            value: shown(&reading.number),
            rule: rule.cloned(),
        }
    });
    told.collect()
}

/// Whose it is, or which route takes it; then what it is called there.
fn goes(snapshot: &Snapshot, uri: &UriFacts<'_>, peer: Option<PeerId>, told: &mut Vec<Told>) -> bool {
    if let Some(meant) = snapshot.meant(uri, peer, true) {
        let user = snapshot.user(meant.user);
        told.push(Told {
            step: "user",
            value: user.map(User::address).unwrap_or_default(),
            rule: meant.alias.or(user.map(|u| &u.rule)).cloned(),
        });
        abroad(snapshot, uri, peer, None, told);
        return true;
    }
    let Some((number, _)) = snapshot.routed_number(uri, peer) else {
        told.push(Told {
            step: "nobody",
            value: "no alias, and no route by digits".to_owned(),
            rule: None,
        });
        abroad(snapshot, uri, peer, None, told);
        return false;
    };
    let set = snapshot.routes.number(&number).and_then(|id| snapshot.routes.set(id));
    let first = set.and_then(|set| set.routes().first());
    if let Some(route) = first {
        let name = snapshot.peer(route.peer).map_or("", |p| &p.name);
        told.push(Told {
            step: "route",
            value: format!("{} to peer {name}", shown(&number)),
            rule: Some(route.rule.clone()),
        });
        abroad(snapshot, uri, peer, Some(route.peer), told);
    }
    true
}

fn abroad(
    snapshot: &Snapshot,
    uri: &UriFacts<'_>,
    asked: Option<PeerId>,
    routed: Option<PeerId>,
    told: &mut Vec<Told>,
) {
    let Some(peer) = routed.or(asked) else { return };
    if let Some(there) = snapshot.abroad(uri, asked.filter(|a| *a == peer), peer) {
        told.push(Told {
            step: "there",
            value: there.to_string(),
            rule: Some(there.rule.clone()),
        });
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn as_json(args: &Args, told: &[Told], found: bool) -> String {
    let steps: Vec<Value> = told
        .iter()
        .map(|t| {
            let rule = t.rule.as_ref();
            json!({
                "step": t.step,
                "value": t.value,
                "rule": rule.map(|r| &*r.id),
                "file": rule.map(|r| &*r.file),
                "line": rule.map(|r| r.line),
            })
        })
        .collect();
    let answer = json!({ "number": args.number, "peer": args.peer, "found": found, "steps": steps });
    format!("{answer:#}\n")
}

fn as_table(told: &[Told]) -> String {
    let width = |of: &dyn Fn(&Told) -> usize| told.iter().map(of).max().unwrap_or(0);
    let (steps, values) = (width(&|t| t.step.len()), width(&|t| t.value.chars().count()));
    let mut out = String::new();
    for t in told {
        let rule = t.rule.as_ref().map(ToString::to_string).unwrap_or_default();
        let line = format!("{:steps$}  {:values$}  {rule}", t.step, t.value);
        let _fits = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::snapshot_with;

    const CONFIG: &str = "\
domains: [a.example]
mappings: {dialplan: plan.yaml}
users: [{aor: alice@a.example, password: {plain: x}, aliases: [\"51212\"]}]
peers: [{name: ucm, domains: [ucm.example], transport: udp, addresses: [192.0.2.1]}]
routes: [{match: {digits: \"+1555\"}, peer: ucm}]
";
    const PLAN: &str = "\
numbers:
  rules: [{digits: 4, add: \"+1555\"}]
dial:
  - {digits: 11, begins: \"1\", remove: 6}
peers:
  ucm: {strip: \"+1555\", user: phone}
";

    fn ask(number: &str, peer: Option<&str>) -> (String, bool) {
        let args = Args {
            number: number.to_owned(),
            peer: peer.map(ToOwned::to_owned),
            config: PathBuf::new(),
            json: false,
        };
        let (told, found) = dial(&snapshot_with(CONFIG, PLAN), &args).expect("it makes sense");
        assert_eq!(as_json(&args, &told, found).matches("\"step\"").count(), told.len());
        (as_table(&told), found)
    }

    #[test]
    fn every_step_names_its_line() {
        let all = [
            ("1-800-555-1212", None),
            ("1042", None),
            ("1042", Some("ucm")),
            ("tel:77;phone-context=dialstring;device=SEP1;partition=HQ", None),
            ("alice@a.example", None),
        ];
        let told: Vec<String> = all
            .iter()
            .map(|(number, peer)| format!("{number}\n{}", ask(number, *peer).0))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        1-800-555-1212
        as it stands  18005551212
        dial rule     51212            dialplan.dial (plan.yaml:4)
        user          alice@a.example  user.alias (bridge.yaml:3)

        1042
        as it stands  1042
        normalised    +15551042                        dialplan.numbers (plan.yaml:2)
        route         +15551042 to peer ucm            route (bridge.yaml:5)
        there         sip:1042@ucm.example;user=phone  dialplan.peers (plan.yaml:6)

        1042
        as the peer means it  +15551042                        dialplan.peers (plan.yaml:6)
        as it stands          1042
        route                 +15551042 to peer ucm            route (bridge.yaml:5)
        there                 sip:1042@ucm.example;user=phone  dialplan.peers (plan.yaml:6)

        tel:77;phone-context=dialstring;device=SEP1;partition=HQ
        context       dialstring
        device        SEP1
        partition     HQ
        as it stands  77
        nobody        no alias, and no route by digits

        alice@a.example
        read  no number
        user  alice@a.example  user (bridge.yaml:3)
        ");
    }

    #[test]
    fn nobody_is_told_apart_and_nonsense_is_an_error() {
        assert!(!ask("77", None).1 && ask("51212", None).1 && ask("1042", None).1);
        assert!(!ask(&"1".repeat(100_000), None).1 && !ask("１２", None).1 && !ask("", None).1);
        let args = Args {
            number: "1".into(),
            peer: Some("umc".into()),
            config: PathBuf::new(),
            json: false,
        };
        let error = dial(&snapshot_with(CONFIG, PLAN), &args).err();
        assert_eq!(error.as_deref(), Some("there is no peer `umc`; peers: ucm"));
    }
}
