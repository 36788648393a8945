use karst_proto::admin::admin_client::AdminClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::testing::{DISK, TEST, World};

/// A served node and a client of it.
struct Served {
    client: AdminClient<Channel>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn served(world: &World) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let serving = tokio::spawn(serve(world.node.clone(), listener, stopped));
    let client = AdminClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    Served {
        client,
        stop,
        serving,
    }
}

#[tokio::test]
async fn status_tells_the_cluster_its_node_and_its_namespaces() {
    let world = World::serving();
    world.put(TEST, "demo", 1);
    world.core().namespaces[TEST].count(Op::Read, Ending::Ok);
    world.core().namespaces[TEST].count(Op::BatchRead, Ending::Ok); // part of a batch, no request
    let mut served = served(&world).await;
    let status = served
        .client
        .status(proto::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    let cluster = status.cluster.unwrap();
    assert_eq!(
        (cluster.name.as_str(), cluster.leader.as_str()),
        ("prod", "n1")
    );
    assert_eq!(cluster.id, "30313233343536373839616263646566");
    let node = &status.nodes[0];
    assert_eq!(node.state(), proto::NodeState::Serving);
    assert_eq!((node.id.as_str(), node.rack), ("BB9020011AC4202", 7));
    assert_eq!(node.service, "10.0.0.1:3100");
    assert_eq!(node.requests_total, 1);
    assert_eq!(
        node.io.as_ref().unwrap().fallback_reason,
        "refused for the test"
    );
    let [test, disk] = &status.namespaces[..] else {
        panic!("{:?}", status.namespaces)
    };
    assert_eq!(
        (test.name.as_str(), test.records, test.replication_factor),
        ("test", 1, 2)
    );
    assert_eq!(test.partitions.unwrap().active, 4096);
    assert_eq!(test.engine(), proto::Engine::Memory);
    assert!(test.index_bytes > 0 && test.index_bytes_per_record == test.index_bytes as f64);
    assert_eq!(test.space.unwrap().blocks_total, 64);
    assert!(test.devices.is_empty());
    assert_eq!(disk.engine(), proto::Engine::Device);
    assert_eq!(disk.devices[0].size_bytes, crate::testing::DISK_BYTES);
    assert_eq!(disk.devices[0].failure, "");
    assert_eq!(disk.devices[0].blocks_free, 31);
    served.stop.send(()).unwrap();
    drop(served.client);
    served.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_that_starts_has_no_active_partition() {
    let world = World::starting();
    let mut served = served(&world).await;
    let status = served
        .client
        .status(proto::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.nodes[0].state(), proto::NodeState::Starting);
    let partitions = status.namespaces[0].partitions.unwrap();
    assert_eq!((partitions.active, partitions.recovering), (0, 4096));
}

#[tokio::test]
async fn one_namespace_can_be_asked_for_and_an_unknown_one_is_not_found() {
    let world = World::serving();
    world.put(DISK, "b", 1);
    world.put(DISK, "a", 1);
    world.put(TEST, "c", 1);
    let mut served = served(&world).await;
    let namespaces = |name: &str| proto::NamespacesRequest {
        namespace: name.into(),
    };
    let sets = |name: &str| proto::SetsRequest {
        namespace: name.into(),
    };
    let found = served
        .client
        .namespaces(namespaces("disk"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.namespaces.len(), 1);
    assert_eq!(found.namespaces[0].name, "disk");
    let all = served
        .client
        .namespaces(namespaces(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(all.namespaces.len(), 2);
    let error = served
        .client
        .namespaces(namespaces("no"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let all = served
        .client
        .sets(sets(""))
        .await
        .unwrap()
        .into_inner()
        .sets;
    let names: Vec<_> = all
        .iter()
        .map(|set| (&*set.namespace, &*set.name))
        .collect();
    assert_eq!(names, [("disk", "a"), ("disk", "b"), ("test", "c")]);
    assert!(
        all.iter()
            .all(|set| set.records == 1 && set.data_bytes.unwrap() > 0)
    );
    let error = served.client.sets(sets("no")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[test]
fn alarms_name_what_is_wrong_worst_first() {
    let world = World::serving();
    let alarms_now = || alarms(&world.node, &all_figures(&world.node));
    let quiet = alarms_now();
    assert_eq!(quiet.len(), 1, "{quiet:?}");
    assert_eq!(quiet[0].subject, "node n1");
    assert!(quiet[0].message.contains("io_uring"));
    let log = world.node.namespaces[DISK].engine.log();
    log.count_read_error(DeviceId(0));
    world.fail_disk();
    let loud = alarms_now();
    let path = world.dir.path().join("disk.dat");
    let device = format!("device {}", path.display());
    let subjects: Vec<_> = loud
        .iter()
        .map(|alarm| (alarm.severity(), &*alarm.subject))
        .collect();
    assert_eq!(
        subjects,
        [
            (proto::Severity::Critical, "namespace disk"),
            (proto::Severity::Critical, &*device),
            (proto::Severity::Critical, &*device),
            (proto::Severity::Warning, "node n1"),
        ]
    );
    assert!(
        loud[0].message.contains("every device has failed"),
        "{}",
        loud[0].message
    );
    assert!(
        loud[2].message.starts_with("1 reads failed"),
        "{}",
        loud[2].message
    );
}

#[test]
fn a_namespace_that_fills_up_warns_before_it_refuses() {
    let world = World::serving();
    let engine = &world.node.namespaces[TEST].engine;
    let severity = || {
        let alarms = alarms(&world.node, &all_figures(&world.node));
        alarms
            .iter()
            .find(|alarm| alarm.subject == "namespace test")
            .map(proto::Alarm::severity)
    };
    assert_eq!(severity(), None);
    let fill = || {
        let purpose = karst_storage::log::Purpose::Record;
        engine
            .log()
            .append(engine.log().write_lane(0), purpose, 4 << 10, 0, |_, _| {})
            .is_ok()
    };
    let mut seen = Vec::new();
    while fill() {
        seen.extend(severity());
    }
    seen.extend(severity());
    assert_eq!(seen.first(), Some(&proto::Severity::Warning));
    assert_eq!(seen.last(), Some(&proto::Severity::Critical));
    let figures = Figures::of(&world.node, TEST);
    assert!(
        figures
            .stop_writes_reason()
            .unwrap()
            .contains("delete records or add")
    );
}
