//! `bench --load`: every key written once before the measurement.
//!
//! Refused writes (a node sheds load while it flushes) are sent again after a pause, a bounded
//! number of times. Unlike in the measurement nothing may be missing at the end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use karst_client::{RawConnection, RawMap, ResultCode};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{BIN, Plan};
use super::worker::{connect, plan, runtime};
use crate::args::Bench;
use crate::failure::{Failure, Outcome};
use crate::render::{human, progress};

/// Most connections to one node; more do not fill faster.
const CONNECTIONS_MAX: u32 = 8;

/// Writes in flight on each.
const IN_FLIGHT_MAX: usize = 64;

/// Bytes in flight on each, so that large objects do not pile up.
const BYTES_IN_FLIGHT_MAX: usize = 4 * 1024 * 1024;

/// Attempts at one key.
const ATTEMPTS_MAX: u8 = 100;

/// Pause before refused writes are sent again.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// Longest wait for any answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes every key.
pub(super) fn run(args: &Bench, map: &RawMap) -> Outcome {
    let bar = progress::of_count(args.keys);
    let started = Instant::now();
    let filled = runtime()?.block_on(fill(args, Arc::new(plan(args, map)), &bar));
    bar.finish_and_clear();
    filled?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "karst: wrote {} keys in {seconds:.1} s ({}/s)",
        human::count(args.keys),
        human::count((args.keys as f64 / seconds) as u64)
    );
    Ok(())
}

async fn fill(args: &Bench, plan: Arc<Plan>, bar: &ProgressBar) -> Outcome {
    let lanes = u64::from(args.connections.min(CONNECTIONS_MAX));
    let mut running = JoinSet::new();
    for (node, address) in plan.map.addresses().iter().enumerate() {
        for lane in 0..lanes {
            running.spawn(Lane::fill(
                Arc::clone(&plan),
                node,
                *address,
                lane..args.keys,
                lanes,
                bar.clone(),
            ));
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(Failure::failed)??; // the rest are dropped with the set
    }
    Ok(())
}

/// One connection's share of the keys.
struct Lane {
    plan: Arc<Plan>,
    connection: RawConnection,
    /// What is in flight, oldest first: number of the key and attempts made.
    sent: VecDeque<(u64, u8)>,
    /// Refused ones, to be sent again.
    again: Vec<(u64, u8)>,
}

impl Lane {
    /// Writes every `step`-th key of `keys` that belongs to this node.
    async fn fill(
        plan: Arc<Plan>,
        node: usize,
        address: SocketAddr,
        keys: std::ops::Range<u64>,
        step: u64,
        bar: ProgressBar,
    ) -> Outcome {
        let depth = (BYTES_IN_FLIGHT_MAX / plan.value.len().max(1)).clamp(1, IN_FLIGHT_MAX);
        let mut lane = Lane {
            connection: connect(address).await?,
            sent: VecDeque::with_capacity(depth),
            again: Vec::new(),
            plan,
        };
        let mut number = keys.start;
        while number < keys.end || !lane.sent.is_empty() || !lane.again.is_empty() {
            while lane.sent.len() < depth
                && let Some((key, attempts)) = lane.again.pop()
            {
                lane.queue(key, attempts)?;
            }
            while lane.sent.len() < depth && number < keys.end {
                if lane.plan.record(number).1 == node {
                    lane.queue(number, 0)?;
                }
                number = number.saturating_add(step);
            }
            bar.inc(lane.turn().await?);
            if !lane.again.is_empty() {
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
        Ok(())
    }

    fn queue(&mut self, number: u64, attempts: u8) -> Outcome {
        let (key, _) = self.plan.record(number);
        self.connection
            .queue_put(&key, BIN, &self.plan.value, 0)
            .map_err(Failure::usage)?;
        self.sent.push_back((number, attempts + 1));
        Ok(())
    }

    /// Sends, takes what has arrived, and returns how many keys are written.
    async fn turn(&mut self) -> Outcome<u64> {
        let (sent, again) = (&mut self.sent, &mut self.again);
        let (mut written, mut refused) = (0, None);
        let turn = self.connection.turn(|reply| {
            let Some((number, attempts)) = sent.pop_front() else {
                return;
            };
            match reply.code {
                code if code == ResultCode::Ok.as_u8() => written += 1,
                code if attempts >= ATTEMPTS_MAX || !passes(code) => refused = Some((number, code)),
                _ => again.push((number, attempts)),
            }
        });
        match timeout(ANSWER_TIMEOUT, turn).await {
            Ok(Ok(())) => {}
            Ok(Err(lost)) => return Err(Failure::failed(format!("while writing keys: {lost}"))),
            Err(_) => {
                return Err(Failure::failed(format!(
                    "while writing keys: no answer for {} s",
                    ANSWER_TIMEOUT.as_secs()
                )));
            }
        }
        match refused {
            None => Ok(written),
            Some((number, code)) => Err(Failure::failed(format!(
                "key {number} is refused: {}",
                super::stats::code_text(code)
            ))),
        }
    }
}

/// Whether a refusal is one that passes by itself.
fn passes(code: u8) -> bool {
    let passing = [
        ResultCode::Timeout,
        ResultCode::Unavailable,
        ResultCode::KeyBusy,
        ResultCode::DeviceOverload,
    ];
    passing.iter().any(|passing| passing.as_u8() == code)
}
