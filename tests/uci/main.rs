//! Our UCI reader against the real libuci: same sections, same names, same values, same order,
//! and where one refuses a text the other does so with the same words, line and byte.
//!
//! `corpus` holds one oddity per file; beside it, generated texts put the same oddities together
//! in ways that nobody thinks of. Where the two differ, libuci is right.

mod libuci;

use libuci::{Section, Value};
use onebox_openwrt::uci;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// What our reader makes of a text, in the words of the comparison.
fn ours(text: &[u8]) -> Result<Vec<Section>, String> {
    let document = uci::parse(text).map_err(|error| error.to_string())?;
    let sections = document.sections.into_iter().map(|section| Section {
        name: section.name.into_bytes(),
        kind: section.kind.into_bytes(),
        anonymous: section.anonymous,
        options: section
            .entries
            .into_iter()
            .map(|entry| {
                let value = match entry.value {
                    uci::Value::One(text) => Value::One(text.bytes),
                    uci::Value::List(texts) => {
                        Value::List(texts.into_iter().map(|text| text.bytes).collect())
                    }
                };
                (entry.name.into_bytes(), value)
            })
            .collect(),
    });
    Ok(sections.collect())
}

/// Whether both make the same of a text; if not, both answers.
fn differ(text: &[u8], path: &Path) -> Option<String> {
    let ours = ours(text);
    let theirs = libuci::load(path);
    let same = match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        // libuci puts the names of its functions before.
        (Err(ours), Err(theirs)) => theirs.ends_with(ours.as_str()),
        _ => false,
    };
    (!same).then(|| {
        format!("{:?}\nours:   {ours:?}\nlibuci: {theirs:?}", String::from_utf8_lossy(text))
    })
}

#[test]
fn every_file_of_the_corpus_reads_as_in_libuci() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/uci/corpus");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 60, "only {} files", paths.len());
    // libuci takes no file name with a dot.
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uci_corpus");
    let mut differences = Vec::new();
    for path in paths {
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&copy, &text).unwrap();
        if let Some(difference) = differ(&text, &copy) {
            differences.push(format!("{}: {difference}", path.display()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Every reason for an error is in the corpus, so that none goes uncompared.
#[test]
fn the_corpus_has_every_error() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/uci/corpus");
    let mut seen: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| uci::parse(&std::fs::read(entry.unwrap().path()).unwrap()).err())
        .map(|error| error.reason.as_str().to_owned())
        .collect();
    seen.sort();
    seen.dedup();
    // All of `Reason` but the bound on the text, which libuci does not have.
    assert_eq!(seen.len(), 12, "{seen:#?}");
}

/// Pieces of UCI, whole and broken.
const TOKENS: &[&str] = &[
    "config",
    "c",
    "option",
    "o",
    "list",
    "l",
    "package",
    "p",
    "conf",
    "optio",
    " ",
    " ",
    " ",
    "\t",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    "'",
    "\"",
    "''",
    "\"\"",
    ";",
    "; ",
    " ;",
    "#",
    " #",
    "\\",
    "\\\n",
    "\\\r\n",
    "\\\\",
    "\\'",
    "\\\"",
    "a",
    "b",
    "x1",
    "a-b",
    "a.b",
    "é",
    "\u{feff}",
    "=",
    "\x0b",
    "\x0c",
    "\0",
    "\x01",
    "\x7f",
    "\n\n",
    "'a b'",
    "\"a\\\"b\"",
    "cfg01b5ea",
    "0123456789012345678901234567890123456789",
    "thirtyonebytesthirtyonebytes_31",
    "config a 'x'\n",
    "config a\n",
    "\toption b 'c'\n",
    "\tlist b 'd'\n",
    "\toption b ''\n",
];

fn text() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(TOKENS), 0..24);
    let lines = prop::collection::vec(line(), 0..8).prop_map(|lines| lines.concat());
    prop_oneof![
        1 => pieces.prop_map(|pieces| pieces.concat()),
        3 => (Just("config a 'x'\n"), lines).prop_map(|(head, lines)| format!("{head}{lines}")),
    ]
}

/// A line that is mostly right.
fn line() -> impl Strategy<Value = String> {
    let command = prop::sample::select(&["config", "option", "list", "o", "l", "c", "package"][..]);
    let name = prop::sample::select(&["a", "b", "'a'", "\"b\"", "x;", "'x';", "a#b", "\\a"][..]);
    let value = prop_oneof![
        Just(String::new()),
        prop::sample::select(
            &["'v'", "v", "\"v w\"", "''", "'v\nw'", "\"v\\\nw\"", "v\\\n", "'a'b\"c\""][..]
        )
        .prop_map(str::to_owned),
        prop::collection::vec(prop::sample::select(TOKENS), 1..4)
            .prop_map(|pieces| pieces.concat()),
    ];
    let end =
        prop::sample::select(&["\n", "\n", "\r\n", " # c\n", ";", "; ", " ;\n", "", " '\n"][..]);
    (command, name, value, end)
        .prop_map(|(command, name, value, end)| format!("{command} {name} {value}{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn generated_texts_read_as_in_libuci(text in text()) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uci_generated");
        std::fs::write(&path, &text).unwrap();
        let difference = differ(text.as_bytes(), &path);
        prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    }
}
