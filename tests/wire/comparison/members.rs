//! Membership, as far as one member alone can show it.

use kat::proto::etcdserverpb::cluster_client::ClusterClient;
use kat::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest,
};

use super::wire::Wire;
use super::words::{all, put};

/// The id of a member that joins depends on the time.
fn hide(members: &mut [Member], own: u64) {
    for member in members.iter_mut().filter(|member| member.id != own) {
        member.id = 1;
    }
    members.sort_by_key(|member| member.peer_ur_ls.clone());
}

pub(super) async fn add(wire: &mut Wire, urls: &[&str], is_learner: bool) -> u64 {
    let own = wire.member_id().await;
    let peer_ur_ls = urls.iter().map(|url| (*url).to_owned()).collect();
    let request = MemberAddRequest { peer_ur_ls, is_learner };
    let asked = format!("{request:?}");
    let mut answer = ClusterClient::new(wire.channel()).member_add(request).await;
    let mut id = 0;
    if let Ok(response) = &mut answer {
        let message = response.get_mut();
        let member = message.member.as_mut().expect("the member that was added");
        id = std::mem::replace(&mut member.id, 1);
        hide(&mut message.members, own);
    }
    wire.note(asked, answer);
    id
}

async fn update(wire: &mut Wire, name: &str, id: u64, url: &str) {
    let own = wire.member_id().await;
    let request = MemberUpdateRequest { id, peer_ur_ls: vec![url.to_owned()] };
    let mut answer = ClusterClient::new(wire.channel()).member_update(request).await;
    if let Ok(response) = &mut answer {
        hide(&mut response.get_mut().members, own);
    }
    wire.note(format!("update {name} to {url}"), answer);
}

async fn remove(wire: &mut Wire, name: &str, id: u64) {
    let own = wire.member_id().await;
    let mut answer =
        ClusterClient::new(wire.channel()).member_remove(MemberRemoveRequest { id }).await;
    if let Ok(response) = &mut answer {
        hide(&mut response.get_mut().members, own);
    }
    wire.note(format!("remove {name}"), answer);
}

pub(super) async fn promote(wire: &mut Wire, name: &str, id: u64) {
    let answer =
        ClusterClient::new(wire.channel()).member_promote(MemberPromoteRequest { id }).await;
    wire.note(format!("promote {name}"), answer);
}

async fn list(wire: &mut Wire, linearizable: bool) {
    let own = wire.member_id().await;
    let request = MemberListRequest { linearizable };
    let mut answer = ClusterClient::new(wire.channel()).member_list(request).await;
    if let Ok(response) = &mut answer {
        hide(&mut response.get_mut().members, own);
    }
    wire.note(format!("list, linearizable {linearizable}"), answer);
}

pub(super) async fn refusing_changes(wire: &mut Wire) {
    let own = wire.member_id().await;
    list(wire, true).await;
    list(wire, false).await;
    for urls in [
        &[][..],
        &["nonsense"],
        &["ftp://127.0.0.1:1"],
        &["http://127.0.0.1"],
        &["http://127.0.0.1:1/path"],
        &["http://127.0.0.1:2380"],
        &["http://127.0.0.1:1", "http://127.0.0.1:2380"],
    ] {
        add(wire, urls, false).await;
        add(wire, urls, true).await;
    }
    for (name, id) in [("nobody", 7), ("itself", own)] {
        promote(wire, name, id).await;
    }
    remove(wire, "nobody", 7).await;
    remove(wire, "itself", own).await;
    update(wire, "nobody", 7, "http://127.0.0.1:3").await;
    list(wire, true).await;
}

pub(super) async fn changing_urls(wire: &mut Wire) {
    let own = wire.member_id().await;
    update(wire, "itself", own, "http://127.0.0.1:4").await;
    list(wire, true).await;
    wire.put(put("a", "alone")).await;
    wire.crash();
    list(wire, true).await;
    wire.range(all()).await;
}

pub(super) async fn joining_a_learner(wire: &mut Wire) {
    let learner = add(wire, &["http://127.0.0.1:1"], true).await;
    // With one more URL, so that the id cannot be the same within a second.
    add(wire, &["http://127.0.0.1:1", "http://127.0.0.1:9"], true).await;
    add(wire, &["http://127.0.0.1:2"], true).await;
    list(wire, true).await;
    promote(wire, "the learner", learner).await;
    update(wire, "the learner", learner, "http://127.0.0.1:3").await;
    list(wire, false).await;
    wire.put(put("a", "with a learner")).await;
    wire.crash();
    list(wire, true).await;
    // Not before a crash: what etcd then makes of the refused change varies.
    update(wire, "the learner", learner, "http://127.0.0.1:2380").await;
    list(wire, true).await;
    remove(wire, "the learner", learner).await;
    remove(wire, "the learner", learner).await;
    promote(wire, "the learner", learner).await;
    list(wire, true).await;
    wire.put(put("a", "alone")).await;
    wire.range(all()).await;
}
