//! Anything may be in the file: the answer is a configuration or a report.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::case::read;
use crate::agent::config::file::text;
use crate::agent::config::inputs::Inputs;
use crate::agent::config::{EXAMPLE, PROBLEMS_MAX, Purpose};

/// Reads, shows whatever was found, and holds it to its promises.
fn survives(bytes: &[u8]) {
    let inputs = Inputs { purpose: Purpose::Look, ..Inputs::default() };
    let result = text("cluster.kat", bytes).and_then(|text| read(&inputs, &text));
    match result {
        Ok(config) => assert!(!config.name.is_empty()),
        Err(invalid) => {
            assert!((1..=PROBLEMS_MAX).contains(&invalid.problems.len()));
            assert!([2, 6].contains(&invalid.exit()));
            let report = invalid.to_string();
            assert!(report.starts_with("error: ") && report.contains("  code: KAT-E0"));
            assert!(invalid.to_json()["error"]["what"].is_string());
        }
    }
}

/// What a change puts into the example: YAML's own marks, or anything.
fn splinter() -> impl Strategy<Value = Vec<u8>> {
    let marks: Vec<&'static str> = vec![
        "",
        " ",
        "\n",
        "\r",
        "\t",
        ":",
        "- ",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "#",
        "&a ",
        "*a",
        "!x ",
        "!!str ",
        "|",
        "|+\n ",
        ">",
        "'",
        "\"",
        "%",
        "@",
        "`",
        "---\n",
        "...\n",
        "<<: ",
        "~",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "é",
        "\\",
        "\0",
        "0x",
        "1e9",
        ".nan",
        "%YAML 9\n",
    ];
    prop_oneof![
        proptest::sample::select(marks).prop_map(|mark| mark.as_bytes().to_vec()),
        vec(any::<u8>(), 0..4),
        (0..EXAMPLE.len(), 0usize..40).prop_map(|(at, length)| {
            EXAMPLE.as_bytes().iter().skip(at).take(length).copied().collect()
        }),
    ]
}

/// A change: where, how much goes, what comes.
fn change() -> impl Strategy<Value = (usize, usize, Vec<u8>)> {
    (0..EXAMPLE.len(), prop_oneof![Just(0usize), 0usize..8, 0usize..200], splinter())
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn marks_of_yaml_are_read_or_refused(parts in vec(splinter(), 0..40)) {
        survives(&parts.concat());
    }

    #[test]
    fn a_damaged_example_is_read_or_refused(changes in vec(change(), 1..6)) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        for (at, gone, come) in changes {
            let at = at.min(bytes.len());
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, come);
        }
        survives(&bytes);
    }
}

#[test]
fn a_file_of_the_largest_size_is_answered() {
    const BYTES: usize = 1024 * 1024;
    for part in ["[", "{a: ", "- ", "? ", "a: 1\n", "- a\n", "&", "'", "\"", "#\n", "\n", "a"] {
        survives(part.repeat(BYTES / part.len()).as_bytes());
    }
    let keys: String = (0..100_000).map(|number| format!("k{number}: 1\n")).collect();
    survives(keys.as_bytes());
}
