//! The name of a node: given, kept, or made from the host's.
//!
//! Deliberately not here: whether another node holds it.

use super::diagnose::{Kind, Problem};
use super::inputs::Inputs;
use super::shape::is_label;

/// The name of a node whose host has none.
const FALLBACK: &str = "kat-node";

/// Returns the name, and whether somebody gave it.
pub(super) fn choose(inputs: &Inputs) -> Result<(String, bool), Problem> {
    let variable = inputs.environment.get("KAT_NODE_NAME").filter(|name| !name.is_empty());
    let (name, shown) = match (&inputs.node_name, variable) {
        (Some(name), _) => (name, format!("--node-name {name}")),
        (None, Some(name)) => (name, format!("KAT_NODE_NAME={name}")),
        (None, None) => {
            let kept = inputs.remembered_node_name.clone().filter(|name| is_label(name));
            let name = kept
                .unwrap_or_else(|| of_host(&rustix::system::uname().nodename().to_string_lossy()));
            return Ok((name, false));
        }
    };
    if is_label(name) {
        return Ok((name.clone(), true));
    }
    let what = format!("\"{name}\" is no name for a node");
    let fix = match of_host(name).as_str() {
        FALLBACK => "for example   --node-name node-a".to_owned(),
        near => format!("for example   --node-name {near}"),
    };
    let mut problem = Problem::new(Kind::BadValue, what, fix)
        .because("it must be a DNS label: 1-63 of a-z, 0-9 and -, without - at either end");
    problem.given_by = Some(shown.into());
    Err(problem)
}

/// Makes a DNS label of the first part of a host name.
fn of_host(host: &str) -> String {
    let first = host.split('.').next().unwrap_or("").to_lowercase();
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let label: String = first.chars().map(fits).take(63).collect();
    match label.trim_matches('-') {
        "" | "localhost" => FALLBACK.to_owned(),
        label => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(flag: Option<&str>, variable: &str, kept: Option<&str>) -> (String, bool) {
        let inputs = Inputs {
            node_name: flag.map(str::to_owned),
            environment: [("KAT_NODE_NAME".to_owned(), variable.to_owned())].into(),
            remembered_node_name: kept.map(str::to_owned),
            ..Inputs::default()
        };
        choose(&inputs).unwrap()
    }

    #[test]
    fn a_host_name_becomes_a_label() {
        for (host, label) in [
            ("Node-A", "node-a"),
            ("node-a.example.org", "node-a"),
            ("my_box", "my-box"),
            ("", "kat-node"),
            ("localhost", "kat-node"),
            ("localhost.localdomain", "kat-node"),
            ("--", "kat-node"),
        ] {
            assert_eq!(of_host(host), label);
        }
        assert!(is_label(&of_host(&"x".repeat(100))));
    }

    #[test]
    fn a_given_name_wins_over_a_kept_one() {
        assert_eq!(chosen(Some("a"), "b", Some("c")), ("a".to_owned(), true));
        assert_eq!(chosen(None, "b", Some("c")), ("b".to_owned(), true));
        assert_eq!(chosen(None, "", Some("c")), ("c".to_owned(), false));
    }

    #[test]
    fn a_given_name_is_never_bent() {
        let inputs = Inputs { node_name: Some("Node_A".to_owned()), ..Inputs::default() };
        let problem = choose(&inputs).unwrap_err();
        assert_eq!(problem.given_by.as_deref(), Some("--node-name Node_A"));
        assert_eq!(problem.fix, "for example   --node-name node-a");
    }
}
