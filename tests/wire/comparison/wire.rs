//! [`Wire`]: a conversation with one server, written down as it goes.

use std::fmt::{Debug, Write};
use std::time::Duration;

use kat::proto::etcdserverpb::auth_client::AuthClient;
use kat::proto::etcdserverpb::cluster_client::ClusterClient;
use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::lease_client::LeaseClient;
use kat::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kat::proto::etcdserverpb::watch_client::WatchClient;
use kat::proto::etcdserverpb::watch_request::RequestUnion;
use kat::proto::etcdserverpb::{self as pb, WatchRequest, WatchResponse};
use kat::proto::v3electionpb::election_client::ElectionClient;
use kat::proto::v3electionpb::{self as election};
use kat::proto::v3lockpb::lock_client::LockClient;
use kat::proto::v3lockpb::{self as lock};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use super::{Server, until};

/// How long a watcher waits for what must come, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands where a script waited in vain; stock etcd never lets it.
pub(super) const IN_VAIN: &str = "nothing, in vain";

/// `etcdctl` loses patience sooner than a busy machine answers.
const PATIENT: [&str; 3] =
    ["--command-timeout=25s", "--dial-timeout=25s", "--keepalive-timeout=25s"];

/// Requests that a stream holds; a conversation never has more under way.
const REQUESTS_MAX: usize = 16;

/// Numbers that no two servers need to have in common.
const PRIVATE: &[&str] =
    &["raft_term: ", "raft_index: ", "raft_applied_index: ", "db_size: ", "db_size_in_use: "];

/// A question and its answer, as text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exchange {
    pub(super) asked: String,
    pub(super) answered: String,
}

/// A conversation with one server.
pub(super) struct Wire {
    pub(super) server: Server,
    pub(super) said: Vec<Exchange>,
    /// Stands before every question, to tell where it belongs.
    pub(super) chapter: String,
    /// What was drawn by chance, and what it is called instead.
    pub(super) secrets: Vec<(String, String)>,
    /// What is shown with every question, if anything is.
    pub(super) token: Option<String>,
    /// What `etcdctl` is told about the server, and who asks.
    pub(super) flags: Vec<String>,
    channel: Channel,
}

type Opening = JoinHandle<Result<Response<Streaming<WatchResponse>>, Status>>;

/// A watch stream, which a server opens when it has something to say.
pub(super) struct Watching {
    requests: Option<mpsc::Sender<WatchRequest>>,
    opening: Option<Opening>,
    responses: Option<Streaming<WatchResponse>>,
}

impl Watching {
    /// Ends the client's half of the stream.
    pub(super) fn fall_silent(&mut self) {
        self.requests = None;
    }

    /// Sends a request; a stream that has ended takes none.
    pub(super) async fn send(&self, request: RequestUnion) {
        if let Some(requests) = &self.requests {
            requests.send(WatchRequest { request_union: Some(request) }).await.ok();
        }
    }

    /// Sends a request that asks for nothing.
    pub(super) async fn send_nothing(&self) {
        if let Some(requests) = &self.requests {
            requests.send(WatchRequest { request_union: None }).await.ok();
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<WatchResponse>, Status> {
        if let Some(opening) = &mut self.opening {
            let responses = opening.await.expect("it does not panic")?.into_inner();
            self.opening = None;
            self.responses = Some(responses);
        }
        match &mut self.responses {
            Some(responses) => responses.message().await,
            None => Ok(None),
        }
    }
}

macro_rules! calls {
    ($($client:ident: $rpc:ident($request:ty) -> $response:ty;)*) => {
        $(
            /// Asks, writes the answer down, and returns it unless it is an error.
            pub(super) async fn $rpc(&mut self, request: $request) -> Option<$response> {
                let asked = format!("{} {request:?}", stringify!($rpc));
                let mut client =
                    $client::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
                let answer = client.$rpc(self.signed(request)).await;
                self.note(asked, answer)
            }
        )*
    };
}

impl Wire {
    pub(super) fn new(server: Server) -> Wire {
        settle(&server);
        let endpoint = Endpoint::from_shared(server.endpoint()).expect("the endpoint is a URL");
        let channel = endpoint.connect_lazy();
        let mut flags = vec![format!("--endpoints={}", server.endpoint())];
        flags.extend(PATIENT.map(str::to_owned));
        Wire {
            server,
            said: Vec::new(),
            chapter: String::new(),
            secrets: Vec::new(),
            token: None,
            flags,
            channel,
        }
    }

    /// A question of whoever asks now.
    pub(super) fn signed<T>(&self, question: T) -> Request<T> {
        let mut request = Request::new(question);
        if let Some(token) = &self.token {
            let token = token.parse().expect("a token is text");
            request.metadata_mut().insert("token", token);
        }
        request
    }

    calls! {
        KvClient: range(pb::RangeRequest) -> pb::RangeResponse;
        KvClient: put(pb::PutRequest) -> pb::PutResponse;
        KvClient: delete_range(pb::DeleteRangeRequest) -> pb::DeleteRangeResponse;
        KvClient: txn(pb::TxnRequest) -> pb::TxnResponse;
        KvClient: compact(pb::CompactionRequest) -> pb::CompactionResponse;
        LeaseClient: lease_revoke(pb::LeaseRevokeRequest) -> pb::LeaseRevokeResponse;
        LeaseClient: lease_leases(pb::LeaseLeasesRequest) -> pb::LeaseLeasesResponse;
        ClusterClient: member_list(pb::MemberListRequest) -> pb::MemberListResponse;
        ClusterClient: member_add(pb::MemberAddRequest) -> pb::MemberAddResponse;
        ClusterClient: member_update(pb::MemberUpdateRequest) -> pb::MemberUpdateResponse;
        ClusterClient: member_promote(pb::MemberPromoteRequest) -> pb::MemberPromoteResponse;
        MaintenanceClient: defragment(pb::DefragmentRequest) -> pb::DefragmentResponse;
        MaintenanceClient: hash_kv(pb::HashKvRequest) -> pb::HashKvResponse;
        MaintenanceClient: move_leader(pb::MoveLeaderRequest) -> pb::MoveLeaderResponse;
        MaintenanceClient: downgrade(pb::DowngradeRequest) -> pb::DowngradeResponse;
        AuthClient: auth_enable(pb::AuthEnableRequest) -> pb::AuthEnableResponse;
        AuthClient: auth_disable(pb::AuthDisableRequest) -> pb::AuthDisableResponse;
        AuthClient: auth_status(pb::AuthStatusRequest) -> pb::AuthStatusResponse;
        AuthClient: authenticate(pb::AuthenticateRequest) -> pb::AuthenticateResponse;
        AuthClient: user_add(pb::AuthUserAddRequest) -> pb::AuthUserAddResponse;
        AuthClient: user_get(pb::AuthUserGetRequest) -> pb::AuthUserGetResponse;
        AuthClient: user_delete(pb::AuthUserDeleteRequest) -> pb::AuthUserDeleteResponse;
        AuthClient: user_change_password(pb::AuthUserChangePasswordRequest)
            -> pb::AuthUserChangePasswordResponse;
        AuthClient: user_grant_role(pb::AuthUserGrantRoleRequest)
            -> pb::AuthUserGrantRoleResponse;
        AuthClient: user_revoke_role(pb::AuthUserRevokeRoleRequest)
            -> pb::AuthUserRevokeRoleResponse;
        AuthClient: role_add(pb::AuthRoleAddRequest) -> pb::AuthRoleAddResponse;
        AuthClient: role_get(pb::AuthRoleGetRequest) -> pb::AuthRoleGetResponse;
        AuthClient: role_delete(pb::AuthRoleDeleteRequest) -> pb::AuthRoleDeleteResponse;
        AuthClient: role_grant_permission(pb::AuthRoleGrantPermissionRequest)
            -> pb::AuthRoleGrantPermissionResponse;
        AuthClient: role_revoke_permission(pb::AuthRoleRevokePermissionRequest)
            -> pb::AuthRoleRevokePermissionResponse;
        AuthClient: user_list(pb::AuthUserListRequest) -> pb::AuthUserListResponse;
        ClusterClient: member_remove(pb::MemberRemoveRequest) -> pb::MemberRemoveResponse;
        AuthClient: role_list(pb::AuthRoleListRequest) -> pb::AuthRoleListResponse;
        LockClient: lock(lock::LockRequest) -> lock::LockResponse;
        LockClient: unlock(lock::UnlockRequest) -> lock::UnlockResponse;
        ElectionClient: campaign(election::CampaignRequest) -> election::CampaignResponse;
        ElectionClient: proclaim(election::ProclaimRequest) -> election::ProclaimResponse;
        ElectionClient: leader(election::LeaderRequest) -> election::LeaderResponse;
        ElectionClient: resign(election::ResignRequest) -> election::ResignResponse;
    }

    /// A channel for questions that are not written down as they are.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Writes an answer down, and returns it unless it is an error.
    pub(super) fn note<T: Debug>(
        &mut self,
        asked: impl Into<String>,
        answer: Result<Response<T>, Status>,
    ) -> Option<T> {
        match answer {
            Ok(response) => {
                let message = response.into_inner();
                self.write(asked, format!("{message:?}"));
                Some(message)
            }
            Err(status) => {
                self.refuse(asked, &status);
                None
            }
        }
    }

    /// Writes an error down.
    pub(super) fn refuse(&mut self, asked: impl Into<String>, status: &Status) {
        self.write(asked, format!("{:?} {:?}", status.code(), status.message()));
    }

    /// Writes down what was seen.
    pub(super) fn write(&mut self, asked: impl Into<String>, answered: impl Into<String>) {
        let mut answered = answered.into();
        let mut asked = format!("{}{}", self.chapter, asked.into());
        for name in PRIVATE {
            answered = hide_number(&answered, name);
        }
        // etcd renders an alarm with one space or two, as its build fell out.
        answered = answered.replace("  alarm:", " alarm:");
        for (secret, name) in &self.secrets {
            answered = answered.replace(secret, name);
            asked = asked.replace(secret, name);
        }
        self.said.push(Exchange { asked, answered });
    }

    /// Asks for the status, where alarms stand in no order.
    pub(super) async fn status(
        &mut self,
        request: pb::StatusRequest,
    ) -> Option<pb::StatusResponse> {
        let asked = format!("status {request:?}");
        let mut client = MaintenanceClient::new(self.channel.clone());
        let mut answer = client.status(self.signed(request)).await;
        if let Ok(response) = &mut answer {
            response.get_mut().errors.sort();
        }
        self.note(asked, answer)
    }

    /// Raises, lists or ends alarms, which etcd keeps in no order.
    pub(super) async fn alarm(&mut self, request: pb::AlarmRequest) -> Option<pb::AlarmResponse> {
        let asked = format!("alarm {request:?}");
        let mut client = MaintenanceClient::new(self.channel.clone());
        let mut answer = client.alarm(self.signed(request)).await;
        if let Ok(response) = &mut answer {
            let alarms = &mut response.get_mut().alarms;
            alarms.sort_by_key(|alarm| (alarm.member_id, alarm.alarm));
        }
        self.note(asked, answer)
    }

    /// Grants a lease, and hides an id that the server picked.
    pub(super) async fn lease_grant(&mut self, ttl: i64, id: i64) -> i64 {
        let asked = format!("lease_grant ttl {ttl}, id {id}");
        let mut answer = LeaseClient::new(self.channel.clone())
            .lease_grant(self.signed(pb::LeaseGrantRequest { ttl, id }))
            .await;
        let mut granted = 0;
        if let Ok(response) = &mut answer {
            granted = response.get_ref().id;
            if id == 0 {
                response.get_mut().id = i64::from(granted > 0);
            }
        }
        self.note(asked, answer);
        granted
    }

    /// Asks how long a lease lives, where a few seconds more or less are the same.
    pub(super) async fn lease_time_to_live(&mut self, id: i64, keys: bool) {
        let asked = format!("lease_time_to_live id {id}, keys {keys}");
        let mut answer = LeaseClient::new(self.channel.clone())
            .lease_time_to_live(self.signed(pb::LeaseTimeToLiveRequest { id, keys }))
            .await;
        if let Ok(response) = &mut answer {
            let message = response.get_mut();
            let nearly = message.granted_ttl - 60..message.granted_ttl;
            if message.ttl > 0 && nearly.contains(&message.ttl) {
                message.ttl = message.granted_ttl;
            }
            message.keys.sort();
        }
        self.note(asked, answer);
    }

    /// Sends keep-alives on one stream, and writes down all that comes back.
    pub(super) async fn keep_alive(&mut self, ids: &[i64]) {
        let requests = ids.iter().map(|id| pb::LeaseKeepAliveRequest { id: *id });
        let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
        let mut client = LeaseClient::new(self.channel.clone());
        let answer = client.lease_keep_alive(self.signed(requests)).await;
        self.drain(format!("lease_keep_alive {ids:?}"), answer).await;
    }

    /// Reads a range as a stream; where it was cut into pieces is let go.
    pub(super) async fn range_stream(&mut self, request: pb::RangeRequest) {
        let asked = format!("range_stream {request:?}");
        let mut client = KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let mut stream = match client.range_stream(self.signed(request)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return self.refuse(asked, &status),
        };
        let mut whole = pb::RangeResponse::default();
        let mut lengths = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(piece)) => {
                    let piece = piece.range_response.expect("a piece of a range");
                    lengths.push(piece.kvs.len());
                    whole.kvs.extend(piece.kvs);
                    (whole.header, whole.more, whole.count) =
                        (piece.header, piece.more, piece.count);
                }
                Ok(None) => {
                    self.write("keys in its pieces", format!("{lengths:?}"));
                    return drop(self.note(asked, Ok(Response::new(whole))));
                }
                Err(status) => return self.refuse(asked, &status),
            }
        }
    }

    /// Writes down every message of a stream until it ends.
    pub(super) async fn drain<T: Debug>(
        &mut self,
        asked: impl Into<String>,
        answer: Result<Response<Streaming<T>>, Status>,
    ) {
        let asked = asked.into();
        let mut stream = match answer {
            Ok(response) => response.into_inner(),
            Err(status) => return self.refuse(asked, &status),
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) => drop(self.note(asked.clone(), Ok(Response::new(message)))),
                Ok(None) => return self.write(asked, "the end"),
                Err(status) => return self.refuse(asked, &status),
            }
        }
    }

    /// Opens a watch stream.
    pub(super) fn watching(&mut self) -> Watching {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let mut client =
            WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let requests_of = self.signed(ReceiverStream::new(inbox));
        let opening = async move { client.watch(requests_of).await };
        let requests = Some(requests);
        Watching { requests, opening: Some(tokio::spawn(opening)), responses: None }
    }

    /// Says something on a watch stream.
    pub(super) async fn tell(&mut self, watching: &Watching, request: RequestUnion) {
        self.write(format!("watch {request:?}"), "");
        let request = WatchRequest { request_union: Some(request) };
        let requests = watching.requests.as_ref().expect("its half is open");
        requests.send(request).await.expect("the stream is open");
    }

    /// Writes down what comes next on a watch stream: so many responses, each
    /// watcher's in their order. What watchers share no order in is sorted.
    pub(super) async fn hear(&mut self, watching: &mut Watching, count: usize) {
        let mut heard = Vec::new();
        for _ in 0..count {
            match timeout(PATIENCE, watching.next()).await {
                Ok(Ok(Some(response))) => heard.push(response),
                Ok(Ok(None)) => self.write("watch hears", "the end"),
                Ok(Err(status)) => self.refuse("watch hears", &status),
                Err(_) => self.write("watch hears", IN_VAIN),
            }
        }
        heard.sort_by_key(|response| response.watch_id);
        for response in heard {
            let mut answered = format!("{response:?}");
            if answered.len() > 10_000 {
                // Large values stand in no report, but their sizes do.
                answered = String::new();
                let sizes: Vec<_> = response.events.iter().map(event_size).collect();
                write!(answered, "fragment {}, events of {sizes:?}", response.fragment)
                    .expect("a string takes all");
            }
            self.write("watch hears", answered);
        }
    }

    /// Ends the process as a crash would, and starts it again on its data.
    pub(super) fn crash(&mut self) {
        self.crash_and_add(&[]);
    }

    /// The same, but with further arguments, this once.
    pub(super) fn crash_and_add(&mut self, arguments: &[&str]) {
        self.server.kill();
        self.server.start_again_with(arguments);
        settle(&self.server);
        let endpoint = Endpoint::from_shared(self.server.endpoint()).expect("as before");
        self.channel = endpoint.connect_lazy();
    }

    /// Asks in a user's name from now on; in nobody's, if the password is wrong.
    pub(super) async fn log_in(&mut self, name: &str, password: &str) {
        let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
        let mut answer = AuthClient::new(self.channel.clone()).authenticate(request).await;
        let token = answer.as_mut().ok().map(|found| std::mem::take(&mut found.get_mut().token));
        if let Some((letters, index)) = token.as_ref().and_then(|token| token.split_once('.')) {
            let is_index = index.parse::<u64>().is_ok();
            self.write("token", format!("{} letters, an index: {is_index}", letters.len()));
        }
        self.note(format!("authenticate {name}"), answer);
        self.token = token;
    }

    /// What this server calls itself.
    pub(super) async fn member_id(&mut self) -> u64 {
        let answer = ClusterClient::new(self.channel.clone())
            .member_list(pb::MemberListRequest { linearizable: false })
            .await;
        let answer = answer.expect("a member list").into_inner();
        answer.header.expect("every answer has a header").member_id
    }
}

/// Waits until the server knows the versions of its cluster and its storage, as it
/// does a while after each start: stock etcd knows none at first, and then takes the
/// storage for one of 3.5, which wrote no version into it.
fn settle(server: &Server) {
    until("the server knows its versions", || {
        let versions = server.http_get("/version")?;
        let storage = versions.split_once(r#""storage":"3."#)?.1;
        (!storage.starts_with('5')).then_some(())
    });
}

fn event_size(event: &kat::proto::mvccpb::Event) -> usize {
    event.kv.as_ref().map_or(0, |kv| kv.value.len())
}

/// Replaces each number that follows a name.
pub(super) fn hide_number(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut hidden = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        hidden.push_str(name);
        hidden.push('_');
        hidden.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-'));
    }
    hidden
}

/// Replaces each word that follows a name.
pub(super) fn hide_word(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut hidden = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        hidden.push_str(name);
        hidden.push('_');
        hidden.push_str(
            part.trim_start_matches(|c: char| c.is_alphanumeric() || ".µ+/=".contains(c)),
        );
    }
    hidden
}
