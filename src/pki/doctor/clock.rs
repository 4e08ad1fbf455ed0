//! The peer's clock, where it tells the time: the `Date` of its answer to our OPTIONS (RFC 3261 section 20.17).

use rustls_pki_types::UnixTime;
use time::PrimitiveDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::finding::{Finding, Side};

/// Clocks that differ by more than this will disagree about certificates and nonces.
const TOLERATED_S: i64 = 60;

/// An RFC 1123 date, without its zone, which is always GMT.
const FORMAT: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second]");

/// What a server answered to our OPTIONS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its first line.
    pub(super) start: String,
    /// Its clock, in seconds since 1970, if it says.
    pub(super) date: Option<i64>,
}

/// Reads the head of an answer once it is whole.
pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let mut lines = head.trim_start().split("\r\n");
    let start = lines.next().filter(|l| l.starts_with("SIP/2.0 "))?.to_owned();
    let date = lines
        .filter_map(|l| l.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("date"))
        .and_then(|(_, value)| date(value.trim()));
    Some(Answer { start, date })
}

fn date(text: &str) -> Option<i64> {
    let text = text.strip_suffix("GMT")?.trim_end();
    let at = PrimitiveDateTime::parse(text, FORMAT).ok()?;
    Some(at.assume_utc().unix_timestamp())
}

/// A finding where the clocks differ.
pub(super) fn compare(answer: &Answer, now: UnixTime) -> Option<Finding> {
    let ours = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let ahead = answer.date?.saturating_sub(ours);
    (ahead.saturating_abs() > TOLERATED_S).then(|| {
        let which = if ahead > 0 { "ahead of" } else { "behind" };
        Finding::warning(
            "clock-skew",
            Side::Theirs,
            format!("the peer's clock is {} s {which} ours", ahead.saturating_abs()),
            "set both clocks by NTP: certificates are judged by them",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_date_of_an_answer_and_nothing_else() {
        let answer = |date: &str| format!("SIP/2.0 200 OK\r\nVia: x\r\n{date}Content-Length: 0\r\n\r\n");
        let of = |date: &str| read(answer(date).as_bytes()).and_then(|a| a.date);
        assert_eq!(of("Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n"), Some(1_289_690_940));
        assert_eq!(of("DATE:Sat, 13 Nov 2010 23:29:00 GMT\r\n"), Some(1_289_690_940));
        assert_eq!(of("Date: Sat, 13 Nov 2010 23:29:00 +0100\r\n"), None);
        assert_eq!(of("Date: yesterday GMT\r\n"), None);
        assert_eq!(of(""), None);
        assert_eq!(read(b"SIP/2.0 200 OK\r\nDate: x"), None, "not whole yet");
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\n"), None);
    }

    #[test]
    fn clocks_a_minute_apart_are_tolerated() {
        let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(1_000_000));
        let at = |date| Answer {
            start: String::new(),
            date,
        };
        assert_eq!(compare(&at(None), now), None);
        assert_eq!(compare(&at(Some(1_000_060)), now), None);
        for (date, words) in [(1_000_061, "61 s ahead of ours"), (996_400, "3600 s behind ours")] {
            let found = compare(&at(Some(date)), now).expect("a finding");
            assert!(found.id == "clock-skew" && found.what.contains(words), "{}", found.what);
        }
    }
}
