//! The table and the JSON, and questions without sense.

use clap::Parser;

use super::*;
use crate::config::tests::snapshot;

#[derive(Parser)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) args: Args,
}

const CONFIG: &str = "\
domains: [a.example]
users: [{aor: alice@a.example, password: {plain: x}}]
peers:
  - {name: b, domains: [b.example], transport: tls, tls: {ca: [ca.pem]}}
  - {name: c, domains: [c.example], transport: udp, addresses: [192.0.2.1]}
";

fn ask(words: &str) -> Result<(String, bool), String> {
    let args = Cli::try_parse_from(core::iter::once("explain").chain(words.split(' '))).map_err(|e| e.to_string())?;
    explain(&snapshot(CONFIG), &args.args)
}

#[test]
fn what_a_user_holds_is_judged_too() {
    let watch =
        "--from sip:alice@a.example --to sip:bert@b.example --user alice@a.example --method SUBSCRIBE --event presence";
    let verdict = |held: &str| ask(&format!("{watch} --held {held}")).map(|t| t.0).unwrap_or_default();
    assert!(verdict("999").contains("allow: "), "{}", verdict("999"));
    let refused = verdict("1000");
    assert!(
        refused.contains("403 Too Many Subscriptions, by presence.max_subscriptions"),
        "{refused}"
    );
}

#[test]
fn a_table_names_every_step_rule_and_line() {
    let table = ask("--from sip:bert@b.example --to sip:alice@a.example --peer b --method SUBSCRIBE --event presence");
    insta::assert_snapshot!(table.map(|t| t.0).unwrap_or_default(), @r#"
     1  source             not configured, allow                                no allow in acl.incoming, identity and digest decide
     2  listener           allow                  listener (built-in)           listener tls-peers (tls)
     3  peer identity      allow                  peer.tls (bridge.yaml:4)      peer b by its certificate
     4  name ACL           not configured, allow                                no entry by name applies
     5  authentication     allow                  peer.domains (bridge.yaml:4)  peer b may speak for b.example
     6  canonical address  allow                  domains (bridge.yaml:1)       local domain a.example, a known user
     7  enablement         allow                  user (bridge.yaml:2)          alice is enabled
     8  loop and hops      allow                                                no loop, 70 hops left
     9  search space       not configured, allow                                no search spaces
    10  presence group     not configured, allow                                no presence groups
    11  route              allow                                                stays here
    12  dialect            allow                  peer (bridge.yaml:4)          rfc, as peer b
    13  limits             allow                                                within limits

    allow: local user alice@a.example
    notify  application/pidf+xml  mappings/rfc.yaml:5  without Accept it is PIDF (RFC 3856 section 6.7)
    "#);
    let table = ask("--from sip:bert@b.example --to sip:alice@a.example --peer c");
    insta::assert_snapshot!(table.map(|t| t.0).unwrap_or_default(), @r#"
     1  source             allow                  peer.addresses (bridge.yaml:5)  192.0.2.1 may connect
     2  listener           allow                  listener (built-in)             listener udp (udp)
     3  peer identity      allow                  peer.addresses (bridge.yaml:5)  peer c by its listed address
     4  name ACL           not configured, allow                                  no entry by name applies
     5  authentication     refuse                 peer.domains (bridge.yaml:5)    peer c may not speak for b.example

    refuse: 403 Domain Not Granted, by peer.domains (bridge.yaml:5)
    "#);
    let table = ask("--from sip:alice@a.example --to sip:bert@b.example --user alice@a.example");
    insta::assert_snapshot!(table.map(|t| t.0).unwrap_or_default(), @r#"
     1  source             not configured, allow                                no allow in acl.incoming, identity and digest decide
     2  listener           allow                  listener (built-in)           listener udp (udp)
     3  peer identity      allow                                                no peer: no certificate
     4  name ACL           not configured, allow                                no entry by name applies
     5  authentication     allow                  user (bridge.yaml:2)          user alice by digest
     6  canonical address  allow                                                foreign domain b.example
     7  enablement         not configured, allow                                the target is no local user
     8  loop and hops      allow                                                no loop, 70 hops left
     9  search space       not configured, allow                                no search spaces
    10  presence group     not configured, allow                                no presence groups
    11  route              allow                  peer.domains (bridge.yaml:4)  peer b, 1 way(s)
    12  dialect            allow                  peer (bridge.yaml:4)          rfc, as peer b
    13  limits             allow                                                within limits

    allow: peer b by RFC 3263 over tls (priority 10, weight 50)
    message  pager, text/plain    passes as it is: the sender speaks rfc and peer b speaks rfc
    "#);
}

#[test]
fn json_says_the_same() {
    let (text, allowed) = ask("--from sip:alice@a.example --to sip:x@x.example --json").unwrap_or_default();
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (allowed, &value["verdict"], &value["status"]),
        (false, &json!("challenge"), &json!(407))
    );
    assert_eq!((&value["rule"], &value["line"]), (&json!("domains"), &json!(1)));
}

#[test]
fn a_question_without_sense_is_an_error() {
    for words in [
        "--from alice --to sip:alice@a.example",
        "--from sip:x@b.example --to sip:alice@a.example --peer nobody",
        "--from sip:x@b.example --to sip:alice@a.example --listener nowhere",
        "--from sip:x@b.example --to sip:alice@a.example --user nobody@a.example",
    ] {
        assert!(ask(words).is_err(), "{words}");
    }
}

#[test]
fn sips_comes_in_by_tls_without_being_told() {
    let answer = ask("--from sips:alice@a.example --to sips:alice@a.example --user alice@a.example");
    assert!(answer.is_ok_and(|(text, allowed)| allowed && text.contains("listener tls (tls)")));
}

#[test]
fn what_follows_the_decision_is_noted() {
    let one = "--from sip:alice@a.example --to sip:alice@a.example --user alice@a.example --method SUBSCRIBE";
    let noted = |words: String| ask(&words).map(|(text, _)| text.contains("\nnote: ") && text.contains("489"));
    assert_eq!(noted(one.into()), Ok(true));
    assert_eq!(noted(format!("{one} --event dialog")), Ok(true));
    assert_eq!(noted(format!("{one} --event presence")), Ok(false));
    let json = ask(&format!("{one} --event dialog --json")).map(|(text, _)| text);
    assert!(json.is_ok_and(|j| j.contains("\"notes\": [\n    \"what serves it")));
}

#[test]
fn a_register_is_for_the_registrar() {
    let answer = ask("--from sip:alice@a.example --to sip:alice@a.example --method REGISTER --user alice@a.example");
    assert!(answer.is_ok_and(|(text, allowed)| allowed && text.contains("the registrar of a.example")));
}
