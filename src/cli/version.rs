//! `kat-agent version`, and the four lines that starters of etcd read.

use serde_json::json;

use super::command::Form;
use crate::agent::ETCD_VERSION;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints our version, and that of the API.
pub(super) fn run(form: Form) {
    match form {
        Form::Text => println!("kat-agent {VERSION} (etcd API {ETCD_VERSION})"),
        Form::Json => println!("{}", json!({ "version": VERSION, "etcd": ETCD_VERSION })),
    }
}

/// The lines of `etcd --version`; programs read the first one.
pub(super) fn as_etcd() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = std::env::consts::OS;
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: kat-{VERSION}\nGo Version: none (kat-agent \
         {VERSION})\nGo OS/Arch: {os}/{arch}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_etcd_has_four_lines() {
        let text = as_etcd();
        assert_eq!(text.lines().count(), 4);
        assert_eq!(text.lines().next(), Some("etcd Version: 3.7.1"));
    }
}
