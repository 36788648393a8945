//! The control planes of several nodes in one process, over real sockets.

use std::net::TcpListener;
use std::time::Instant;

use karst_cluster::map::Regime;
use karst_cluster::node::NamespaceFacts;
use karst_cluster::state::Change;
use karst_data::key::PartitionId;
use karst_proto::raft::membership_server::Membership as _;
use karst_proto::raft::raft_server::Raft as _;
use tempfile::TempDir;
use tonic::{Code, Request};

use super::service::{MembershipService, RaftService};
use super::*;
use crate::node::NodeSlot;

/// How long a group may take to come to something.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    controls: Vec<Control>,
    _folders: Vec<TempDir>,
}

fn facts(id: u64, control: String) -> NodeFacts {
    NodeFacts {
        id: NodeId(id),
        incarnation: 0,
        name: format!("n{id}"),
        fabric: String::new(),
        control,
        service: vec!["127.0.0.1:3000".into()],
        rack: 0,
        namespaces: vec![NamespaceFacts {
            name: "test".into(),
            replication_factor: 2,
            volatile: false,
            strong: false,
        }],
    }
}

/// Takes every copy that is told to be complete into the in-sync set, as the real planner does.
fn planner(state: &ClusterState, _: &plan::Heard, synced: &[Synced]) -> Vec<Command> {
    let change = |synced: &Synced| {
        let partition = state.maps[&synced.namespace].partition(PartitionId(synced.partition));
        let mut in_sync = partition.in_sync.clone();
        in_sync.push(synced.node);
        Change {
            namespace: synced.namespace.clone(),
            partition: synced.partition,
            expected: synced.regime,
            row: in_sync.clone(),
            in_sync,
            apart: Vec::new(),
        }
    };
    let changes: Vec<_> = synced.iter().map(change).collect();
    match changes.is_empty() {
        true => Vec::new(),
        false => vec![Command::Repartition(changes)],
    }
}

impl World {
    async fn formed(nodes: u64) -> World {
        let doors: Vec<_> = (0..nodes)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let address = |door: &TcpListener| door.local_addr().unwrap().to_string();
        let seeds: Vec<String> = doors.iter().map(address).collect();
        let mut world = World {
            controls: Vec::new(),
            _folders: Vec::new(),
        };
        for (at, door) in doors.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            door.set_nonblocking(true).unwrap();
            let start = Start {
                data_dir: folder.path().to_owned(),
                known_cluster: None,
                cluster_name: "test".into(),
                seeds: seeds.clone(),
                expect: nodes as usize,
                suspect_after: Duration::from_secs(1),
                me: facts(at as u64 + 1, address(&door)),
                planner: Arc::new(planner),
            };
            let control = Control::start(start, door, NodeSlot::default());
            world.controls.push(control.unwrap());
            world._folders.push(folder);
        }
        for control in &mut world.controls {
            control.formed().await.unwrap();
            control.cluster().set_serves(true); // nobody says before that it is alive
        }
        world
    }

    fn cluster(&self, at: usize) -> Cluster {
        self.controls[at].cluster().clone()
    }

    fn end(self) {
        self.controls.into_iter().for_each(Control::end);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the group runs on the real clock"
)]
async fn until(mut pleases: impl FnMut() -> bool) {
    let start = Instant::now();
    while !pleases() {
        assert!(start.elapsed() < PATIENCE, "it did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_any_node_proposes_every_node_applies_and_the_proposer_sees_at_the_leader() {
    let world = World::formed(3).await;
    let clusters = [world.cluster(0), world.cluster(1), world.cluster(2)];
    until(|| clusters.iter().all(|it| it.snapshot().nodes.len() == 3)).await;
    for (at, cluster) in clusters.iter().enumerate() {
        let node = NodeId(at as u64 + 1);
        let command = Command::SetDraining {
            node,
            draining: true,
        };
        assert_eq!(cluster.propose(command).await.unwrap(), Outcome::Applied);
        until(|| {
            clusters
                .iter()
                .all(|it| it.snapshot().nodes[&node].draining)
        })
        .await;
    }
    let refused = clusters[1].propose(Command::Remove(NodeId(9))).await;
    assert_eq!(refused.unwrap(), Outcome::Applied); // nobody of that name: as asked
    let refused = clusters[2].propose(Command::SetAlive {
        node: NodeId(9),
        alive: true,
    });
    assert!(matches!(refused.await.unwrap(), Outcome::Refused(_)));
    let leaders: BTreeSet<_> = clusters.iter().map(|it| it.figures().leader).collect();
    assert_eq!(leaders.len(), 1);
    until(|| clusters.iter().all(|it| it.heard().in_touch)).await;
    world.end();
}

#[tokio::test]
async fn a_complete_copy_is_told_until_the_state_shows_it() {
    let world = World::formed(3).await;
    let cluster = world.cluster(2);
    until(|| cluster.snapshot().nodes.len() == 3).await;
    let change = Change {
        namespace: "test".into(),
        partition: 7,
        expected: Regime(0),
        row: vec![NodeId(3), NodeId(1)],
        in_sync: vec![NodeId(3)],
        apart: Vec::new(),
    };
    let proposed = cluster.propose(Command::Repartition(vec![change])).await;
    assert_eq!(proposed.unwrap(), Outcome::Applied);
    let mut changes = cluster.changes();
    let report = |partition| Synced {
        namespace: "test".into(),
        partition,
        regime: Regime(1),
        node: NodeId(1),
        holds: plan::Holds::All,
    };
    cluster.report_synced(report(7));
    cluster.report_synced(report(8)); // of no regime there is
    let shows = |state: &Arc<ClusterState>| {
        state.maps["test"].partition(PartitionId(7)).in_sync == [NodeId(3), NodeId(1)]
    };
    let shown = tokio::time::timeout(PATIENCE, changes.wait_for(shows)).await;
    shown.unwrap().unwrap();
    until(|| cluster.0.outbox.is_empty()).await;
    world.end();
}

#[tokio::test]
async fn a_node_that_was_let_in_from_elsewhere_is_found_there_by_everybody() {
    let world = World::formed(2).await;
    let clusters = [world.cluster(0), world.cluster(1)];
    let (moved, was, is) = (NodeId(9), "127.0.0.1:1", "127.0.0.1:2");
    let admit = |at: &str| clusters[0].propose(Command::Admit(facts(moved.0, at.to_owned())));
    assert_eq!(admit(was).await.unwrap(), Outcome::Applied);
    for cluster in &clusters {
        let knows = || cluster.0.peers.is_written(moved);
        until(knows).await;
        cluster.0.peers.hear(moved, was);
    }
    assert_eq!(admit(is).await.unwrap(), Outcome::Applied);
    let found = |it: &Cluster| it.0.address_of(moved).as_deref() == Some(is);
    until(|| clusters.iter().all(found)).await;
    world.end();
}

#[tokio::test]
async fn a_command_that_is_too_large_is_refused_before_it_is_sent() {
    let world = World::formed(1).await;
    let cluster = world.cluster(0);
    let name = "x".repeat(COMMAND_BYTES_MAX);
    let command = Command::UndoTruncate {
        namespace: name,
        set: String::new(),
    };
    let refused = cluster.propose(command).await.unwrap_err();
    assert!(
        matches!(refused, ProposeError::TooLarge { .. }),
        "{refused}"
    );
    world.end();
}

fn standing() -> Cluster {
    let cluster = Cluster::standing(facts(1, "a:1".into()), ClusterState::default());
    let mut state = ClusterState::default();
    state.apply(Command::Found(ClusterId([7; 16])));
    cluster.0.published.publish(Arc::new(state));
    cluster
}

#[tokio::test]
async fn a_call_of_the_group_is_taken_only_for_this_node_and_from_its_cluster() {
    let cluster = standing();
    let shared = cluster.0.clone();
    shared.bond.give(ClusterId([7; 16])).await.unwrap().unwrap();
    let service = RaftService::new(shared);
    let call = async |cluster_id: Vec<u8>, to: u64, payload: &[u8]| {
        let request = proto::RaftRequest {
            cluster_id,
            from: 2,
            to,
            payload: payload.to_vec(),
        };
        let answers = [
            service.append(Request::new(request.clone())).await,
            service.vote(Request::new(request.clone())).await,
            service.pre_vote(Request::new(request.clone())).await,
            service.transfer_leader(Request::new(request)).await,
        ];
        answers.map(|answer| answer.unwrap_err().code())
    };
    let deep = "[".repeat(100_000);
    let right = vec![7; 16];
    for (cluster_id, to, payload, code) in [
        (right.clone(), 9, "{}", Code::FailedPrecondition),
        (vec![7; 15], 1, "{}", Code::InvalidArgument),
        (right.clone(), 1, "", Code::InvalidArgument),
        (right.clone(), 1, "{}", Code::InvalidArgument),
        (right, 1, deep.as_str(), Code::InvalidArgument),
    ] {
        let codes = call(cluster_id, to, payload.as_bytes()).await;
        assert_eq!(codes, [code; 4], "to {to}");
    }
    let vote =
        r#"{"vote":{"leader_id":{"term":1,"node_id":2},"committed":false},"last_log_id":null}"#;
    let request = |cluster_id: Vec<u8>| {
        Request::new(proto::RaftRequest {
            cluster_id,
            from: 2,
            to: 1,
            payload: vote.into(),
        })
    };
    let other = service.vote(request(vec![8; 16])).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    let taken = service.vote(request(vec![7; 16])).await.unwrap_err();
    assert_eq!(taken.code(), Code::Unavailable, "{taken:?}"); // nothing runs behind this door
}

#[tokio::test]
async fn strangers_are_told_why_they_are_refused() {
    let service = MembershipService(standing().0);
    let hello = |name: &str, cluster_id: Vec<u8>| {
        Request::new(proto::HelloRequest {
            cluster_name: name.into(),
            cluster_id,
            from: Some(proto::Peer {
                id: 2,
                address: "b:1".into(),
            }),
        })
    };
    let name = service.hello(hello("other", vec![])).await.unwrap_err();
    assert!(
        name.message().contains("cluster \"test\", not \"other\""),
        "{name:?}"
    );
    let other = service.hello(hello("test", vec![8; 16])).await.unwrap_err();
    assert!(
        other.message().contains("belongs to cluster 0707"),
        "{other:?}"
    );
    let known = service
        .hello(hello("test", vec![]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(known.cluster_id, vec![7; 16]);
    let join = proto::JoinRequest {
        cluster_name: "test".into(),
        cluster_id: vec![],
        facts: serde_json::to_vec(&facts(0, "b:1".into())).unwrap(),
    };
    let wrong = service.join(Request::new(join)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let garbage = proto::ProposeRequest {
        cluster_id: vec![7; 16],
        command: b"{\"Remove\":[]}".to_vec(),
    };
    let wrong = service.propose(Request::new(garbage)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}
