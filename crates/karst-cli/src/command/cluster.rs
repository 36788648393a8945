//! `status`, `nodes`, `namespaces`, `sets`, `damage`: what a node knows of its cluster.

use crate::admin::Admin;
use crate::failure::Outcome;
use crate::render::{self, output, table};
use crate::view::{DamagedRecord, Namespace, Node, Set, Status};

/// `karst status`
pub(super) async fn status(host: &str, json: bool) -> Outcome {
    let status: Status = Admin::connect(host).await?.status().await?.into();
    match json {
        true => output::json(&status),
        false => output::line(&table::status(&status, render::colours())),
    }
}

/// `karst nodes`
pub(super) async fn nodes(host: &str, json: bool) -> Outcome {
    let nodes = Admin::connect(host).await?.nodes().await?;
    let nodes: Vec<Node> = nodes.into_iter().map(Node::from).collect();
    match json {
        true => output::json(&nodes),
        false => output::line(&table::nodes(&nodes)),
    }
}

/// `karst namespaces`
pub(super) async fn namespaces(host: &str, json: bool, only: Option<String>) -> Outcome {
    let spaces = Admin::connect(host).await?.namespaces(only).await?;
    let spaces: Vec<Namespace> = spaces.into_iter().map(Namespace::from).collect();
    match json {
        true => output::json(&spaces),
        false => output::line(&table::namespaces(&spaces)),
    }
}

/// `karst sets`
pub(super) async fn sets(host: &str, json: bool, only: Option<String>) -> Outcome {
    let sets = Admin::connect(host).await?.sets(only).await?;
    let sets: Vec<Set> = sets.into_iter().map(Set::from).collect();
    match json {
        true => output::json(&sets),
        false => output::line(&table::sets(&sets)),
    }
}

/// `karst damage`
pub(super) async fn damage(host: &str, json: bool, only: Option<String>) -> Outcome {
    let records = Admin::connect(host).await?.damage(only).await?;
    let records: Vec<DamagedRecord> = records.into_iter().map(DamagedRecord::from).collect();
    match json {
        true => output::json(&records),
        false => output::line(&table::damage(&records)),
    }
}
