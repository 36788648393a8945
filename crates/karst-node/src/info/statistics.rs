//! The node as a whole, in figures.

use super::cluster::{cluster_key, cluster_size, is_settled};
use super::namespaces::totals;
use super::{Answer, Asked, Entry, Pairs, entry, text};
use crate::counters::{CoreCounters, Counter, Ending, Op};
use crate::node::Node;

pub(super) const COMMANDS: &[Entry] = &[
    entry("statistics", statistics),
    entry("get-stats", |_| text("")),
    entry("health-outliers", |_| text("")),
    entry("health-stats", |_| text("")),
];

fn statistics(asked: &mut Asked<'_>) -> Answer {
    let mut pairs = Pairs::default();
    put_cluster(&mut pairs, asked.node);
    put_memory(&mut pairs);
    let (records, tombstones) = totals(asked);
    pairs.put("uptime", asked.node.uptime_s());
    pairs.put("objects", records);
    pairs.put("tombstones", tombstones);
    put_connections(&mut pairs, asked.node);
    pairs.put("long_queries_active", asked.node.jobs.running());
    put_batches(&mut pairs, asked);
    pairs.put("time_since_rebalance", asked.node.uptime_s());
    pairs.put("migrate_allowed", is_settled(asked.node));
    let sight = asked.node.sights.now();
    let remaining: usize = sight
        .state
        .maps
        .keys()
        .map(|name| sight.remaining(name))
        .sum();
    pairs.put("migrate_partitions_remaining", remaining);
    pairs.zeros(&["rw_in_progress", "proxy_in_progress"]);
    pairs.answer()
}

fn put_cluster(pairs: &mut Pairs, node: &Node) {
    pairs.put("failed_best_practices", false);
    let sight = node.sights.now();
    pairs.put("cluster_size", cluster_size(&sight));
    pairs.put("cluster_key", format_args!("{:X}", cluster_key(node)));
    pairs.put("cluster_generation", sight.state.generation);
    let principal = sight.succession().first().copied().unwrap_or(node.id);
    pairs.put("cluster_principal", principal);
    pairs.put("cluster_min_compatibility_id", 15);
    pairs.put("cluster_max_compatibility_id", 15);
    pairs.put("cluster_integrity", true);
    pairs.put("cluster_is_member", true);
    pairs.zeros(&[
        "cluster_clock_skew_stop_writes_sec",
        "cluster_clock_skew_ms",
    ]);
    pairs.put("paxos_principal", principal);
}

fn put_connections(pairs: &mut Pairs, node: &Node) {
    let sum = |counter: fn(&CoreCounters) -> &Counter| -> u64 {
        node.cores.iter().map(|core| counter(core).get()).sum()
    };
    let (open, opened) = (
        sum(|core| &core.connections),
        sum(|core| &core.connections_opened),
    );
    pairs.put("client_connections", open);
    pairs.put("client_connections_opened", opened);
    pairs.put("client_connections_closed", opened.saturating_sub(open));
    pairs.zeros(&[
        "admin_connections",
        "heartbeat_connections",
        "fabric_connections",
    ]);
    pairs.put("reaped_fds", 0);
    pairs.put("info_complete", sum(|core| &core.info));
    pairs.put("demarshal_error", sum(|core| &core.malformed));
    pairs.put(
        "client_connections_rejected",
        sum(|core| &core.connections_rejected),
    );
    pairs.put("client_bytes_received", sum(|core| &core.bytes_in));
    pairs.put("client_bytes_sent", sum(|core| &core.bytes_out));
}

fn put_batches(pairs: &mut Pairs, asked: &Asked<'_>) {
    let sum = |ending| {
        asked
            .all_figures()
            .map(|figures| figures.requests(Op::Batch, ending))
            .sum()
    };
    let [complete, not_found]: [u64; 2] = [sum(Ending::Ok), sum(Ending::NotFound)];
    let failed: u64 = asked
        .all_figures()
        .map(|figures| figures.failures(Op::Batch))
        .sum();
    pairs.put("batch_index_initiate", complete + not_found + failed);
    pairs.put("batch_index_complete", complete + not_found);
    pairs.put("batch_index_error", failed);
}

/// Memory of the host; left out where the system does not tell.
fn put_memory(pairs: &mut Pairs) {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return;
    };
    let kbytes = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    if let (Some(total), Some(free)) = (kbytes("MemTotal:"), kbytes("MemAvailable:")) {
        let percent = (free * 100).checked_div(total).unwrap_or(0);
        for scope in ["system", "host"] {
            pairs.put(&format!("{scope}_free_mem_kbytes"), free);
            pairs.put(&format!("{scope}_free_mem_pct"), percent);
        }
    }
}
