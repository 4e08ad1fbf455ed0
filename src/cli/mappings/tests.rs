use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    what: What,
}

fn matrix_of(line: &str) -> Result<String, String> {
    let words = ["mappings", "matrix"].into_iter().chain(line.split(' '));
    match Line::try_parse_from(words).map_err(|e| e.to_string())?.what {
        What::Matrix(args) => matrix::matrix(&args, built_in()),
        _ => Err("another command".into()),
    }
}

#[test]
fn the_table_tells_what_survives_and_which_line_decides() {
    let text = matrix_of("rfc lcs2005 --format msrtc").expect("a table");
    let line = |start: &str| text.lines().find(|l| l.starts_with(start)).unwrap_or_default();
    assert_eq!(line("busy"), "busy           busy");
    assert_eq!(line("vacation"), "vacation       out-of-office");
    assert!(
        text.contains("mappings/lcs2005.yaml:") && text.contains("vacation is shown as out-of-office"),
        "{text}"
    );
    assert!(
        line("mobile").ends_with("lost: the watcher's form has no place for it"),
        "{text}"
    );
    assert!(
        text.ends_with("11 of 13 states arrive as they are\n") && !text.contains('\u{1b}'),
        "{text}"
    );
    let back = matrix_of("lcs2005 rfc --from-format xpidf").expect("a table");
    assert!(
        back.contains("meeting        cannot be said there; busy arrives as busy"),
        "{back}"
    );
}

#[test]
fn json_has_every_state() {
    let text = matrix_of("cups ocs2007 --json").expect("a document");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read["states"].as_array().map(Vec::len), Some(13));
    assert_eq!(read["to"]["format"], "categories");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let unknown = matrix_of("rfc lcs2004").expect_err("no such dialect");
    assert!(unknown.contains("known: rfc, lcs2005, "), "{unknown}");
    let form = matrix_of("rfc cups --format msrtc").expect_err("no such form");
    assert!(form.contains("it has: pidf, cpim-pidf"), "{form}");
}

#[test]
fn the_list_names_all() {
    let text = list(built_in(), false);
    assert!(
        text.contains("sametime-legacy  Sametime SIP Gateway")
            && text.contains("presence categories, msrtc, pidf-text, xpidf; messages session"),
        "{text}"
    );
}

#[test]
fn check_reads_a_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let args = |json| CheckArgs {
        dir: dir.path().to_path_buf(),
        json,
    };
    std::fs::write(dir.path().join("own.yaml"), "extends: cups\n").expect("written");
    assert_eq!(check(&args(false)), ("1 file, well\n".to_owned(), 0));
    std::fs::write(
        dir.path().join("bad.yaml"),
        "extends: lcs2005\npresence: { tables: { msrtc: { nearest: { dnd: away } } } }\n",
    )
    .expect("written");
    let (text, code) = check(&args(false));
    assert!(
        code == 1 && text.contains("bad.yaml:2:") && text.ends_with("1 error in 2 files\n"),
        "{text}"
    );
    let (json, code) = check(&args(true));
    assert!(code == 1 && json.contains("\"fit\":false"), "{json}");
    let gone = CheckArgs {
        dir: dir.path().join("none"),
        json: false,
    };
    assert_eq!(check(&gone).1, 2);
}

/// The directory of the repository itself, `rfc.yaml` included, may be named.
#[test]
fn what_is_compiled_in_may_stand_in_the_directory() {
    let args = CheckArgs {
        dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings"),
        json: false,
    };
    let (text, code) = check(&args);
    assert_eq!(code, 0, "{text}");
}
