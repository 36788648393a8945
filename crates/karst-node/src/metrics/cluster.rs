//! What is measured of the cluster: partitions by role and by how they stand, copies on their way, answers that other
//! nodes owe; and of strongly consistent namespaces how reads and writes are confirmed.

use std::fmt;
use std::sync::atomic::Ordering;

use karst_cluster::map::Role;
use karst_cluster::standing::Standings;
use karst_io::clock;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Metric, SECONDS, counter, gauge};
use crate::config::Mode;
use crate::counters::{Counter, NamespaceCounters};
use crate::node::Node;
use crate::sight::Sight;

/// By `namespace`.
static REMAINING: Metric<fn(&Sight, &str) -> usize> = gauge(
    "migration_partitions_remaining",
    None,
    "Partition copies of the whole cluster that have yet to move or catch up",
    |sight, name| sight.remaining(name),
);

/// By `namespace` and `role`.
static PARTITIONS: Metric<()> = gauge(
    "partitions",
    None,
    "Partitions of this node, by what it is to them",
    (),
);

/// By `namespace` and `state`; of the whole cluster, as this node sees it.
static STANDINGS: Metric<()> = gauge(
    "cluster_partitions",
    None,
    "Partitions of the whole cluster, by whether they are served",
    (),
);

/// Without labels; 0 where it has ended.
static LEASE: Metric<()> = gauge(
    "lease_remaining",
    SECONDS,
    "Time for which this node may answer reads of strongly consistent partitions without asking others",
    (),
);

/// Of the namespace at a position.
type OfStrong = Metric<fn(&Node, usize) -> u64>;

/// By `namespace`, strongly consistent ones.
static STRONG: [OfStrong; 5] = [
    gauge(
        "in_flight_writes",
        None,
        "Writes that not all have yet who are to have them",
        |node, position| node.namespaces[position].engine.in_flight().0,
    ),
    gauge(
        "stuck_writes",
        None,
        "Those that somebody did not take in time: they are sent again when their records are asked for",
        |node, position| node.namespaces[position].engine.in_flight().1,
    ),
    counter(
        "lease_reads",
        None,
        "Reads that were answered by the lease",
        |node, position| sum(node, position, |counters| &counters.lease_reads),
    ),
    counter(
        "quorum_reads",
        None,
        "Reads for which a quorum was asked whether this node still leads",
        |node, position| sum(node, position, |counters| &counters.quorum_reads),
    ),
    counter(
        "activations",
        None,
        "Regimes of partitions that this node leads which the cluster activated",
        |node, position| {
            let upkeep = &node.namespaces[position].upkeep;
            upkeep.activations.load(Ordering::Relaxed)
        },
    ),
];

fn sum(node: &Node, position: usize, counter: fn(&NamespaceCounters) -> &Counter) -> u64 {
    let cores = node.cores.iter();
    cores
        .map(|core| counter(&core.namespaces[position]).get())
        .sum()
}

/// By `peer`, the other node's name.
static LAG: Metric<()> = gauge(
    "replication_lag_records",
    None,
    "Records that were sent to a node which has not said yet that it has them",
    (),
);

const ROLES: [(Role, &str); 3] = [
    (Role::Primary, "primary"),
    (Role::Replica, "replica"),
    (Role::Joining, "joining"),
];

/// Writes all of them.
pub(super) fn write(encoder: &mut DescriptorEncoder<'_>, node: &Node) -> fmt::Result {
    let sight = node.sights.now();
    let names = || {
        node.namespaces
            .iter()
            .map(|namespace| &*namespace.config.name)
    };
    REMAINING.write(encoder, |out| {
        names().try_for_each(|name| {
            let remaining = (REMAINING.value)(&sight, name);
            out.number(&[("namespace", name)], remaining as u64)
        })
    })?;
    PARTITIONS.write(encoder, |out| {
        for (position, name) in names().enumerate() {
            for (role, label) in ROLES {
                let shares = sight.view.shares(position).iter();
                let count = shares.filter(|share| share.role == role).count();
                out.number(&[("namespace", name), ("role", label)], count as u64)?;
            }
        }
        Ok(())
    })?;
    STANDINGS.write(encoder, |out| {
        for name in names() {
            let map = sight.state.maps.get(name);
            let standings = map
                .map(|map| Standings::of(&sight.state, map))
                .unwrap_or_default();
            for (state, count) in [
                ("active", standings.active),
                ("recovering", standings.recovering),
                ("unavailable", standings.unavailable),
                ("dead", standings.dead),
            ] {
                out.number(&[("namespace", name), ("state", state)], count as u64)?;
            }
        }
        Ok(())
    })?;
    write_strong(encoder, node)?;
    LAG.write(encoder, |out| {
        let peers = sight.state.nodes.iter().filter(|(id, _)| **id != node.id);
        for (id, member) in peers {
            out.number(&[("peer", &member.facts.name)], node.lags.of(*id))?;
        }
        Ok(())
    })
}

fn write_strong(encoder: &mut DescriptorEncoder<'_>, node: &Node) -> fmt::Result {
    let namespaces = node.namespaces.iter().enumerate();
    let strong = namespaces.filter(|(_, namespace)| namespace.config.mode == Mode::Cp);
    let strong: Vec<(usize, &str)> = strong
        .map(|(position, namespace)| (position, &*namespace.config.name))
        .collect();
    if strong.is_empty() {
        return Ok(());
    }
    LEASE.write(encoder, |out| {
        let until_us = node.cluster.lease().until_us;
        let left_us = until_us.saturating_sub(clock::boot_us());
        out.part(&[], left_us as f64 / 1e6)
    })?;
    for metric in &STRONG {
        metric.write(encoder, |out| {
            strong.iter().try_for_each(|(position, name)| {
                out.number(&[("namespace", name)], (metric.value)(node, *position))
            })
        })?;
    }
    Ok(())
}
