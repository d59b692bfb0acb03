//! [`Accounts`]: users, their roles, and what a role may.
//!
//! Accounts may be written down long before they are enforced. Every change
//! that is one makes a new auth revision, and leaves the revision of the
//! keyspace alone. Passwords come as bcrypt hashes and are compared elsewhere:
//! that takes too long for a place where everybody waits.
//!
//! Tokens are not kept: they are told to whoever keeps them ([`TokenChange`]),
//! and die with the process.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;

use super::command::AccountChange as Change;
use super::reader::Damaged;
use super::rejection::Denied;
use super::rights::Rights;
use super::schema::{AUTH, number};
use super::write::Work;
use crate::engine::Batch;
use crate::ids::LogIndex;
use crate::proto::authpb::{Permission, Role, User, UserAddOptions};
use crate::proto::etcdserverpb as pb;
use crate::proto::kat::log::Login;

/// The user and the role that must be there while accounts are enforced.
pub(super) const ROOT: &str = "root";

/// The revision of accounts that were never changed.
const FIRST_REVISION: u64 = 1;

const ON: &[u8] = b"on";
const REVISION: &[u8] = b"revision";
const USER: &str = "user/";
const ROLE: &str = "role/";

/// What an entry did to tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenChange {
    /// A user may show this one.
    Assigned {
        /// The token.
        token: String,
        /// Whose it is.
        user: String,
    },
    /// A user's are worth nothing any more.
    Dropped(String),
    /// None is worth anything any more.
    Cleared,
}

/// All users and roles.
pub(super) struct Accounts {
    is_on: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
    /// By user; follows from the above.
    rights: BTreeMap<String, Rights>,
}

impl Default for Accounts {
    fn default() -> Accounts {
        Accounts {
            is_on: false,
            revision: FIRST_REVISION,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            rights: BTreeMap::new(),
        }
    }
}

/// Whether a user has a role.
pub(super) fn holds(user: &User, role: &str) -> bool {
    user.roles.iter().any(|held| held == role)
}

impl Accounts {
    /// Takes a row.
    pub(super) fn load(&mut self, key: &[u8], row: &[u8]) -> Result<(), Damaged> {
        self.try_load(key, row).ok_or_else(|| Damaged(format!("bad row of accounts: {key:?}")))
    }

    fn try_load(&mut self, key: &[u8], row: &[u8]) -> Option<()> {
        let key = std::str::from_utf8(key).ok()?;
        if key.as_bytes() == ON {
            self.is_on = true;
        } else if key.as_bytes() == REVISION {
            self.revision = number(row)?.cast_unsigned();
        } else if let Some(name) = key.strip_prefix(USER) {
            self.users.insert(name.to_owned(), User::decode(row).ok()?);
        } else {
            let name = key.strip_prefix(ROLE)?;
            self.roles.insert(name.to_owned(), Role::decode(row).ok()?);
        }
        Some(())
    }

    /// Finds anew what everybody may.
    pub(super) fn refresh(&mut self) {
        let roles = &self.roles;
        let rights = self.users.iter().map(|(name, user)| {
            let roles = user.roles.iter().filter_map(|role| roles.get(role));
            (name.clone(), Rights::of(roles.flat_map(|role| &role.key_permission)))
        });
        self.rights = rights.collect();
    }

    /// Whether they are enforced.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Counts their changes.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// One user.
    pub(super) fn user(&self, name: &str) -> Result<&User, Denied> {
        self.users.get(name).ok_or(Denied::UserNotFound)
    }

    /// What a role may.
    pub(super) fn permissions(&self, role: &str) -> Result<Vec<Permission>, Denied> {
        let found = self.roles.get(role).ok_or(Denied::RoleNotFound)?;
        if role != ROOT {
            return Ok(found.key_permission.clone());
        }
        let perm_type = crate::proto::authpb::permission::Type::Readwrite.into();
        let everything = Permission { perm_type, key: "".into(), range_end: "\0".into() };
        Ok(vec![everything])
    }

    /// What a user may.
    pub(super) fn rights(&self, user: &str) -> Option<&Rights> {
        self.rights.get(user)
    }

    /// The names of all users.
    pub(super) fn users(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// The names of all roles.
    pub(super) fn roles(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// The hash with which a password is compared.
    pub(super) fn password(&self, name: &str) -> Result<Vec<u8>, Denied> {
        if !self.is_on {
            return Err(Denied::AuthNotEnabled);
        }
        let user = self.users.get(name).ok_or(Denied::AuthFailed)?;
        if is_without_password(user) {
            return Err(Denied::NoPasswordUser);
        }
        Ok(user.password.to_vec())
    }

    /// Carries a change out; the token, if it was a login.
    pub(super) fn change(
        &mut self,
        change: Change,
        index: LogIndex,
        work: &mut Work,
    ) -> Result<Option<String>, Denied> {
        let revision = self.revision;
        match change {
            Change::Login(login) => return self.login(login, index, work).map(Some),
            Change::Enable(_) => self.enable(&mut work.batch)?,
            Change::Disable(_) => self.disable(work),
            Change::UserAdd(request) => self.add_user(request, &mut work.batch)?,
            Change::UserChangePassword(request) => self.change_password(request, work)?,
            Change::UserDelete(request) => self.delete_user(request, work)?,
            Change::UserGrantRole(request) => self.grant_role(request, &mut work.batch)?,
            Change::UserRevokeRole(request) => self.revoke_role(&request, &mut work.batch)?,
            Change::RoleAdd(request) => self.add_role(request, &mut work.batch)?,
            Change::RoleDelete(request) => self.delete_role(&request, &mut work.batch)?,
            Change::RoleGrantPermission(request) => self.grant(request, &mut work.batch)?,
            Change::RoleRevokePermission(request) => self.revoke(&request, &mut work.batch)?,
        }
        if self.revision != revision {
            work.batch.put(AUTH, REVISION, &self.revision.to_be_bytes());
            self.refresh();
        }
        Ok(None)
    }

    fn login(&self, login: Login, index: LogIndex, work: &mut Work) -> Result<String, Denied> {
        if !self.is_on {
            return Err(Denied::AuthNotEnabled);
        }
        let user = self.users.get(&login.name).ok_or(Denied::AuthFailed)?;
        if is_without_password(user) {
            return Err(Denied::AuthFailed);
        }
        // Tokens that are signed are made by whoever has the keys.
        if login.prefix.is_empty() {
            return Ok(String::new());
        }
        let token = format!("{}.{index}", login.prefix);
        let assigned = TokenChange::Assigned { token: token.clone(), user: login.name };
        work.applied.tokens.push(assigned);
        Ok(token)
    }

    /// What is on already stays on.
    fn enable(&mut self, batch: &mut Batch) -> Result<(), Denied> {
        if self.is_on {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(Denied::RootUserNotExist)?;
        if !holds(root, ROOT) {
            return Err(Denied::RootRoleNotExist);
        }
        self.is_on = true;
        batch.put(AUTH, ON, &[1]);
        Ok(())
    }

    fn disable(&mut self, work: &mut Work) {
        if !self.is_on {
            return;
        }
        self.is_on = false;
        self.revision += 1;
        work.batch.delete(AUTH, ON);
        work.applied.tokens.push(TokenChange::Cleared);
    }

    fn add_user(
        &mut self,
        request: pb::AuthUserAddRequest,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let pb::AuthUserAddRequest { name, hashed_password, options, .. } = request;
        if name.is_empty() {
            return Err(Denied::UserEmpty);
        }
        if self.users.contains_key(&name) {
            return Err(Denied::UserAlreadyExists);
        }
        let options = options.unwrap_or(UserAddOptions { no_password: false });
        let password = if options.no_password { Bytes::new() } else { hash(&hashed_password)? };
        let user =
            User { name: name.clone().into(), password, roles: Vec::new(), options: Some(options) };
        write_user(&name, &user, batch);
        self.users.insert(name, user);
        self.revision += 1;
        Ok(())
    }

    fn change_password(
        &mut self,
        request: pb::AuthUserChangePasswordRequest,
        work: &mut Work,
    ) -> Result<(), Denied> {
        let name = request.name;
        let user = self.users.get_mut(&name).ok_or(Denied::UserNotFound)?;
        let is_without = is_without_password(user);
        user.password = if is_without { Bytes::new() } else { hash(&request.hashed_password)? };
        write_user(&name, user, &mut work.batch);
        self.revision += 1;
        work.applied.tokens.push(TokenChange::Dropped(name));
        Ok(())
    }

    fn delete_user(
        &mut self,
        request: pb::AuthUserDeleteRequest,
        work: &mut Work,
    ) -> Result<(), Denied> {
        let name = request.name;
        if self.is_on && name == ROOT {
            return Err(Denied::InvalidAuthManagement);
        }
        self.users.remove(&name).ok_or(Denied::UserNotFound)?;
        work.batch.delete(AUTH, &row_key(USER, &name));
        self.revision += 1;
        work.applied.tokens.push(TokenChange::Dropped(name));
        Ok(())
    }

    /// The role `root` needs no role of that name.
    fn grant_role(
        &mut self,
        request: pb::AuthUserGrantRoleRequest,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let pb::AuthUserGrantRoleRequest { user: name, role } = request;
        let user = self.users.get_mut(&name).ok_or(Denied::UserNotFound)?;
        if role != ROOT && !self.roles.contains_key(&role) {
            return Err(Denied::RoleNotFound);
        }
        if let Err(place) = user.roles.binary_search(&role) {
            user.roles.insert(place, role);
            write_user(&name, user, batch);
            self.revision += 1;
        }
        Ok(())
    }

    fn revoke_role(
        &mut self,
        request: &pb::AuthUserRevokeRoleRequest,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let pb::AuthUserRevokeRoleRequest { name, role } = request;
        if self.is_on && name == ROOT && role == ROOT {
            return Err(Denied::InvalidAuthManagement);
        }
        let user = self.users.get_mut(name).ok_or(Denied::UserNotFound)?;
        let place = user.roles.binary_search(role).or(Err(Denied::RoleNotGranted))?;
        user.roles.remove(place);
        write_user(name, user, batch);
        self.revision += 1;
        Ok(())
    }

    fn add_role(
        &mut self,
        request: pb::AuthRoleAddRequest,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let name = request.name;
        if name.is_empty() {
            return Err(Denied::RoleEmpty);
        }
        if self.roles.contains_key(&name) {
            return Err(Denied::RoleAlreadyExists);
        }
        let role = Role { name: name.clone().into(), key_permission: Vec::new() };
        write_role(&name, &role, batch);
        self.roles.insert(name, role);
        self.revision += 1;
        Ok(())
    }

    fn delete_role(
        &mut self,
        request: &pb::AuthRoleDeleteRequest,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let name = &request.role;
        if self.is_on && name == ROOT {
            return Err(Denied::InvalidAuthManagement);
        }
        self.roles.remove(name).ok_or(Denied::RoleNotFound)?;
        batch.delete(AUTH, &row_key(ROLE, name));
        for (user_name, user) in &mut self.users {
            if let Ok(place) = user.roles.binary_search(name) {
                user.roles.remove(place);
                write_user(user_name, user, batch);
            }
        }
        self.revision += 1;
        Ok(())
    }

    fn grant(
        &mut self,
        request: pb::AuthRoleGrantPermissionRequest,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let given = request.perm.ok_or(Denied::PermissionNotGiven)?;
        let ends = given.range_end.is_empty() || *given.range_end == [0];
        if given.key.is_empty() || !(ends || given.key < given.range_end) {
            return Err(Denied::InvalidAuthManagement);
        }
        let role = self.roles.get_mut(&request.name).ok_or(Denied::RoleNotFound)?;
        let all = &mut role.key_permission;
        // As in etcd: of all with this key, only the first can be replaced.
        let place = all.partition_point(|held| held.key < given.key);
        let is_same =
            |held: &Permission| held.key == given.key && held.range_end == given.range_end;
        if all.get(place).is_some_and(is_same) {
            all[place].perm_type = given.perm_type;
        } else {
            all.push(given);
            all.sort_by(|one, other| one.key.cmp(&other.key));
        }
        write_role(&request.name, role, batch);
        self.revision += 1;
        Ok(())
    }

    fn revoke(
        &mut self,
        request: &pb::AuthRoleRevokePermissionRequest,
        batch: &mut Batch,
    ) -> Result<(), Denied> {
        let role = self.roles.get_mut(&request.role).ok_or(Denied::RoleNotFound)?;
        let before = role.key_permission.len();
        role.key_permission
            .retain(|held| held.key != request.key || held.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(Denied::PermissionNotGranted);
        }
        write_role(&request.role, role, batch);
        self.revision += 1;
        Ok(())
    }
}

/// A hash as it comes in a request, which may be a client's own.
fn hash(hashed_password: &str) -> Result<Bytes, Denied> {
    let hash = STANDARD.decode(hashed_password);
    hash.map(Bytes::from).map_err(|_malformed| Denied::NoPasswordUser)
}

fn is_without_password(user: &User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}

fn row_key(kind: &str, name: &str) -> Vec<u8> {
    [kind.as_bytes(), name.as_bytes()].concat()
}

fn write_user(name: &str, user: &User, batch: &mut Batch) {
    batch.put(AUTH, &row_key(USER, name), &user.encode_to_vec());
}

fn write_role(name: &str, role: &Role, batch: &mut Batch) {
    batch.put(AUTH, &row_key(ROLE, name), &role.encode_to_vec());
}
