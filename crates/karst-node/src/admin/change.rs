//! What operators change: who is to leave the cluster, and who is forgotten.
//!
//! It is decided here on the newest state that this node knows, so that refusals name the reason, and proposed to
//! the leader, which applies it or not.

use std::time::Duration;

use karst_cluster::state::{ClusterState, Command, Member, Outcome};
use karst_proto::admin as proto;
use tonic::Status;

use super::members;
use crate::control::ProposeError;
use crate::node::{Node, NodeId};

/// How long this node may take to hear of what was decided.
const HEARD_MAX: Duration = Duration::from_secs(2);

/// Drains a node, or takes that back.
pub(super) async fn drain(
    node: &Node,
    request: &proto::DrainRequest,
) -> Result<proto::DrainResponse, Status> {
    let state = node.cluster.snapshot();
    let (id, member) = find(&state, &request.node)?;
    let draining = !request.undo;
    if draining && !member.draining {
        others_can_hold(&state, id, member)?;
    }
    let change = Command::SetDraining { node: id, draining };
    propose(node, &member.facts.name, change).await?;
    let decided = |state: &ClusterState| {
        let member = state.nodes.get(&id);
        member.is_none_or(|member| member.draining == draining)
    };
    let state = heard(node, decided).await;
    let (_, member) = find(&state, &id.to_string())?;
    Ok(proto::DrainResponse {
        node: Some(members::one(&state, id, member)),
    })
}

/// Forgets a node.
pub(super) async fn remove(
    node: &Node,
    request: &proto::RemoveRequest,
) -> Result<proto::RemoveResponse, Status> {
    let state = node.cluster.snapshot();
    let (id, member) = find(&state, &request.node)?;
    let name = member.facts.name.clone();
    if member.alive {
        // It would join again at once.
        return Err(Status::failed_precondition(format!(
            "node {name} is alive: drain it, stop it, then remove it"
        )));
    }
    propose(node, &name, Command::Remove(id)).await?;
    heard(node, |state| !state.nodes.contains_key(&id)).await;
    let id = id.to_string();
    Ok(proto::RemoveResponse { name, id })
}

/// The node of this name or id.
fn find<'s>(state: &'s ClusterState, wanted: &str) -> Result<(NodeId, &'s Member), Status> {
    let named = |(id, member): &(&NodeId, &Member)| {
        member.facts.name == wanted || id.to_string().eq_ignore_ascii_case(wanted)
    };
    let mut found = state.nodes.iter().filter(named);
    match (found.next(), found.next()) {
        (Some((id, member)), None) => Ok((*id, member)),
        (Some(_), Some(_)) => Err(Status::invalid_argument(format!(
            "several nodes are called {wanted}: give the id instead, as `karst nodes --json` lists it"
        ))),
        (None, _) => Err(Status::not_found(format!(
            "there is no node {wanted} in this cluster"
        ))),
    }
}

/// Whether somebody else can hold everything that a node may hold.
fn others_can_hold(state: &ClusterState, id: NodeId, member: &Member) -> Result<(), Status> {
    for namespace in &member.facts.namespaces {
        let takes = |(other, it): (&NodeId, &Member)| {
            let has = it
                .facts
                .namespaces
                .iter()
                .any(|own| own.name == namespace.name);
            *other != id && it.alive && !it.draining && !it.stopping && has
        };
        if !state.nodes.iter().any(takes) {
            return Err(Status::failed_precondition(format!(
                "node {} is the last one that can hold namespace {}: nobody else is alive and stays",
                member.facts.name, namespace.name
            )));
        }
    }
    Ok(())
}

/// Has the cluster change. What it refuses is said with the name of what it is about.
pub(super) async fn propose(node: &Node, name: &str, command: Command) -> Result<(), Status> {
    let what = command.to_string();
    match node.cluster.propose(command).await {
        Ok(Outcome::Applied) => {
            tracing::info!(what, "an operator changed the cluster");
            Ok(())
        }
        // The state names nodes by id; people do not.
        Ok(Outcome::Refused(why)) => Err(Status::failed_precondition(format!("{name}: {why}"))),
        Err(error) => Err(match error {
            ProposeError::InDoubt(_) => Status::aborted(error.to_string()),
            ProposeError::Busy
            | ProposeError::NoLeader
            | ProposeError::TooLarge { .. }
            | ProposeError::Stopping => {
                Status::unavailable(format!("nothing was changed: {error}"))
            }
        }),
    }
}

/// The first state here that shows a decision; the newest if that takes too long.
pub(super) async fn heard(
    node: &Node,
    shows: impl Fn(&ClusterState) -> bool,
) -> std::sync::Arc<ClusterState> {
    let mut changes = node.cluster.changes();
    let shown = changes.wait_for(|state| shows(state));
    match tokio::time::timeout(HEARD_MAX, shown).await {
        Ok(Ok(state)) => state.clone(),
        Ok(Err(_)) | Err(_) => node.cluster.snapshot(),
    }
}
