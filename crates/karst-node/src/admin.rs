//! The admin service: what operators' tools ask of this node.
//!
//! Answers are snapshots read from counters at the time of the call; nothing is kept between calls. What
//! changes the cluster is proposed to its leader (`change`). The same door is the one at which the other nodes of
//! the cluster ask (`control`).
//!
//! Bounds: `CONNECTIONS_MAX` connections, each closed when nothing moves on it for `IDLE_MAX`;
//! requests of `REQUEST_BYTES_MAX`; `CALLS_MAX` calls at a time on a connection.

mod change;
mod cluster_alarms;
mod index;
mod layout;
mod members;
mod recovery;
mod revive;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use karst_cluster::standing::Standings;
use karst_data::key::PARTITIONS;
use karst_io::QueueKind;
use karst_proto::admin as proto;
use karst_proto::admin::admin_server::{Admin, AdminServer};
use karst_proto::raft::membership_server::MembershipServer;
use karst_proto::raft::raft_server::RaftServer;
use karst_storage::place::DeviceId;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::config::{Engine, Mode};
use crate::control::Shared;
use crate::control::service::{
    MEMBERSHIP_BYTES_MAX, MembershipService, RAFT_BYTES_MAX, RaftService,
};
use crate::counters::{Ending, Op};
use crate::http::visitors::Visitors;
use crate::limits;
use crate::metrics::Figures;
use crate::node::{NamespaceState, Node, NodeSlot, State};

/// Most connections at a time: of each other node one or two, and of operators' tools.
const CONNECTIONS_MAX: usize = 256;

/// A connection on which nothing moves for this long is closed; pings of living peers keep it open.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Time between the pings that tell a living peer from a lost one.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Longest wait for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest call. All answers come from memory; this is for clients that do not take theirs.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls at a time on one connection.
const CALLS_MAX: u32 = 16;

/// Largest request. They hold at most a name.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Serves until `stop` resolves, without the cluster's own services.
///
/// # Errors
/// When the listener cannot be used at all.
pub async fn serve(
    node: impl Into<NodeSlot>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), tonic::transport::Error> {
    let service = AdminServer::new(Service(node.into()));
    server()
        .add_service(service.max_decoding_message_size(REQUEST_BYTES_MAX))
        .serve_with_incoming_shutdown(Visitors::new(listener, CONNECTIONS_MAX, IDLE_MAX), stop)
        .await
}

/// Serves operators' tools and the other nodes until `stop` resolves.
///
/// # Errors
/// When the listener cannot be used at all.
pub(crate) async fn serve_cluster(
    node: NodeSlot,
    control: Arc<Shared>,
    listener: std::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let listener = TcpListener::from_std(listener)?;
    let admin = AdminServer::new(Service(node));
    let raft = RaftServer::new(RaftService::new(control.clone()));
    let membership = MembershipServer::new(MembershipService(control));
    let visitors = Visitors::new(listener, CONNECTIONS_MAX, IDLE_MAX);
    let served = server()
        .add_service(admin.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(raft.max_decoding_message_size(RAFT_BYTES_MAX))
        .add_service(membership.max_decoding_message_size(MEMBERSHIP_BYTES_MAX))
        .serve_with_incoming_shutdown(visitors, stop);
    Ok(served.await?)
}

fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .timeout(CALL_TIMEOUT)
        .max_concurrent_streams(CALLS_MAX)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .http2_max_header_list_size(16 << 10)
}

struct Service(NodeSlot);

impl Service {
    fn node(&self) -> Result<&Arc<Node>, Status> {
        let starting = || Status::unavailable("the node is starting: it is not in a cluster yet");
        self.0.get().ok_or_else(starting)
    }
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(
        &self,
        _: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        let node = &**self.node()?;
        let figures = all_figures(node);
        Ok(Response::new(proto::StatusResponse {
            cluster: Some(members::cluster(node)),
            nodes: members::nodes(node, &figures),
            namespaces: namespaces(node, &figures),
            alarms: alarms(node, &figures),
        }))
    }

    async fn nodes(
        &self,
        _: Request<proto::NodesRequest>,
    ) -> Result<Response<proto::NodesResponse>, Status> {
        let node = &**self.node()?;
        let nodes = members::nodes(node, &all_figures(node));
        Ok(Response::new(proto::NodesResponse { nodes }))
    }

    async fn namespaces(
        &self,
        request: Request<proto::NamespacesRequest>,
    ) -> Result<Response<proto::NamespacesResponse>, Status> {
        let node = &**self.node()?;
        let only = known(node, &request.get_ref().namespace)?;
        let mut namespaces = namespaces(node, &all_figures(node));
        namespaces.retain(|namespace| only.is_none_or(|only| only == namespace.name));
        Ok(Response::new(proto::NamespacesResponse { namespaces }))
    }

    async fn damage(
        &self,
        request: Request<proto::DamageRequest>,
    ) -> Result<Response<proto::DamageResponse>, Status> {
        let node = &**self.node()?;
        let only = known(node, &request.get_ref().namespace)?;
        let wanted =
            |namespace: &&NamespaceState| only.is_none_or(|only| only == namespace.config.name);
        let namespaces = node.namespaces.iter().filter(wanted);
        let records = namespaces.flat_map(storage::damaged).collect();
        Ok(Response::new(proto::DamageResponse { records }))
    }

    async fn sets(
        &self,
        request: Request<proto::SetsRequest>,
    ) -> Result<Response<proto::SetsResponse>, Status> {
        let node = &**self.node()?;
        let only = known(node, &request.get_ref().namespace)?;
        let wanted =
            |namespace: &&NamespaceState| only.is_none_or(|only| only == namespace.config.name);
        let mut sets: Vec<_> = node
            .namespaces
            .iter()
            .filter(wanted)
            .flat_map(sets)
            .collect();
        sets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(Response::new(proto::SetsResponse { sets }))
    }

    async fn partitions(
        &self,
        request: Request<proto::PartitionsRequest>,
    ) -> Result<Response<proto::PartitionsResponse>, Status> {
        let node = self.node()?.clone();
        index::blocking(move || index::partitions(&node, request.get_ref())).await
    }

    async fn heat(
        &self,
        request: Request<proto::HeatRequest>,
    ) -> Result<Response<proto::HeatResponse>, Status> {
        let heat = index::heat(self.node()?, request.get_ref())?;
        Ok(Response::new(heat))
    }

    async fn drain(
        &self,
        request: Request<proto::DrainRequest>,
    ) -> Result<Response<proto::DrainResponse>, Status> {
        let drained = change::drain(self.node()?, request.get_ref()).await?;
        Ok(Response::new(drained))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveRequest>,
    ) -> Result<Response<proto::RemoveResponse>, Status> {
        let removed = change::remove(self.node()?, request.get_ref()).await?;
        Ok(Response::new(removed))
    }

    async fn revive(
        &self,
        request: Request<proto::ReviveRequest>,
    ) -> Result<Response<proto::ReviveResponse>, Status> {
        let revived = revive::revive(self.node()?, request.get_ref()).await?;
        Ok(Response::new(revived))
    }

    async fn map(
        &self,
        request: Request<proto::MapRequest>,
    ) -> Result<Response<proto::MapResponse>, Status> {
        let map = layout::map(self.node()?, request.get_ref())?;
        Ok(Response::new(map))
    }

    async fn entries(
        &self,
        request: Request<proto::EntriesRequest>,
    ) -> Result<Response<proto::EntriesResponse>, Status> {
        let node = self.node()?.clone();
        index::blocking(move || index::entries(&node, request.get_ref())).await
    }
}

/// The namespace asked for; `None` asks for all.
fn known<'a>(node: &Node, name: &'a str) -> Result<Option<&'a str>, Status> {
    match name {
        "" => Ok(None),
        name if node.namespace(name.as_bytes()).is_some() => Ok(Some(name)),
        name => Err(Status::not_found(format!(
            "there is no namespace \"{name}\""
        ))),
    }
}

fn all_figures(node: &Node) -> Vec<Figures> {
    (0..node.namespaces.len())
        .map(|position| Figures::of(node, position))
        .collect()
}

fn this_node(node: &Node, figures: &[Figures]) -> proto::Node {
    let requests = figures.iter().map(requests_total).sum();
    proto::Node {
        name: node.config.node.name.clone(),
        id: node.id.to_string(),
        state: match node.state() {
            State::Starting => proto::NodeState::Starting,
            State::Serving => proto::NodeState::Serving,
            State::Draining => proto::NodeState::Draining,
        }
        .into(),
        service: node
            .doors
            .advertised
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
        admin: node.doors.admin.to_string(),
        http: node.doors.http.to_string(),
        rack: node.config.node.rack,
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_seconds: node.uptime_s(),
        cores: node.cores.len() as u32,
        io: Some(proto::Io {
            queue: match node.io.kind {
                QueueKind::Ring => proto::IoQueue::IoUring,
                QueueKind::Threads => proto::IoQueue::Threads,
            }
            .into(),
            fallback_reason: node.io.fallback_reason.clone().unwrap_or_default(),
        }),
        pid: std::process::id(),
        connections: node.cores.iter().map(|core| core.connections.get()).sum(),
        requests_total: requests,
        fabric: node.cluster.me().fabric.clone(),
        ..proto::Node::default() // what the map says of it is filled in there
    }
}

/// Requests as clients sent them: a batch is one, whatever is in it.
fn requests_total(figures: &Figures) -> u64 {
    let ops = [
        Op::Read,
        Op::Write,
        Op::Delete,
        Op::Udf,
        Op::Scan,
        Op::Batch,
    ];
    let counts = |op| {
        Ending::ALL
            .map(|ending| figures.requests(op, ending))
            .iter()
            .sum::<u64>()
    };
    ops.into_iter().map(counts).sum()
}

fn namespaces(node: &Node, figures: &[Figures]) -> Vec<proto::Namespace> {
    let each = node.namespaces.iter().zip(figures);
    let message = |(position, (namespace, figures))| proto::Namespace {
        migrations_eta_seconds: node.migrations.eta_s(position),
        ..this_namespace(node, namespace, figures)
    };
    each.enumerate().map(message).collect()
}

fn this_namespace(node: &Node, namespace: &NamespaceState, figures: &Figures) -> proto::Namespace {
    let config = &namespace.config;
    let entries = figures.records.records + figures.records.tombstones;
    let index_bytes = figures.records.index_bytes;
    proto::Namespace {
        name: config.name.clone(),
        mode: match config.mode {
            Mode::Ap => proto::Mode::Ap,
            Mode::Cp => proto::Mode::Cp,
        }
        .into(),
        replication_factor: config.replication_factor.into(),
        engine: match config.storage.engine {
            Engine::Device { resident: true, .. } => proto::Engine::Memory,
            Engine::Device { .. } => proto::Engine::Device,
            Engine::Memory { .. } => proto::Engine::Memory,
        }
        .into(),
        records: figures.records.records,
        tombstones: figures.records.tombstones,
        partitions: Some(partitions(node, namespace)),
        migrations_remaining: remaining(node, namespace),
        index_bytes,
        index_bytes_per_record: if entries == 0 {
            0.0
        } else {
            index_bytes as f64 / entries as f64
        },
        space: Some(proto::Space {
            total_bytes: figures.space.total_bytes,
            used_bytes: figures.space.live_bytes,
            blocks_total: figures.blocks(),
            blocks_free: figures.blocks_free(),
        }),
        devices: devices(node, namespace),
        defrag: Some(proto::Defrag {
            low_water_percent: config.storage.defrag_low_water_percent.into(),
            blocks_pending: figures.space.worth_moving_blocks,
            blocks_freed_total: figures.space.moved_blocks,
            records_moved_total: figures.moved_records,
        }),
        stop_writes: figures.refusal.is_some(),
        stop_writes_reason: figures.stop_writes_reason().unwrap_or_default(),
        writes: Some(storage::writes(figures)),
        scrub: storage::scrub(namespace, figures),
        damage: Some(storage::damage(figures)),
        recovery: Some(recovery::recovery(namespace)),
        checkpoint: recovery::checkpoint(namespace),
        ..proto::Namespace::default()
    }
}

/// Partitions of a namespace by how they stand. Before this node has a map they count as
/// recovering.
fn partitions(node: &Node, namespace: &NamespaceState) -> proto::PartitionCounts {
    let sight = node.sights.now();
    let map = sight.state.maps.get(&namespace.config.name);
    let Some(map) = map.filter(|_| node.state() != State::Starting) else {
        return proto::PartitionCounts {
            recovering: PARTITIONS as u32,
            ..Default::default()
        };
    };
    let standings = Standings::of(&sight.state, map);
    proto::PartitionCounts {
        active: standings.active as u32,
        recovering: standings.recovering as u32,
        unavailable: standings.unavailable as u32,
        dead: standings.dead as u32,
    }
}

/// Copies on their way, over the whole cluster.
fn remaining(node: &Node, namespace: &NamespaceState) -> u64 {
    let sight = node.sights.now();
    sight.remaining(&namespace.config.name) as u64
}

fn devices(node: &Node, namespace: &NamespaceState) -> Vec<proto::Device> {
    let log = namespace.engine.log();
    let each = namespace
        .devices
        .iter()
        .zip(&log.config().devices)
        .enumerate();
    let devices = each.map(|(number, (device, geometry))| {
        let id = DeviceId(number as u8); // the log has at most 128
        proto::Device {
            path: device.path().display().to_string(),
            node: node.config.node.name.clone(),
            size_bytes: device.size_bytes(),
            used_bytes: log.device_live_bytes(id),
            blocks_total: geometry.blocks.into(),
            blocks_free: log.device_blocks_free(id),
            failure: storage::failure(node, namespace, id).unwrap_or_default(),
            read_errors: log.read_errors(id),
            written_bytes: log.device_written_bytes(id),
            slow: log.device_slow(id) && !log.device_failed(id),
        }
    });
    devices.collect()
}

fn sets(namespace: &NamespaceState) -> Vec<proto::Set> {
    let sets = namespace.engine.sets().all();
    let message = |set: &Arc<karst_engine::sets::Set>| proto::Set {
        namespace: namespace.config.name.clone(),
        name: String::from_utf8_lossy(&set.name).into_owned(),
        records: set.records(),
        tombstones: set.tombstones(),
        data_bytes: Some(set.bytes()),
    };
    sets.iter().map(message).collect()
}

/// What an operator should look at, worst first.
fn alarms(node: &Node, figures: &[Figures]) -> Vec<proto::Alarm> {
    let mut alarms = Vec::new();
    let name = &node.config.node.name;
    if let Some(reason) = &node.io.fallback_reason {
        let text =
            format!("io_uring is refused, device I/O runs on threads and costs more: {reason}");
        alarms.push(alarm(
            proto::Severity::Warning,
            format!("node {name}"),
            text,
        ));
    }
    alarms.extend(cluster_alarms::alarms(node));
    alarms.extend(strong_alarms::alarms(node));
    for (namespace, figures) in node.namespaces.iter().zip(figures) {
        space_alarms(namespace, figures, &mut alarms);
        device_alarms(node, namespace, &mut alarms);
        storage::damage_alarms(namespace, figures, &mut alarms);
        recovery::alarms(namespace, &mut alarms);
    }
    alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.severity)); // stable
    alarms
}

fn alarm(severity: proto::Severity, subject: String, message: String) -> proto::Alarm {
    proto::Alarm {
        severity: severity.into(),
        subject,
        message,
    }
}

fn space_alarms(namespace: &NamespaceState, figures: &Figures, alarms: &mut Vec<proto::Alarm>) {
    let subject = || format!("namespace {}", namespace.config.name);
    if let Some(reason) = figures.stop_writes_reason() {
        alarms.push(alarm(
            proto::Severity::Critical,
            subject(),
            format!("writes are refused: {reason}"),
        ));
        return;
    }
    for (_, text) in limits::warnings(&namespace.limits(), &figures.usage) {
        alarms.push(alarm(proto::Severity::Warning, subject(), text));
    }
}

fn device_alarms(node: &Node, namespace: &NamespaceState, alarms: &mut Vec<proto::Alarm>) {
    let log = namespace.engine.log();
    for (number, device) in namespace.devices.iter().enumerate() {
        let id = DeviceId(number as u8); // the log has at most 128
        let subject = || format!("device {}", device.path().display());
        if let Some(text) = storage::failure(node, namespace, id) {
            alarms.push(alarm(proto::Severity::Critical, subject(), text));
        } else if log.device_slow(id) {
            let text = "its writes take many times longer than those of the namespace's other devices; \
                        it is given few";
            alarms.push(alarm(proto::Severity::Warning, subject(), text.into()));
        }
        let errors = log.read_errors(id);
        if errors > 0 {
            let text = format!(
                "{errors} reads failed or brought bytes whose checksum is wrong; see `karst damage`"
            );
            alarms.push(alarm(proto::Severity::Critical, subject(), text));
        }
    }
}

mod storage;
mod strong_alarms;

#[cfg(test)]
mod tests;
