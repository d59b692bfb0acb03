//! What all these tests start from.

use std::path::PathBuf;

use crate::agent::config::file::Text;
use crate::agent::config::inputs::Inputs;
use crate::agent::config::load::{Config, parse};
use crate::agent::config::{Invalid, Override};

/// A file with this `spec`, each line two columns in; `spec` is on line 5.
pub(super) fn file(spec: &str) -> String {
    let mut text = "apiVersion: kat.dws.rip/v1alpha1\nkind: ClusterConfiguration\n\
                    metadata:\n  name: home\nspec:\n"
        .to_owned();
    for line in spec.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// Reads a text as `cluster.kat`.
pub(super) fn read(inputs: &Inputs, text: &str) -> Result<Config, Invalid> {
    let text = Text {
        name: "cluster.kat".to_owned(),
        path: PathBuf::from("cluster.kat"),
        content: text.to_owned(),
    };
    parse(inputs, Some(&text))
}

/// The report on a text that must be wrong.
pub(super) fn report(text: &str) -> String {
    match read(&Inputs::default(), text) {
        Ok(config) => panic!("it is valid: {config:?}"),
        Err(invalid) => invalid.to_string(),
    }
}

/// What is wrong with a `spec`, one line a problem: code, place, text, hint.
pub(super) fn problems(spec: &str) -> Vec<String> {
    let Err(invalid) = read(&Inputs::default(), &file(spec)) else { return Vec::new() };
    let one = |problem: &crate::agent::config::Problem| {
        let code = &problem.kind.code()["KAT-E".len()..];
        match problem.labels.first() {
            Some(label) => {
                let (line, column) = (label.line, label.column);
                format!("{code} {line}:{column} {} | {}", problem.what, label.text)
            }
            None => format!("{code} {}", problem.what),
        }
    };
    invalid.problems.iter().map(one).collect()
}

/// Inputs with these `--set`, and the name that `init` needs.
pub(super) fn sets(sets: &[&str]) -> Inputs {
    let flags = sets.iter().map(|set| Override::set(set).unwrap()).collect();
    Inputs { flags, ..Inputs::default() }
}
