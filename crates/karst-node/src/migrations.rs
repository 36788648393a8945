//! How many copies are on their way, and how fast they arrive.
//!
//! What is left is looked at a few times a second and remembered for a while; the rate is counted from the
//! largest of those, so that copies which join the queue do not pass for slowness of those before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use karst_io::clock;
use parking_lot::Mutex;

use crate::node::Node;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks that are remembered: ten seconds.
const LOOKS_MAX: usize = 20;

/// Shortest time from which a rate is told.
const SPAN_MIN_US: u64 = 1_000_000;

/// What was left of each namespace at a time, in microseconds.
struct Look {
    at_us: u64,
    left: Vec<u64>,
}

/// See [the module](self).
#[derive(Default)]
pub struct Migrations(Mutex<VecDeque<Look>>);

impl Migrations {
    /// Remembers what is left of each namespace.
    fn note(&self, at_us: u64, left: Vec<u64>) {
        let mut looks = self.0.lock();
        looks.truncate(LOOKS_MAX - 1);
        looks.push_front(Look { at_us, left });
    }

    /// Seconds until nothing is left of a namespace at the present rate; `None` while nothing is left, or no rate
    /// is known.
    pub fn eta_s(&self, namespace: usize) -> Option<u64> {
        let looks = self.0.lock();
        let left = |look: &Look| look.left.get(namespace).copied();
        let newest = looks.front()?;
        let now = left(newest).filter(|now| *now > 0)?;
        // The latest of the largest: from then on it went down.
        let first = looks.iter().rev().max_by_key(|look| left(look))?;
        let done = left(first)?.checked_sub(now).filter(|done| *done > 0)?;
        let span_us = newest.at_us.saturating_sub(first.at_us);
        (span_us >= SPAN_MIN_US).then(|| (now * span_us).div_ceil(done * 1_000_000))
    }
}

/// Looks again and again; never returns.
pub async fn watch(node: Arc<Node>) {
    loop {
        let left = {
            let sight = node.sights.now();
            let names = node.namespaces.iter().map(|it| &it.config.name);
            let left = names.map(|name| sight.remaining(name) as u64);
            left.collect()
        };
        node.migrations.note(clock::boot_us(), left);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(left: &[u64]) -> Migrations {
        let migrations = Migrations::default();
        for (number, left) in left.iter().enumerate() {
            migrations.note(number as u64 * 500_000, vec![*left]);
        }
        migrations
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_unknown_is_no_number() {
        let check = |left: &[u64], eta| assert_eq!(seen(left).eta_s(0), eta, "{left:?}");
        check(&[], None);
        check(&[0, 0, 0], None);
        check(&[100, 100, 100, 100], None);
        check(&[100, 50], None); // half a second tells little
        check(&[100, 90, 80], Some(4));
        check(&[100, 90, 80, 0], None);
        check(&[0, 0, 0, 100, 90, 80], Some(4));
        check(&[10, 200, 190, 180], Some(9));
        assert_eq!(seen(&[9, 8, 7]).eta_s(1), None, "of no such namespace");
        let many: Vec<u64> = (0..1000).rev().collect();
        assert_eq!(seen(&many[..900]).eta_s(0), Some(50));
        assert_eq!(seen(&many).0.lock().len(), LOOKS_MAX);
    }
}
