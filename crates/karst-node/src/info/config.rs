//! The configuration, under the names by which tools know it, as it holds now.

use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::namespaces::engine_word;
use super::{Answer, Asked, Entry, Pairs, entry, no_namespace, refused};
use crate::config::{Compression, Engine, Life, Mode};
use crate::jobs::DONE_MAX;
use crate::node::{NamespaceState, Node};

/// Longest context name; longer ones are no context.
pub(super) const CONTEXT_BYTES_MAX: usize = 31;

pub(super) const COMMANDS: &[Entry] = &[entry("get-config", get), entry("config-get", get)];

fn get(asked: &mut Asked<'_>) -> Answer {
    let mut pairs = Pairs::default();
    match asked.params().text("context", CONTEXT_BYTES_MAX)? {
        None => {
            service(&mut pairs, asked.node);
            network(&mut pairs, asked.node);
        }
        Some("service") => service(&mut pairs, asked.node),
        Some("network") => network(&mut pairs, asked.node),
        Some("namespace") => namespace_settings(&mut pairs, asked.node, named(asked)?),
        Some("security") => pairs.put("enable-security", false),
        Some("xdr") => {}
        Some(_) => return invalid_context(),
    }
    pairs.answer()
}

pub(super) fn invalid_context() -> Answer {
    refused(ResultCode::Parameter, "invalid context")
}

/// The namespace that the parameters name, by today's key or the older one.
pub(super) fn named<'a>(asked: &Asked<'a>) -> Result<&'a NamespaceState, InfoError> {
    let params = asked.params();
    let name = match params.get("namespace").or_else(|| params.get("id")) {
        Some(name) => name,
        None => return Err(InfoError::new(ResultCode::Namespace, "missing 'namespace'")),
    };
    let found = asked.node.namespace(name);
    found
        .map(|(_, namespace)| namespace)
        .ok_or_else(no_namespace)
}

fn service(pairs: &mut Pairs, node: &Node) {
    pairs.put("cluster-name", &node.config.cluster.name);
    pairs.put("node-id", node.id);
    pairs.put("service-threads", node.cores.len());
    pairs.put("proto-fd-max", node.config.service.connections_max);
    let idle_ms = node
        .config
        .service
        .idle_timeout
        .map_or(0, |idle| idle.as_millis());
    pairs.put("proto-fd-idle-ms", idle_ms);
    pairs.put("work-directory", node.config.node.data_dir.display());
    pairs.put("min-cluster-size", 1);
    pairs.put("enable-health-check", false);
    pairs.put("microsecond-histograms", true);
    pairs.put("disable-udf-execution", false);
    pairs.put("query-max-done", DONE_MAX);
    pairs.put("karst.node-name", &node.config.node.name);
    pairs.put("karst.io", node.io.kind);
}

fn network(pairs: &mut Pairs, node: &Node) {
    let doors = &node.doors;
    pairs.put("service.address", doors.service.ip());
    pairs.put("service.port", doors.service.port());
    for (number, advertised) in doors.advertised.iter().enumerate() {
        pairs.put(&format!("service.access-address[{number}]"), advertised);
    }
    pairs.put("service.tls-port", 0);
    pairs.put("fabric.port", node.config.fabric.listen.port());
    pairs.put("karst.admin", doors.admin);
    pairs.put("karst.http", doors.http);
}

/// What the configuration says about a namespace.
pub(super) fn namespace_settings(pairs: &mut Pairs, node: &Node, namespace: &NamespaceState) {
    let (config, life) = (&namespace.config, namespace.life());
    pairs.put("replication-factor", config.replication_factor);
    pairs.put(
        "strong-consistency",
        match config.mode {
            Mode::Ap => false,
            Mode::Cp => true,
        },
    );
    pairs.put(
        "default-ttl",
        life.default_ttl.map_or(0, |ttl| ttl.as_secs()),
    );
    put_life(pairs, namespace, &life);
    pairs.put("allow-ttl-without-nsup", true);
    pairs.put("max-record-size", config.max_record_size);
    pairs.put("background-query-max-rps", config.background_rps_max);
    pairs.put("rack-id", node.config.node.rack);
    pairs.put("conflict-resolution-policy", "last-update-time");
    pairs.put("read-consistency-level-override", "off");
    pairs.put("write-commit-level-override", "off");
    pairs.put("index-type", "mem");
    pairs.put("sindex-type", "mem");
    pairs.put("storage-engine", engine_word(namespace));
    storage(pairs, namespace);
}

/// How long records live, when they are evicted, and when writes stop.
fn put_life(pairs: &mut Pairs, namespace: &NamespaceState, life: &Life) {
    let limits = &life.limits;
    pairs.put("karst.max-ttl", life.max_ttl.as_secs());
    pairs.put("apply-ttl-reductions", life.apply_ttl_reductions);
    pairs.put("default-read-touch-ttl-pct", life.read_touch_percent);
    pairs.put("nsup-period", life.sweep_period.as_secs());
    pairs.put("evict-tenths-pct", life.evict_tenths_percent);
    pairs.put("evict-hist-buckets", life.evict_histogram_buckets);
    pairs.put("evict-indexes-memory-pct", limits.evict_index_percent);
    pairs.put("stop-writes-sys-memory-pct", limits.stop_memory_percent);
    pairs.put("karst.stop-writes-index-pct", limits.stop_index_percent);
    let (_, pages_max) = namespace.engine.index_pages();
    pairs.put("indexes-memory-budget", pages_max * 4096);
    pairs.put("storage-engine.evict-used-pct", limits.evict_used_percent);
    pairs.put(
        "storage-engine.stop-writes-used-pct",
        limits.stop_used_percent,
    );
    pairs.put(
        "storage-engine.stop-writes-avail-pct",
        limits.stop_free_blocks_percent,
    );
}

fn storage(pairs: &mut Pairs, namespace: &NamespaceState) {
    let storage = &namespace.config.storage;
    pairs.put("storage-engine.write-block-size", storage.write_block);
    match &storage.engine {
        Engine::Memory { size } => pairs.put("storage-engine.data-size", size),
        Engine::Device { .. } => {
            for (number, device) in namespace.devices.iter().enumerate() {
                let kind = if device.is_block_device() {
                    "device"
                } else {
                    "file"
                };
                pairs.put(
                    &format!("storage-engine.{kind}[{number}]"),
                    device.path().display(),
                );
            }
        }
    }
    pairs.put("storage-engine.commit-to-device", storage.commit_to_device);
    pairs.put("storage-engine.flush-max-ms", storage.flush_max.as_millis());
    pairs.put(
        "storage-engine.defrag-lwm-pct",
        storage.defrag_low_water_percent,
    );
    pairs.put("storage-engine.post-write-cache", storage.post_write_cache);
    let scrub_rate = storage.scrub_rate.unwrap_or(0);
    pairs.put("storage-engine.scrub-rate-bytes", scrub_rate);
    match storage.compression {
        Compression::None => pairs.put("storage-engine.compression", "none"),
        Compression::Lz4 => pairs.put("storage-engine.compression", "lz4"),
        Compression::Zstd(level) => {
            pairs.put("storage-engine.compression", "zstd");
            pairs.put("storage-engine.compression-level", level);
        }
    }
    if let Some(path) = &storage.encryption_key_file {
        pairs.put("storage-engine.encryption", "aes-256-xts");
        pairs.put("storage-engine.encryption-key-file", path.display());
    }
    pairs.put("storage-engine.read-page-cache", storage.read_page_cache);
}
