//! The whole way from text to snapshot: places, messages, defaults.

use std::collections::BTreeMap;
use std::path::Path;

mod lines;
mod numbers;
mod plans;

use super::error::Source;
use super::load::{World, load_from};
use super::plan::{Change, Kind, Withdrawn, plan};
use super::written::{AclEntry, AclSubject, Main, Match, Password, ProbeChoice};
use crate::policy::{DomainId, Snapshot};
use crate::sip::net::PeerId;

/// A machine in memory: files with their text, a `!` before the name marks them world-readable.
#[derive(Default)]
pub(crate) struct Memory(BTreeMap<String, String>);

impl Memory {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        Self(
            files
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }
}

impl World for Memory {
    fn read(&self, path: &Path) -> Result<String, String> {
        let name = path.to_string_lossy();
        let open = self.0.get(&format!("!{name}"));
        self.0
            .get(&*name)
            .or(open)
            .cloned()
            .ok_or_else(|| "no such file".to_owned())
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, String> {
        let inside = |name: &String| {
            let path = Path::new(name);
            (path.parent() == Some(directory))
                .then(|| path.file_name()?.to_str().map(str::to_owned))
                .flatten()
        };
        Ok(self.0.keys().filter_map(inside).collect())
    }

    fn world_readable(&self, path: &Path) -> Option<bool> {
        let name = path.to_string_lossy().into_owned();
        self.0
            .contains_key(&format!("!{name}"))
            .then_some(true)
            .or(self.0.contains_key(&name).then_some(false))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(&format!("${name}")).cloned()
    }

    fn interface(&self, name: &str) -> Option<u32> {
        (name == "eth0").then_some(7)
    }
}

pub(crate) fn snapshot(text: &str) -> Snapshot {
    snapshot_with(text, "")
}

/// As [`snapshot`], beside a dial plan that the configuration names `plan.yaml`.
pub(crate) fn snapshot_with(text: &str, plan: &str) -> Snapshot {
    let world = Memory::with(&[
        ("bridge.yaml", text),
        ("plan.yaml", plan),
        ("ca.pem", ""),
        ("pin.pem", ""),
        ("crl.pem", ""),
    ]);
    load_from(Path::new("bridge.yaml"), &world)
        .map(|l| l.snapshot)
        .unwrap_or_else(|p| panic!("{p}"))
}

fn problems(files: &[(&str, &str)]) -> String {
    match load_from(Path::new("bridge.yaml"), &Memory::with(files)) {
        Ok(_) => "no problem".into(),
        Err(problems) => problems.to_string(),
    }
}

fn warnings(files: &[(&str, &str)]) -> String {
    match load_from(Path::new("bridge.yaml"), &Memory::with(files)) {
        Ok(loaded) => loaded
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        Err(problems) => panic!("{problems}"),
    }
}

const FULL: &str = include_str!("full.yaml");

#[test]
fn every_located_field_has_a_line() {
    let options = serde_yaml::options! { strict_booleans: true };
    let main: Main = serde_yaml::from_str_with_options(FULL, options).expect("full.yaml parses");
    // Debug prints every place there is, so none can be forgotten.
    let text = format!("{main:?}");
    assert!(
        text.matches("Place {").count() > 100,
        "{}",
        text.matches("Place {").count()
    );
    assert!(!text.contains("line: 0"), "{text}");
    // What only a TLS listener and only a TCP listener may have: one each.
    let text = text.replacen("client_certificate: None", "", 1);
    let text = text.replacen("trusted_terminator: None", "", 1);
    assert!(!text.contains("None"), "full.yaml leaves a key out: {text}");
}

#[test]
fn places_are_exact_where_types_are_unusual() {
    let main: Main = serde_yaml::from_str(FULL).expect("full.yaml parses");
    let at = |needle: &str| {
        let (index, line) = FULL
            .lines()
            .enumerate()
            .find(|(_, l)| l.contains(needle))
            .expect("needle");
        (
            u32::try_from(index + 1).expect("small"),
            u32::try_from(line.find(needle).expect("needle") + 1).expect("small"),
        )
    };
    let place = |p: super::at::Place| (p.line, p.column);
    assert_eq!(place(main.domains[1].place), at("a2.example"));
    let Match::Digits(digits) = &main.routes[2].pattern.value else {
        panic!("digits")
    };
    assert_eq!(place(digits.place), at("\"+1555\" }"));
    let AclEntry::Allow(subject) = &main.acl.incoming[2].value else {
        panic!("allow")
    };
    let AclSubject::Host(host) = &subject.value else {
        panic!("host")
    };
    assert_eq!(place(host.place), at("gw.b.example"));
    let Some(ProbeChoice::On(probe)) = main.peers[0].probe.as_ref().map(|p| &p.value) else {
        panic!("probe")
    };
    assert_eq!(probe.interval.as_ref().map(|i| place(i.place)), Some(at("31s")));
    let Password::Env(name) = &main.users[0].password.value else {
        panic!("env")
    };
    assert_eq!(place(name.place), at("ALICE"));
}

#[test]
fn the_full_file_resolves() {
    let world = Memory::with(&[
        ("bridge.yaml", FULL),
        ("$ALICE", "secret"),
        ("bob.secret", "s3cret\r\n"),
        ("plan.yaml", "numbers: { rules: [{ digits: 4, add: \"+1555\" }] }"),
        ("b-ca.pem", ""),
        ("b.crl", ""),
        ("b.pem", ""),
        (
            "peers/c.yaml",
            "peers:\n  - {name: c, domains: [c.example], transport: udp, addresses: [192.0.2.3]}\n",
        ),
    ]);
    let loaded = load_from(Path::new("bridge.yaml"), &world).unwrap_or_else(|p| panic!("{p}"));
    let snapshot = loaded.snapshot;
    assert_eq!(loaded.files.len(), 3);
    assert_eq!(snapshot.local_domain(b"A2.EXAMPLE."), Some(DomainId(1)));
    assert_eq!(snapshot.peer_named("c"), Some(PeerId(1)));
    let bob = snapshot
        .users
        .find(b"b%6fb", b"a.example")
        .and_then(|id| snapshot.user(id))
        .expect("bob");
    assert_eq!(bob.password.reveal(), "s3cret");
    assert!(!format!("{snapshot:?}").contains("s3cret"), "a secret prints");
}

#[test]
fn the_shipped_files_resolve() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/bridge.yaml");
    let loaded = super::load(&here).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(
        (loaded.snapshot.listeners.len(), loaded.snapshot.users.iter().len()),
        (4, 2)
    );
    assert!(
        loaded
            .snapshot
            .listeners
            .iter()
            .flat_map(|l| &l.bind)
            .all(|s| s.ip().is_loopback())
    );
    let recipe = include_str!("../../config/peers/kamailio/bridge.yaml");
    let world = Memory::with(&[("bridge.yaml", recipe), ("certs/b-ca.pem", "")]);
    let loaded = load_from(Path::new("bridge.yaml"), &world).unwrap_or_else(|p| panic!("{p}"));
    assert!(loaded.snapshot.routes.domain(b"b.example").is_some());
}

#[test]
fn defaults_are_those_of_the_original() {
    let snapshot = snapshot("domains: [a.example]\n");
    let ports: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|l| (l.transport.param(), l.bind[0].port(), l.client_certificate))
        .collect();
    use crate::policy::snapshot::ClientCertificate::{None, Request, Require};
    assert_eq!(
        ports,
        [
            ("udp", 5060, None),
            ("tcp", 5060, None),
            ("tls", 5061, Request),
            ("tls", 5062, Require)
        ]
    );
    assert_eq!(snapshot.presence.notify_min_interval.as_secs(), 5);
    assert_eq!(&*snapshot.identity.host, "bridge.a.example");
}

#[test]
fn yaml_errors_point_at_their_place() {
    let show = |text: &str| problems(&[("bridge.yaml", text)]);
    insta::assert_snapshot!(show("domains: [a.example]\npeer:\n  - name: b\n"), @r#"
    bridge.yaml:2:1: unknown key `peer`
     2 | peer:
       | ^
       = did you mean `peers`?
    "#);
    insta::assert_snapshot!(show("domains: [a.example]\nlog: {json: yes}\n"), @r#"
    bridge.yaml:2:13: this must be a truth value
     2 | log: {json: yes}
       |             ^
       = write `true` or `false`
    "#);
    insta::assert_snapshot!(show("domains: [a.example]\nlog: {level: info, level: warn}\n"), @r#"
    bridge.yaml:2:20: `level` is written twice
     2 | log: {level: info, level: warn}
       |                    ^
       = keep one of them
    "#);
    insta::assert_snapshot!(show("domains: [a.example]\nstore: {sync: gruop}\n"), @r#"
    bridge.yaml:2:15: `gruop` is not possible here
     2 | store: {sync: gruop}
       |               ^
       = did you mean `group`?
    "#);
    insta::assert_snapshot!(show("domains: [a.example]\nusers:\n  - {aor: alice@a.example}\n"), @r#"
    bridge.yaml:3:6: `password` is missing
     3 |   - {aor: alice@a.example}
       |      ^
       = add `password:` to this entry
    "#);
    insta::assert_snapshot!(show("domains: [a.example\nusers: []\n"), @r#"
    bridge.yaml:2:6: illegal placement of ':' indicator
     2 | users: []
       |      ^
       = look at the indentation, brackets and quotes of this line and of the one before
    "#);
    insta::assert_snapshot!(show("domains: [a.example]\nregistrar: {max_contacts: many}\n"), @r#"
    bridge.yaml:2:27: this is no whole number, or not within its range
     2 | registrar: {max_contacts: many}
       |                           ^
       = write a number from 0 to 4294967295
    "#);
    insta::assert_snapshot!(show("domains: [a.example]\nacl: {incoming: [{permit: all}]}\n"), @r#"
    bridge.yaml:2:19: `permit` is not possible here
     2 | acl: {incoming: [{permit: all}]}
       |                   ^
       = write {allow: ...} or {deny: ...}
    "#);
    insta::assert_snapshot!(show("domains: [a.example]\nusers: [{aor: alice@a.example, password: s3cret}]\n"), @r#"
    bridge.yaml:2:42: a password is one of three kinds
     2 | users: [{aor: alice@a.example, password: ******}]
       |                                          ^
       = write {env: NAME}, {file: PATH} or {plain: TEXT}
    "#);
    insta::assert_snapshot!(problems(&[]), @r#"
    bridge.yaml: cannot be read: no such file
       = name a file that can be read: --config FILE
    "#);
}

#[test]
fn several_errors_are_reported_together() {
    let text = "\
domains: [a.example, b\u{fc}cher.example]
listeners:
  - {name: udp, transport: udp, bind: [\"0.0.0.0\"], client_certificate: request}
peers:
  - {name: b, domains: [b.example, a.example], transport: tls, request_timeout: 40s}
  - {name: c, domains: [c.example], transport: udp}
routes:
  - {match: {suffix: d.example}, peer: bb}
users:
  - {aor: alice@x.example, password: {env: NOPE}}
notify: {min_interval: 5}
presence: {max_expires: 2d}
acl: {incoming: [{allow: 10.0.0.1/8}, {deny: everybody}]}
";
    insta::assert_snapshot!(problems(&[("bridge.yaml", text)]), @r#"
    bridge.yaml:1:22: `bücher.example` is not ASCII
     1 | domains: [a.example, bücher.example]
       |                      ^
       = write the name as it goes over the wire (xn--...)

    bridge.yaml:3:40: `0.0.0.0` is no address with a port
     3 |   - {name: udp, transport: udp, bind: ["0.0.0.0"], client_certificate: request}
       |                                        ^
       = write 0.0.0.0:5060 or [::]:5060

    bridge.yaml:3:72: a udp listener cannot ask for a certificate
     3 |   - {name: udp, transport: udp, bind: ["0.0.0.0"], client_certificate: request}
       |                                                                        ^
       = drop `client_certificate`, or use `transport: tls`

    bridge.yaml:5:12: peer b over TLS has no anchor of its own
     5 |   - {name: b, domains: [b.example, a.example], transport: tls, request_timeout: 40s}
       |            ^
       = add `tls: {ca: [file.pem]}`, or pin its certificate with `tls: {pin: [...]}`

    bridge.yaml:5:36: `a.example` is a local domain (bridge.yaml:1)
     5 |   - {name: b, domains: [b.example, a.example], transport: tls, request_timeout: 40s}
       |                                    ^
       = a peer speaks for its own domains only; a proxy of yours that authenticates your users says `front_end: true`

    bridge.yaml:5:81: the sender's own Timer F (32s) would come first
     5 |   - {name: b, domains: [b.example, a.example], transport: tls, request_timeout: 40s}
       |                                                                                 ^
       = write more than 0 and less than 32s

    bridge.yaml:6:12: peer c over udp can only prove itself by its addresses
     6 |   - {name: c, domains: [c.example], transport: udp}
       |            ^
       = list them: addresses: [192.0.2.1]

    bridge.yaml:8:22: suffix `d.example` does not start with a dot
     8 |   - {match: {suffix: d.example}, peer: bb}
       |                      ^
       = write `.d.example`

    bridge.yaml:8:40: there is no peer `bb`
     8 |   - {match: {suffix: d.example}, peer: bb}
       |                                        ^
       = did you mean `b`?

    bridge.yaml:10:11: `x.example` is no local domain
     10 |   - {aor: alice@x.example, password: {env: NOPE}}
        |           ^
       = add the domain to `domains`, or correct the address

    bridge.yaml:10:44: the environment variable `NOPE` is not set
     10 |   - {aor: alice@x.example, password: {env: NOPE}}
        |                                            ^
       = set it where the bridge is started

    bridge.yaml:11:24: `5` has no unit
     11 | notify: {min_interval: 5}
        |                        ^
       = write a whole number with its unit: 200ms, 5s, 30m, 1h, 1d; perhaps 5s

    bridge.yaml:12:25: longer than a day
     12 | presence: {max_expires: 2d}
        |                         ^
       = write at most 1d

    bridge.yaml:13:26: `10.0.0.1/8` has bits behind its prefix
     13 | acl: {incoming: [{allow: 10.0.0.1/8}, {deny: everybody}]}
        |                          ^
       = write 10.0.0.0/8, `all`, {host: ...} or {name: ...}

    bridge.yaml:13:46: `everybody` is no address and no network
     13 | acl: {incoming: [{allow: 10.0.0.1/8}, {deny: everybody}]}
        |                                              ^
       = write an address (192.0.2.1, 2001:db8::1) or a network (192.0.2.0/24), `all`, {host: ...} or {name: ...}
    "#);
}

#[test]
fn errors_of_included_files_name_that_file() {
    let files = [
        (
            "bridge.yaml",
            "domains: [a.example]\ninclude: [peers/*.yaml, more.yaml, p*/x.yaml]\n",
        ),
        (
            "peers/b.yaml",
            "peers:\n  - {name: b, domains: [b.example], transport: tls, tls: {ca: [nowhere.pem]}}\n",
        ),
        ("peers/c.yaml", "domains: [c.example]\n"),
    ];
    insta::assert_snapshot!(problems(&files), @r#"
    bridge.yaml:2:25: more.yaml cannot be read: no such file
     2 | include: [peers/*.yaml, more.yaml, p*/x.yaml]
       |                         ^
       = the path is relative to this file

    bridge.yaml:2:36: `*` stands only in the file name
     2 | include: [peers/*.yaml, more.yaml, p*/x.yaml]
       |                                    ^
       = list the directories one by one

    peers/b.yaml:2:64: there is no file peers/nowhere.pem
     2 |   - {name: b, domains: [b.example], transport: tls, tls: {ca: [nowhere.pem]}}
       |                                                                ^
       = the path is relative to this file

    peers/c.yaml:1:1: unknown key `domains`
     1 | domains: [c.example]
       | ^
       = known here: users, peers, routes, acl
    "#);
}

#[test]
fn what_works_but_is_not_meant_warns() {
    let text = "\
domains: [a.example]
include: [none/*.yaml]
users:
  - {aor: alice@a.example, password: {plain: x}}
  - {aor: bob@a.example, password: {plain: y}}
acl: {incoming: [{allow: all}]}
admin: {http: 0.0.0.0:9090}
identity: {key: k.pem}
";
    insta::assert_snapshot!(warnings(&[("bridge.yaml", text), ("!k.pem", "")]), @r#"
    bridge.yaml:2:11: `none/*.yaml` matches no file
     2 | include: [none/*.yaml]
       |           ^
       = correct the path, which is relative to this file, or leave it for files to come
    bridge.yaml:4:38: a password stands in the configuration
     4 |   - {aor: alice@a.example, password: {plain: *}}
       |                                      ^
       = use {env: NAME} or {file: PATH} outside a laboratory (said once, for all users)
    bridge.yaml:6:18: `allow: all` lets every address connect
     6 | acl: {incoming: [{allow: all}]}
       |                  ^
       = list networks, so that only they can try
    bridge.yaml:7:15: metrics are open to everybody who reaches 0.0.0.0:9090
     7 | admin: {http: 0.0.0.0:9090}
       |               ^
       = 127.0.0.1 keeps them on this machine
    bridge.yaml:8:17: everybody on this machine can read the key k.pem
     8 | identity: {key: k.pem}
       |                 ^
       = chmod 600 k.pem
    "#);
}

#[test]
fn reuse_needs_tls_and_header_lines_have_bounds() {
    let peer = |settings: &str| {
        let text = format!("domains: [a.example]\npeers:\n  - {{name: b, domains: [b.example], {settings}}}\n");
        problems(&[("bridge.yaml", &text), ("ca.pem", "")])
    };
    let tls = "transport: tls, tls: {ca: [ca.pem]}";
    for fine in ["alias", "always", "never"] {
        assert_eq!(peer(&format!("{tls}, reuse: {fine}")), "no problem");
    }
    let plain = "transport: tcp, addresses: [192.0.2.1]";
    assert_eq!(peer(&format!("{plain}, reuse: never")), "no problem");
    assert!(peer(&format!("{plain}, reuse: always")).contains("reached over TLS"));
    let mixed = "transport: tcp, accept: [tls], tls: {ca: [ca.pem]}, reuse: alias";
    assert!(peer(mixed).contains("reached over TLS"));
    assert!(peer(&format!("{tls}, reuse: often")).contains("reuse"));
    let limit = |n: u32| {
        let text = format!("domains: [a.example]\nlimits: {{max_headers: {n}}}\n");
        problems(&[("bridge.yaml", &text)])
    };
    assert_eq!((limit(16), limit(2048)), ("no problem".into(), "no problem".into()));
    assert!(limit(15).contains("bridge.yaml:2:23") && limit(2049).contains("write 16 to 2048"));
}

#[test]
fn the_schema_knows_every_key() {
    let schema = super::schema();
    let value: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert_eq!(value["additionalProperties"], serde_json::Value::Bool(false));
    for key in [
        "client_certificate",
        "min_interval",
        "allow_cn",
        "suffix",
        "half_request_timeout",
        "off",
    ] {
        assert!(schema.contains(&format!("\"{key}\"")), "{key}");
    }
}

proptest::proptest! {
    /// Whatever stands in the file, loading ends with a configuration or with errors, never with a panic.
    #[test]
    fn no_text_makes_loading_panic(text in ".{0,300}", cut in 0_usize..4000) {
        let _one = problems(&[("bridge.yaml", &text)]);
        let cut: String = FULL.chars().take(cut).collect();
        let _two = problems(&[("bridge.yaml", &cut)]);
        let _three = problems(&[("bridge.yaml", &format!("{cut}{text}"))]);
    }
}

#[test]
fn a_source_without_that_line_still_renders() {
    let source = Source {
        name: "x".into(),
        text: String::new(),
    };
    let problem = source.problem(super::at::Place { line: 9, column: 3 }, "w", "");
    insta::assert_snapshot!(problem, @r#"
    x:9:3: w
     9 | 
       |   ^
    "#);
}

#[test]
fn marks_of_composition_are_data_and_the_short_keys_still_work() {
    let base = |presence: &str| {
        format!(
            "domains: [a.example]\nidentity: {{ host: a.example, certificate: c.pem, key: c.key }}\nlisteners:\n  - {{ name: udp, \
             transport: udp, bind: [\"127.0.0.1:5060\"] }}\npresence: {presence}\nstore: {{ path: data }}\nadmin: {{ socket: s, http: \
             \"off\" }}\n"
        )
    };
    let rules = |presence: &str| snapshot(&base(presence)).presence.rules;
    let usual = rules("{}");
    assert_eq!((usual.manual.len(), usual.dnd.len()), (2, 0));
    assert_eq!(usual.manual[1].tuple.as_deref(), Some("manual*"));
    assert_eq!(usual.dnd_elements, ["dnd".into(), "do-not-disturb".into()]);
    let own = rules(
        "{ manual_classes: [], manual_tuples: [x], manual: [{ class: c, dialect: rfc }], dnd: { elements: [q], marks: [{ tuple: y }] } }",
    );
    assert_eq!((own.manual.len(), own.manual[1].dialect.as_deref()), (2, Some("rfc")));
    assert_eq!(
        (own.dnd[0].tuple.as_deref(), own.dnd_elements),
        (Some("y"), vec!["q".into()])
    );
    for (presence, said) in [
        ("{ manual: [{ dialect: klingon }] }", "there is no dialect `klingon`"),
        ("{ manual: [{}] }", "a mark without keys marks nothing"),
        ("{ dnd: { elemnts: [] } }", "elemnts"),
    ] {
        let text = problems(&[("bridge.yaml", &base(presence))]);
        assert!(text.contains(said) && text.contains("bridge.yaml:5:"), "{text}");
    }
}

#[test]
fn a_dialect_of_clients_is_for_listeners_over_streams_only() {
    let own = "domains: [a.example]\nidentity: { certificate: ca.pem, key: ca.pem }\n";
    let listener = |transport: &str, dialect: &str| {
        let text = format!(
            "{own}listeners:\n  - {{name: l, transport: {transport}, bind: [\"127.0.0.1:5060\"], dialect: {dialect}}}\n"
        );
        problems(&[("bridge.yaml", &text), ("ca.pem", "")])
    };
    for fine in [
        ("tcp", "lcs2005-clients"),
        ("tls", "lcs2005-clients"),
        ("udp", "rfc"),
        ("udp", "sametime75"),
    ] {
        assert_eq!(listener(fine.0, fine.1), "no problem", "{fine:?}");
    }
    let wrong = listener("udp", "lcs2005-clients");
    assert!(
        wrong.contains("bridge.yaml:4:66: clients of `lcs2005-clients` sign in over streams only"),
        "{wrong}"
    );
    assert!(listener("tcp", "lcs2005-client").contains("did you mean `lcs2005-clients`"));
    let peer = format!(
        "{own}peers:\n  - {{name: b, domains: [b.example], transport: tcp, next_hop: \"192.0.2.1:5060\", addresses: [192.0.2.1/32], \
         dialect: lcs2005-clients}}\n"
    );
    let wrong = problems(&[("bridge.yaml", &peer), ("ca.pem", "")]);
    assert!(
        wrong.contains("`lcs2005-clients` is a dialect of clients that register here"),
        "{wrong}"
    );
}
