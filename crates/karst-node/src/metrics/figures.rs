//! What a namespace's counters come to, summed over cores and asked of engine and log at one moment.
//!
//! A snapshot: each number was true at some time during the call, not all at the same one. Taking one
//! locks each partition for an instant, so it is for pollers, not for requests.

use karst_engine::{NamespaceReport, damage, scrub};
use karst_storage::log::SpaceReport;
use karst_storage::log::codec::PackedBytes;
use karst_storage::watermark::Usage;

use crate::counters::{
    Counter, Ending, LATENCY_BUCKETS, NamespaceCounters, Op, Places, Queries, Query, QueryEnding,
};
use crate::limits::{self, Refusal};
use crate::node::Node;

/// A latency histogram, summed over cores.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LatencyFigures {
    /// Requests per bucket, not cumulated; bucket `n` holds times below `2^n` microseconds.
    pub(crate) buckets: [u64; LATENCY_BUCKETS],
    /// Sum of all times in microseconds.
    pub(crate) sum_us: u64,
}

impl LatencyFigures {
    /// Requests in all.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Takes in those of another histogram.
    pub(crate) fn add(&mut self, other: &LatencyFigures) {
        let buckets = self.buckets.iter_mut().zip(other.buckets);
        buckets.for_each(|(sum, part)| *sum += part);
        self.sum_us += other.sum_us;
    }

    /// Those of them that came after an earlier look.
    pub(crate) fn since(&self, earlier: &LatencyFigures) -> LatencyFigures {
        LatencyFigures {
            buckets: std::array::from_fn(|n| self.buckets[n].saturating_sub(earlier.buckets[n])),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// Requests that took `2^n` microseconds or longer.
    pub(crate) fn count_from(&self, n: usize) -> u64 {
        self.buckets.iter().skip(n + 1).sum()
    }
}

/// A histogram for each [`Op`].
pub(crate) type ByOp = [LatencyFigures; Op::ALL.len()];

/// See [the module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Records and index.
    pub(crate) records: NamespaceReport,
    /// Blocks and bytes of the log.
    pub(crate) space: SpaceReport,
    /// What compression came to.
    pub(crate) packed: PackedBytes,
    /// Size of a block in bytes.
    pub(crate) block_bytes: u64,
    /// Live bytes beyond which writes are refused once free blocks run out.
    pub(crate) live_bytes_max: u64,
    /// How full the namespace is.
    pub(crate) usage: Usage,
    /// Why a client's record would be refused; `None` while it would not.
    pub(crate) refusal: Option<Refusal>,
    /// Whether a limit of eviction is crossed.
    pub(crate) evicts: bool,
    /// Requests by [`Op`], then by [`Ending`].
    pub(crate) requests: [[u64; Ending::ALL.len()]; Op::ALL.len()],
    /// Queries that walked partitions.
    pub(crate) scans: Queries<u64>,
    /// Queries that asked an index.
    pub(crate) index_queries: Queries<u64>,
    /// Queries for places.
    pub(crate) places: Places<u64>,
    /// By [`Op`].
    pub(crate) latency: ByOp,
    /// Reads that devices were asked for.
    pub(crate) device_reads: u64,
    /// Time they took, summed, in microseconds.
    pub(crate) device_read_us: u64,
    /// Writes that devices were asked for.
    pub(crate) device_writes: u64,
    /// Bytes of those.
    pub(crate) device_write_bytes: u64,
    /// Time they took, summed, in microseconds.
    pub(crate) device_write_us: u64,
    /// Device writes of what clients wrote.
    pub(crate) client_flushes: u64,
    /// Live records that cannot be read.
    pub(crate) damage: damage::Report,
    /// How far the scrub has come.
    pub(crate) scrub: scrub::Progress,
    /// Records that defrag moved.
    pub(crate) moved_records: u64,
    /// Writes that waited for defrag to free a block.
    pub(crate) stalled_writes: u64,
}

impl Figures {
    /// Of the namespace at a position of [`Node::namespaces`].
    pub(crate) fn of(node: &Node, position: usize) -> Figures {
        let namespace = &node.namespaces[position];
        let engine = &namespace.engine;
        let usage = limits::usage(namespace, node.memory_percent());
        let sum = |counter: fn(&NamespaceCounters) -> &Counter| {
            node.cores
                .iter()
                .map(|core| counter(&core.namespaces[position]).get())
                .sum()
        };
        Figures {
            records: engine.report(),
            space: engine.log().report(),
            packed: engine.log().codec().packed_bytes(),
            block_bytes: u64::from(engine.log().config().block_bytes),
            live_bytes_max: engine.log().live_bytes_max(),
            usage,
            refusal: Refusal::of(namespace, &usage),
            evicts: namespace.limits().evict(&usage).is_some(),
            requests: requests(node, position),
            scans: queries(node, position, |counters| &counters.scans),
            index_queries: queries(node, position, |counters| &counters.index_queries),
            places: Places {
                queries: sum(|counters| &counters.places.queries),
                ranges: sum(|counters| &counters.places.ranges),
                met: sum(|counters| &counters.places.met),
                missed: sum(|counters| &counters.places.missed),
            },
            latency: latencies_of(node, position),
            device_reads: sum(|counters| &counters.device_reads),
            device_read_us: sum(|counters| &counters.device_read_us),
            device_writes: sum(|counters| &counters.device_writes),
            device_write_bytes: sum(|counters| &counters.device_write_bytes),
            device_write_us: sum(|counters| &counters.device_write_us),
            client_flushes: sum(|counters| &counters.client_flushes),
            damage: engine.damage_report(),
            scrub: engine.scrub_progress(),
            moved_records: sum(|counters| &counters.moved_records),
            stalled_writes: sum(|counters| &counters.stalled_writes),
        }
    }

    /// Requests that were answered, and parts of batches, whatever the result.
    pub(crate) fn answered(&self) -> u64 {
        self.requests.iter().flatten().sum()
    }

    /// Requests of one kind that ended one way.
    pub(crate) fn requests(&self, op: Op, ending: Ending) -> u64 {
        self.requests[op as usize][ending as usize]
    }

    /// Requests of one kind that the server or a rule refused, whatever the reason.
    pub(crate) fn failures(&self, op: Op) -> u64 {
        [Ending::Refused, Ending::Overload, Ending::Error]
            .map(|ending| self.requests(op, ending))
            .iter()
            .sum()
    }

    /// Blocks of the log.
    pub(crate) fn blocks(&self) -> u64 {
        self.space.total_bytes / self.block_bytes
    }

    /// Blocks that can be opened.
    pub(crate) fn blocks_free(&self) -> u64 {
        self.space.free_bytes / self.block_bytes
    }

    /// Live bytes as whole percent of all.
    pub(crate) fn used_percent(&self) -> u64 {
        percent(self.space.live_bytes, self.space.total_bytes)
    }

    /// Bytes of free blocks as whole percent of all.
    pub(crate) fn available_percent(&self) -> u64 {
        percent(self.space.free_bytes, self.space.total_bytes)
    }

    /// Why clients' records are refused, as a sentence with figures and what to do; `None` while they
    /// are accepted.
    pub(crate) fn stop_writes_reason(&self) -> Option<String> {
        self.refusal.map(|refusal| refusal.to_string())
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    (u128::from(part) * 100)
        .checked_div(u128::from(whole))
        .unwrap_or(0) as u64
}

fn requests(node: &Node, position: usize) -> [[u64; Ending::ALL.len()]; Op::ALL.len()] {
    let mut requests = [[0; Ending::ALL.len()]; Op::ALL.len()];
    for core in &node.cores {
        let by_op = requests.iter_mut().zip(&core.namespaces[position].requests);
        for (sums, counters) in by_op {
            sums.iter_mut()
                .zip(counters)
                .for_each(|(sum, counter)| *sum += counter.get());
        }
    }
    requests
}

fn queries(
    node: &Node,
    position: usize,
    of: fn(&NamespaceCounters) -> &Queries<Counter>,
) -> Queries<u64> {
    let mut sums = [[0; QueryEnding::ALL.len()]; Query::ALL.len()];
    for core in &node.cores {
        let counters = of(&core.namespaces[position]).iter().flatten();
        let sums = sums.iter_mut().flatten();
        sums.zip(counters).for_each(|(sum, it)| *sum += it.get());
    }
    sums
}

/// How long requests of a namespace took since the node's start.
pub(crate) fn latencies_of(node: &Node, position: usize) -> ByOp {
    let mut figures = ByOp::default();
    for core in &node.cores {
        for (sums, counters) in figures.iter_mut().zip(&core.namespaces[position].latency) {
            sums.sum_us += counters.sum_us.get();
            let buckets = sums.buckets.iter_mut().zip(&counters.buckets);
            buckets.for_each(|(sum, counter)| *sum += counter.get());
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_took_a_power_of_two_or_longer() {
        let mut latency = LatencyFigures::default();
        latency.buckets[0] = 1; // 0 us
        latency.buckets[1] = 2; // 1 us
        latency.buckets[2] = 4; // 2 or 3 us
        latency.buckets[LATENCY_BUCKETS - 1] = 8; // 2^23 us and more
        assert_eq!(latency.count(), 15);
        assert_eq!([0, 1, 2].map(|n| latency.count_from(n)), [14, 12, 8]);
        assert_eq!(latency.count_from(LATENCY_BUCKETS), 0);
    }

    #[test]
    fn percents_of_nothing_are_zero_and_of_everything_a_hundred() {
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(999, 1000), 99);
    }
}
