//! What is wrong with the cluster, as this node sees it: nodes that are gone, partitions that nobody serves or that
//! have too few copies, settings that differ.

use std::collections::BTreeMap;

use karst_cluster::map::NamespaceMap;
use karst_cluster::state::{ClusterState, Member};
use karst_proto::admin as proto;

use super::alarm;
use crate::node::{Node, State};

/// All of it, in no order.
pub(super) fn alarms(node: &Node) -> Vec<proto::Alarm> {
    let mut alarms = Vec::new();
    if node.state() == State::Starting {
        return alarms; // it has no map yet
    }
    let sight = node.sights.now();
    if sight.is_island() {
        let text = "it hears nothing of the cluster and serves alone, or with the nodes that it hears; what it \
                    takes is merged later";
        let subject = format!("node {}", node.config.node.name);
        alarms.push(alarm(proto::Severity::Critical, subject, text.into()));
    }
    alarms.extend(sight.state.nodes.values().filter_map(absent));
    for (name, map) in &sight.state.maps {
        if !map.strong {
            alarms.extend(unserved(name, map));
        }
        alarms.extend(copies_missing(name, map, &sight.state));
        alarms.extend(settings(name, &sight.state));
    }
    alarms
}

/// A node that is not there.
fn absent(member: &Member) -> Option<proto::Alarm> {
    let subject = format!("node {}", member.facts.name);
    let (severity, text) = match member {
        Member { alive: true, .. } => return None,
        Member { stopping: true, .. } => (proto::Severity::Warning, "it was stopped"),
        Member { .. } => (
            proto::Severity::Critical,
            "it is not heard of; if it is gone for good, `karst remove` it",
        ),
    };
    Some(alarm(severity, subject, text.into()))
}

fn unserved(name: &str, map: &NamespaceMap) -> Option<proto::Alarm> {
    let partitions = map.partitions.iter();
    let unserved = partitions.filter(|it| it.primary().is_none()).count();
    let text = || format!("{unserved} partitions are served by nobody");
    let subject = || format!("namespace {name}");
    (unserved > 0).then(|| alarm(proto::Severity::Critical, subject(), text()))
}

/// Fewer copies than are asked for. A cluster that never had as many nodes is no alarm.
fn copies_missing(name: &str, map: &NamespaceMap, state: &ClusterState) -> Option<proto::Alarm> {
    let has = |member: &&Member| member.facts.namespaces.iter().any(|it| it.name == name);
    let nodes = state.nodes.values().filter(has).count();
    let wanted = usize::from(map.replication_factor).min(nodes);
    let served = map.partitions.iter().filter(|it| it.primary().is_some());
    let short = served.filter(|it| it.in_sync.len() < wanted).count();
    let text = || format!("{short} partitions have fewer than {wanted} complete copies");
    let subject = || format!("namespace {name}");
    (short > 0).then(|| alarm(proto::Severity::Warning, subject(), text()))
}

/// Nodes that are configured with different replication factors, or some without the namespace.
fn settings(name: &str, state: &ClusterState) -> Vec<proto::Alarm> {
    let mut factors = BTreeMap::<u8, Vec<&str>>::new();
    let mut without = Vec::new();
    for member in state.nodes.values() {
        let namespaces = &member.facts.namespaces;
        match namespaces.iter().find(|it| it.name == name) {
            Some(namespace) => factors
                .entry(namespace.replication_factor)
                .or_default()
                .push(&member.facts.name),
            None => without.push(&*member.facts.name),
        }
    }
    let mut alarms = Vec::new();
    let mut warn = |text| {
        let subject = format!("namespace {name}");
        alarms.push(alarm(proto::Severity::Warning, subject, text));
    };
    if factors.len() > 1 {
        let each = factors
            .iter()
            .map(|(factor, nodes)| format!("{factor} on {}", nodes.join(" ")));
        let each = each.collect::<Vec<_>>().join(", ");
        warn(format!(
            "replication_factor differs: {each}; the smallest counts"
        ));
    }
    if !factors.is_empty() && !without.is_empty() {
        warn(format!("it is not configured on {}", without.join(" ")));
    }
    alarms
}

#[cfg(test)]
mod tests {
    use karst_cluster::node::{NamespaceFacts, NodeFacts, NodeId};
    use karst_cluster::plan::{Heard, plan};
    use karst_cluster::state::Command;

    use super::*;

    fn facts(id: u64, namespaces: &[(&str, u8)]) -> NodeFacts {
        let namespaces = namespaces
            .iter()
            .map(|(name, replication_factor)| NamespaceFacts {
                name: (*name).into(),
                replication_factor: *replication_factor,
                volatile: false,
                strong: false,
            });
        NodeFacts {
            id: NodeId(id),
            incarnation: 0,
            name: format!("n{id}"),
            fabric: String::new(),
            control: String::new(),
            service: Vec::new(),
            rack: 0,
            namespaces: namespaces.collect(),
        }
    }

    fn texts(alarms: impl IntoIterator<Item = proto::Alarm>) -> Vec<String> {
        let text = |alarm: proto::Alarm| format!("{}: {}", alarm.subject, alarm.message);
        alarms.into_iter().map(text).collect()
    }

    #[test]
    fn settings_that_differ_are_named_with_their_nodes() {
        let mut state = ClusterState::default();
        state.apply(Command::Admit(facts(1, &[("a", 2), ("b", 2)])));
        state.apply(Command::Admit(facts(2, &[("a", 3), ("b", 2)])));
        state.apply(Command::Admit(facts(3, &[("a", 3)])));
        let a = "namespace a: replication_factor differs: 2 on n1, 3 on n2 n3; the smallest counts";
        assert_eq!(texts(settings("a", &state)), [a]);
        let b = "namespace b: it is not configured on n3";
        assert_eq!(texts(settings("b", &state)), [b]);
    }

    #[test]
    fn copies_are_missing_while_a_node_is_known_that_could_hold_them() {
        let mut state = ClusterState::default();
        let served_by = |state: &mut ClusterState, heard: &[u64]| {
            let heard = Heard::all(heard.iter().copied().map(NodeId).collect());
            for command in plan(state, &heard, &[]) {
                state.apply(command);
            }
        };
        state.apply(Command::Admit(facts(1, &[("a", 2)])));
        served_by(&mut state, &[1]);
        assert!(copies_missing("a", &state.maps["a"], &state).is_none());
        state.apply(Command::Admit(facts(2, &[("a", 2)])));
        served_by(&mut state, &[1]);
        let short = texts(copies_missing("a", &state.maps["a"], &state));
        let all = "namespace a: 4096 partitions have fewer than 2 complete copies";
        assert_eq!(short, [all]);
        assert!(
            texts(state.nodes.values().filter_map(absent))[0].starts_with("node n2: it is not")
        );
        assert!(unserved("a", &state.maps["a"]).is_none());
        served_by(&mut state, &[]);
        let nobody = texts(unserved("a", &state.maps["a"]));
        assert_eq!(
            nobody,
            ["namespace a: 4096 partitions are served by nobody"]
        );
    }
}
