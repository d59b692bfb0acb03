//! Auth, as long as there are no accounts: it is off, and cannot be turned on.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::member::Member;
use super::status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::auth_server::Auth;

/// The revision of accounts that were never changed.
pub(super) const AUTH_REVISION: u64 = 1;

/// The service.
pub(super) struct Accounts {
    member: Arc<Member>,
}

impl Accounts {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Accounts {
        Accounts { member }
    }
}

/// The service, with the calls that need accounts as a list.
macro_rules! serve {
    ({ $($served:item)* } $($call:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Auth for Accounts {
            $($served)*
            $(async fn $call(
                &self,
                _request: Request<pb::$request>,
            ) -> Result<Response<pb::$response>, Status> {
                Err(status::not_yet("accounts"))
            })*
        }
    };
}

serve! {
    {
        async fn auth_status(
            &self,
            _request: Request<pb::AuthStatusRequest>,
        ) -> Result<Response<pb::AuthStatusResponse>, Status> {
            self.member.replica.linearize().await?;
            Ok(Response::new(pb::AuthStatusResponse {
                header: self.member.header_now(),
                enabled: false,
                auth_revision: AUTH_REVISION,
            }))
        }

        async fn auth_disable(
            &self,
            _request: Request<pb::AuthDisableRequest>,
        ) -> Result<Response<pb::AuthDisableResponse>, Status> {
            self.member.replica.linearize().await?;
            let header = self.member.header_now();
            Ok(Response::new(pb::AuthDisableResponse { header }))
        }

        async fn auth_enable(
            &self,
            _request: Request<pb::AuthEnableRequest>,
        ) -> Result<Response<pb::AuthEnableResponse>, Status> {
            self.member.replica.linearize().await?;
            Err(status::ROOT_USER_NOT_EXIST.into())
        }

        async fn user_list(
            &self,
            _request: Request<pb::AuthUserListRequest>,
        ) -> Result<Response<pb::AuthUserListResponse>, Status> {
            self.member.replica.linearize().await?;
            let header = self.member.header_now();
            Ok(Response::new(pb::AuthUserListResponse { header, users: Vec::new() }))
        }

        async fn user_get(
            &self,
            _request: Request<pb::AuthUserGetRequest>,
        ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
            self.member.replica.linearize().await?;
            Err(status::USER_NOT_FOUND.into())
        }

        async fn role_get(
            &self,
            _request: Request<pb::AuthRoleGetRequest>,
        ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
            self.member.replica.linearize().await?;
            Err(status::ROLE_NOT_FOUND.into())
        }

        async fn role_list(
            &self,
            _request: Request<pb::AuthRoleListRequest>,
        ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
            self.member.replica.linearize().await?;
            let header = self.member.header_now();
            Ok(Response::new(pb::AuthRoleListResponse { header, roles: Vec::new() }))
        }

        async fn authenticate(
            &self,
            _request: Request<pb::AuthenticateRequest>,
        ) -> Result<Response<pb::AuthenticateResponse>, Status> {
            Err(status::AUTH_NOT_ENABLED.into())
        }
    }
    user_add(AuthUserAddRequest) -> AuthUserAddResponse;
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse;
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse;
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse;
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse;
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse;
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse;
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse;
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse;
}
