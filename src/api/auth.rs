//! Auth: users, roles, rights, and tokens for those who know a password.
//!
//! A password is hashed, or compared with its hash, by the member that was
//! asked, on a thread of its own; it never enters the log. What only reads is
//! answered from the store. Not served yet: users who are known by their
//! certificates.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::caller::Who;
use super::member::{Member, aside, misanswered};
use super::server::TokenKind;
use super::status::{self, Refusal};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::auth_server::Auth;
use crate::proto::kat::log;
use crate::replica::Unavailable;
use crate::store::{self, AccountChange as Change, Caller, Reply};

/// What bcrypt takes of a password.
const PASSWORD_BYTES_MAX: usize = 72;

/// Passwords in the works at a time, each of which keeps a processor busy for
/// a while; beyond, callers wait in line.
const HASHING_MAX: usize = 4;

/// The letters in front of a token's index.
const PREFIX_LETTERS: usize = 16;

/// The service.
pub(super) struct Accounts {
    member: Arc<Member>,
    hashing: Semaphore,
}

type Answer<T> = Result<Response<T>, Status>;

impl Accounts {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Accounts {
        Accounts { member, hashing: Semaphore::new(HASHING_MAX) }
    }

    /// Has a change made; the header of the answer.
    async fn change(
        &self,
        who: &Who,
        change: Change,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        let request = store::Request::Accounts(log::Accounts { change: Some(change) });
        match self.member.propose_as(who, request).await? {
            Reply::Accounts(revision) => Ok(Some(self.member.header(revision))),
            other => misanswered(&other),
        }
    }

    /// Who asks about the newest accounts. etcd asks its log, so where nobody
    /// leads the answer is that of a proposal, not of a read.
    async fn reader(&self, who: &Who) -> Result<Caller, Status> {
        let replica = &self.member.replica;
        replica.linearize().await.map_err(|why| match why {
            Unavailable::TimedOut if replica.standing().leader.is_none() => {
                Unavailable::NotProposed
            }
            why => why,
        })?;
        self.member.caller(who).await
    }

    /// Refuses those who may not look at accounts.
    async fn may_look(&self, who: &Who) -> Result<(), Status> {
        let caller = self.reader(who).await?;
        Ok(self.member.reader().may_administer(&caller)?)
    }

    async fn hash(&self, password: String) -> Result<String, Status> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(status::PASSWORD_TOO_LONG.into());
        }
        let cost = self.member.options.bcrypt_cost;
        let hashed = self.work(move || bcrypt::hash(password, cost)).await?;
        hashed
            .map(|hash| STANDARD.encode(hash))
            .map_err(|error| Status::internal(error.to_string()))
    }

    async fn is_right(&self, password: String, hash: Vec<u8>) -> Result<bool, Status> {
        // Who has no hash has no password that could be right.
        let compare = move || {
            let hash = String::from_utf8(hash).unwrap_or_default();
            bcrypt::verify(password, &hash).unwrap_or(false)
        };
        self.work(compare).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.hashing.acquire().await;
        let _turn = turn.map_err(|_closed| Status::from(status::STOPPED))?;
        aside(work).await
    }

    /// A token for a user whose password was right at some auth revision, if
    /// nothing has changed since.
    async fn log_in(
        &self,
        name: &str,
        auth_revision: u64,
    ) -> Result<Option<pb::AuthenticateResponse>, Status> {
        let prefix = match self.member.options.tokens {
            TokenKind::Simple(_) => any_prefix(),
            TokenKind::Signed(_) | TokenKind::None => String::new(),
        };
        let login = log::Login { name: name.to_owned(), prefix };
        let change = Some(Change::Login(login));
        let request = store::Request::Accounts(log::Accounts { change });
        let (token, revision) = match self.member.propose(request).await? {
            Reply::Token { token, revision } => (token, revision),
            other => misanswered(&other),
        };
        let token = match &self.member.options.tokens {
            TokenKind::Simple(_) => token,
            TokenKind::Signed(jwt) => {
                let (jwt, name) = (Arc::clone(jwt), name.to_owned());
                let signed = self.work(move || jwt.sign(&name, auth_revision)).await?;
                signed.map_err(Refusal::from)?
            }
            TokenKind::None => return Err(status::AUTH_FAILED.into()),
        };
        let is_still_right = self.member.reader().auth_revision() == auth_revision;
        let header = Some(self.member.header(revision));
        Ok(is_still_right.then_some(pb::AuthenticateResponse { header, token }))
    }
}

/// Letters that nobody guesses.
fn any_prefix() -> String {
    const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let draw = || uuid::Uuid::new_v4().as_u128();
    // A UUID has fixed bits, which the halves of another one cover.
    let mut left = draw() ^ draw().rotate_left(64);
    let letters = (0..PREFIX_LETTERS).map(|_| {
        let letter = LETTERS[usize::try_from(left % 52).unwrap_or(0)];
        left /= 52;
        char::from(letter)
    });
    letters.collect()
}

/// The service, with the calls that do no more than propose as a list.
macro_rules! serve {
    ({ $($served:item)* } $($call:ident($request:ident) -> $response:ident = $change:ident;)*) => {
        #[tonic::async_trait]
        impl Auth for Accounts {
            $($served)*
            $(async fn $call(&self, request: Request<pb::$request>) -> Answer<pb::$response> {
                let who = Who::of(&request);
                let header = self.change(&who, Change::$change(request.into_inner())).await?;
                Ok(Response::new(pb::$response { header }))
            })*
        }
    };
}

serve! {
    {
        async fn auth_status(
            &self,
            request: Request<pb::AuthStatusRequest>,
        ) -> Answer<pb::AuthStatusResponse> {
            self.reader(&Who::of(&request)).await?;
            let reader = self.member.reader();
            Ok(Response::new(pb::AuthStatusResponse {
                header: self.member.header_now(),
                enabled: reader.is_auth_on(),
                auth_revision: reader.auth_revision(),
            }))
        }

        async fn authenticate(
            &self,
            request: Request<pb::AuthenticateRequest>,
        ) -> Answer<pb::AuthenticateResponse> {
            self.member.replica.linearize().await?;
            let pb::AuthenticateRequest { name, password } = request.into_inner();
            loop {
                let (hash, auth_revision) = self.member.reader().password_of(&name)?;
                if !self.is_right(password.clone(), hash).await? {
                    return Err(status::AUTH_FAILED.into());
                }
                if let Some(response) = self.log_in(&name, auth_revision).await? {
                    return Ok(Response::new(response));
                }
            }
        }

        async fn user_add(
            &self,
            request: Request<pb::AuthUserAddRequest>,
        ) -> Answer<pb::AuthUserAddResponse> {
            let who = Who::of(&request);
            let mut request = request.into_inner();
            let password = std::mem::take(&mut request.password);
            let has_none = request.options.is_some_and(|options| options.no_password);
            request.hashed_password =
                if has_none { String::new() } else { self.hash(password).await? };
            let header = self.change(&who, Change::UserAdd(request)).await?;
            Ok(Response::new(pb::AuthUserAddResponse { header }))
        }

        async fn user_change_password(
            &self,
            request: Request<pb::AuthUserChangePasswordRequest>,
        ) -> Answer<pb::AuthUserChangePasswordResponse> {
            let who = Who::of(&request);
            let mut request = request.into_inner();
            let password = std::mem::take(&mut request.password);
            // Without a password, a hash of the caller's counts, as in etcd.
            if !password.is_empty() {
                request.hashed_password = self.hash(password).await?;
            }
            let header = self.change(&who, Change::UserChangePassword(request)).await?;
            Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
        }

        async fn user_list(
            &self,
            request: Request<pb::AuthUserListRequest>,
        ) -> Answer<pb::AuthUserListResponse> {
            self.may_look(&Who::of(&request)).await?;
            let header = self.member.header_now();
            let users = self.member.reader().users();
            Ok(Response::new(pb::AuthUserListResponse { header, users }))
        }

        async fn role_list(
            &self,
            request: Request<pb::AuthRoleListRequest>,
        ) -> Answer<pb::AuthRoleListResponse> {
            self.may_look(&Who::of(&request)).await?;
            let header = self.member.header_now();
            let roles = self.member.reader().roles();
            Ok(Response::new(pb::AuthRoleListResponse { header, roles }))
        }

        async fn user_get(
            &self,
            request: Request<pb::AuthUserGetRequest>,
        ) -> Answer<pb::AuthUserGetResponse> {
            let caller = self.reader(&Who::of(&request)).await?;
            let name = request.into_inner().name;
            let reader = self.member.reader();
            // Everybody may ask about themselves.
            if name != caller.user {
                reader.may_administer(&caller)?;
            }
            let header = self.member.header_now();
            let roles = reader.roles_of(&name)?;
            Ok(Response::new(pb::AuthUserGetResponse { header, roles }))
        }

        async fn role_get(
            &self,
            request: Request<pb::AuthRoleGetRequest>,
        ) -> Answer<pb::AuthRoleGetResponse> {
            let caller = self.reader(&Who::of(&request)).await?;
            let role = request.into_inner().role;
            let reader = self.member.reader();
            let own = reader.roles_of(&caller.user).unwrap_or_default();
            // Everybody may ask about their own roles.
            if !own.contains(&role) {
                reader.may_administer(&caller)?;
            }
            let header = self.member.header_now();
            let perm = reader.permissions_of(&role)?;
            Ok(Response::new(pb::AuthRoleGetResponse { header, perm }))
        }
    }
    auth_enable(AuthEnableRequest) -> AuthEnableResponse = Enable;
    auth_disable(AuthDisableRequest) -> AuthDisableResponse = Disable;
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse = UserDelete;
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse = UserGrantRole;
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse = UserRevokeRole;
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse = RoleAdd;
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse = RoleDelete;
    role_grant_permission(AuthRoleGrantPermissionRequest)
        -> AuthRoleGrantPermissionResponse = RoleGrantPermission;
    role_revoke_permission(AuthRoleRevokePermissionRequest)
        -> AuthRoleRevokePermissionResponse = RoleRevokePermission;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_letters_and_never_the_same() {
        let (one, other) = (any_prefix(), any_prefix());
        assert_ne!(one, other);
        assert!(one.len() == PREFIX_LETTERS && one.chars().all(|c| c.is_ascii_alphabetic()));
    }
}
