//! What holds for every plan and every number, and the examples that the documentation gives.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn at(line: u32) -> RuleRef {
    RuleRef::new("dialplan", &Arc::from("dialplan.yaml"), line)
}

fn prefix(digits: Option<u8>, begins: &str, remove: u8, add: &str) -> Prefix {
    Prefix {
        digits,
        begins: begins.into(),
        remove,
        add: add.into(),
        rule: at(1),
    }
}

fn dial(digits: Option<u8>, begins: &str, remove: u8, add: &str) -> DialRule {
    DialRule {
        digits,
        begins: begins.into(),
        remove,
        add: add.into(),
        rule: at(2),
    }
}

fn peer(strip: &str, prefix: &str) -> PeerNumbers {
    PeerNumbers {
        strip: strip.into(),
        prefix: prefix.into(),
        host: None,
        phone: true,
        from: false,
        rule: at(3),
    }
}

fn american() -> Dialplan {
    Dialplan {
        numbers: Numbers {
            rules: vec![
                prefix(None, "011", 3, "+"),
                prefix(Some(11), "1", 0, "+"),
                prefix(Some(4), "1", 0, "+1555"),
            ],
            extensions: vec![5],
            country: Some(("1".into(), at(4))),
            national: vec![10],
            area: Some(("212".into(), at(5))),
            local: vec![7],
            ..Numbers::default()
        },
        dial: vec![dial(Some(11), "1", 6, "")],
        peers: vec![None, Some(peer("+1555", ""))],
    }
}

fn text(number: &[u8]) -> &str {
    core::str::from_utf8(number).unwrap_or_default()
}

#[test]
fn eleven_digits_that_begin_with_1_keep_the_last_five() {
    let plan = american();
    let made = |n: &str| plan.dial(n.as_bytes()).map(|r| text(&r.number).to_owned());
    assert_eq!(made("18005551212").as_deref(), Some("51212"));
    assert_eq!(made("+18005551212").as_deref(), Some("51212"));
    for other in ["8005551212", "180055512123", "28005551212", "1", ""] {
        assert_eq!(made(other), None, "{other}");
    }
}

#[test]
fn numbers_become_what_they_mean() {
    let plan = american();
    for (written, meant) in [
        ("011498912345", "+498912345"),
        ("18005551212", "+18005551212"),
        ("8005551212", "+18005551212"),
        ("5551212", "+12125551212"),
        ("1001", "+15551001"),
        ("51212", "51212"),
        ("2001", "2001"),
        ("+498912345", "+498912345"),
        ("*21#", "*21#"),
    ] {
        assert_eq!(text(&plan.normalise(written.as_bytes()).number), meant, "{written}");
    }
}

#[test]
fn a_number_is_read_in_every_way_once() {
    let plan = american();
    let read = |n: &str, from| -> Vec<String> {
        let readings = plan.readings(n.as_bytes(), from);
        readings.iter().map(|r| text(&r.number).to_owned()).collect()
    };
    assert_eq!(read("18005551212", None), ["18005551212", "+18005551212", "51212"]);
    assert_eq!(read("1001", None), ["1001", "+15551001"]);
    assert_eq!(read("2001", Some(PeerId(1))), ["+15552001", "2001"]);
    assert_eq!(read("2001", Some(PeerId(0))), ["2001"]);
    assert_eq!(read("+15551001", Some(PeerId(1))), ["+15551001"]);
}

#[test]
fn hostile_numbers_are_none() {
    let long = "1".repeat(100_000);
    let spaced = "1-".repeat(100_000);
    for hostile in [
        "",
        "+",
        "-",
        "++1",
        "1+1",
        "+1+1",
        "１２３",
        "٣٤٥",
        "1\u{200b}2",
        "12%",
        "12%zz",
        "%31%00",
        "12 34",
        "a",
        "0x12",
        "%2B%2B1",
        &long,
        &spaced,
    ] {
        assert_eq!(plain(hostile.as_bytes()), None, "{:.20}", hostile);
    }
    assert_eq!(plain(&"-".repeat(100_000).into_bytes()), None);
    for (written, meant) in [
        ("%31001", "1001"),
        ("%2B1555%31001", "+15551001"),
        ("+1 (555) 10-01".replace(' ', "").as_str(), "+15551001"),
        ("1.0.0.1", "1001"),
    ] {
        assert_eq!(
            plain(written.as_bytes()).as_deref(),
            Some(meant.as_bytes()),
            "{written}"
        );
    }
    let plan = american();
    assert_eq!(
        plan.readings(long.as_bytes(), Some(PeerId(1)))
            .iter()
            .filter(|r| r.number.len() > MOST_DIGITS)
            .count(),
        0
    );
    assert!(plan.normalise(b"").number.is_empty() && plan.readings(b"", None).is_empty());
}

#[test]
fn what_a_tel_uri_says_is_kept() {
    let phone = Phone::of(b"2001;PHONE-context=dialstring;device=SEP0011AABBCCDD;partition=HQ;x-own=1");
    assert_eq!(phone.device(), Some(&b"SEP0011AABBCCDD"[..]));
    assert_eq!(
        (phone.partition(), phone.param("x-own")),
        (Some(&b"HQ"[..]), Some(&b"1"[..]))
    );
    assert_eq!(phone.digits(b"", |_| false).as_deref(), Some(&b"2001"[..]));
    let local = Phone::of(b"1001;phone-context=+1-555");
    assert_eq!(local.digits(b"", |_| false).as_deref(), Some(&b"+15551001"[..]));
    let theirs = Phone::of(b"1001;phone-context=b.example");
    assert_eq!(theirs.digits(b"", |_| false), None);
    assert_eq!(theirs.digits(b"", |d| d == b"b.example").as_deref(), Some(&b"1001"[..]));
    // A full number needs no context, whatever stands there.
    let full = Phone::of(b"+15551001;ext=7;phone-context=b.example");
    assert_eq!(full.digits(b"", |_| false).as_deref(), Some(&b"+15551001"[..]));
    assert_eq!(full.ext(), Some(&b"7"[..]));
    assert_eq!(Phone::of(b"12").with(b";ext=3").ext(), Some(&b"3"[..]));
}

#[test]
fn what_is_written_in_vain_is_named() {
    let mut plan = american();
    plan.numbers.rules.push(prefix(Some(11), "15", 0, "+"));
    plan.numbers.rules.push(prefix(None, "0114", 3, "+4"));
    plan.numbers.rules.push(prefix(Some(2), "999", 0, "+"));
    plan.numbers.rules.push(prefix(Some(5), "7", 0, "+1"));
    plan.numbers.local.push(10);
    plan.dial.push(dial(Some(11), "15", 6, "9"));
    plan.dial.push(dial(Some(3), "4", 3, ""));
    plan.dial.push(dial(None, "+1", 0, ""));
    plan.dial.push(dial(None, "1", 0, "9"));
    plan.dial.push(dial(Some(5), "", 1, ""));
    plan.peers.push(Some(peer("0111", "")));
    plan.peers.push(Some(peer("", "9")));
    let said: Vec<String> = doubts(&plan).into_iter().map(|d| d.what).collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    it is never reached: dialplan.yaml:1 does the same first
    it is never reached: dialplan.yaml:1 takes every such number first
    it never fits: no number of 2 digits begins with `999`
    numbers of 5 digits are also listed in `extensions`
    numbers of 10 digits are listed in `national` and in `local`
    it is never reached: dialplan.yaml:2 takes every such number first
    it removes every digit, so it is passed over
    numbers of 11 digits that begin with `1` fit dialplan.yaml:2 as well
    numbers of 5 digits that begin with `+1` fit dialplan.yaml:2 as well
    `strip: 0111` never fits: normalised numbers begin otherwise
    numbers that begin with `+` do not get the prefix `9`: a `+` stands in front only
    ");
}

fn digits() -> impl Strategy<Value = String> {
    prop_oneof!["\\+?[0-9]{1,18}", "[0-9*#]{1,8}", "\\+?[01]{1,6}"]
}

fn short() -> impl Strategy<Value = String> {
    "[01]{0,3}"
}

fn any_plan() -> impl Strategy<Value = Dialplan> {
    let rule = (proptest::option::of(1..8_u8), short(), 0..4_u8, "\\+[0-9]{0,4}");
    let rules = proptest::collection::vec(rule, 0..5);
    let lengths = || proptest::collection::vec(1..12_u8, 0..3);
    let dials = proptest::collection::vec(
        (proptest::option::of(1..8_u8), "\\+?[01]{0,3}", 0..6_u8, "[0-9]{0,3}"),
        0..4,
    );
    (
        rules,
        lengths(),
        lengths(),
        lengths(),
        dials,
        proptest::option::of("[1-9]{1,2}"),
    )
        .prop_map(|(rules, extensions, national, local, dials, country)| Dialplan {
            numbers: Numbers {
                rules: rules.iter().map(|(d, b, r, a)| prefix(*d, b, *r, a)).collect(),
                extensions,
                national,
                local,
                country: country.map(|c| (c.into(), at(4))),
                area: Some(("212".into(), at(5))),
                ..Numbers::default()
            },
            dial: dials.iter().map(|(d, b, r, a)| dial(*d, b, *r, a)).collect(),
            peers: Vec::new(),
        })
}

proptest! {
    #[test]
    fn normalising_twice_is_normalising_once(plan in any_plan(), number in digits()) {
        let once = plan.normalise(number.as_bytes()).number;
        prop_assert_eq!(&plan.normalise(&once).number, &once);
        prop_assert!(once.len() <= MOST_DIGITS);
        // Whatever comes out is a number again.
        prop_assert_eq!(plain(&once), Some(once));
    }

    #[test]
    fn every_reading_is_a_number(plan in any_plan(), number in digits()) {
        for reading in plan.readings(number.as_bytes(), None) {
            prop_assert_eq!(plain(&reading.number), Some(reading.number));
        }
    }

    #[test]
    fn what_goes_to_a_peer_comes_back(strip in "\\+?[01]{0,3}", pre in "\\+?[01]{0,3}", number in digits()) {
        prop_assume!(strip != "+" || pre != "+");
        let numbers = peer(&strip, &pre);
        let there = numbers.to_peer(number.as_bytes());
        prop_assert!(plain(&there).is_some() || plain(number.as_bytes()).is_none(), "{:?}", there);
        // Every number that the rule translates is claimed, and so is every full number where images are short.
        if numbers.covers(number.as_bytes()) || (number.starts_with('+') && !pre.starts_with('+')) {
            prop_assert!(numbers.claims(number.as_bytes()), "{} {:?}", number, there);
        }
        if numbers.claims(number.as_bytes()) {
            let back = numbers.from_peer(&there).map_or_else(|| there.clone(), |(n, _)| n);
            prop_assert_eq!(back.as_slice(), number.as_bytes());
        }
    }

    #[test]
    fn a_rule_named_as_never_reached_never_is(plan in any_plan(), number in "[01]{1,7}") {
        let mut plan = plan;
        for (line, rule) in (100..).zip(&mut plan.numbers.rules) {
            rule.rule = at(line);
        }
        let dead: Vec<u32> = doubts(&plan)
            .iter()
            .filter(|d| d.what.starts_with("it "))
            .map(|d| d.rule.line)
            .collect();
        let used = plan.normalise(number.as_bytes()).rule.map_or(0, |r| r.line);
        prop_assert!(!dead.contains(&used) || used == 0, "{} by {}", number, used);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let phone = Phone::of(&bytes);
        if let Some(number) = phone.digits(b" /", |_| true) {
            prop_assert!(number.len() <= MOST_DIGITS);
            let plan = american();
            prop_assert!(!plan.readings(&number, Some(PeerId(1))).is_empty());
        }
    }
}
