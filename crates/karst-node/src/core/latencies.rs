//! How long requests took in the last whole slice of time, for tools that ask for rates.
//!
//! Counters run from the node's start. A slice is what they grew by between two looks at them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use karst_io::clock;
use parking_lot::Mutex;

use super::Core;
use crate::metrics::{ByOp, latencies_of};
use crate::node::Node;

/// How long a slice is: what the tools of the protocol are used to.
const SLICE: Duration = Duration::from_secs(10);

/// What requests took between two looks.
#[derive(Debug)]
pub(crate) struct Slice {
    /// How long it was.
    pub(crate) seconds: f64,
    /// By namespace: since the node's start, as of its end.
    pub(crate) ever: Box<[ByOp]>,
    /// By namespace: in it alone.
    pub(crate) within: Box<[ByOp]>,
}

/// The slice that has ended last, and where the next one began.
#[derive(Debug, Default)]
pub struct Slices(Mutex<Looks>);

#[derive(Debug, Default)]
struct Looks {
    last_us: Option<(u64, Box<[ByOp]>)>,
    slice: Option<Arc<Slice>>,
}

impl Slices {
    /// The slice that has ended last; `None` before the first has.
    pub(crate) fn last(&self) -> Option<Arc<Slice>> {
        self.0.lock().slice.clone()
    }

    /// Ends a slice at a time of the monotonic clock, with what was counted until then, and begins the next.
    pub(crate) fn end(&self, at_us: u64, ever: Box<[ByOp]>) {
        let mut looks = self.0.lock();
        if let Some((began_us, before)) = looks.last_us.take() {
            let since = |(ever, before): (&ByOp, &ByOp)| -> ByOp {
                std::array::from_fn(|op| ever[op].since(&before[op]))
            };
            looks.slice = Some(Arc::new(Slice {
                seconds: at_us.saturating_sub(began_us).max(1) as f64 / 1e6,
                within: ever.iter().zip(&before).map(since).collect(),
                ever: ever.clone(),
            }));
        }
        looks.last_us = Some((at_us, ever));
    }
}

/// What was counted since the node's start, by namespace.
pub(crate) fn ever(node: &Node) -> Box<[ByOp]> {
    let positions = 0..node.namespaces.len();
    positions
        .map(|position| latencies_of(node, position))
        .collect()
}

/// Ends a slice every so often, for as long as the node lives.
pub(super) async fn keep(core: Rc<Core>) {
    loop {
        let node = &core.node;
        node.latencies.end(clock::monotonic_us(), ever(node));
        tokio::time::sleep(SLICE).await;
    }
}
