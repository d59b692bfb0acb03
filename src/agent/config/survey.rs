//! What a configuration says about the world: a name that must resolve, a file
//! that must be readable.
//!
//! The only look outside; it comes last and changes nothing.

use std::fs::File;
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::diagnose::{Kind, Label, Problem};
use super::inputs::Purpose;
use super::load::Config;
use super::origin::Origin;
use super::spec::Advertise;

/// Returns what must be mended, and what is only worth a note.
pub(super) fn look(config: &Config, purpose: Purpose) -> (Vec<Problem>, Vec<String>) {
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    if let Advertise::Name(name) = &config.spec.advertise_address
        && let Err(error) = (name.as_str(), 0).to_socket_addrs()
    {
        let what = format!("advertiseAddress {name} does not resolve");
        let fix = "give an IP address, or auto for the source address of the default route";
        // A node that starts must not depend on who else has started already.
        if purpose == Purpose::Run {
            notes.push(format!("warning: {what}: {error}"));
        } else {
            let problem = Problem::new(Kind::BadValue, what, fix).because(error.to_string());
            problems.push(at(config, "advertiseAddress", name, problem));
        }
    }
    if let Some(s3) = &config.spec.backup_s3
        && let Err(why) = check_credentials(&s3.credentials_file)
    {
        let field = "backupS3.credentialsFile";
        let file = s3.credentials_file.display();
        let is_shared = *config.origins.of(field) == Origin::Store;
        if is_shared || purpose == Purpose::Look {
            notes.push(format!("warning: {field} {file}: {why}"));
        } else {
            let what = format!("{field} {file} cannot be used");
            let fix = format!("chmod 0600 {file}   and own it");
            let problem = Problem::new(Kind::BadValue, what, fix).because(why);
            problems.push(at(config, field, &file.to_string(), problem));
        }
    }
    (problems, notes)
}

fn at(config: &Config, field: &str, value: &str, problem: Problem) -> Problem {
    match *config.origins.of(field) {
        Origin::File(line, column) => {
            let text = String::new();
            let label = Label { line, column, width: value.chars().count(), text };
            Problem { labels: vec![label], ..problem }
        }
        ref origin => Problem { given_by: Some(format!("{origin} {value}").into()), ..problem },
    }
}

/// Secrets that others can read are refused, as ssh does with keys.
fn check_credentials(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(format!("its mode is {mode:04o}, and others may read it")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::agent::config::{ConfigSource, Inputs, load};

    /// The report on a file in a directory of its own, both by short names.
    fn report(spec: &str, purpose: Purpose, mode: u32) -> String {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("s3");
        fs::write(&credentials, "secret").unwrap();
        fs::set_permissions(&credentials, fs::Permissions::from_mode(mode)).unwrap();
        let file = dir.path().join("cluster.kat");
        let here = dir.path().display().to_string();
        let frame = "apiVersion: kat.dws.rip/v1alpha1\nkind: ClusterConfiguration\n\
                     metadata: {name: home}\nspec:\n";
        fs::write(&file, format!("{frame}  {}\n", spec.replace("HERE", &here))).unwrap();
        let config = Some(ConfigSource::File(file));
        match load(&Inputs { purpose, config, ..Inputs::default() }) {
            Ok(config) => config.notes.join("\n").replace(&here, "HERE"),
            Err(invalid) => invalid.to_string().replace(&here, "HERE"),
        }
    }

    const BUCKET: &str = "backupS3: {endpoint: \"https://s3\", bucket: kat, \
                          credentialsFile: HERE/s3}";

    #[test]
    fn credentials_that_others_can_read_are_refused_at_their_place() {
        let report = report(BUCKET, Purpose::Init, 0o640);
        let (first, rest) = report.split_once('\n').unwrap();
        assert_eq!(first, "error: backupS3.credentialsFile HERE/s3 cannot be used");
        assert!(rest.starts_with("  --> HERE/cluster.kat:5:68\n"), "{report}");
        assert!(rest.contains("why:  its mode is 0640, and others may read it"), "{report}");
        assert!(rest.ends_with("code: KAT-E0007 (exit 6)"), "{report}");
    }

    #[test]
    fn private_credentials_are_fine_and_a_look_only_warns() {
        assert_eq!(report(BUCKET, Purpose::Init, 0o600), "");
        let warning = "warning: backupS3.credentialsFile HERE/s3: \
                       its mode is 0644, and others may read it";
        assert_eq!(report(BUCKET, Purpose::Look, 0o644), warning);
        let missing = BUCKET.replace("HERE/s3", "HERE/other");
        assert!(report(&missing, Purpose::Init, 0o600).contains("No such file"));
    }

    #[test]
    fn a_name_that_does_not_resolve_stops_init_and_not_a_node() {
        let spec = "advertiseAddress: node-a.invalid";
        let report = |purpose| report(spec, purpose, 0o600);
        let refused = report(Purpose::Init);
        assert!(refused.contains("node-a.invalid does not resolve\n  --> "), "{refused}");
        assert!(refused.contains(":5:21\n"), "{refused}");
        assert!(report(Purpose::Run).starts_with("warning: advertiseAddress node-a.invalid"));
    }
}
