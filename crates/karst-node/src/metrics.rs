//! What the node measures, for Prometheus: every metric is declared here, with its unit and meaning.
//!
//! Nothing is counted here. Each scrape reads the counters of the data cores, the engines and the logs
//! as they are then. Names keep to the contract: prefix `karst_`, base units, `_total` for what only
//! grows. The text is OpenMetrics, which Prometheus reads as well as its own older form.
//!
//! The number of series is bounded by the configuration: namespaces, devices and cores, each times a
//! fixed list of operations and endings. Nothing that a client chooses becomes a label.

mod cluster;
mod figures;
mod storage;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use karst_storage::log::Log;
use karst_storage::place::DeviceId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use figures::{ByOp, Figures, LatencyFigures, latencies_of};

use crate::counters::{CoreCounters, Counter, Ending, LATENCY_BUCKETS, Op};
use crate::node::{NamespaceState, Node, State};

/// Media type of what [`render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric: what it is called, what it means, and where its value comes from. The prefix, the unit and
/// the `_total` of counters are added to the name in writing.
struct Metric<V> {
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    help: &'static str,
    value: V,
}

const BYTES: Option<Unit> = Some(Unit::Bytes);
const SECONDS: Option<Unit> = Some(Unit::Seconds);

const fn gauge<V: Copy>(
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    value: V,
) -> Metric<V> {
    Metric {
        name,
        unit,
        kind: MetricType::Gauge,
        help,
        value,
    }
}

const fn counter<V: Copy>(
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    value: V,
) -> Metric<V> {
    Metric {
        name,
        unit,
        kind: MetricType::Counter,
        help,
        value,
    }
}

const fn histogram<V: Copy>(name: &'static str, help: &'static str, value: V) -> Metric<V> {
    Metric {
        name,
        unit: SECONDS,
        kind: MetricType::Histogram,
        help,
        value,
    }
}

type OfNode = Metric<fn(&Node) -> u64>;
type OfNamespace = Metric<fn(&Figures) -> u64>;
type OfDevice = Metric<fn(&Log, DeviceId) -> u64>;
type OfStart = Metric<fn(&NamespaceState) -> u64>;
type OfNamespaceTimes = Metric<fn(&Figures) -> Times>;
type OfCore = Metric<fn(&CoreCounters) -> &Counter>;

/// Who this node is, in labels `node`, `cluster` and `version`.
static NODE_INFO: Metric<()> = Metric {
    name: "node",
    unit: None,
    kind: MetricType::Info,
    help: "Who this node is",
    value: (),
};

/// Without labels.
static NODE: [OfNode; 6] = [
    gauge("serving", None, "1 while clients are served", |node| {
        u64::from(node.state() == State::Serving)
    }),
    gauge(
        "uptime",
        SECONDS,
        "Time since the node was started",
        |node| node.uptime_s(),
    ),
    gauge("raft_term", None, "Elections counted so far", |node| {
        node.cluster.figures().term
    }),
    gauge("raft_leader", None, "1 while this node leads", |node| {
        u64::from(node.cluster.leader() == Some(node.id))
    }),
    gauge(
        "raft_commit_index",
        None,
        "Newest entry of the log that a majority is known to have",
        |node| node.cluster.figures().commit_index,
    ),
    gauge(
        "cluster_nodes_alive",
        None,
        "Nodes that count as alive",
        |node| node.cluster.heard().alive.len() as u64,
    ),
];

/// By `namespace`, `op` and `result`.
static REQUESTS: Metric<fn(&Figures, Op, Ending) -> u64> = counter(
    "client_requests",
    None,
    "Client requests, and parts of batches, by kind and how they ended",
    |figures, op, ending| figures.requests(op, ending),
);

/// By `namespace` and `op`.
static REQUEST_SECONDS: Metric<fn(&Figures, Op) -> Times> = histogram(
    "request",
    "Time from a request's arrival to its answer, by kind",
    |figures, op| Times::of_latency(&figures.latency[op as usize]),
);

/// By `namespace`. A histogram of one bucket: count and sum, of which a rate and a mean can be had.
static DEVICE_SECONDS: [OfNamespaceTimes; 2] = [
    histogram("device_read", "Time that device reads took", |figures| {
        Times::of_sum(figures.device_reads, figures.device_read_us)
    }),
    histogram("device_write", "Time that device writes took", |figures| {
        Times::of_sum(figures.device_writes, figures.device_write_us)
    }),
];

/// By `namespace`.
static NAMESPACE: [OfNamespace; 21] = [
    gauge("records", None, "Live records", |figures| {
        figures.records.records
    }),
    gauge(
        "tombstones",
        None,
        "Deletes that are still remembered",
        |figures| figures.records.tombstones,
    ),
    gauge(
        "index",
        BYTES,
        "Memory of the primary index, all of it",
        |figures| figures.records.index_bytes,
    ),
    counter(
        "expired_records",
        None,
        "Records that the sweep found expired",
        |figures| figures.records.expired,
    ),
    counter(
        "evicted_records",
        None,
        "Records that the sweep found evicted",
        |figures| figures.records.evicted,
    ),
    gauge(
        "never_expiring_records",
        None,
        "Live records without a void time",
        |figures| figures.records.never_expire,
    ),
    gauge(
        "evicting",
        None,
        "1 while a limit of eviction is crossed",
        |figures| u64::from(figures.evicts),
    ),
    gauge(
        "index_pages",
        None,
        "Index pages of 64 records in use",
        |figures| figures.usage.index_pages,
    ),
    gauge(
        "index_pages_max",
        None,
        "Index pages that there may be",
        |figures| figures.usage.index_pages_max,
    ),
    gauge(
        "log_writable",
        BYTES,
        "Live bytes beyond which writes are refused",
        |figures| figures.live_bytes_max,
    ),
    gauge(
        "stop_writes",
        None,
        "1 while writes are refused because a limit is crossed",
        |figures| u64::from(figures.refusal.is_some()),
    ),
    gauge(
        "log_total",
        BYTES,
        "Size of all blocks, on devices or in memory",
        |figures| figures.space.total_bytes,
    ),
    gauge(
        "log_used",
        BYTES,
        "Live records in the log, padding included",
        |figures| figures.space.live_bytes,
    ),
    gauge(
        "log_free",
        BYTES,
        "Size of blocks that can be written",
        |figures| figures.space.free_bytes,
    ),
    gauge(
        "defrag_pending_blocks",
        None,
        "Blocks that wait to be emptied",
        |figures| figures.space.worth_moving_blocks,
    ),
    counter(
        "defrag_blocks",
        None,
        "Blocks that defrag emptied",
        |figures| figures.space.moved_blocks,
    ),
    counter(
        "defrag_records",
        None,
        "Records that defrag moved",
        |figures| figures.moved_records,
    ),
    counter(
        "stalled_writes",
        None,
        "Writes that waited for a block to become free",
        |figures| figures.stalled_writes,
    ),
    counter(
        "device_read",
        None,
        "Reads that devices were asked for",
        |figures| figures.device_reads,
    ),
    counter(
        "device_write",
        None,
        "Writes that devices were asked for",
        |figures| figures.device_writes,
    ),
    counter(
        "device_written",
        BYTES,
        "Bytes that devices were asked to write",
        |figures| figures.device_write_bytes,
    ),
];

/// By `namespace`; 1 for one that does not compress.
static COMPRESSION_RATIO: Metric<fn(&Figures) -> f64> = gauge(
    "compression_ratio",
    None,
    "Stored bytes for each byte of records written since the start",
    |figures| figures.packed.ratio(),
);

/// By `namespace` and `device`, its path; absent for namespaces in memory.
static DEVICE: [OfDevice; 4] = [
    gauge(
        "device_total",
        BYTES,
        "Size of all blocks of the device",
        |log, device| {
            let blocks = log.config().devices[usize::from(device.0)].blocks;
            u64::from(blocks) * u64::from(log.config().block_bytes)
        },
    ),
    gauge(
        "device_used",
        BYTES,
        "Live records on the device, padding included",
        |log, device| log.device_live_bytes(device),
    ),
    gauge(
        "device_failed",
        None,
        "1 once a failed write took it out of use",
        |log, device| u64::from(log.device_failed(device)),
    ),
    counter(
        "device_read_errors",
        None,
        "Reads that failed or brought wrong bytes",
        |log, device| log.read_errors(device),
    ),
];

/// By `namespace`: how far its recovery is, and its checkpoints.
static START: [OfStart; 6] = [
    gauge(
        "recovery_done",
        BYTES,
        "Bytes of the present phase of recovery that are done",
        |namespace| namespace.restart.moment().done_bytes,
    ),
    gauge(
        "recovery_total",
        BYTES,
        "Bytes of the present phase of recovery; 0 once it is over",
        |namespace| namespace.restart.moment().total_bytes,
    ),
    gauge(
        "recovery_records",
        None,
        "Records that recovery put into the index, every version counted",
        |namespace| namespace.restart.moment().records,
    ),
    gauge(
        "recovery_damaged_records",
        None,
        "Records that recovery found damaged",
        |namespace| load(&namespace.restart.tally.damaged_records),
    ),
    gauge(
        "recovery_damaged_headers",
        None,
        "Blocks that recovery left out for a damaged header",
        |namespace| load(&namespace.restart.tally.damaged_headers),
    ),
    gauge(
        "checkpoint_entries",
        None,
        "Entries of the latest checkpoint that this process wrote; 0 before the first",
        |namespace| {
            namespace
                .checkpoint
                .written()
                .map_or(0, |written| written.entries)
        },
    ),
];

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// By `core`.
static CORE: [OfCore; 13] = [
    gauge("connections", None, "Client connections open now", |core| {
        &core.connections
    }),
    counter(
        "connections_opened",
        None,
        "Client connections ever opened",
        |core| &core.connections_opened,
    ),
    counter(
        "connections_rejected",
        None,
        "Connections closed for what they sent",
        |core| &core.connections_rejected,
    ),
    counter(
        "malformed_requests",
        None,
        "Requests that could not be understood",
        |core| &core.malformed,
    ),
    counter("info_commands", None, "Info commands answered", |core| {
        &core.info
    }),
    counter("received", BYTES, "Bytes received from clients", |core| {
        &core.bytes_in
    }),
    counter("sent", BYTES, "Bytes sent to clients", |core| {
        &core.bytes_out
    }),
    counter(
        "proxied",
        None,
        "Requests handed on to the node to which they belong",
        |core| &core.proxied_out,
    ),
    counter(
        "proxied_here",
        None,
        "Requests that other nodes have handed on",
        |core| &core.proxied_in,
    ),
    counter(
        "replicas_sent",
        None,
        "Writes sent to other nodes, again if need be",
        |core| &core.replicated_out,
    ),
    counter(
        "replicas_received",
        None,
        "Writes that other nodes sent",
        |core| &core.replicated_in,
    ),
    counter(
        "migration_sent_records",
        None,
        "Records sent to nodes that are being filled",
        |core| &core.filled_records,
    ),
    counter(
        "migration_sent",
        BYTES,
        "Bytes of records sent to nodes that are being filled",
        |core| &core.filled_bytes,
    ),
];

/// Everything as text, read now.
pub fn render(node: &Arc<Node>) -> String {
    let mut registry = Registry::with_prefix("karst");
    registry.register_collector(Box::new(Scrape(node.clone())));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing to a string does not fail");
    out
}

struct Scrape(Arc<Node>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrape of {}", self.0.id)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let node = &*self.0;
        let figures: Vec<Figures> = (0..node.namespaces.len())
            .map(|position| Figures::of(node, position))
            .collect();
        write_node(&mut encoder, node)?;
        cluster::write(&mut encoder, node)?;
        write_requests(&mut encoder, node, &figures)?;
        for metric in NAMESPACE.iter().chain(&storage::NAMESPACE) {
            metric.write(&mut encoder, |out| {
                rows(node, &figures).try_for_each(|(namespace, figures)| {
                    out.number(&[namespace], (metric.value)(figures))
                })
            })?;
        }
        for metric in &DEVICE_SECONDS {
            metric.write(&mut encoder, |out| {
                rows(node, &figures).try_for_each(|(namespace, figures)| {
                    out.times(&[namespace], &(metric.value)(figures))
                })
            })?;
        }
        storage::write_found(&mut encoder, node, &figures)?;
        COMPRESSION_RATIO.write(&mut encoder, |out| {
            rows(node, &figures).try_for_each(|(namespace, figures)| {
                out.part(&[namespace], (COMPRESSION_RATIO.value)(figures))
            })
        })?;
        for metric in &START {
            metric.write(&mut encoder, |out| {
                node.namespaces.iter().try_for_each(|namespace| {
                    let label = ("namespace", &*namespace.config.name);
                    out.number(&[label], (metric.value)(namespace))
                })
            })?;
        }
        write_devices(&mut encoder, node)?;
        write_cores(&mut encoder, node)
    }
}

type Label<'a> = (&'static str, &'a str);

/// Each namespace's label and figures.
fn rows<'a>(
    node: &'a Node,
    figures: &'a [Figures],
) -> impl Iterator<Item = (Label<'a>, &'a Figures)> {
    let labels = node
        .namespaces
        .iter()
        .map(|namespace| ("namespace", &*namespace.config.name));
    labels.zip(figures)
}

fn write_node(encoder: &mut DescriptorEncoder<'_>, node: &Node) -> fmt::Result {
    NODE_INFO.write(encoder, |out| {
        out.encoder.encode_info(&[
            ("node", node.config.node.name.as_str()),
            ("cluster", node.config.cluster.name.as_str()),
            ("version", env!("CARGO_PKG_VERSION")),
        ])
    })?;
    for metric in &NODE {
        metric.write(encoder, |out| {
            out.encoder.encode_gauge(&(metric.value)(node))
        })?;
    }
    Ok(())
}

fn write_requests(
    encoder: &mut DescriptorEncoder<'_>,
    node: &Node,
    figures: &[Figures],
) -> fmt::Result {
    REQUESTS.write(encoder, |out| {
        for (namespace, figures) in rows(node, figures) {
            for (op, ending) in Op::ALL
                .into_iter()
                .flat_map(|op| Ending::ALL.map(|end| (op, end)))
            {
                let labels = [namespace, ("op", op.label()), ("result", ending.label())];
                out.number(&labels, (REQUESTS.value)(figures, op, ending))?;
            }
        }
        Ok(())
    })?;
    REQUEST_SECONDS.write(encoder, |out| {
        for (namespace, figures) in rows(node, figures) {
            for op in Op::ALL {
                let labels = [namespace, ("op", op.label())];
                out.times(&labels, &(REQUEST_SECONDS.value)(figures, op))?;
            }
        }
        Ok(())
    })
}

fn write_devices(encoder: &mut DescriptorEncoder<'_>, node: &Node) -> fmt::Result {
    for metric in DEVICE.iter().chain(&storage::DEVICE) {
        metric.write(encoder, |out| {
            for namespace in &node.namespaces {
                for (number, device) in namespace.devices.iter().enumerate() {
                    let path = device.path().to_string_lossy();
                    let labels = [("namespace", &*namespace.config.name), ("device", &*path)];
                    let id = DeviceId(number as u8); // the log has at most 128
                    out.number(&labels, (metric.value)(namespace.engine.log(), id))?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn write_cores(encoder: &mut DescriptorEncoder<'_>, node: &Node) -> fmt::Result {
    for metric in &CORE {
        metric.write(encoder, |out| {
            for (number, core) in node.cores.iter().enumerate() {
                out.number(&[("core", &number.to_string())], (metric.value)(core).get())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

impl<V> Metric<V> {
    /// Writes the metric's head and then its samples.
    fn write(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl FnOnce(&mut Samples<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let unit = self.unit.as_ref();
        let encoder = encoder.encode_descriptor(self.name, self.help, unit, self.kind)?;
        samples(&mut Samples {
            encoder,
            kind: self.kind,
        })
    }
}

/// The samples of one metric, being written.
struct Samples<'e> {
    encoder: MetricEncoder<'e>,
    kind: MetricType,
}

impl Samples<'_> {
    fn number(&mut self, labels: &[Label<'_>], value: u64) -> fmt::Result {
        let mut sample = self.encoder.encode_family(&labels)?;
        match self.kind {
            MetricType::Counter => sample.encode_counter::<NoLabelSet, _, u64>(&value, None),
            _ => sample.encode_gauge(&value),
        }
    }

    fn part(&mut self, labels: &[Label<'_>], value: f64) -> fmt::Result {
        if labels.is_empty() {
            return self.encoder.encode_gauge(&value);
        }
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    fn times(&mut self, labels: &[Label<'_>], times: &Times) -> fmt::Result {
        let mut sample = self.encoder.encode_family(&labels)?;
        let count = times.buckets.iter().map(|(_, count)| count).sum();
        sample.encode_histogram::<NoLabelSet>(times.sum_s, count, &times.buckets, None)
    }
}

/// Times as a histogram wants them: how many up to each bound in seconds, not cumulated.
struct Times {
    sum_s: f64,
    buckets: Vec<(f64, u64)>,
}

impl Times {
    /// Bounds are the powers of two of a microsecond that are counted; the last bucket is open.
    fn of_latency(latency: &LatencyFigures) -> Times {
        let bound = |bucket: usize| match bucket {
            last if last == LATENCY_BUCKETS - 1 => f64::INFINITY,
            bucket => (1u64 << bucket) as f64 / 1e6,
        };
        let buckets = latency.buckets.iter().enumerate();
        let buckets = buckets
            .map(|(bucket, count)| (bound(bucket), *count))
            .collect();
        Times {
            sum_s: latency.sum_us as f64 / 1e6,
            buckets,
        }
    }

    fn of_sum(count: u64, sum_us: u64) -> Times {
        Times {
            sum_s: sum_us as f64 / 1e6,
            buckets: vec![(f64::INFINITY, count)],
        }
    }
}

#[cfg(test)]
mod tests;
