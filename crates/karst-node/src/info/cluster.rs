//! The cluster as clients must see it to route: peers, generations, the partition map, racks.
//!
//! A cluster of one does not change, so its generations stand still once it serves. Until then the
//! partition map is empty and its generation is -1, which clients take as "come back later".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karst_data::key::PARTITIONS;
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::{Answer, Asked, Entry, entry, made, no_namespace, refused, text};
use crate::node::{Node, State};

/// Rises with each change of the peers, of which there are none.
const PEERS_GENERATION: u32 = 1;

/// Bytes of one replica's bitmap: a bit per partition, the first one highest in its byte.
const BITMAP_BYTES: usize = PARTITIONS / 8;

pub(super) const COMMANDS: &[Entry] = &[
    entry("partition-generation", |asked| {
        made(partition_generation(asked.node))
    }),
    entry("rebalance-generation", |asked| {
        made(u32::from(is_settled(asked.node)))
    }),
    entry("peers-generation", |_| made(PEERS_GENERATION)),
    entry("peers-clear-std", peers),
    entry("peers-clear-alt", peers),
    entry("peers-tls-std", peers),
    entry("peers-tls-alt", peers),
    entry("alumni-clear-std", peers),
    entry("alumni-clear-alt", peers),
    entry("alumni-tls-std", peers),
    entry("alumni-tls-alt", peers),
    entry("services", |_| text("")),
    entry("services-alternate", |_| text("")),
    entry("services-alumni", |_| text("")),
    entry("services-alumni-reset", |_| text("ok")),
    entry("replicas", |asked| made(by_namespace(asked, ":0,1,"))),
    entry("replicas-all", |asked| made(by_namespace(asked, ":1,"))),
    entry("replicas-master", |asked| made(by_namespace(asked, ":"))),
    entry("partition-info", partition_info),
    entry("cluster-name", |asked| {
        made(&asked.node.config.cluster.name)
    }),
    entry("cluster-stable", cluster_stable),
    entry("get-sl", |asked| made(asked.node.id)),
    entry("rack-ids", rack_ids),
    entry("racks", racks),
    entry("roster", roster),
    entry("recluster", |_| text("ok")),
];

/// Whether the partition map can be used.
pub(super) fn is_settled(node: &Node) -> bool {
    match node.state() {
        State::Starting => false,
        State::Serving | State::Draining => true, // nobody else could take over
    }
}

fn partition_generation(node: &Node) -> i32 {
    if is_settled(node) { 1 } else { -1 }
}

/// Names one shape of the cluster; never zero, which means "no cluster".
pub(super) fn cluster_key(node: &Node) -> u64 {
    let mut front = [0; 8];
    front.copy_from_slice(&node.cluster_id.0[..8]);
    u64::from_be_bytes(front).max(1)
}

fn peers(asked: &mut Asked<'_>) -> Answer {
    made(format!(
        "{PEERS_GENERATION},{},[]",
        asked.node.doors.service.port()
    ))
}

/// `namespace` + `between` + bitmap for each namespace: all partitions once the node serves, none
/// before. The regime of an available-mode namespace is always told as 0.
fn by_namespace(asked: &Asked<'_>, between: &str) -> String {
    let byte = if is_settled(asked.node) { 0xff } else { 0 };
    let bitmap = STANDARD.encode([byte; BITMAP_BYTES]);
    let names = asked
        .node
        .namespaces
        .iter()
        .map(|namespace| &namespace.config.name);
    names
        .map(|name| format!("{name}{between}{bitmap}"))
        .collect::<Vec<_>>()
        .join(";")
}

fn partition_info(asked: &mut Asked<'_>) -> Answer {
    use karst_data::key::PartitionId;
    let node = asked.node;
    let state = if is_settled(node) { 'S' } else { 'D' };
    let mut list = String::from(
        "namespace:partition:state:n_replicas:replica:succession:n_dupl:working_master:proxy_dst:\
         emigrates:lead_emigrates:immigrates:records:tombstones:regime",
    );
    for namespace in &node.namespaces {
        let name = &namespace.config.name;
        for id in PartitionId::all() {
            let (records, tombstones) = namespace.engine.partition_counts(id);
            list.push_str(&format!(
                ";{name}:{id}:{state}:1:0:0:0:{node_id}:0:0:0:0:{records}:{tombstones}:0",
                node_id = node.id
            ));
        }
    }
    made(list)
}

fn cluster_stable(asked: &mut Asked<'_>) -> Answer {
    let unstable = |why: &'static str| refused(ResultCode::ClusterKeyMismatch, why);
    let size = asked
        .params()
        .text("size", 16)?
        .map(str::parse::<u32>)
        .transpose();
    let size = size.map_err(|_| InfoError::new(ResultCode::Parameter, "bad size"))?;
    if let Some(name) = asked.params().text("namespace", 31)? {
        asked
            .node
            .namespace(name.as_bytes())
            .ok_or_else(no_namespace)?;
    }
    if size.is_some_and(|size| size != 1) {
        return unstable("cluster not specified size");
    }
    if !is_settled(asked.node) {
        return unstable("unstable cluster");
    }
    made(format!("{:X}", cluster_key(asked.node)))
}

/// Of this node in each namespace.
fn rack_ids(asked: &mut Asked<'_>) -> Answer {
    let rack = asked.node.config.node.rack;
    let names = asked
        .node
        .namespaces
        .iter()
        .map(|namespace| &namespace.config.name);
    made(
        names
            .map(|name| format!("{name}:{rack}"))
            .collect::<Vec<_>>()
            .join(";"),
    )
}

/// Every rack with its nodes: of one namespace, or of each.
fn racks(asked: &mut Asked<'_>) -> Answer {
    let (rack, id) = (asked.node.config.node.rack, asked.node.id);
    of_one_or_each(asked, &format!("rack_{rack}={id}"))
}

/// A roster is kept for strong consistency only, which no namespace has yet: it is empty.
fn roster(asked: &mut Asked<'_>) -> Answer {
    let id = asked.node.id;
    of_one_or_each(
        asked,
        &format!("roster=null:pending_roster=null:observed_nodes={id}"),
    )
}

fn of_one_or_each(asked: &Asked<'_>, value: &str) -> Answer {
    if let Some(name) = asked.params().text("namespace", 31)? {
        asked
            .node
            .namespace(name.as_bytes())
            .ok_or_else(no_namespace)?;
        return made(value);
    }
    let names = asked
        .node
        .namespaces
        .iter()
        .map(|namespace| &namespace.config.name);
    made(
        names
            .map(|name| format!("ns={name}:{value}"))
            .collect::<Vec<_>>()
            .join(";"),
    )
}
