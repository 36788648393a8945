//! Namespaces: which there are, what is in them and how they do.
//!
//! Requests that a rule or the server refused are counted as errors, whatever the reason; requests that
//! timed out are not told apart from them, so no `_timeout` is listed.

use std::sync::atomic::Ordering;

use karst_cluster::map::{Ownership, Role};
use karst_cluster::standing::Standings;
use karst_data::key::PartitionId;
use karst_storage::place::DeviceId;

use super::cluster::{cluster_size, effective_factor};
use super::config::namespace_settings;
use super::sets::unix_ns;
use super::{Answer, Asked, Entry, Pairs, entry, made, text};
use crate::config::Engine;
use crate::counters::{CoreCounters, Counter, Ending, Op, Query};
use crate::metrics::Figures;
use crate::node::{NamespaceState, Node, now};

/// Of migration not told apart, or not done in this way.
const MIGRATION_ZEROS: &[&str] = &[
    "migrate_tx_partitions_imbalance",
    "migrate_tx_partitions_active",
    "migrate_tx_partitions_initial",
    "migrate_tx_partitions_lead_remaining",
    "migrate_tx_instances",
    "migrate_rx_instances",
    "migrate_rx_partitions_active",
    "migrate_rx_partitions_initial",
    "migrate_records_skipped",
    "migrate_record_retransmits",
    "migrate_record_receives",
    "migrate_signals_active",
    "migrate_signals_remaining",
    "migrate_fresh_partitions",
];

pub(super) const COMMANDS: &[Entry] = &[
    entry("namespaces", namespaces),
    entry("namespace", namespace),
    entry("objects", |asked| {
        made(
            asked
                .all_figures()
                .map(|figures| figures.records.records)
                .sum::<u64>(),
        )
    }),
];

fn namespaces(asked: &mut Asked<'_>) -> Answer {
    let names = asked
        .node
        .namespaces
        .iter()
        .map(|namespace| namespace.config.name.as_str());
    made(names.collect::<Vec<_>>().join(";"))
}

fn namespace(asked: &mut Asked<'_>) -> Answer {
    let name = asked.command.arguments().next().unwrap_or_default();
    let Some((_, namespace, figures)) = asked.namespace(name) else {
        return text("type=unknown");
    };
    let mut pairs = Pairs::default();
    put_cluster(&mut pairs, asked.node, namespace);
    put_records(&mut pairs, namespace, figures);
    put_space(&mut pairs, namespace, figures);
    put_requests(&mut pairs, figures);
    pairs.zeros(MIGRATION_ZEROS);
    namespace_settings(&mut pairs, asked.node, namespace);
    pairs.answer()
}

/// What this node holds by its part in each partition, and what of the map is not as it should be.
fn put_cluster(pairs: &mut Pairs, node: &Node, namespace: &NamespaceState) {
    let sight = node.sights.now();
    let name = &namespace.config.name;
    let map = sight.state.maps.get(name);
    pairs.put("ns_cluster_size", cluster_size(&sight));
    pairs.put("effective_replication_factor", effective_factor(map));
    let mut held = [(0, 0); 3];
    for (partition, ownership) in PartitionId::all().zip(map.iter().flat_map(|it| &it.partitions)) {
        let (records, tombstones) = namespace.engine.partition_counts(partition);
        let part = match ownership.role(node.id) {
            Role::Primary => 0,
            Role::Replica | Role::Joining => 1,
            Role::Stranger => 2,
        };
        held[part].0 += records;
        held[part].1 += tombstones;
    }
    for (part, (records, tombstones)) in ["master", "prole", "non_replica"].iter().zip(held) {
        pairs.put(&format!("{part}_objects"), records);
        pairs.put(&format!("{part}_tombstones"), tombstones);
    }
    let standings = map.map(|map| Standings::of(&sight.state, map));
    let standings = standings.unwrap_or_default();
    pairs.put("unavailable_partitions", standings.unavailable);
    pairs.put("dead_partitions", standings.dead);
    let mine = |it: &Ownership| it.primary() == Some(node.id);
    let sends = |it: &Ownership| {
        if mine(it) {
            it.to_reconcile().count()
        } else {
            0
        }
    };
    let partitions = || map.iter().flat_map(|map| &map.partitions);
    let tx: usize = partitions().map(sends).sum();
    let rx = partitions()
        .filter(|it| it.role(node.id) == Role::Joining)
        .count();
    pairs.put("migrate_tx_partitions_remaining", tx);
    pairs.put("migrate_rx_partitions_remaining", rx);
    let sum = |of: fn(&CoreCounters) -> &Counter| -> u64 {
        node.cores.iter().map(|core| of(core).get()).sum()
    };
    pairs.put(
        "migrate_records_transmitted",
        sum(|core| &core.filled_records),
    );
}

fn put_records(pairs: &mut Pairs, namespace: &NamespaceState, figures: &Figures) {
    let (records, tombstones) = (figures.records.records, figures.records.tombstones);
    pairs.put("objects", records);
    pairs.put("tombstones", tombstones);
    pairs.zeros(&["xdr_tombstones", "xdr_bin_cemeteries", "mrt_provisionals"]);
    let (_, stuck) = namespace.engine.in_flight();
    pairs.put("unreplicated_records", stuck);
    pairs.put("auto_revived_partitions", 0);
    pairs.put("clock_skew_stop_writes", false);
    pairs.put("stop_writes", figures.refusal.is_some());
    pairs.put("hwm_breached", figures.evicts);
    put_lives(pairs, namespace, figures);
    pairs.put(
        "truncate_lut",
        unix_ns(namespace.engine.truncated_before_ms()),
    );
    pairs.put("index_used_bytes", figures.records.index_bytes);
    pairs.put("set_index_used_bytes", namespace.engine.set_index_bytes());
    pairs.put("sindex_used_bytes", namespace.engine.sindex_bytes());
    let sindexes = namespace.engine.sindexes();
    let swept: u64 = sindexes.iter().map(|it| it.index.swept()).sum();
    pairs.put("sindex_gc_cleaned", swept);
    pairs.put("effective_is_quiesced", false);
    pairs.put("nodes_quiesced", 0);
    pairs.put("pending_quiesce", false);
}

/// Who expires, who was evicted, and what the sweep does.
fn put_lives(pairs: &mut Pairs, namespace: &NamespaceState, figures: &Figures) {
    let records = &figures.records;
    let now_s = now().epoch_s();
    let evicted_until_s = namespace.engine.evicted_until_s();
    pairs.put("current_time", now_s);
    pairs.put("non_expirable_objects", records.never_expire);
    pairs.put("expired_objects", records.expired);
    pairs.put("evicted_objects", records.evicted);
    pairs.put("evict_ttl", evicted_until_s.saturating_sub(now_s));
    pairs.put("evict_void_time", evicted_until_s);
    pairs.put("smd_evict_void_time", evicted_until_s);
    let upkeep = &namespace.upkeep;
    let tenths = upkeep.swept_tenths_percent.load(Ordering::Relaxed);
    pairs.put(
        "nsup_cycle_duration",
        upkeep.sweep_ms.load(Ordering::Relaxed),
    );
    let deleted = format_args!("{}.{}", tenths / 10, tenths % 10).to_string();
    pairs.put("nsup_cycle_deleted_pct", deleted);
    pairs.put("ttl_reductions_applied", records.ttl_reductions_applied);
    pairs.put("ttl_reductions_ignored", records.ttl_reductions_ignored);
    pairs.put("indexes_memory_used_pct", figures.usage.index_percent());
}

fn put_space(pairs: &mut Pairs, namespace: &NamespaceState, figures: &Figures) {
    pairs.put("data_total_bytes", figures.space.total_bytes);
    pairs.put("data_used_bytes", figures.space.live_bytes);
    pairs.put("data_used_pct", figures.used_percent());
    pairs.put("data_avail_pct", figures.available_percent());
    let ratio = namespace.engine.log().codec().packed_bytes().ratio();
    pairs.put("data_compression_ratio", format_args!("{ratio:.3}"));
    pairs.put("device_compression_ratio", format_args!("{ratio:.3}"));
    pairs.put("defrag_pending_blocks", figures.space.worth_moving_blocks);
    pairs.put("defrag_moved_blocks", figures.space.moved_blocks);
    pairs.put("defrag_moved_records", figures.moved_records);
    pairs.put("stalled_writes", figures.stalled_writes);
    pairs.put("device_reads", figures.device_reads);
    pairs.put("device_writes", figures.device_writes);
    pairs.put("failed_devices", figures.space.failed_devices);
    let log = namespace.engine.log();
    for (number, device) in namespace.devices.iter().enumerate() {
        let id = DeviceId(number as u8); // the log has at most 128
        let kind = if device.is_block_device() {
            "device"
        } else {
            "file"
        };
        let key = format!("storage-engine.{kind}[{number}]");
        pairs.put(&format!("{key}.used_bytes"), log.device_live_bytes(id));
        pairs.put(&format!("{key}.free_wblocks"), log.device_blocks_free(id));
        pairs.put(&format!("{key}.read_errors"), log.read_errors(id));
        pairs.put(&format!("{key}.failed"), log.device_failed(id));
    }
}

fn put_requests(pairs: &mut Pairs, figures: &Figures) {
    let singles = [
        (Op::Read, "client_read"),
        (Op::Write, "client_write"),
        (Op::Delete, "client_delete"),
    ];
    let batched = [
        (Op::BatchRead, "batch_sub_read"),
        (Op::BatchWrite, "batch_sub_write"),
        (Op::BatchDelete, "batch_sub_delete"),
    ];
    for (op, name) in singles.into_iter().chain(batched) {
        pairs.put(&format!("{name}_success"), figures.requests(op, Ending::Ok));
        pairs.put(&format!("{name}_error"), figures.failures(op));
        pairs.put(
            &format!("{name}_not_found"),
            figures.requests(op, Ending::NotFound),
        );
        pairs.put(
            &format!("{name}_filtered_out"),
            figures.requests(op, Ending::FilteredOut),
        );
    }
    put_functions(pairs, figures);
    put_queries(pairs, figures);
    pairs.zeros(&[
        "client_proxy_complete",
        "client_proxy_error",
        "from_proxy_read_success",
        "from_proxy_read_error",
        "from_proxy_write_success",
        "from_proxy_write_error",
        "retransmit_all_read",
        "retransmit_all_write",
    ]);
}

/// Functions, and writes of queries in the background.
fn put_functions(pairs: &mut Pairs, figures: &Figures) {
    let counted = [
        (Op::Udf, "client_udf", "complete"),
        (Op::BatchUdf, "batch_sub_udf", "complete"),
        (Op::QueryUdf, "udf_sub_udf", "complete"),
        (Op::QueryWrite, "ops_sub_write", "success"),
    ];
    for (op, name, done) in counted {
        let done = format!("{name}_{done}");
        pairs.put(&done, figures.requests(op, Ending::Ok));
        pairs.put(&format!("{name}_error"), figures.failures(op));
        pairs.put(
            &format!("{name}_filtered_out"),
            figures.requests(op, Ending::FilteredOut),
        );
    }
}

/// Queries by what they are and how they ended; of short ones none is ever ended by somebody.
fn put_queries(pairs: &mut Pairs, figures: &Figures) {
    for (prefix, queries) in [("pi", &figures.scans), ("si", &figures.index_queries)] {
        for query in Query::ALL {
            let name = format!("{prefix}_query_{}", query.name());
            let [complete, error, abort] = queries[query as usize];
            pairs.put(&format!("{name}_complete"), complete);
            pairs.put(&format!("{name}_error"), error);
            if query != Query::Short {
                pairs.put(&format!("{name}_abort"), abort);
            }
        }
    }
    let places = &figures.places;
    for (name, count) in [
        ("reqs", places.queries),
        ("cells", places.ranges),
        ("points", places.met),
        ("falsepos", places.missed),
    ] {
        pairs.put(&format!("geo_region_query_{name}"), count);
    }
}

/// What holds the namespace's records.
pub(super) fn engine_word(namespace: &NamespaceState) -> &'static str {
    match namespace.config.storage.engine {
        Engine::Device { resident, .. } => match resident {
            true => "memory",
            false => "device",
        },
        Engine::Memory { .. } => "memory",
    }
}

/// Records and tombstones of the whole node.
pub(super) fn totals(asked: &Asked<'_>) -> (u64, u64) {
    let figures = asked.all_figures().map(|figures| figures.records);
    figures.fold((0, 0), |(records, tombstones), report| {
        (records + report.records, tombstones + report.tombstones)
    })
}
