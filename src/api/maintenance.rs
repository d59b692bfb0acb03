//! Maintenance: what an operator asks of one member.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::caller::Who;
use super::calls::Call;
use super::member::{Member, VERSION, aside, expect_reply};
use super::snapshot::{self, SNAPSHOTS_MAX};
use super::status;
use crate::ids::MemberId;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::downgrade_request::DowngradeAction;
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::kat::log::Downgrade;
use crate::store;

/// How often a leadership that is being handed over is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The service.
pub(super) struct Upkeep {
    member: Arc<Member>,
    snapshot: Arc<Call>,
    snapshots: Arc<Semaphore>,
}

impl Upkeep {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Upkeep {
        let snapshot = member.metrics.calls.get("/etcdserverpb.Maintenance/Snapshot");
        Upkeep { member, snapshot, snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)) }
    }

    /// The version of the storage, once it is decided: that of the cluster.
    fn storage_version(&self) -> String {
        self.member.reader().cluster_version().unwrap_or_default()
    }

    /// The version that all members may be put back to, if it is this one.
    async fn may_downgrade(&self, version: &str) -> Result<String, Status> {
        let wanted = Version::parse(version).ok_or(status::WRONG_DOWNGRADE_FORMAT)?;
        self.member.replica.linearize().await?;
        let reader = self.member.reader();
        let current = reader.cluster_version().and_then(|version| Version::parse(&version));
        let current = current.ok_or(status::CLUSTER_VERSION_UNKNOWN)?;
        if Some(wanted) != current.before() {
            return Err(status::INVALID_DOWNGRADE_TARGET.into());
        }
        if reader.downgrade().is_some() {
            return Err(status::DOWNGRADE_IN_PROCESS.into());
        }
        Ok(format!("{}.{}.0", wanted.major, wanted.minor))
    }
}

#[tonic::async_trait]
impl Maintenance for Upkeep {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let who = Who::of(&request);
        let request = request.into_inner();
        if request.action == AlarmAction::Get as i32 {
            self.member.is_known(&who).await?;
        } else {
            self.member.may_administer(&who).await?;
        }
        let request = store::Request::Alarm(request);
        let mut reply = expect_reply!(self.member.propose_as(&who, request).await?, Alarm);
        self.member.sign(&mut reply.header);
        Ok(Response::new(reply))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.member.is_known(&Who::of(&request)).await?;
        let reader = self.member.reader();
        let standing = self.member.replica.standing();
        let sizes = reader.sizes();
        let me = self.member.replica.identity().member.0;
        Ok(Response::new(pb::StatusResponse {
            header: self.member.header_now(),
            version: VERSION.to_owned(),
            db_size: sizes.total,
            leader: standing.leader.map_or(0, |leader| leader.0),
            raft_index: standing.commit.0,
            raft_term: standing.term.0,
            raft_applied_index: standing.applied.0,
            errors: errors(standing.leader, &reader.alarms()),
            db_size_in_use: sizes.in_use,
            is_learner: reader.members().iter().any(|m| m.id == me && m.is_learner),
            storage_version: self.storage_version(),
            db_size_quota: sizes.quota,
            downgrade_info: Some(downgrade_info(reader.downgrade())),
        }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let _running = self.member.metrics.defragments.begin();
        self.member.replica.defragment().await;
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let timer = self.member.metrics.hashes.start_timer();
        let reader = self.member.reader().clone();
        let hash = aside(move || reader.hash()).await?;
        timer.observe_duration();
        Ok(Response::new(pb::HashResponse { header: self.member.header_now(), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let timer = self.member.metrics.revision_hashes.start_timer();
        let reader = self.member.reader().clone();
        let revision = request.into_inner().revision;
        let hashed = aside(move || reader.hash_kv(revision)).await??;
        timer.observe_duration();
        Ok(Response::new(pb::HashKvResponse {
            header: self.member.header_now(),
            hash: hashed.hash,
            compact_revision: hashed.compact_revision,
            hash_revision: hashed.revision,
        }))
    }

    type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let permit = Arc::clone(&self.snapshots).acquire_owned().await;
        let permit = permit.map_err(|_closed| Status::from(status::STOPPED))?;
        let reader = self.member.reader().clone();
        let timer = self.member.metrics.snapshots.start_timer();
        let pieces = snapshot::begin(reader, self.storage_version(), (permit, timer));
        let call = Arc::clone(&self.snapshot);
        Ok(Response::new(pieces.inspect_ok(move |_| call.sent.inc()).boxed()))
    }

    /// Waits for as long as the caller does.
    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let target = MemberId(request.into_inner().target_id);
        let replica = &self.member.replica;
        if !replica.standing().is_leader {
            return Err(status::NOT_LEADER.into());
        }
        if !self.member.reader().voters().contains(&target) {
            return Err(status::BAD_LEADER_TRANSFEREE.into());
        }
        if target != replica.identity().member {
            replica.transfer_leader(target);
        }
        while replica.standing().leader != Some(target) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let pb::DowngradeRequest { action, version } = request.into_inner();
        let target = match DowngradeAction::try_from(action) {
            Ok(DowngradeAction::Validate) => {
                self.may_downgrade(&version).await?;
                None
            }
            Ok(DowngradeAction::Enable) => Some(self.may_downgrade(&version).await?),
            Ok(DowngradeAction::Cancel) => {
                self.member.replica.linearize().await?;
                Some(String::new())
            }
            Err(_) => return Err(status::UNKNOWN_METHOD.into()),
        };
        if let Some(target) = target {
            self.member.propose(store::Request::Downgrade(Downgrade { target })).await?;
        }
        let version = self.member.reader().cluster_version();
        let version = Version::parse(&version.unwrap_or_default())
            .map_or_else(String::new, |it| format!("{}.{}", it.major, it.minor));
        Ok(Response::new(pb::DowngradeResponse { header: self.member.header_now(), version }))
    }
}

/// A version as far as it tells what can be read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    major: u64,
    minor: u64,
}

impl Version {
    /// Two numbers, or three; what stands behind the second does not matter.
    fn parse(text: &str) -> Option<Version> {
        let mut parts = text.split('.');
        let mut number = || {
            let part = parts.next()?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let (major, minor) = (number()?, number()?);
        let is_whole = match parts.next() {
            None => true,
            Some(patch) => patch.parse::<u64>().is_ok() && parts.next().is_none(),
        };
        is_whole.then_some(Version { major, minor })
    }

    /// The one that can be gone back to.
    fn before(self) -> Option<Version> {
        Some(Version { minor: self.minor.checked_sub(1)?, ..self })
    }
}

fn downgrade_info(target: Option<String>) -> pb::DowngradeInfo {
    let target_version = target.unwrap_or_default();
    pb::DowngradeInfo { enabled: !target_version.is_empty(), target_version }
}

/// What is wrong with this member, as Status tells it.
fn errors(leader: Option<MemberId>, alarms: &[pb::AlarmMember]) -> Vec<String> {
    let lost = leader.is_none().then(|| status::NO_LEADER.text().to_owned());
    lost.into_iter().chain(alarms.iter().map(alarm_text)).collect()
}

/// An alarm as protobuf's text has it, which leaves out what is zero.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let member = (alarm.member_id != 0).then(|| format!("memberID:{}", alarm.member_id));
    let kind = (alarm.alarm != 0).then(|| match pb::AlarmType::try_from(alarm.alarm) {
        Ok(kind) => format!("alarm:{}", kind.as_str_name()),
        Err(_) => format!("alarm:{}", alarm.alarm),
    });
    [member, kind].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_a_missing_leader_before_the_alarms() {
        let alarms = [pb::AlarmMember { member_id: 7, alarm: pb::AlarmType::Nospace as i32 }];
        let told = errors(None, &alarms);
        assert_eq!(told, ["etcdserver: no leader", "memberID:7 alarm:NOSPACE"]);
        assert!(errors(Some(MemberId(7)), &[]).is_empty());
    }

    #[test]
    fn an_alarm_is_told_without_what_is_zero() {
        let told = |member_id, alarm| alarm_text(&pb::AlarmMember { member_id, alarm });
        assert_eq!(told(7, 2), "memberID:7 alarm:CORRUPT");
        assert_eq!([told(0, 1), told(7, 0), told(0, 0)], ["alarm:NOSPACE", "memberID:7", ""]);
        assert_eq!(told(0, 9), "alarm:9");
    }
}
