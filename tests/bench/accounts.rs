//! A store that knows its users, for as long as a row needs it.

use anyhow::{Context, Result};
use kat::proto::authpb::{Permission, permission::Type};
use kat::proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use tonic::Request;
use tonic::transport::Channel;

use crate::clients::connect;

/// Accounts that are enforced, and how to end that.
pub(crate) struct Accounts {
    client: AuthClient<Channel>,
    token: String,
}

impl Accounts {
    /// Somebody who may do anything with keys, and nothing else.
    pub(crate) const USER: &str = "bench";
    /// Of everybody.
    pub(crate) const PASSWORD: &str = "bench";

    /// Makes the accounts, unless an earlier round did, and has them enforced.
    pub(crate) async fn enforce(endpoints: &[String]) -> Result<Accounts> {
        let mut client = AuthClient::new(connect(endpoints).await?);
        if client.user_get(pb::AuthUserGetRequest { name: "root".into() }).await.is_err() {
            found(&mut client).await.context("the accounts could not be made")?;
        }
        client.auth_enable(pb::AuthEnableRequest {}).await?;
        let (name, password) = ("root".into(), Accounts::PASSWORD.into());
        let known = client.authenticate(pb::AuthenticateRequest { name, password }).await?;
        Ok(Accounts { client, token: known.into_inner().token })
    }

    /// Everybody may do anything again.
    pub(crate) async fn end(mut self) -> Result<()> {
        let mut request = Request::new(pb::AuthDisableRequest {});
        request.metadata_mut().insert("token", self.token.parse()?);
        self.client.auth_disable(request).await?;
        Ok(())
    }
}

async fn found(client: &mut AuthClient<Channel>) -> Result<()> {
    for name in ["root", Accounts::USER] {
        let (role, user) = (name.to_owned(), name.to_owned());
        client.role_add(pb::AuthRoleAddRequest { name: role.clone() }).await?;
        let password = Accounts::PASSWORD.to_owned();
        let add = pb::AuthUserAddRequest { name: user.clone(), password, ..Default::default() };
        client.user_add(add).await?;
        client.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await?;
    }
    // From the first of all keys to the last.
    let zero = bytes::Bytes::from_static(&[0]);
    let perm = Permission { perm_type: Type::Readwrite as i32, key: zero.clone(), range_end: zero };
    let grant =
        pb::AuthRoleGrantPermissionRequest { name: Accounts::USER.into(), perm: Some(perm) };
    client.role_grant_permission(grant).await?;
    Ok(())
}
