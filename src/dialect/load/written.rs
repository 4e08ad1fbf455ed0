//! A mapping file as written. Unknown keys are refused; `mappings/README.md` explains each key.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::super::format::{self, Format};
use super::super::im::{self, ImMedia, ImMode, Typing};
use super::super::sip;
use super::super::{Place, Places};
use super::table::Table;
use super::{Fault, format_named};

/// A mapping file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// What it is for, in one line.
    pub about: Option<String>,
    /// The dialect that this file changes; it says only what differs. Default: `rfc`.
    #[schemars(with = "Option<String>")]
    pub extends: Option<Spanned<String>>,
    /// Habits on the wire.
    pub sip: Sip,
    /// Presence.
    pub presence: Presence,
    /// Instant messages.
    pub im: Im,
}

/// Habits on the wire.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sip {
    /// BENOTIFY to watchers that list `ms-benotify`. Default: false.
    pub benotify: Option<bool>,
    /// The first document in the 200 of SUBSCRIBE, to watchers that list `ms-piggyback-first-notify`. Default: false.
    pub piggyback: Option<bool>,
    /// Notifications extend subscriptions of watchers that list `com.microsoft.autoextend`. Default: false.
    pub autoextend: Option<bool>,
    /// One SUBSCRIBE for many targets. Default: false.
    pub adhoclist: Option<bool>,
    /// CSeq within a dialog may fall. Default: false.
    pub cseq_may_fall: Option<bool>,
    /// `uri="(null)"` in Digest; only for clients of our registrar. Default: false.
    pub digest_uri_null: Option<bool>,
    /// Contact lists and rights are kept here for its users, who set them and their state by SERVICE; only for clients of
    /// our registrar. Default: false.
    pub roaming: Option<bool>,
    /// `epid` goes back in later requests. Default: false.
    pub keep_epid: Option<bool>,
    /// Its addresses are lines: a document may name one at any host, the number counts. Default: false.
    pub line_subscription: Option<bool>,
    /// Option tags that are understood besides the usual ones. Default: none.
    pub understood: Option<Vec<String>>,
    /// Seconds of a subscription that names none; 0: what `presence.default_expires` of the bridge says. Default: 0.
    pub subscription_s: Option<u32>,
}

/// Presence.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Presence {
    /// Documents pass as they are. Default: false.
    #[schemars(with = "Option<bool>")]
    pub verbatim: Option<Spanned<bool>>,
    /// What is written and asked for, the best first. Default: `[pidf]`.
    #[schemars(with = "Option<Vec<String>>")]
    pub formats: Option<Vec<Spanned<String>>>,
    /// Patterns for ids of tuples that are telephones; `*` is any text. Default: none.
    pub phone_tuples: Option<Vec<String>>,
    /// A telephone that is idle, and nothing else, means available; otherwise unknown. Default: true.
    pub lone_phone_available: Option<bool>,
    /// One table for each format.
    pub tables: Tables,
}

/// Tables by format.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Tables {
    /// `application/pidf+xml` of the RFCs.
    pub pidf: Option<Table>,
    /// The same with the activity as text in `status`.
    pub pidf_text: Option<Table>,
    /// `application/cpim-pidf+xml`.
    pub cpim_pidf: Option<Table>,
    /// `application/xpidf+xml`.
    pub xpidf: Option<Table>,
    /// `text/xml+msrtc.pidf`.
    pub msrtc: Option<Table>,
    /// `application/msrtc-event-categories+xml`.
    pub categories: Option<Table>,
}

impl Tables {
    fn each(&self) -> impl Iterator<Item = (Format, &Table)> {
        let all = [
            &self.pidf,
            &self.pidf_text,
            &self.cpim_pidf,
            &self.xpidf,
            &self.msrtc,
            &self.categories,
        ];
        let formats = Format::ALL.into_iter().zip(all);
        formats.filter_map(|(format, table)| Some((format, table.as_ref()?)))
    }
}

/// Instant messages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Im {
    /// `pager` or `session`: what is tried first. Default: pager.
    #[schemars(with = "Option<Mode>")]
    pub mode: Option<Spanned<Mode>>,
    /// The other mode is tried when this one is refused. Default: false.
    pub fallback: Option<bool>,
    /// `message` or `x-ms-message`: the media line of offers. Default: message.
    pub media: Option<Media>,
    /// Media types that can be shown; an empty list is everything. Default: everything.
    #[schemars(with = "Option<Vec<String>>")]
    pub accept: Option<Vec<Spanned<String>>>,
    /// Pager messages travel as `message/cpim`. Default: false.
    #[schemars(with = "Option<bool>")]
    pub cpim: Option<Spanned<bool>>,
    /// `none`, `is-composing` or `keyboard-activity`. Default: is-composing.
    pub typing: Option<WrittenTyping>,
    /// Delivery notices are understood. Default: true.
    pub imdn: Option<bool>,
    /// The first message may come in INVITE. Default: false.
    pub first_message: Option<bool>,
    /// A session without a message ends after so many seconds, at least 10. Default: 600.
    #[schemars(with = "Option<u32>")]
    pub idle_s: Option<Spanned<u32>>,
}

/// How messages travel.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Alone.
    Pager,
    /// In sessions.
    Session,
}

/// The media line of offers.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Media {
    /// `m=message`.
    Message,
    /// `m=x-ms-message`.
    XMsMessage,
}

/// How typing is shown.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenTyping {
    /// Not at all.
    None,
    /// RFC 3994.
    IsComposing,
    /// INFO.
    KeyboardActivity,
}

/// The one file whose table speaks for documents that pass as they are.
const RFC: &str = "mappings/rfc.yaml";

fn set<T: Clone>(target: &mut T, written: Option<&T>) {
    if let Some(value) = written {
        target.clone_from(value);
    }
}

impl Written {
    /// Notes where the keys stand that decide what is spoken.
    pub(super) fn place(&self, file: &str, places: &mut Places) {
        let file: Arc<str> = file.into();
        if let Some(list) = &self.presence.formats {
            places.formats = list.iter().map(|at| place(&file, at)).collect();
        }
        if let Some(list) = &self.im.accept {
            places.accept = list.iter().map(|at| place(&file, at)).collect();
        }
        let one = |at: Option<Place>, into: &mut Option<Place>| *into = at.or(into.take());
        one(
            self.presence.verbatim.as_ref().map(|at| place(&file, at)),
            &mut places.verbatim,
        );
        one(self.im.mode.as_ref().map(|at| place(&file, at)), &mut places.mode);
        one(self.im.cpim.as_ref().map(|at| place(&file, at)), &mut places.cpim);
    }
}

fn place<T>(file: &Arc<str>, at: &Spanned<T>) -> Place {
    Place {
        file: Arc::clone(file),
        line: u32::try_from(at.referenced.line()).unwrap_or(u32::MAX),
    }
}

impl Sip {
    pub(super) fn apply(&self, sip: &mut sip::Sip) {
        set(&mut sip.benotify, self.benotify.as_ref());
        set(&mut sip.piggyback, self.piggyback.as_ref());
        set(&mut sip.autoextend, self.autoextend.as_ref());
        set(&mut sip.adhoclist, self.adhoclist.as_ref());
        set(&mut sip.cseq_may_fall, self.cseq_may_fall.as_ref());
        set(&mut sip.digest_uri_null, self.digest_uri_null.as_ref());
        set(&mut sip.roaming, self.roaming.as_ref());
        set(&mut sip.keep_epid, self.keep_epid.as_ref());
        set(&mut sip.line_subscription, self.line_subscription.as_ref());
        set(&mut sip.subscription_s, self.subscription_s.as_ref());
        if let Some(tags) = &self.understood {
            sip.understood = tags.iter().map(|t| t.to_ascii_lowercase().into()).collect();
        }
    }
}

impl Presence {
    pub(super) fn apply(&self, presence: &mut format::Presence, file: &Arc<str>, faults: &mut Vec<Fault>) {
        set(&mut presence.verbatim, self.verbatim.as_ref().map(|v| &v.value));
        if let Some(list) = &self.formats {
            presence.formats = list.iter().filter_map(|at| format_named(at, faults)).collect();
        }
        set(&mut presence.lone_phone_available, self.lone_phone_available.as_ref());
        if let Some(patterns) = &self.phone_tuples {
            presence.phone_tuples = patterns.iter().map(|p| p.as_str().into()).collect();
        }
        for (format, table) in self.tables.each() {
            let own = presence.tables[format as usize].take();
            let base = match &table.like {
                None => own,
                Some(at) => format_named(at, faults).and_then(|like| presence.tables[like as usize].clone()),
            };
            if let Some(at) = table.like.as_ref().filter(|_| base.is_none()) {
                let what = format!("there is no table for `{}` to start from", at.value);
                faults.push(Fault::at(at, what, "name a format whose table stands before this one"));
            }
            let base = base.unwrap_or_default();
            presence.tables[format as usize] = Some(table.apply(base, file, faults));
        }
        let others = presence.formats.iter().any(|f| *f != Format::Pidf) || self.tables.each().next().is_some();
        if presence.verbatim && others && **file != *RFC {
            let (line, column) = (1, 1);
            faults.push(Fault {
                line,
                column,
                what: "formats and tables mean nothing while documents pass as they are".into(),
                help: "write `verbatim: false` under `presence`".into(),
            });
        }
        for at in self.formats.iter().flatten() {
            if let Some(format) = Format::named(&at.value)
                && presence.tables[format as usize].is_none()
            {
                let what = format!("there is no table for `{}`", at.value);
                let help = format!(
                    "write one under `presence.tables.{}`, or take the format off the list",
                    at.value
                );
                faults.push(Fault::at(at, what, help));
            }
        }
    }
}

impl Im {
    pub(super) fn apply(&self, im: &mut im::Im, faults: &mut Vec<Fault>) {
        if let Some(mode) = &self.mode {
            im.mode = match mode.value {
                Mode::Pager => ImMode::Pager,
                Mode::Session => ImMode::Session,
            };
        }
        if let Some(media) = self.media {
            im.media = match media {
                Media::Message => ImMedia::Message,
                Media::XMsMessage => ImMedia::XMsMessage,
            };
        }
        if let Some(typing) = self.typing {
            im.typing = match typing {
                WrittenTyping::None => Typing::None,
                WrittenTyping::IsComposing => Typing::IsComposing,
                WrittenTyping::KeyboardActivity => Typing::KeyboardActivity,
            };
        }
        set(&mut im.fallback, self.fallback.as_ref());
        set(&mut im.cpim, self.cpim.as_ref().map(|v| &v.value));
        set(&mut im.imdn, self.imdn.as_ref());
        set(&mut im.first_message, self.first_message.as_ref());
        if let Some(idle) = &self.idle_s {
            if idle.value < 10 {
                let what = format!("a session of {} s ends before anybody answers", idle.value);
                faults.push(Fault::at(idle, what, "write at least 10; 600 is usual"));
            }
            im.idle_s = idle.value;
        }
        if let Some(list) = &self.accept {
            for wrong in list.iter().filter(|m| !m.value.contains('/')) {
                let what = format!("`{}` is no media type", wrong.value);
                faults.push(Fault::at(wrong, what, "write type/subtype, such as text/plain"));
            }
            im.accept = list.iter().map(|m| m.value.to_ascii_lowercase().into()).collect();
        }
    }
}
