//! Dialogs that exist, and requests that claim to belong to one.

use interop_tests::Outcome;
use interop_tests::agent::to_tag;
use interop_tests::wire::{Message, param};
use trestle::policy::{InDialog, Party};

use super::cases::Maker;
use super::parts::{Voice, user_of};
use super::world::{B, C, FRONT, GRANTED, World};

/// Whose dialog it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The bridge is at the other end: a subscription it serves or holds.
    Ends(Party),
    /// It passes through, from caller to callee.
    Through(Party, Party),
}

/// A dialog.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) call_id: String,
    /// Our tag, where the bridge ends the dialog.
    pub(crate) tag: String,
    /// Our Record-Route, where it passes through.
    pub(crate) route: String,
    /// Who may send in it.
    pub(crate) voices: Vec<Voice>,
}

/// What a request says of the dialog it claims.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Claim {
    /// The truth.
    True,
    /// A tag or token that nobody gave out.
    Forged,
    /// The right one under another Call-ID.
    OtherCall,
    /// A token of another dialog (a tag of another is one under another Call-ID).
    OtherToken,
    /// The right token, behind a Route of ours without one.
    Second,
    /// No token at all.
    NoToken,
}

impl Dialog {
    /// The fact, for a request with this From that comes by this voice.
    pub(crate) fn fact(
        &self,
        claim: Claim,
        voice: &Voice,
        from: &str,
        user: &impl Fn(&str) -> Option<Party>,
    ) -> Option<InDialog> {
        match self.kind {
            Kind::Ends(owner) => {
                (claim == Claim::True || claim == Claim::Second || claim == Claim::NoToken).then_some(InDialog {
                    sender: owner,
                    towards: None,
                })
            }
            Kind::Through(caller, callee) => {
                if !matches!(claim, Claim::True | Claim::Second) {
                    return None;
                }
                // The one user here whose domain has a front end.
                let dora = user("sip:dora@a2.example");
                let host = from.split('@').nth(1).unwrap_or_default();
                let granted = |peer| voice.peer == Some(peer) && GRANTED.contains(&(peer, host));
                let is = |party: Party| match party {
                    Party::Peer(peer) => granted(peer),
                    Party::User(_) => user(from) == Some(party),
                };
                let (sender, towards) = if is(callee) && !is(caller) {
                    (callee, caller)
                } else {
                    (caller, callee)
                };
                let fronted = matches!(sender, Party::User(_)) && Some(sender) == dora && voice.peer == Some(FRONT);
                Some(InDialog {
                    sender: if fronted { Party::Peer(FRONT) } else { sender },
                    towards: Some(towards),
                })
            }
        }
    }
}

/// Opens one of each.
pub(crate) fn open(maker: &mut Maker, world: &mut World) -> Outcome<Vec<Dialog>> {
    let alice = user_of(world, "sip:alice@a.example").ok_or("no alice")?;
    let dora = user_of(world, "sip:dora@a2.example").ok_or("no dora")?;
    let voice = Voice::named;
    let contact = |at: &str| format!("Contact: <sip:x@{at}>\r\nEvent: presence\r\nExpires: 3600\r\n");
    for (who, aor, at) in [
        ("alice", "sip:alice@a.example", "127.0.0.1:7000"),
        ("front", "sip:dora@a2.example", "127.0.0.7:5060"),
    ] {
        let domain = aor.split('@').nth(1).unwrap_or_default();
        let speaker = Voice {
            from: aor,
            ..voice(who)
        };
        let all = maker.plain(world, &speaker, "REGISTER", &format!("sip:{domain}"), aor, &contact(at))?;
        ok(&all, "REGISTER")?;
    }
    let mut dialogs = Vec::new();
    for (name, who, target, owner) in [
        ("+dialog served to a peer", "b", "sip:alice@a.example", Party::Peer(B)),
        ("+dialog served to a user", "alice", "sip:alice@a.example", alice),
        (
            "+dialog served to a user, held at a peer",
            "alice",
            "sip:bob@b.example",
            alice,
        ),
    ] {
        let all = maker.plain(
            world,
            &voice(who),
            "SUBSCRIBE",
            target,
            target,
            &contact("127.0.0.1:7000"),
        )?;
        let answer = ok(&all, name)?;
        dialogs.push(Dialog {
            name,
            kind: Kind::Ends(owner),
            call_id: answer.header("Call-ID").unwrap_or_default().into(),
            tag: to_tag(answer).into(),
            route: String::new(),
            voices: vec![voice(who)],
        });
        if let Some(upstream) = all.iter().find(|m| m.is("SUBSCRIBE")) {
            // Without a NOTIFY the bridge would give it up.
            let (call_id, from) = (
                upstream.header("Call-ID").unwrap_or_default(),
                upstream.header("From").unwrap_or_default(),
            );
            let lines =
                "Event: presence\r\nContact: <sip:far@127.0.0.9:5061>\r\nSubscription-State: active;expires=3600\r\n";
            ok(
                &maker.within(world, &voice("b"), "NOTIFY", (from, call_id), lines)?,
                "the first NOTIFY",
            )?;
            dialogs.push(Dialog {
                name: "+dialog held at a peer",
                kind: Kind::Ends(Party::Peer(B)),
                call_id: upstream.header("Call-ID").unwrap_or_default().into(),
                tag: upstream.header("From").map_or("", |f| param(f, "tag")).into(),
                route: String::new(),
                voices: vec![voice("b")],
            });
        }
    }
    assert_eq!(dialogs.len(), 4, "the bridge subscribes at b");
    for (name, from, target, sides) in [
        (
            "+dialog from user to peer",
            "alice",
            "sip:bob@b.example",
            (alice, Party::Peer(B)),
        ),
        (
            "+dialog from peer to peer",
            "c",
            "sip:bob@b.example",
            (Party::Peer(C), Party::Peer(B)),
        ),
        (
            "+dialog from peer to user",
            "b",
            "sip:alice@a.example",
            (Party::Peer(B), alice),
        ),
        (
            "+dialog from peer to a user behind a front end",
            "b",
            "sip:dora@a2.example",
            (Party::Peer(B), dora),
        ),
    ] {
        let all = maker.plain(
            world,
            &voice(from),
            "INVITE",
            target,
            target,
            "Contact: <sip:x@127.0.0.1:7000>\r\n",
        )?;
        let invite = all
            .iter()
            .find(|m| m.is("INVITE"))
            .ok_or(format!("{name}: not forwarded: {all:?}"))?;
        let route = invite
            .header("Record-Route")
            .and_then(|r| r.split(',').next())
            .ok_or("no Record-Route")?;
        let side = |party| match party {
            Party::Peer(B) => voice("b"),
            Party::Peer(C) => voice("c"),
            party if party == dora => Voice {
                from: "sip:dora@a2.example",
                ..voice("front")
            },
            _ => voice("alice"),
        };
        dialogs.push(Dialog {
            name,
            kind: Kind::Through(sides.0, sides.1),
            call_id: invite.header("Call-ID").unwrap_or_default().into(),
            tag: "far".into(),
            route: route.into(),
            voices: vec![side(sides.0), side(sides.1)],
        });
    }
    Ok(dialogs)
}

fn ok<'m>(all: &'m [Message], what: &str) -> Outcome<&'m Message> {
    let answer = all
        .iter()
        .find(|m| m.status() == 200 && m.branch().starts_with("z9hG4bKplain"));
    answer.ok_or_else(|| format!("{what}: no 200 in {all:?}").into())
}
