//! Rosters, as tools know them: which nodes a strongly consistent namespace counts on.
//!
//! Here that is whoever is a member of the cluster and has the namespace: a node is one from when it joins until it is
//! removed, there or not. So the roster is only told, and a list that is to be set has to be that. Of other namespaces it
//! is empty.

use std::collections::BTreeSet;

use karst_cluster::node::{NodeFacts, NodeId};
use karst_cluster::state::{ClusterState, Command};
use karst_data::key::NAMESPACE_BYTES_MAX;
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::cluster::{joined, of_one_or_each};
use super::truncate::count;
use super::{Answer, Asked, Entry, agreed, entry, made, no_namespace, refused, text};
use crate::config::Mode;
use crate::node::NamespaceState;

/// Longest list that is read: some thousands of nodes.
const NODES_BYTES_MAX: usize = 64 << 10;

pub(super) const COMMANDS: &[Entry] = &[
    entry("roster", roster),
    entry("roster-set", set),
    entry("recluster", |_| text("ok")), // the map is what it should be, or will be
    entry("revive", revive),
];

/// Members that have a namespace, the greatest id first.
fn members<'s>(state: &'s ClusterState, name: &str) -> Vec<&'s NodeFacts> {
    let all = state.nodes.values().rev().map(|member| &member.facts);
    all.filter(|facts| facts.namespaces.iter().any(|it| it.name == name))
        .collect()
}

/// Ids, each with its rack unless that is 0.
fn listed<'s>(nodes: impl Iterator<Item = &'s NodeFacts>) -> String {
    let one = |facts: &NodeFacts| match facts.rack {
        0 => facts.id.to_string(),
        rack => format!("{}@{rack}", facts.id),
    };
    let list = joined(nodes.map(one), ",");
    if list.is_empty() { "null".into() } else { list }
}

fn roster(asked: &mut Asked<'_>) -> Answer {
    let sight = asked.node.sights.now();
    let state = &sight.state;
    let strong = |name: &str| state.maps.get(name).is_some_and(|map| map.strong);
    of_one_or_each(asked, |name| {
        let members = members(state, name);
        let observed = members.iter().filter(|it| state.is_alive(it.id));
        let observed = listed(observed.copied());
        let roster = match strong(name) {
            true => listed(members.into_iter()),
            false => "null".into(),
        };
        format!("roster={roster}:pending_roster={roster}:observed_nodes={observed}")
    })
}

fn set(asked: &mut Asked<'_>) -> Answer {
    let params = asked.params();
    let name = params.require("namespace", NAMESPACE_BYTES_MAX)?;
    let namespace = asked.node.namespace(name.as_bytes());
    let (_, namespace) = namespace.ok_or_else(no_namespace)?;
    strong(namespace)?;
    let nodes = params.require("nodes", NODES_BYTES_MAX)?;
    let wrong = || InfoError::new(ResultCode::Parameter, "bad nodes");
    let wanted: Option<BTreeSet<NodeId>> = nodes.split(',').map(id).collect();
    let wanted = wanted.ok_or_else(wrong)?;
    let sight = asked.node.sights.now();
    let members = members(&sight.state, name);
    if members
        .iter()
        .map(|facts| facts.id)
        .collect::<BTreeSet<_>>()
        == wanted
    {
        return text("ok");
    }
    refused(
        ResultCode::Parameter,
        format!(
            "the roster is who is a member, {}: nodes join by themselves and leave by karst drain and karst remove",
            listed(members.into_iter())
        ),
    )
}

/// The node of `ID` or `ID@RACK`.
fn id(text: &str) -> Option<NodeId> {
    let id = text.split('@').next()?;
    u64::from_str_radix(id, 16).ok().map(NodeId)
}

/// Refuses what only strongly consistent namespaces have.
fn strong(namespace: &NamespaceState) -> Result<(), InfoError> {
    match namespace.config.mode {
        Mode::Cp => Ok(()),
        Mode::Ap => Err(InfoError::new(
            ResultCode::Parameter,
            "namespace is not strongly consistent",
        )),
    }
}

/// What a revival asks the cluster to change: of the namespace that it names, or of all strong ones.
pub(super) fn revivals(asked: &Asked<'_>) -> Result<Vec<Command>, InfoError> {
    let of = |namespace: &NamespaceState| Command::Revive {
        namespace: namespace.config.name.clone(),
        empty: false,
    };
    if let Some(name) = asked.params().text("namespace", NAMESPACE_BYTES_MAX)? {
        let namespace = asked.node.namespace(name.as_bytes());
        let (_, namespace) = namespace.ok_or_else(no_namespace)?;
        strong(namespace)?;
        return Ok(vec![of(namespace)]);
    }
    let all = asked.node.namespaces.iter();
    let all = all.filter(|namespace| namespace.config.mode == Mode::Cp);
    Ok(all.map(of).collect())
}

fn revive(asked: &mut Asked<'_>) -> Answer {
    let revivals = revivals(asked)?;
    count(asked)?;
    agreed::next(asked)?;
    for command in revivals {
        tracing::warn!(what = %command, "a client had partitions revived");
    }
    made("ok")
}
