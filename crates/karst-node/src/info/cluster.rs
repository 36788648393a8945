//! The cluster as clients must see it to route: peers, generations, the partition map, racks.
//!
//! Everything is told from the newest view of the cluster's state. Until this node serves and has a map, its
//! own part of the map is empty and its generation is -1, which clients take as "come back later".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karst_cluster::map::{NamespaceMap, Ownership, Role};
use karst_cluster::node::{NodeFacts, NodeId};
use karst_cluster::standing::Standing;
use karst_cluster::state::{ClusterState, ISLAND};
use karst_data::key::{PARTITIONS, PartitionId};
use karst_wire::code::ResultCode;
use karst_wire::info::{InfoError, Params, commands};

use super::{Answer, Asked, Entry, entry, made, no_namespace, refused, text};
use crate::node::{Node, State};
use crate::sight::Sight;

/// Bytes of one replica's bitmap: a bit per partition, the first one highest in its byte.
const BITMAP_BYTES: usize = PARTITIONS / 8;

pub(super) const COMMANDS: &[Entry] = &[
    entry("partition-generation", |asked| {
        made(asked.memo.partition_generation)
    }),
    entry("rebalance-generation", |asked| {
        made(asked.memo.partition_generation.max(0))
    }),
    entry("peers-generation", |asked| {
        made(asked.memo.peers_generation)
    }),
    entry("peers-clear-std", peers),
    entry("peers-clear-alt", peers),
    entry("peers-tls-std", peers),
    entry("peers-tls-alt", peers),
    entry("alumni-clear-std", peers),
    entry("alumni-clear-alt", peers),
    entry("alumni-tls-std", peers),
    entry("alumni-tls-alt", peers),
    entry("services", services),
    entry("services-alternate", |_| text("")),
    entry("services-alumni", |_| text("")),
    entry("services-alumni-reset", |_| text("ok")),
    entry("replicas", replicas),
    entry("replicas-all", replicas_all),
    entry("replicas-master", replicas_master),
    entry("partition-info", partition_info),
    entry("cluster-name", |asked| {
        made(&asked.node.config.cluster.name)
    }),
    entry("cluster-stable", cluster_stable),
    entry("get-sl", succession),
    entry("rack-ids", rack_ids),
    entry("racks", racks),
    entry(WATCH, watched),
];

/// The command by which Karst's own client waits for a change.
const WATCH: &str = "karst-map-watch";

/// Longest wait of one watch; longer wishes mean as much.
const WATCH_MAX: Duration = Duration::from_secs(60);

/// How long a watch waits before it looks even if no change was told of: nothing tells of a node that begins
/// to serve with a map it already had.
pub const WATCH_LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A request to be told when the partition map or the peers of this node are other than the client knows:
/// `karst-map-watch:partitions=<generation>;peers=<generation>;timeout=<ms>`.
///
/// Whoever leaves out a generation knows none, and is answered at once; so is everybody who leaves out the
/// timeout.
#[derive(Debug, PartialEq, Eq)]
pub struct Watch {
    partitions: Option<i64>,
    peers: Option<u64>,
    /// How long it waits.
    pub timeout: Duration,
}

impl Watch {
    /// The watch that the body of an info request holds, if it holds nothing else.
    pub fn of(body: &[u8]) -> Option<Watch> {
        let mut all = commands(body);
        let (Some(command), None) = (all.next(), all.next()) else {
            return None;
        };
        let is_watch = command.name() == Some(WATCH);
        is_watch.then(|| Watch::read(&command.params()).ok())?
    }

    fn read(params: &Params<'_>) -> Result<Watch, InfoError> {
        let timeout_ms: Option<u64> = number(params, "timeout")?;
        let timeout = Duration::from_millis(timeout_ms.unwrap_or(0));
        Ok(Watch {
            partitions: number(params, "partitions")?,
            peers: number(params, "peers")?,
            timeout: timeout.min(WATCH_MAX),
        })
    }

    /// Whether there is news. Smaller generations are news too: the node was started again.
    pub fn is_over(&self, node: &Node) -> bool {
        self.partitions != Some(partition_generation(node))
            || self.peers != Some(node.sights.peers_generation())
    }
}

fn number<T: std::str::FromStr>(params: &Params<'_>, key: &str) -> Result<Option<T>, InfoError> {
    let number = params.text(key, 20)?.map(str::parse).transpose();
    number.map_err(|_| InfoError::new(ResultCode::Parameter, format!("bad {key}")))
}

/// What a watch is answered in the end, and at once if it comes among other commands.
fn watched(asked: &mut Asked<'_>) -> Answer {
    Watch::read(&asked.params())?;
    made(format!(
        "partitions={};peers={}",
        partition_generation(asked.node),
        asked.node.sights.peers_generation()
    ))
}

/// Whether the partition map can be used.
pub(super) fn is_settled(node: &Node) -> bool {
    match node.state() {
        State::Starting => false,
        State::Serving | State::Draining => node.sights.is_placed(),
    }
}

/// A counter of 32 bits with a sign, of which -1 means "no map yet".
pub(super) fn partition_generation(node: &Node) -> i64 {
    match is_settled(node) {
        true => (node.sights.generation_for_clients() & 0x7fff_ffff) as i64,
        false => -1,
    }
}

/// Names one shape of the cluster; never zero, which means "no cluster".
pub(super) fn cluster_key(node: &Node) -> u64 {
    let mut front = [0; 8];
    front.copy_from_slice(&node.cluster_id.0[..8]);
    let generation = node.sights.now().state.generation;
    u64::from_be_bytes(front).wrapping_add(generation).max(1)
}

/// The other nodes with what clients are to connect to:
/// `generation,default port,[[id,tls name,[host:port,...]],...]`.
fn peers(asked: &mut Asked<'_>) -> Answer {
    let sight = asked.node.sights.now();
    let port = asked.node.doors.service.port();
    let peer = |facts: &NodeFacts| {
        let hosts: Vec<_> = facts
            .service
            .iter()
            .map(|at| without_port(at, port))
            .collect();
        format!("[{},,[{}]]", facts.id, hosts.join(","))
    };
    let peers: Vec<_> = sight.others_alive().map(peer).collect();
    made(format!(
        "{},{port},[{}]",
        asked.memo.peers_generation,
        peers.join(",")
    ))
}

/// An address without its port, if that is the one that goes without saying.
fn without_port(address: &str, port: u16) -> &str {
    match address.rsplit_once(':') {
        Some((host, own)) if own.parse() == Ok(port) => host,
        Some(_) | None => address,
    }
}

fn services(asked: &mut Asked<'_>) -> Answer {
    let sight = asked.node.sights.now();
    let all = sight.others_alive().flat_map(|facts| &facts.service);
    made(all.map(String::as_str).collect::<Vec<_>>().join(";"))
}

/// The nodes, the greatest id first.
fn succession(asked: &mut Asked<'_>) -> Answer {
    let sight = asked.node.sights.now();
    made(joined(sight.succession().iter(), ","))
}

pub(super) fn joined(items: impl Iterator<Item = impl ToString>, separator: &str) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(separator)
}

/// Copies that the partitions of a namespace have now, at most.
pub(super) fn effective_factor(map: Option<&NamespaceMap>) -> usize {
    let rows = map.iter().flat_map(|map| &map.partitions);
    rows.map(|it| it.row.len()).max().unwrap_or(0).max(1)
}

/// The columns of a partition in which clients should use a node: its place among those in sync. The
/// primary also stands in for replicas that do not hold everything yet, and for those that are about to stop,
/// which are the last.
fn columns(
    node: NodeId,
    ownership: &Ownership,
    stopping: &BTreeSet<NodeId>,
    factor: usize,
) -> impl Iterator<Item = usize> {
    let in_sync = &ownership.in_sync;
    let stays = in_sync.iter().filter(|it| !stopping.contains(it)).count();
    let used = match stays {
        0 => in_sync.len(), // there is nobody else
        stays => stays,
    };
    let place = in_sync.iter().take(used).position(|it| *it == node);
    let further = match place {
        Some(0) => used.min(factor)..factor,
        Some(_) | None => 0..0,
    };
    place
        .into_iter()
        .filter(move |place| *place < factor)
        .chain(further)
}

/// For each column, the partitions in which clients should use this node. One that nobody will serve before more nodes
/// are back is in none: who asks has it at once that it is not available, and need not wait for that.
fn bitmaps(asked: &Asked<'_>, name: &str, factor: usize) -> Vec<[u8; BITMAP_BYTES]> {
    let mut bitmaps = vec![[0; BITMAP_BYTES]; factor];
    let sight = asked.node.sights.now();
    let stopping = sight.stopping();
    let Some(map) = sight
        .state
        .maps
        .get(name)
        .filter(|_| is_settled(asked.node))
    else {
        return bitmaps;
    };
    let served = |it: &Ownership| Standing::of(&sight.state, map, it).is_or_will_be_served();
    let partitions = map.partitions.iter().enumerate();
    for (number, ownership) in partitions.filter(|(_, it)| served(it)) {
        for column in columns(asked.node.id, ownership, &stopping, factor) {
            bitmaps[column][number / 8] |= 0x80 >> (number % 8);
        }
    }
    bitmaps
}

/// `name` and bitmaps of each namespace, put together by `print`.
fn by_namespace(
    asked: &Asked<'_>,
    factor_max: usize,
    print: impl Fn(&str, usize, &str) -> String,
) -> Answer {
    let one = |namespace: &crate::node::NamespaceState| {
        let name = &namespace.config.name;
        let factor = {
            let sight = asked.node.sights.now();
            effective_factor(sight.state.maps.get(name)).min(factor_max)
        };
        let bitmaps = bitmaps(asked, name, factor);
        let bitmaps = joined(bitmaps.iter().map(|bits| STANDARD.encode(bits)), ",");
        format!("{name}:{}", print(name, factor, &bitmaps))
    };
    made(joined(asked.node.namespaces.iter().map(one), ";"))
}

/// What clients tell a namespace's maps of two nodes apart by: of two nodes that name themselves for a partition they
/// believe the one of the greater number. Of an available-mode namespace it is always 0: clients would take another for
/// strong consistency.
fn regime(state: &ClusterState, name: &str) -> u32 {
    let strong = state.maps.get(name).is_some_and(|map| map.strong);
    let generation = (state.generation & !ISLAND) as u32;
    if strong { generation.max(1) } else { 0 }
}

fn replicas(asked: &mut Asked<'_>) -> Answer {
    let factor_max = asked
        .params()
        .text("max", 16)?
        .map(str::parse::<usize>)
        .transpose();
    let factor_max = factor_max.map_err(|_| InfoError::new(ResultCode::Parameter, "bad max"))?;
    let factor_max = factor_max.unwrap_or(usize::MAX).max(1);
    let sight = asked.node.sights.now().state.clone();
    by_namespace(asked, factor_max, |name, factor, bitmaps| {
        let regime = regime(&sight, name);
        format!("{regime},{factor},{bitmaps}")
    })
}

fn replicas_all(asked: &mut Asked<'_>) -> Answer {
    by_namespace(asked, usize::MAX, |_, factor, bitmaps| {
        format!("{factor},{bitmaps}")
    })
}

fn replicas_master(asked: &mut Asked<'_>) -> Answer {
    by_namespace(asked, 1, |_, _, bitmaps| bitmaps.to_owned())
}

fn partition_info(asked: &mut Asked<'_>) -> Answer {
    let mut list = String::from(
        "namespace:partition:state:n_replicas:replica:succession:n_dupl:working_master:proxy_dst:\
         emigrates:lead_emigrates:immigrates:records:tombstones:regime",
    );
    let sight = asked.node.sights.now();
    for namespace in &asked.node.namespaces {
        let name = &namespace.config.name;
        let map = sight.state.maps.get(name);
        for id in PartitionId::all() {
            let unknown = Ownership::default();
            let ownership = map.map_or(&unknown, |map| map.partition(id));
            let served = map.is_some_and(|map| {
                Standing::of(&sight.state, map, ownership).is_or_will_be_served()
            });
            let part = Part {
                ownership,
                leader: ownership.primary().filter(|_| served),
                regime: map
                    .filter(|map| map.strong)
                    .map_or(0, |_| ownership.regime.0),
                counts: namespace.engine.partition_counts(id),
            };
            part.put(&mut list, asked.node, name, id);
        }
    }
    made(list)
}

/// A partition as this node has part in it.
struct Part<'a> {
    ownership: &'a Ownership,
    /// Who serves it, now or soon.
    leader: Option<NodeId>,
    /// Of a strongly consistent one; else 0.
    regime: u32,
    /// Records and tombstones here.
    counts: (u64, u64),
}

impl Part<'_> {
    /// S holds everything, D is being filled, Z holds what it should not any more, A holds nothing.
    fn put(&self, list: &mut String, node: &Node, name: &str, id: PartitionId) {
        let ownership = self.ownership;
        let (records, tombstones) = self.counts;
        let role = ownership.role(node.id);
        let state = match role {
            _ if !is_settled(node) => 'D',
            Role::Primary | Role::Replica => 'S',
            Role::Joining => 'D',
            Role::Stranger if records > 0 => 'Z',
            Role::Stranger => 'A',
        };
        let place = |nodes: &[NodeId]| nodes.iter().position(|it| *it == node.id);
        let replica = place(&ownership.in_sync).or(place(&ownership.row));
        let joining = ownership.joining().count();
        let leads = role == Role::Primary;
        // Writing to a string does not fail.
        let _ = write!(
            list,
            ";{name}:{id}:{state}:{copies}:{replica}:{replica}:0:{primary}:0:{emigrates}:\
             {emigrates}:{immigrates}:{records}:{tombstones}:{regime}",
            copies = ownership.row.len(),
            replica = replica.unwrap_or(ownership.row.len()),
            primary = self.leader.unwrap_or_default(),
            emigrates = if leads { joining } else { 0 },
            immigrates = u8::from(role == Role::Joining),
            regime = self.regime,
        );
    }
}

fn cluster_stable(asked: &mut Asked<'_>) -> Answer {
    let unstable = |why: &'static str| refused(ResultCode::ClusterKeyMismatch, why);
    let size = asked
        .params()
        .text("size", 16)?
        .map(str::parse::<usize>)
        .transpose();
    let size = size.map_err(|_| InfoError::new(ResultCode::Parameter, "bad size"))?;
    let name = asked.params().text("namespace", 31)?;
    if let Some(name) = name {
        asked
            .node
            .namespace(name.as_bytes())
            .ok_or_else(no_namespace)?;
    }
    let ignores = asked.params().text("ignore-migrations", 8)? == Some("true");
    let sight = asked.node.sights.now();
    if size.is_some_and(|size| size != cluster_size(&sight)) {
        return unstable("cluster not specified size");
    }
    if sight.is_island() || !is_settled(asked.node) || (!ignores && is_moving(&sight, name)) {
        return unstable("unstable cluster");
    }
    made(format!("{:X}", cluster_key(asked.node)))
}

/// Nodes that count as alive, this one included.
pub(super) fn cluster_size(sight: &Sight) -> usize {
    sight.others_alive().count() + 1
}

/// Whether partitions are on their way, of one namespace or of any.
fn is_moving(sight: &Sight, name: Option<&str>) -> bool {
    let maps = sight.state.maps.iter();
    let mut maps = maps.filter(|(own, _)| name.is_none_or(|name| name == *own));
    maps.any(|(name, _)| sight.remaining(name) > 0)
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
    let sight = asked.node.sights.now();
    let (own_rack, id) = (asked.node.config.node.rack, asked.node.id);
    of_one_or_each(asked, |name| {
        let mut racks = BTreeMap::from([(own_rack, vec![id])]);
        for facts in sight.others_alive() {
            if facts.namespaces.iter().any(|it| it.name == name) {
                racks.entry(facts.rack).or_default().push(facts.id);
            }
        }
        let rack =
            |(rack, ids): (&u32, &Vec<NodeId>)| format!("rack_{rack}={}", joined(ids.iter(), ","));
        joined(racks.iter().map(rack), ":")
    })
}

pub(super) fn of_one_or_each(asked: &Asked<'_>, value: impl Fn(&str) -> String) -> Answer {
    if let Some(name) = asked.params().text("namespace", 31)? {
        asked
            .node
            .namespace(name.as_bytes())
            .ok_or_else(no_namespace)?;
        return made(value(name));
    }
    let names = asked
        .node
        .namespaces
        .iter()
        .map(|namespace| &namespace.config.name);
    made(
        names
            .map(|name| format!("ns={name}:{}", value(name)))
            .collect::<Vec<_>>()
            .join(";"),
    )
}
