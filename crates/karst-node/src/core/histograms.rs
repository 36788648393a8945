//! Histograms of a namespace's records: how long they have to live, and how large they are.
//!
//! A walk over the whole index, so it is made only when somebody asked, and at most once a minute; who
//! asks gets what the last walk found, and nothing before the first.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_storage::expire::Survey;
use parking_lot::Mutex;

use super::Core;
use crate::node;

/// How often it is looked whether somebody asked.
const PAUSE: Duration = Duration::from_millis(250);

/// Least time between two walks.
const REST: Duration = Duration::from_secs(60);

/// Buckets of the survey of lives, of which far fewer are shown.
const LIFE_BUCKETS: usize = 10_000;

/// Powers of two of bytes that a record's size can be: a place has 20 bits of 16-byte units.
pub const SIZES: usize = 25;

/// Buckets of equal width in which sizes are counted too, up to the largest record that there may be.
const LINEAR_SIZES: usize = 1024;

/// What one walk found.
#[derive(Debug)]
pub struct Walked {
    /// Void times of the records that expire.
    pub lives: Survey,
    /// Records of 2^n bytes or more, and less than 2^(n+1), on the device.
    pub sizes: [u64; SIZES],
    /// The same by buckets of equal width.
    pub linear_sizes: Vec<u64>,
    /// That width in bytes.
    pub linear_width_bytes: usize,
}

/// What was found last, and whether more is wanted.
#[derive(Debug, Default)]
pub struct Histograms {
    wanted: AtomicBool,
    walked: Mutex<Option<Arc<Walked>>>,
}

impl Histograms {
    /// What the last walk found, and asks for another.
    pub fn ask(&self) -> Option<Arc<Walked>> {
        self.wanted.store(true, Ordering::Relaxed);
        self.walked.lock().clone()
    }
}

/// Walks when somebody asked, for as long as the node lives.
pub(super) async fn keep(core: Rc<Core>, index: usize) {
    let histograms = &core.namespace(index).upkeep.histograms;
    loop {
        tokio::time::sleep(PAUSE).await;
        if histograms.wanted.swap(false, Ordering::Relaxed) {
            let walked = walk(&core, index).await;
            *histograms.walked.lock() = Some(Arc::new(walked));
            tokio::time::sleep(REST).await;
        }
    }
}

async fn walk(core: &Rc<Core>, index: usize) -> Walked {
    let engine = &core.namespace(index).engine;
    let mut walked = Walked {
        lives: Survey::from_now(node::now().epoch_s(), LIFE_BUCKETS),
        sizes: [0; SIZES],
        linear_sizes: vec![0; LINEAR_SIZES],
        linear_width_bytes: engine
            .config()
            .record_bytes_max
            .div_ceil(LINEAR_SIZES)
            .max(1),
    };
    for partition in PartitionId::all() {
        let mut after = None;
        loop {
            let Walked {
                lives,
                sizes,
                linear_sizes,
                linear_width_bytes,
            } = &mut walked;
            after = engine.visit_alive(partition, after, node::now(), &mut |entry| {
                lives.count(entry.void_time_s());
                let bytes = entry.place().length.bytes().max(1);
                sizes[(bytes.ilog2() as usize).min(SIZES - 1)] += 1;
                let bucket = bytes as usize / *linear_width_bytes;
                linear_sizes[bucket.min(LINEAR_SIZES - 1)] += 1;
            });
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    walked
}
