//! Users and roles of a [`Game`], and who asks.

use kat::proto::authpb::{Permission, UserAddOptions};
use kat::proto::etcdserverpb::{
    AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGetRequest, AuthRoleGrantPermissionRequest,
    AuthRoleRevokePermissionRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
    AuthUserDeleteRequest, AuthUserGetRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
};

use super::dice::{Dice, ENDS, KEYS};
use super::game::Game;
use super::streams::BEAT;

const USERS: [&str; 4] = ["root", "alice", "bob", ""];
const ROLES: [&str; 4] = ["root", "a", "b", ""];
const PASSWORDS: [&str; 3] = ["1", "2", ""];

/// Nobody was ever given that token.
const FORGED: &str = "aaaaaaaaaaaaaaaa.1";

impl Game {
    /// Asks in somebody's name from now on; root asks most.
    pub(super) fn ask_as_somebody(&mut self, dice: &mut Dice) {
        let name = dice.pick(&["root", "root", "root", "alice", "alice", "bob", "", "forged"]);
        self.wire.token = match name {
            "forged" => Some(FORGED.to_owned()),
            name => self.tokens.get(name).cloned().flatten(),
        };
    }

    /// Asks in root's name from now on, if there are names; returns the token of
    /// whoever asked before.
    pub(super) async fn become_root(&mut self) -> Option<String> {
        let token = self.wire.token.clone();
        if self.has_accounts {
            self.log_in("root", self.root_password).await;
        }
        token
    }

    async fn log_in(&mut self, name: &'static str, password: &str) {
        self.wire.log_in(name, password).await;
        if self.wire.token.is_some() {
            self.tokens.insert(name, self.wire.token.clone());
        }
    }

    async fn add_user(&mut self, name: &'static str, password: &'static str, bare: bool) {
        let options = bare.then_some(UserAddOptions { no_password: true });
        let password = if name == "root" && password.is_empty() { "1" } else { password };
        let request = AuthUserAddRequest {
            name: name.into(),
            password: password.into(),
            options,
            ..Default::default()
        };
        if self.wire.user_add(request).await.is_some() && name == "root" {
            self.root_password = password;
        }
    }

    async fn grant_role(&mut self, user: &str, role: &str) {
        let request = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        self.wire.user_grant_role(request).await;
    }

    async fn permit(&mut self, role: &str, perm: Permission) {
        let name = role.into();
        let request = AuthRoleGrantPermissionRequest { name, perm: Some(perm) };
        self.wire.role_grant_permission(request).await;
    }

    /// Some accounts to begin with; mostly they count from the start.
    pub(super) async fn open_accounts(&mut self, mut dice: Dice) {
        self.wire.token = None;
        self.add_user("root", "1", false).await;
        self.grant_role("root", "root").await;
        for role in ["a", "b"] {
            self.wire.role_add(AuthRoleAddRequest { name: role.into() }).await;
            let beat = Permission { perm_type: 0, key: BEAT.into(), range_end: "".into() };
            self.permit(role, beat).await;
            for _ in 0..3 {
                self.permit(role, permission(&mut dice)).await;
            }
        }
        for (user, role) in [("alice", "a"), ("bob", "b")] {
            self.add_user(user, "1", false).await;
            self.grant_role(user, role).await;
        }
        if dice.chance(80) {
            self.wire.auth_enable(Default::default()).await;
            for user in ["alice", "bob", "root"] {
                self.log_in(user, "1").await;
            }
        }
    }

    /// Does something to accounts, or asks for them.
    pub(super) async fn administer(&mut self, dice: &mut Dice) {
        self.ask_as_somebody(dice);
        if dice.chance(50) {
            self.wire.token = self.tokens.get("root").cloned().flatten();
        }
        let (user, role) = (dice.pick(&USERS), dice.pick(&ROLES));
        let (name, password) = (user.to_owned(), dice.pick(&PASSWORDS));
        match dice.below(100) {
            0..8 => self.add_user(user, password, user != "root" && dice.chance(15)).await,
            8..13 => drop(self.wire.user_delete(AuthUserDeleteRequest { name }).await),
            13..20 => drop(self.wire.user_get(AuthUserGetRequest { name }).await),
            20..23 => drop(self.wire.user_list(Default::default()).await),
            23..30 => self.change_password(user, password).await,
            30..39 => self.grant_role(user, role).await,
            39..44 => {
                let role = role.into();
                let request = AuthUserRevokeRoleRequest { name, role };
                self.wire.user_revoke_role(request).await;
            }
            44..73 => self.change_roles(dice, role).await,
            73..76 => drop(self.wire.auth_status(Default::default()).await),
            76..92 => {
                let password = if dice.chance(80) { "1" } else { password };
                self.log_in(user, password).await;
            }
            92..97 => drop(self.wire.auth_enable(Default::default()).await),
            _ => drop(self.wire.auth_disable(Default::default()).await),
        }
    }

    async fn change_roles(&mut self, dice: &mut Dice, role: &str) {
        let name = role.to_owned();
        match dice.below(30) {
            0..5 => drop(self.wire.role_add(AuthRoleAddRequest { name }).await),
            5..8 => {
                let request = AuthRoleDeleteRequest { role: name };
                self.wire.role_delete(request).await;
            }
            8..13 => drop(self.wire.role_get(AuthRoleGetRequest { role: name }).await),
            13..15 => drop(self.wire.role_list(Default::default()).await),
            15..25 => self.permit(role, permission(dice)).await,
            _ => {
                let Permission { key, range_end, .. } = permission(dice);
                let request = AuthRoleRevokePermissionRequest { role: name, key, range_end };
                self.wire.role_revoke_permission(request).await;
            }
        }
    }

    /// root keeps a password that is known, and one that opens the door.
    async fn change_password(&mut self, user: &'static str, password: &'static str) {
        let password = if user == "root" && password.is_empty() { "2" } else { password };
        let (name, word) = (user.to_owned(), password.to_owned());
        let request = AuthUserChangePasswordRequest { name, password: word, ..Default::default() };
        if self.wire.user_change_password(request).await.is_some() && user == "root" {
            self.root_password = password;
        }
    }

    pub(super) async fn list_accounts(&mut self) {
        self.wire.auth_status(Default::default()).await;
        let users = self.wire.user_list(Default::default()).await.unwrap_or_default().users;
        for name in users {
            self.wire.user_get(AuthUserGetRequest { name }).await;
        }
        let roles = self.wire.role_list(Default::default()).await.unwrap_or_default().roles;
        for role in roles {
            self.wire.role_get(AuthRoleGetRequest { role }).await;
        }
    }

    /// Leaves nobody behind.
    pub(super) async fn close_accounts(&mut self) {
        self.wire.auth_disable(Default::default()).await;
        self.wire.token = None;
        let users = self.wire.user_list(Default::default()).await.unwrap_or_default().users;
        for name in users {
            self.wire.user_delete(AuthUserDeleteRequest { name }).await;
        }
        let roles = self.wire.role_list(Default::default()).await.unwrap_or_default().roles;
        for role in roles {
            self.wire.role_delete(AuthRoleDeleteRequest { role }).await;
        }
        self.tokens.clear();
        self.has_accounts = false;
    }
}

fn permission(dice: &mut Dice) -> Permission {
    let perm_type = dice.pick(&[0, 1, 2, 2, 2]);
    let (key, range_end) =
        if dice.chance(20) { ("\0", "\0") } else { (dice.pick(&KEYS), dice.pick(&ENDS)) };
    Permission { perm_type, key: key.into(), range_end: range_end.into() }
}
