//! What clients and tools are told of a strongly consistent namespace.

use karst_cluster::map::Regime;
use karst_cluster::state::{Change, ClusterState, Command};

use super::tests::{ask, pair};
use crate::testing::{World, activate};

/// Another node of the cluster.
const OTHER: u64 = 0xb0b;

/// A cluster of two nodes, of which both hold partition 0, and the first all others alone.
fn with_another(world: &World) -> ClusterState {
    let mut state = world.state();
    state.apply(world.another(OTHER));
    let both = vec![world.node.id, crate::node::NodeId(OTHER)];
    let change = |row: Vec<_>, in_sync, expected| Change {
        namespace: "test".into(),
        partition: 0,
        expected: Regime(expected),
        row,
        in_sync,
        apart: Vec::new(),
    };
    let in_sync = vec![both[0]];
    let regime = state.maps["test"].partitions[0].regime.0;
    state.apply(Command::Repartition(vec![change(
        both.clone(),
        in_sync,
        regime,
    )]));
    activate(&mut state);
    state.apply(Command::Repartition(vec![change(
        both.clone(),
        both,
        regime + 1,
    )]));
    activate(&mut state);
    state
}

/// The node's own column of the map, as the bit of partition 0 and whether all others are set.
fn own_column(world: &World) -> (bool, bool) {
    let replicas = ask(world, "replicas:max=1");
    let test = replicas.split(';').next().unwrap();
    let bits = test.rsplit(',').next().unwrap();
    let rest = format!("{}8=", "/".repeat(681));
    match bits.split_at(1) {
        ("/", bits) if bits == rest => (true, true),
        ("f", bits) if bits == rest => (false, true),
        _ => panic!("{bits}"),
    }
}

#[test]
fn a_strong_namespace_says_so_and_has_a_regime_that_is_not_zero() {
    let world = World::strong();
    let text = ask(&world, "namespace/test");
    for (key, value) in [
        ("strong-consistency", "true"),
        ("unavailable_partitions", "0"),
        ("dead_partitions", "0"),
        ("unreplicated_records", "0"),
    ] {
        assert_eq!(pair(&text, key), value, "{key}");
    }
    assert_eq!(own_column(&world), (true, true));
    assert!(!ask(&world, "replicas").starts_with("test:0,"));
    let info = ask(&world, "partition-info");
    let items: Vec<_> = info.split(';').collect();
    let regime = |item: &str| item.rsplit(':').next().unwrap().to_owned();
    assert_eq!(
        (regime(items[0]), regime(items[1])),
        ("regime".into(), "1".into())
    );
    assert!(
        items[1].contains(":S:1:0:0:0:BB9020011AC4202:"),
        "{}",
        items[1]
    );
    assert!(items[4097].starts_with("disk:0:") && items[4097].ends_with(":0"));
}

#[test]
fn a_partition_that_too_few_nodes_know_is_in_no_column_and_counted() {
    let world = World::strong();
    let mut state = with_another(&world);
    world.sees(state.clone());
    assert_eq!(own_column(&world), (true, true));
    let me = world.node.id;
    let other = crate::node::NodeId(OTHER);
    // The other one alone knows what was confirmed, and goes.
    let alone = Change {
        namespace: "test".into(),
        partition: 0,
        expected: state.maps["test"].partitions[0].regime,
        row: vec![other, me],
        in_sync: vec![other],
        apart: Vec::new(),
    };
    state.apply(Command::Repartition(vec![alone]));
    activate(&mut state);
    let gone = Command::SetAlive {
        node: other,
        alive: false,
    };
    state.apply(gone);
    world.sees(state.clone());
    assert_eq!(own_column(&world), (false, true));
    let counts = || {
        let text = ask(&world, "namespace/test");
        let count = |key| pair(&text, key).to_owned();
        (count("unavailable_partitions"), count("dead_partitions"))
    };
    assert_eq!(counts(), ("1".into(), "0".into()));
    let info = ask(&world, "partition-info");
    assert!(info.contains(";test:0:D:2:1:1:0:0:0:"), "{}", &info[..400]);
    let lost = Command::Lose {
        node: other,
        incarnation: state.nodes[&other].facts.incarnation,
        namespace: "test".into(),
    };
    state.apply(lost);
    world.sees(state.clone());
    assert_eq!(counts(), ("0".into(), "1".into()));
    assert_eq!(own_column(&world), (false, true));
    state.apply(Command::Revive {
        namespace: "test".into(),
        empty: false,
    });
    activate(&mut state);
    world.sees(state);
    assert_eq!(counts(), ("0".into(), "0".into()));
    assert_eq!(own_column(&world), (true, true));
}

#[test]
fn the_roster_is_who_is_a_member_and_cannot_be_set_to_anything_else() {
    let world = World::strong();
    let mut state = with_another(&world);
    let away = Command::SetAlive {
        node: crate::node::NodeId(OTHER),
        alive: false,
    };
    state.apply(away);
    world.sees(state);
    let (me, both) = ("BB9020011AC4202@7", "BB9020011AC4202@7,B0B");
    assert_eq!(
        ask(&world, "roster:namespace=test"),
        format!("roster={both}:pending_roster={both}:observed_nodes={me}")
    );
    assert_eq!(
        ask(&world, "roster:"),
        format!(
            "ns=test:roster={both}:pending_roster={both}:observed_nodes={me};\
             ns=disk:roster=null:pending_roster=null:observed_nodes={me}"
        )
    );
    let set = |nodes: &str| ask(&world, &format!("roster-set:namespace=test;nodes={nodes}"));
    assert_eq!(set(both), "ok");
    assert_eq!(set("b0b,BB9020011AC4202"), "ok");
    let refused = format!("ERROR:4:the roster is who is a member, {both}: ");
    assert!(set(me).starts_with(&refused), "{}", set(me));
    assert_eq!(set("x"), "ERROR:4:bad nodes");
    assert_eq!(ask(&world, "recluster:"), "ok");
    let of_disk = ask(&world, "roster-set:namespace=disk;nodes=B0B");
    assert_eq!(of_disk, "ERROR:4:namespace is not strongly consistent");
}

#[test]
fn a_revival_is_asked_of_the_cluster_for_strong_namespaces_alone() {
    let world = World::strong();
    assert!(super::needs_agreement(b"revive:namespace=test\n"));
    assert_eq!(ask(&world, "revive:namespace=test"), "ok");
    assert_eq!(ask(&world, "revive:"), "ok");
    let of_disk = ask(&world, "revive:namespace=disk");
    assert_eq!(of_disk, "ERROR:4:namespace is not strongly consistent");
    assert_eq!(
        ask(&world, "revive:namespace=no"),
        "ERROR:20:namespace not found on node"
    );
}
