//! Words about users, roles and rights.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::words::{self, Outcome, Words};
use crate::proto::authpb::permission::Type;
use crate::proto::authpb::{Permission, UserAddOptions};
use crate::proto::etcdserverpb as pb;
use crate::proto::kat::log::{Accounts, Login};
use crate::store::{AccountChange as Change, Reader, Request};

/// A change of accounts, if it is one. The next word is its first argument.
pub(super) fn request(name: &str, words: &mut Words) -> Outcome<Option<Request>> {
    let change = match name {
        "enable" => Change::Enable(pb::AuthEnableRequest {}),
        "disable" => Change::Disable(pb::AuthDisableRequest {}),
        "user_add" => Change::UserAdd(pb::AuthUserAddRequest {
            name: words.next()?,
            hashed_password: STANDARD.encode(words.next().unwrap_or_default()),
            ..Default::default()
        }),
        "user_add_without_password" => Change::UserAdd(pb::AuthUserAddRequest {
            name: words.next()?,
            options: Some(UserAddOptions { no_password: true }),
            ..Default::default()
        }),
        "password" => Change::UserChangePassword(pb::AuthUserChangePasswordRequest {
            name: words.next()?,
            hashed_password: STANDARD.encode(words.next()?),
            ..Default::default()
        }),
        "user_del" => Change::UserDelete(pb::AuthUserDeleteRequest { name: words.next()? }),
        "user_grant" => {
            let (user, role) = (words.next()?, words.next()?);
            Change::UserGrantRole(pb::AuthUserGrantRoleRequest { user, role })
        }
        "user_revoke" => {
            let (name, role) = (words.next()?, words.next()?);
            Change::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name, role })
        }
        "role_add" => Change::RoleAdd(pb::AuthRoleAddRequest { name: words.next()? }),
        "role_del" => Change::RoleDelete(pb::AuthRoleDeleteRequest { role: words.next()? }),
        "role_grant" => {
            let (name, perm) = (words.next()?, permission(words)?);
            Change::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name, perm })
        }
        "role_revoke" => {
            let (role, range) = (words.next()?, words.range()?);
            let pb::RangeRequest { key, range_end, .. } = range;
            let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
            Change::RoleRevokePermission(request)
        }
        "login" => {
            let (name, prefix) = (words.next()?, words.next().unwrap_or_default());
            Change::Login(Login { name, prefix })
        }
        _ => return Ok(None),
    };
    Ok(Some(Request::Accounts(Accounts { change: Some(change) })))
}

fn permission(words: &mut Words) -> Outcome<Option<Permission>> {
    let Ok(kind) = words.next() else { return Ok(None) };
    let kind = Type::from_str_name(&kind.to_uppercase()).ok_or("no such permission")?;
    let key = words.next().map(|word| words::key(&word)).unwrap_or_default();
    let range_end = words.next().map(|word| words::key(&word)).unwrap_or_default();
    Ok(Some(Permission { perm_type: kind.into(), key, range_end }))
}

/// All that there is to know of accounts.
pub(super) fn told(reader: &Reader) -> String {
    let (is_on, revision) = (reader.is_auth_on(), reader.auth_revision());
    let mut lines = format!("on {is_on} revision {revision}\n");
    for user in reader.users() {
        writeln!(lines, "{user}: {}", reader.roles_of(&user).unwrap().join(" ")).unwrap();
    }
    for role in reader.roles() {
        writeln!(lines, "role {role}:").unwrap();
        for held in reader.permissions_of(&role).unwrap() {
            let kind = held.perm_type().as_str_name();
            writeln!(lines, "  {kind} {:?} {:?}", held.key, held.range_end).unwrap();
        }
    }
    lines
}
