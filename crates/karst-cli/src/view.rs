//! What `--json` prints of a cluster: the admin service's messages under the names of the contract.
//!
//! These shapes are relied on by scripts. Members may be added; none changes its name or meaning.
//! Words a newer node may send (a state, a mode) and this tool does not know become "unknown".

mod data;

pub(crate) use data::{Module, SecondaryIndex};

use std::collections::BTreeMap;

use karst_proto::admin as proto;
use serde::Serialize;

/// `karst status --json`
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) cluster: Cluster,
    pub(crate) nodes: Vec<Node>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) alarms: Vec<Alarm>,
}

/// The cluster as a whole.
#[derive(Debug, Serialize)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) id: String,
    /// Name of a node; null while there is none.
    pub(crate) leader: Option<String>,
    pub(crate) map_generation: u64,
}

/// One node.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) state: &'static str,
    pub(crate) service: String,
    pub(crate) admin: String,
    pub(crate) http: String,
    pub(crate) fabric: Option<String>,
    pub(crate) rack: u32,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) cores: u32,
    pub(crate) io: Io,
    pub(crate) pid: u32,
    pub(crate) connections: u64,
    pub(crate) requests_total: u64,
    pub(crate) draining: bool,
    pub(crate) partitions: NodePartitions,
}

/// Partitions of a node, of all namespaces together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct NodePartitions {
    /// Those that it leads.
    pub(crate) primary: u64,
    /// Those that it holds and another node leads.
    pub(crate) replica: u64,
    /// Those that it is being filled with.
    pub(crate) joining: u64,
    /// Those of which it may hold writes that others lack.
    pub(crate) apart: u64,
}

/// How a node reaches its devices.
#[derive(Debug, Serialize)]
pub(crate) struct Io {
    pub(crate) queue: &'static str,
    /// Why not io_uring; null when it is, or was not wanted.
    pub(crate) fallback_reason: Option<String>,
}

/// One namespace.
#[derive(Debug, Serialize)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) mode: &'static str,
    pub(crate) replication_factor: u32,
    pub(crate) engine: &'static str,
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    pub(crate) partitions: Partitions,
    pub(crate) migrations_remaining: u64,
    pub(crate) migrations_eta_seconds: Option<u64>,
    pub(crate) index_bytes: u64,
    pub(crate) index_bytes_per_record: f64,
    pub(crate) space: Space,
    pub(crate) devices: Vec<Device>,
    pub(crate) defrag: Defrag,
    pub(crate) stop_writes: bool,
    /// Null while writes are accepted.
    pub(crate) stop_writes_reason: Option<String>,
    pub(crate) writes: Writes,
    /// Null while it is off.
    pub(crate) scrub: Option<Scrub>,
    pub(crate) damage: DamageCounts,
    /// Null from a node that does not tell.
    pub(crate) recovery: Option<Recovery>,
    /// Null when the node has written none since it started.
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// What clients wrote and what came to devices.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Writes {
    pub(crate) client_records_total: u64,
    pub(crate) client_bytes_total: u64,
    pub(crate) written_bytes_total: u64,
    /// Null before anything was written.
    pub(crate) write_amplification: Option<f64>,
    pub(crate) flushes_total: u64,
    /// Null before the first flush.
    pub(crate) writes_per_flush: Option<f64>,
    pub(crate) stalled_total: u64,
}

/// The scrub.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Scrub {
    pub(crate) bytes_per_second: u64,
    pub(crate) blocks_done: u64,
    pub(crate) blocks_total: u64,
    pub(crate) passes_total: u64,
    /// In ms since 1970; null before the first pass has ended.
    pub(crate) last_pass_unix_ms: Option<u64>,
    pub(crate) bytes_read_total: u64,
    pub(crate) damaged_headers_total: u64,
}

/// Damage.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DamageCounts {
    pub(crate) records: u64,
    pub(crate) found_total: u64,
    pub(crate) left_out_total: u64,
    pub(crate) passing_total: u64,
    pub(crate) repaired_total: u64,
    pub(crate) blocks: u64,
}

/// One damaged record.
#[derive(Debug, Serialize)]
pub(crate) struct DamagedRecord {
    pub(crate) namespace: String,
    pub(crate) digest: String,
    pub(crate) version: String,
    pub(crate) device: String,
    pub(crate) block: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) kind: String,
    pub(crate) found_by: String,
}

/// How a namespace came up.
#[derive(Debug, Serialize)]
pub(crate) struct Recovery {
    pub(crate) phase: String,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) bytes_per_second: u64,
    pub(crate) records: u64,
    pub(crate) eta_seconds: Option<u64>,
    pub(crate) seconds: f64,
    /// Null while it is not ready.
    pub(crate) from: Option<String>,
    /// Why not a faster way; null when there is none.
    pub(crate) why: Option<String>,
    /// Seconds by phase.
    pub(crate) phases: BTreeMap<String, f64>,
    pub(crate) scanned_bytes: u64,
    pub(crate) entries_loaded: u64,
    pub(crate) damaged_headers: u64,
    pub(crate) damaged_records: u64,
    pub(crate) rotten_stretches: u64,
    pub(crate) torn_or_stale: u64,
}

/// A checkpoint that was written.
#[derive(Debug, Serialize)]
pub(crate) struct Checkpoint {
    pub(crate) age_seconds: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) seconds: f64,
    /// Why the latest attempt failed; null when it did not.
    pub(crate) failure: Option<String>,
}

/// One partition of a namespace.
#[derive(Debug, Serialize)]
pub(crate) struct Partition {
    pub(crate) number: u32,
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    /// 16 hexadecimal digits.
    pub(crate) fingerprint: String,
}

/// Who serves a partition, and what the asked node holds of it.
#[derive(Debug, Serialize)]
pub(crate) struct Served {
    #[serde(flatten)]
    pub(crate) owners: Owners,
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    /// 16 hexadecimal digits.
    pub(crate) fingerprint: String,
}

/// Who serves a partition, by name.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Owners {
    pub(crate) number: u32,
    pub(crate) state: &'static str,
    pub(crate) regime: u32,
    /// Who should hold it, the preferred primary first.
    pub(crate) replicas: Vec<String>,
    /// Who holds all of it, the primary first.
    pub(crate) in_sync: Vec<String>,
    /// Who is being filled.
    pub(crate) joining: Vec<String>,
    /// Who may hold writes that others lack.
    pub(crate) apart: Vec<String>,
    /// By whom writes were last confirmed, while the regime is not activated.
    pub(crate) prior: Vec<String>,
    /// Of those, who has lost what he had confirmed.
    pub(crate) lost: Vec<String>,
    /// The last regime that was activated; 0 for none.
    pub(crate) activated: u32,
}

/// `karst partitions --id`
#[derive(Debug, Serialize)]
pub(crate) struct OnePartition {
    #[serde(flatten)]
    pub(crate) owners: Owners,
    pub(crate) nodes: Vec<Held>,
}

/// What one node holds of a partition.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    pub(crate) node: String,
    /// primary, replica, joining, apart, or none.
    pub(crate) role: &'static str,
    /// Null from a node that does not answer.
    pub(crate) records: Option<u64>,
    pub(crate) tombstones: Option<u64>,
    pub(crate) fingerprint: Option<String>,
    /// Why it does not; null when it does.
    pub(crate) failure: Option<String>,
}

/// `karst drain`
#[derive(Debug, Serialize)]
pub(crate) struct Drained {
    pub(crate) node: String,
    pub(crate) id: String,
    pub(crate) draining: bool,
    /// Partitions that it still holds, or may hold writes of.
    pub(crate) partitions_left: u64,
    /// Since it was asked for.
    pub(crate) seconds: f64,
}

/// `karst remove`
#[derive(Debug, Serialize)]
pub(crate) struct Removed {
    pub(crate) node: String,
    pub(crate) id: String,
}

/// `karst revive`
#[derive(Debug, Serialize)]
pub(crate) struct Revival {
    pub(crate) namespace: String,
    /// Partitions that nobody serves, by why.
    pub(crate) groups: Vec<ReviveGroup>,
    /// Whether those of which something is left, or all, were revived, and are served.
    pub(crate) done: bool,
    /// What that took.
    pub(crate) seconds: f64,
}

/// Partitions that nobody serves for the same reason.
#[derive(Debug, Serialize)]
pub(crate) struct ReviveGroup {
    pub(crate) partitions: Vec<u32>,
    /// Waiting for nodes does not help.
    pub(crate) dead: bool,
    /// Who knows what was confirmed and is not alive.
    pub(crate) away: Vec<String>,
    /// Who has lost what he had confirmed.
    pub(crate) lost: Vec<String>,
    /// With what these have the partitions go on; nobody: they do not, or begin anew.
    pub(crate) left: Vec<String>,
}

impl From<proto::ReviveGroup> for ReviveGroup {
    fn from(group: proto::ReviveGroup) -> ReviveGroup {
        ReviveGroup {
            partitions: group.partitions,
            dead: group.dead,
            away: group.away,
            lost: group.lost,
            left: group.left,
        }
    }
}

impl Owners {
    /// A message's numbers as names.
    pub(crate) fn of(message: &proto::Owners, names: &[String]) -> Owners {
        let name = |at: &u32| names.get(*at as usize).cloned();
        let names = |list: &[u32]| {
            let named = list.iter().map(|at| name(at).unwrap_or_else(|| "?".into()));
            named.collect::<Vec<String>>()
        };
        Owners {
            number: message.number,
            state: match message.state() {
                proto::PartitionState::Unspecified => "unknown",
                proto::PartitionState::Settled => "settled",
                proto::PartitionState::Migrating => "migrating",
                proto::PartitionState::Unserved => "unserved",
                proto::PartitionState::Recovering => "recovering",
                proto::PartitionState::Unavailable => "unavailable",
                proto::PartitionState::Dead => "dead",
            },
            regime: message.regime,
            replicas: names(&message.row),
            in_sync: names(&message.in_sync),
            joining: names(&message.joining),
            apart: names(&message.apart),
            prior: names(&message.prior),
            lost: names(&message.lost),
            activated: message.activated,
        }
    }

    /// What a node is to the partition.
    pub(crate) fn role(&self, node: &str) -> &'static str {
        let has = |list: &[String]| list.iter().any(|it| it == node);
        match self.in_sync.first() {
            Some(primary) if primary == node => "primary",
            _ if has(&self.in_sync) => "replica",
            _ if has(&self.joining) => "joining",
            _ if has(&self.apart) => "apart",
            _ => "none",
        }
    }
}

/// What the index knows of a record.
#[derive(Debug, Serialize)]
pub(crate) struct IndexEntry {
    pub(crate) digest: String,
    pub(crate) regime: u32,
    pub(crate) sequence: u64,
    pub(crate) generation: u32,
    pub(crate) void_time: u32,
    pub(crate) last_update_ms: u64,
    pub(crate) tombstone: bool,
    pub(crate) set: String,
}

/// Partitions by state.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Partitions {
    pub(crate) active: u32,
    pub(crate) recovering: u32,
    pub(crate) unavailable: u32,
    pub(crate) dead: u32,
}

/// Room for records.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Space {
    pub(crate) total_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) blocks_total: u64,
    pub(crate) blocks_free: u64,
}

/// One device.
#[derive(Debug, Serialize)]
pub(crate) struct Device {
    pub(crate) path: String,
    pub(crate) node: String,
    pub(crate) size_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) blocks_total: u64,
    pub(crate) blocks_free: u64,
    /// Null while it works.
    pub(crate) failure: Option<String>,
    pub(crate) read_errors: u64,
    pub(crate) written_bytes: u64,
    pub(crate) slow: bool,
}

/// Defragmentation.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Defrag {
    pub(crate) low_water_percent: u32,
    pub(crate) blocks_pending: u64,
    pub(crate) blocks_freed_total: u64,
    pub(crate) records_moved_total: u64,
}

/// One set.
#[derive(Debug, Serialize)]
pub(crate) struct Set {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    pub(crate) data_bytes: Option<u64>,
}

/// Something to look at.
#[derive(Debug, Serialize)]
pub(crate) struct Alarm {
    pub(crate) severity: &'static str,
    pub(crate) subject: String,
    pub(crate) message: String,
}

fn unless_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl From<proto::StatusResponse> for Status {
    fn from(status: proto::StatusResponse) -> Status {
        let cluster = status.cluster.unwrap_or_default();
        Status {
            cluster: Cluster {
                name: cluster.name,
                id: cluster.id,
                leader: unless_empty(cluster.leader),
                map_generation: cluster.map_generation,
            },
            nodes: status.nodes.into_iter().map(Node::from).collect(),
            namespaces: status.namespaces.into_iter().map(Namespace::from).collect(),
            alarms: status.alarms.into_iter().map(Alarm::from).collect(),
        }
    }
}

impl From<proto::Node> for Node {
    fn from(node: proto::Node) -> Node {
        let state = match node.state() {
            proto::NodeState::Unspecified => "unknown",
            proto::NodeState::Starting => "starting",
            proto::NodeState::Serving => "serving",
            proto::NodeState::Draining => "draining",
            proto::NodeState::Unreachable => "unreachable",
            proto::NodeState::Joining => "joining",
        };
        let io = node.io.unwrap_or_default();
        Node {
            name: node.name,
            id: node.id,
            state,
            service: node.service,
            admin: node.admin,
            http: node.http,
            fabric: unless_empty(node.fabric),
            rack: node.rack,
            version: node.version,
            uptime_seconds: node.uptime_seconds,
            cores: node.cores,
            io: Io {
                queue: match io.queue() {
                    proto::IoQueue::Unspecified => "unknown",
                    proto::IoQueue::IoUring => "io_uring",
                    proto::IoQueue::Threads => "threads",
                },
                fallback_reason: unless_empty(io.fallback_reason),
            },
            pid: node.pid,
            connections: node.connections,
            requests_total: node.requests_total,
            draining: node.draining,
            partitions: NodePartitions {
                primary: node.partitions_primary,
                replica: node.partitions_replica,
                joining: node.partitions_joining,
                apart: node.partitions_apart,
            },
        }
    }
}

impl From<proto::Namespace> for Namespace {
    fn from(space: proto::Namespace) -> Namespace {
        let partitions = space.partitions.unwrap_or_default();
        let room = space.space.unwrap_or_default();
        let defrag = space.defrag.unwrap_or_default();
        Namespace {
            mode: match space.mode() {
                proto::Mode::Unspecified => "unknown",
                proto::Mode::Ap => "ap",
                proto::Mode::Cp => "cp",
            },
            engine: match space.engine() {
                proto::Engine::Unspecified => "unknown",
                proto::Engine::Device => "device",
                proto::Engine::Memory => "memory",
            },
            name: space.name,
            replication_factor: space.replication_factor,
            records: space.records,
            tombstones: space.tombstones,
            partitions: Partitions {
                active: partitions.active,
                recovering: partitions.recovering,
                unavailable: partitions.unavailable,
                dead: partitions.dead,
            },
            migrations_remaining: space.migrations_remaining,
            migrations_eta_seconds: space.migrations_eta_seconds,
            index_bytes: space.index_bytes,
            index_bytes_per_record: space.index_bytes_per_record,
            space: Space {
                total_bytes: room.total_bytes,
                used_bytes: room.used_bytes,
                blocks_total: room.blocks_total,
                blocks_free: room.blocks_free,
            },
            devices: space.devices.into_iter().map(Device::from).collect(),
            defrag: Defrag {
                low_water_percent: defrag.low_water_percent,
                blocks_pending: defrag.blocks_pending,
                blocks_freed_total: defrag.blocks_freed_total,
                records_moved_total: defrag.records_moved_total,
            },
            stop_writes: space.stop_writes,
            stop_writes_reason: unless_empty(space.stop_writes_reason),
            writes: space.writes.unwrap_or_default().into(),
            scrub: space.scrub.map(Scrub::from),
            damage: space.damage.unwrap_or_default().into(),
            recovery: space.recovery.map(Recovery::from),
            checkpoint: space.checkpoint.map(Checkpoint::from),
        }
    }
}

/// One number over another; `None` where there is nothing to divide by.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl From<proto::Writes> for Writes {
    fn from(writes: proto::Writes) -> Writes {
        Writes {
            client_records_total: writes.client_records_total,
            client_bytes_total: writes.client_bytes_total,
            written_bytes_total: writes.written_bytes_total,
            write_amplification: ratio(writes.written_bytes_total, writes.client_bytes_total),
            flushes_total: writes.flushes_total,
            writes_per_flush: ratio(writes.client_records_total, writes.flushes_total),
            stalled_total: writes.stalled_total,
        }
    }
}

impl From<proto::Recovery> for Recovery {
    fn from(recovery: proto::Recovery) -> Recovery {
        let phases = recovery.phases.into_iter();
        Recovery {
            phase: recovery.phase,
            done_bytes: recovery.done_bytes,
            total_bytes: recovery.total_bytes,
            bytes_per_second: recovery.bytes_per_second,
            records: recovery.records,
            eta_seconds: recovery.eta_seconds,
            seconds: recovery.seconds,
            from: unless_empty(recovery.from),
            why: unless_empty(recovery.why),
            phases: phases.map(|time| (time.phase, time.seconds)).collect(),
            scanned_bytes: recovery.scanned_bytes,
            entries_loaded: recovery.entries_loaded,
            damaged_headers: recovery.damaged_headers,
            damaged_records: recovery.damaged_records,
            rotten_stretches: recovery.rotten_stretches,
            torn_or_stale: recovery.torn_or_stale,
        }
    }
}

impl From<proto::Scrub> for Scrub {
    fn from(scrub: proto::Scrub) -> Scrub {
        let ended = scrub.last_pass_unix_ms;
        Scrub {
            bytes_per_second: scrub.bytes_per_second,
            blocks_done: scrub.blocks_done,
            blocks_total: scrub.blocks_total,
            passes_total: scrub.passes_total,
            last_pass_unix_ms: (ended > 0).then_some(ended),
            bytes_read_total: scrub.bytes_read_total,
            damaged_headers_total: scrub.damaged_headers_total,
        }
    }
}

impl From<proto::Checkpoint> for Checkpoint {
    fn from(checkpoint: proto::Checkpoint) -> Checkpoint {
        Checkpoint {
            age_seconds: checkpoint.age_seconds,
            bytes: checkpoint.bytes,
            entries: checkpoint.entries,
            seconds: checkpoint.seconds,
            failure: unless_empty(checkpoint.failure),
        }
    }
}

impl From<proto::DamageCounts> for DamageCounts {
    fn from(damage: proto::DamageCounts) -> DamageCounts {
        DamageCounts {
            records: damage.records,
            found_total: damage.found_total,
            left_out_total: damage.left_out_total,
            passing_total: damage.passing_total,
            repaired_total: damage.repaired_total,
            blocks: damage.blocks,
        }
    }
}

impl From<proto::Partition> for Partition {
    fn from(partition: proto::Partition) -> Partition {
        Partition {
            number: partition.number,
            records: partition.records,
            tombstones: partition.tombstones,
            fingerprint: format!("{:016x}", partition.fingerprint),
        }
    }
}

impl From<proto::DamagedRecord> for DamagedRecord {
    fn from(record: proto::DamagedRecord) -> DamagedRecord {
        DamagedRecord {
            namespace: record.namespace,
            digest: record.digest,
            version: record.version,
            device: record.device,
            block: record.block,
            offset: record.offset,
            bytes: record.bytes,
            kind: record.kind,
            found_by: record.found_by,
        }
    }
}

impl From<proto::IndexEntry> for IndexEntry {
    fn from(entry: proto::IndexEntry) -> IndexEntry {
        let digest = entry.digest.iter().map(|byte| format!("{byte:02x}"));
        IndexEntry {
            digest: digest.collect(),
            regime: entry.regime,
            sequence: entry.sequence,
            generation: entry.generation,
            void_time: entry.void_time,
            last_update_ms: entry.last_update_ms,
            tombstone: entry.tombstone,
            set: String::from_utf8_lossy(&entry.set).into_owned(),
        }
    }
}

impl From<proto::Device> for Device {
    fn from(device: proto::Device) -> Device {
        Device {
            path: device.path,
            node: device.node,
            size_bytes: device.size_bytes,
            used_bytes: device.used_bytes,
            blocks_total: device.blocks_total,
            blocks_free: device.blocks_free,
            failure: unless_empty(device.failure),
            read_errors: device.read_errors,
            written_bytes: device.written_bytes,
            slow: device.slow,
        }
    }
}

impl From<proto::Set> for Set {
    fn from(set: proto::Set) -> Set {
        Set {
            namespace: set.namespace,
            name: set.name,
            records: set.records,
            tombstones: set.tombstones,
            data_bytes: set.data_bytes,
        }
    }
}

impl From<proto::Alarm> for Alarm {
    fn from(alarm: proto::Alarm) -> Alarm {
        Alarm {
            severity: match alarm.severity() {
                proto::Severity::Unspecified => "unknown",
                proto::Severity::Warning => "warning",
                proto::Severity::Critical => "critical",
            },
            subject: alarm.subject,
            message: alarm.message,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cluster of one node with something in every field that is shown.
    pub(crate) fn sample() -> proto::StatusResponse {
        proto::StatusResponse {
            cluster: Some(proto::Cluster {
                name: "karst".into(),
                id: "c0ffee".into(),
                leader: "n1".into(),
                map_generation: 7,
            }),
            nodes: vec![proto::Node {
                name: "n1".into(),
                id: "beef".into(),
                state: proto::NodeState::Serving.into(),
                service: "127.0.0.1:3000".into(),
                admin: "127.0.0.1:3002".into(),
                version: "0.1.0".into(),
                uptime_seconds: 3725,
                cores: 2,
                io: Some(proto::Io {
                    queue: proto::IoQueue::Threads.into(),
                    fallback_reason: "io_uring_setup: EPERM".into(),
                }),
                ..Default::default()
            }],
            namespaces: vec![proto::Namespace {
                name: "test".into(),
                mode: proto::Mode::Ap.into(),
                engine: proto::Engine::Device.into(),
                replication_factor: 2,
                records: 34_000,
                tombstones: 12,
                partitions: Some(proto::PartitionCounts {
                    active: 4096,
                    ..Default::default()
                }),
                index_bytes_per_record: 69.4,
                space: Some(proto::Space {
                    total_bytes: 4 << 30,
                    used_bytes: 1 << 30,
                    blocks_total: 4096,
                    blocks_free: 3000,
                }),
                ..Default::default()
            }],
            alarms: vec![proto::Alarm {
                severity: proto::Severity::Warning.into(),
                subject: "node n1".into(),
                message: "io_uring is refused here".into(),
            }],
        }
    }

    #[test]
    fn status_json_has_the_members_of_the_contract() {
        let json = serde_json::to_value(Status::from(sample())).unwrap();
        assert_eq!(json["cluster"]["name"], "karst");
        assert_eq!(json["cluster"]["id"], "c0ffee");
        assert_eq!(json["cluster"]["leader"], "n1");
        assert_eq!(json["cluster"]["map_generation"], 7);
        let node = &json["nodes"][0];
        assert_eq!(node["name"], "n1");
        assert_eq!(node["id"], "beef");
        assert_eq!(node["state"], "serving");
        assert_eq!(node["service"], "127.0.0.1:3000");
        assert_eq!(node["rack"], 0);
        let space = &json["namespaces"][0];
        assert_eq!(space["name"], "test");
        assert_eq!(space["mode"], "ap");
        assert_eq!(space["replication_factor"], 2);
        assert_eq!(space["records"], 34_000);
        assert_eq!(space["tombstones"], 12);
        assert_eq!(space["partitions"]["active"], 4096);
        assert_eq!(space["partitions"]["recovering"], 0);
        assert_eq!(space["partitions"]["unavailable"], 0);
        assert_eq!(space["partitions"]["dead"], 0);
        assert_eq!(space["migrations_remaining"], 0);
    }

    #[test]
    fn an_empty_answer_and_words_of_tomorrow_are_shown_and_not_refused() {
        let empty = serde_json::to_value(Status::from(proto::StatusResponse::default())).unwrap();
        assert_eq!(empty["cluster"]["leader"], serde_json::Value::Null);
        let mut newer = sample();
        newer.nodes[0].state = 99;
        newer.namespaces[0].mode = 99;
        let json = serde_json::to_value(Status::from(newer)).unwrap();
        assert_eq!(json["nodes"][0]["state"], "unknown");
        assert_eq!(json["namespaces"][0]["mode"], "unknown");
    }
}
