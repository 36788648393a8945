//! What the leader proposes, case by case: one partition, nodes as letters.

use std::collections::BTreeSet;
use std::sync::Arc;

use karst_cluster::island::local_map;
use karst_cluster::map::{Ownership, Regime};
use karst_cluster::node::{NamespaceFacts, NodeFacts, NodeId};
use karst_cluster::plan::{CHANGES_MAX, Heard, Holds, Planner, Synced, plan, plan_with};
use karst_cluster::state::{ClusterState, Command};
use karst_data::key::PARTITIONS;

fn nodes(letters: &str) -> Vec<NodeId> {
    letters.bytes().map(|it| NodeId(u64::from(it))).collect()
}

fn letters(nodes: &[NodeId]) -> String {
    nodes.iter().map(|node| node.0 as u8 as char).collect()
}

fn set(letters: &str) -> BTreeSet<NodeId> {
    nodes(letters).into_iter().collect()
}

fn facts(id: NodeId, namespaces: &[&str], replication_factor: u8) -> NodeFacts {
    let namespace = |name: &&str| NamespaceFacts {
        name: name.to_string(),
        replication_factor,
        volatile: false,
        strong: false,
    };
    NodeFacts {
        id,
        incarnation: 0,
        name: id.to_string(),
        fabric: String::new(),
        control: String::new(),
        service: Vec::new(),
        rack: 0,
        namespaces: namespaces.iter().map(namespace).collect(),
    }
}

fn state_of(members: &str, namespaces: &[&str], replication_factor: u8) -> ClusterState {
    let mut state = ClusterState::default();
    for id in nodes(members) {
        state.apply(Command::Admit(facts(id, namespaces, replication_factor)));
    }
    state
}

fn apply(state: &mut ClusterState, commands: Vec<Command>) {
    for command in commands {
        state.apply(command);
    }
}

/// What is to be known beside the partition itself. Nodes A to E are members.
#[derive(Default)]
struct Known {
    heard: &'static str,
    draining: &'static str,
    stopping: &'static str,
    /// Reported under the regime that stands.
    synced: &'static str,
}

/// The partition that follows from this one, which is under regime 7, when the balancer would have `wanted`.
fn after(row: &str, in_sync: &str, apart: &str, wanted: &str, known: Known) -> Ownership {
    let mut state = state_of("ABCDE", &["test"], 2);
    for node in nodes(known.draining) {
        let draining = true;
        state.apply(Command::SetDraining { node, draining });
    }
    for node in nodes(known.stopping) {
        state.apply(Command::Stop(node));
    }
    let map = state.maps.get_mut("test").expect("the namespace");
    map.partitions = vec![Ownership {
        regime: Regime(7),
        row: nodes(row),
        in_sync: nodes(in_sync),
        apart: nodes(apart),
        ..Ownership::default()
    }];
    let report = |node| Synced {
        namespace: "test".into(),
        partition: 0,
        regime: Regime(7),
        node,
        holds: Holds::All,
    };
    let synced: Vec<_> = nodes(known.synced).into_iter().map(report).collect();
    let heard = set(known.heard);
    let rows = Arc::new(vec![nodes(wanted)]);
    let commands = plan_with(&state, &Heard::all(heard), &synced, |_, _| rows.clone());
    apply(&mut state, commands);
    state.maps["test"].partitions[0].clone()
}

/// A partition is `row/in sync`.
#[track_caller]
fn check(before: &str, wanted: &str, known: Known, expected: &str) {
    let (row, in_sync) = before.split_once('/').expect("row/in sync");
    let partition = after(row, in_sync, "", wanted, known);
    let found = format!(
        "{}/{}",
        letters(&partition.row),
        letters(&partition.in_sync)
    );
    assert_eq!(found, expected);
    let changed = partition.regime != Regime(7);
    assert_eq!(
        changed,
        before != expected,
        "the regime rises with a change"
    );
}

fn heard(heard: &'static str) -> Known {
    Known {
        heard,
        ..Known::default()
    }
}

fn synced(synced: &'static str) -> Known {
    Known {
        heard: "ABCDE",
        synced,
        ..Known::default()
    }
}

#[test]
fn at_rest_nothing_is_proposed() {
    check("AB/AB", "AB", heard("ABCDE"), "AB/AB");
    check("AB/A", "AB", heard("ABCDE"), "AB/A");
    check("CD/ABC", "CD", heard("ABCDE"), "CD/AC");
}

#[test]
fn a_new_partition_begins_with_the_first_of_its_row() {
    check("/", "AB", heard("ABCDE"), "AB/A");
    check("/", "", heard(""), "/");
}

#[test]
fn the_dead_leave_and_the_next_in_sync_serves() {
    check("AB/AB", "BC", heard("BCDE"), "BC/B");
    check("ABC/ABC", "CDE", heard("CDE"), "CDE/C");
    check("ABC/AB", "BCD", heard("BCDE"), "BCD/B");
}

#[test]
fn who_returns_joins() {
    check("BC/B", "AB", heard("ABCDE"), "AB/B");
    check("BC/BC", "AB", heard("ABCDE"), "AB/BC");
    check("AB/BC", "AB", synced("A"), "AB/AB");
}

#[test]
fn the_primary_stays_until_all_of_the_row_is_in_sync() {
    check("CD/AB", "CD", heard("ABCDE"), "CD/AB");
    check("CD/AB", "CD", synced("C"), "CD/AC");
    check("CD/AC", "CD", synced("D"), "CD/CD");
    check("ABC/B", "ABC", synced("A"), "ABC/BA");
    check("ABC/BA", "ABC", synced("C"), "ABC/ABC");
    check("CD/AB", "CD", synced("DCC"), "CD/CD");
}

#[test]
fn no_copy_goes_before_another_has_come() {
    check("AB/AB", "CD", heard("ABCDE"), "CD/AB");
    check("ABC/ABC", "ADE", heard("ABCDE"), "ADE/ABC");
    check("ADE/ABC", "ADE", synced("E"), "ADE/AEB");
    check("ABC/ABC", "AD", heard("ABCDE"), "AD/AB");
}

#[test]
fn a_report_counts_for_who_joins_and_is_alive() {
    check("AB/A", "AB", synced("C"), "AB/A");
    let dead = Known {
        synced: "B",
        ..heard("ACDE")
    };
    check("AB/A", "AC", dead, "AC/A");
    // It joined in the row that stands, and is one more copy until the new row has come.
    check("AB/A", "CD", synced("B"), "CD/AB");
}

#[test]
fn when_nobody_who_has_all_is_left_who_has_a_part_serves() {
    check("AB/A", "CB", heard("BCDE"), "CB/B");
    check("AB/A", "CD", heard("CDE"), "CD/C");
    let last_words = Known {
        synced: "B",
        ..heard("BCDE")
    };
    check("AB/A", "CB", last_words, "CB/B");
}

#[test]
fn while_nobody_is_alive_the_row_tells_who_held_it() {
    check("CD/AB", "", heard(""), "AB/");
    check("AB/", "", heard(""), "AB/");
    check("AB/", "CD", heard("BCDE"), "CD/B");
}

#[test]
fn who_drains_serves_until_others_have_what_it_holds() {
    let drains = |draining, synced| Known {
        heard: "ABCDE",
        draining,
        synced,
        ..Known::default()
    };
    check("AB/AB", "CD", drains("AB", ""), "CD/AB");
    check("CD/AB", "CD", drains("AB", "C"), "CD/AC");
    check("CD/AC", "CD", drains("AB", "D"), "CD/CD");
    let all = |heard| Known {
        heard,
        ..drains("ABCDE", "")
    };
    check("AB/AB", "", all("ABCDE"), "/AB");
    check("/AB", "", all("BC"), "/B");
    check("/AB", "", all("C"), "/C");
}

#[test]
fn a_new_cluster_is_settled_after_one_report_of_each_joining_node() {
    let namespaces = ["one", "two", "three"];
    let (mut state, all) = (state_of("ABC", &namespaces, 2), set("ABC"));
    let commands = plan(&state, &Heard::all(all.clone()), &[]);
    let sizes: Vec<usize> = commands.iter().map(changes).collect();
    assert_eq!(sizes, [CHANGES_MAX, 3 * PARTITIONS - CHANGES_MAX]);
    apply(&mut state, commands);
    let reports = reports(&state);
    assert_eq!(reports.len(), 3 * PARTITIONS);
    let commands = Planner::default().plan(&state, &Heard::all(all.clone()), &reports);
    apply(&mut state, commands);
    let mut partitions = state.maps.values().flat_map(|map| &map.partitions);
    assert!(partitions.all(|it| it.is_settled() && it.row.len() == 2));
    assert_eq!(plan(&state, &Heard::all(all.clone()), &reports), []);
}

#[test]
fn a_planner_that_is_asked_often_says_what_one_says_that_is_asked_once() {
    let mut planner = Planner::default();
    let mut state = state_of("ABCD", &["test"], 2);
    for heard in ["ABCD", "ABC", "ABCD", "AB", "ABC", "D", "ABCD"] {
        let heard = set(heard);
        let commands = plan(&state, &Heard::all(heard.clone()), &[]);
        let often = planner.plan(&state, &Heard::all(heard.clone()), &[]);
        assert_eq!(often, commands, "{heard:?}");
        apply(&mut state, commands);
    }
    let node = nodes("B")[0];
    state.apply(Command::Admit(facts(node, &["test"], 1)));
    let all = set("ABCD");
    let commands = plan(&state, &Heard::all(all.clone()), &[]);
    assert_ne!(commands, []);
    let often = planner.plan(&state, &Heard::all(all.clone()), &[]);
    assert_eq!(often, commands, "fewer copies are aimed at");
}

fn changes(command: &Command) -> usize {
    match command {
        Command::Repartition(changes) => changes.len(),
        other => panic!("{other:?}"),
    }
}

/// That everybody who joins is complete.
fn reports(state: &ClusterState) -> Vec<Synced> {
    let mut reports = Vec::new();
    for (name, map) in &state.maps {
        for (partition, it) in map.partitions.iter().enumerate() {
            reports.extend(it.joining().map(|node| Synced {
                holds: Holds::All,
                namespace: name.clone(),
                partition: partition as u16,
                regime: it.regime,
                node,
            }));
        }
    }
    reports
}

#[test]
fn liveness_is_proposed_first_and_planned_with_at_once() {
    let mut state = state_of("ABC", &["test"], 2);
    let commands = plan(&state, &Heard::all(set("AB")), &[]);
    let dead = Command::SetAlive {
        node: nodes("C")[0],
        alive: false,
    };
    assert_eq!(commands[0], dead);
    apply(&mut state, commands);
    let mut partitions = state.maps["test"].partitions.iter();
    assert!(partitions.all(|it| it.row.len() == 2 && it.role(nodes("C")[0]) == STRANGER));
}

const STRANGER: karst_cluster::map::Role = karst_cluster::map::Role::Stranger;

fn settled(members: &str) -> ClusterState {
    let (mut state, all) = (state_of(members, &["test"], 2), set(members));
    let commands = plan(&state, &Heard::all(all.clone()), &[]);
    apply(&mut state, commands);
    let commands = plan(&state, &Heard::all(all.clone()), &reports(&state));
    apply(&mut state, commands);
    state
}

#[test]
fn who_hear_each_other_make_one_map_and_its_regimes_are_marked() {
    let committed = settled("ABCD");
    let island = local_map(&committed, nodes("A")[0], &set("B"));
    assert_eq!(local_map(&committed, nodes("B")[0], &set("AB")), island);
    assert_eq!(island.since, committed.generation);
    for partition in &island.maps["test"].partitions {
        assert!(partition.regime.is_alone());
        let primary = partition.primary().expect("somebody serves");
        assert!(set("AB").contains(&primary));
    }
    let mut partitions = committed.maps["test"].partitions.iter();
    assert!(partitions.all(|it| !it.regime.is_alone()));
}

#[test]
fn after_two_went_apart_and_met_again_one_serves_and_the_other_joins() {
    let (mut state, both) = (settled("AB"), set("AB"));
    for node in nodes("AB") {
        state.apply(Command::Stray(node));
    }
    for partition in &state.maps["test"].partitions {
        assert_eq!(partition.in_sync.len(), 1);
        assert_eq!(partition.joining().collect::<Vec<_>>(), partition.apart);
    }
    // By itself nothing follows from that; they are compared, and come together.
    assert_eq!(plan(&state, &Heard::all(both.clone()), &[]), []);
    let commands = plan(&state, &Heard::all(both.clone()), &reports(&state));
    apply(&mut state, commands);
    assert!(
        state.maps["test"]
            .partitions
            .iter()
            .all(Ownership::is_settled)
    );
}

fn apart_after(in_sync: &str, apart: &str, known: Known) -> String {
    letters(&after("AB", in_sync, apart, "AB", known).apart)
}

#[test]
fn who_falls_out_of_those_in_sync_is_apart_until_it_was_merged_with() {
    assert_eq!(apart_after("AB", "", heard("ACDE")), "B");
    assert_eq!(apart_after("A", "B", heard("ABCDE")), "B");
    assert_eq!(apart_after("A", "B", synced("B")), "");
    assert_eq!(apart_after("A", "D", heard("ABCDE")), "D");
    assert_eq!(apart_after("A", "D", synced("D")), "");
    // All have died: whoever serves now has nothing, and all of them are to be merged with.
    assert_eq!(apart_after("AB", "", heard("CDE")), "AB");
    // Who merely joined holds nothing of its own.
    assert_eq!(apart_after("A", "", heard("ACDE")), "");
}

#[test]
fn when_another_stands_in_who_was_joining_is_merged_with_and_not_brought_to_what_that_one_has() {
    let stands_in = after("ABC", "A", "", "ABC", heard("BCDE"));
    assert_eq!(letters(&stands_in.in_sync), "B");
    assert_eq!(letters(&stands_in.apart), "AC");
    let goes_on = after("ABC", "AB", "", "ABC", heard("BCDE"));
    assert_eq!(letters(&goes_on.apart), "A");
}

#[test]
fn a_node_that_is_about_to_stop_leads_nothing_that_another_can_lead() {
    let stops = |stopping, synced| Known {
        heard: "ABCDE",
        stopping,
        synced,
        ..Known::default()
    };
    check("AB/AB", "AB", stops("A", ""), "AB/BA");
    check("AB/BA", "AB", stops("A", ""), "AB/BA");
    check("AB/AB", "AB", stops("B", ""), "AB/AB");
    check("AB/A", "AB", stops("A", ""), "AB/A");
    check("AB/A", "AB", stops("A", "B"), "AB/BA");
    check("AB/AB", "AB", stops("AB", ""), "AB/AB");
}

#[test]
fn a_node_that_has_said_it_is_gone_is_dead_until_it_joins_again() {
    let mut state = state_of("AB", &["test"], 2);
    let both = set("AB");
    let commands = plan(&state, &Heard::all(both.clone()), &[]);
    apply(&mut state, commands);
    let (a, b) = (NodeId(u64::from(b'A')), NodeId(u64::from(b'B')));
    state.apply(Command::Stop(a));
    let alive = false;
    state.apply(Command::SetAlive { node: a, alive });
    let commands = plan(&state, &Heard::all(both.clone()), &[]);
    apply(&mut state, commands);
    assert!(
        !state.nodes[&a].alive,
        "though it was heard of a moment ago"
    );
    let partitions = &state.maps["test"].partitions;
    assert!(partitions.iter().all(|it| it.in_sync == [b]));
    let mut restarted = facts(a, &["test"], 2);
    restarted.incarnation = 1;
    state.apply(Command::Admit(restarted));
    assert!(state.nodes[&a].alive && !state.nodes[&a].stopping);
    let commands = plan(&state, &Heard::all(both.clone()), &[]);
    apply(&mut state, commands);
    let partitions = &state.maps["test"].partitions;
    assert!(partitions.iter().all(|it| it.row.contains(&a)));
}
