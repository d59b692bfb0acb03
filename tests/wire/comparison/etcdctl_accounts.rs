//! Stock `etcdctl` where accounts are enforced.

use super::wire::Wire;

async fn ctl(wire: &mut Wire, line: &str) {
    wire.program("etcdctl", line, "", None).await;
}

/// Accounts as an operator makes them, one command after another.
pub(super) async fn making_accounts(wire: &mut Wire) {
    for line in [
        "user add",
        "user add root:r00t",
        "user add root:r00t",
        "user add alice --new-user-password=secret",
        "user add bob:",
        "user add certified --no-password",
        "user add gone:1 -w json",
        "user delete gone",
        "user delete gone",
        "user list",
        "role add",
        "role add a",
        "role add a",
        "role add b -w json",
        "role grant-permission a readwrite a/ --prefix",
        "role grant-permission a read b c",
        "role grant-permission a write d --from-key",
        "role grant-permission a nonsense d",
        "role grant-permission a read c b",
        "role grant-permission missing read a",
        "role revoke-permission a d --from-key",
        "role revoke-permission a d",
        "role revoke-permission a a/ --prefix",
        "role grant-permission a readwrite a/ --prefix",
        "role get a",
        "role get missing",
        "role delete b",
        "role delete b",
        "user grant-role alice a",
        "user grant-role alice missing",
        "user grant-role missing a",
        "user revoke-role alice b",
        "user revoke-role alice a",
        "user grant-role alice a",
        "user get alice",
        "user get alice --detail",
        "user get missing",
        "auth status",
        "auth enable",
        "auth status",
        "--user=root:r00t auth status",
        "--user=root:r00t auth disable",
        "auth status",
    ] {
        ctl(wire, line).await;
    }
    wire.program("etcdctl", "user add typed --interactive=false", "word\n", None).await;
    wire.program("etcdctl", "user passwd alice --interactive=false", "other\n", None).await;
    wire.program("etcdctl", "user passwd missing --interactive=false", "other\n", None).await;
    ctl(wire, "user list -w json").await;
}

async fn enforce(wire: &mut Wire) {
    for line in [
        "put a/1 1",
        "put b 2",
        "user add root:r00t",
        "user add alice:secret",
        "role add a",
        "role grant-permission a readwrite a/ --prefix",
        "user grant-role alice a",
        "auth enable",
    ] {
        ctl(wire, line).await;
    }
}

/// One of everything, asked by somebody, by nobody, and by who says he is.
pub(super) async fn asking_as_somebody(wire: &mut Wire) {
    enforce(wire).await;
    for who in ["--user=alice:secret", "--user=alice:wrong", ""] {
        for line in [
            "get a/1",
            "get b",
            "get a/ --prefix",
            "get a --from-key",
            "get a/1 --stream",
            "get b --stream",
            "put a/1 2",
            "put b 2",
            "del a/1 --prev-kv",
            "del b",
            "watch b --rev=1",
            "lease grant 9000000001",
            "lease revoke 77",
            "lease timetolive 77",
            "lease list",
            "lease keep-alive 77 --once",
            "compaction 2",
            "member list",
            "member remove 1234",
            "endpoint health",
            "endpoint hashkv",
            "move-leader 1234",
            "alarm list",
            "alarm disarm",
            "defrag",
            "auth status",
            "auth enable",
            "user list",
            "user get alice",
            "user add eve:1",
            "role list",
            "role get a",
            "role add e",
            "snapshot save /nowhere/file",
            "elect b me",
            "lock b",
        ] {
            ctl(wire, &format!("{who} {line}")).await;
        }
        let input = "val(\"a/1\") = \"2\"\n\nput a/1 3\nget a/1\n\nget b\n\n";
        wire.program("etcdctl", &format!("{who} txn"), input, None).await;
    }
    ctl(wire, "--user=root:r00t get a --from-key -w json").await;
}
