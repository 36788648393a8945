//! The loader: a closed loop over a number of connections, on one thread.
//!
//! A connection keeps a fixed number of requests in flight and sends the next when one is answered, so
//! a server that stalls is sent less: percentiles say what these clients saw, not what independent
//! arrivals would have seen. All that one look at a socket brought is answered with one write.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::dialect::{Dialect, Keys, Op};
use super::proc;

/// Load before the measured window, so that caches and buffers are as they will be.
const WARM_UP: Duration = Duration::from_millis(500);

/// Longest wait for any answer; a server that takes longer has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Latencies beyond this count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// What to ask, how.
#[derive(Clone)]
pub(crate) struct Workload {
    /// Where the server is.
    pub(crate) address: SocketAddr,
    /// Its process, whose CPU time is read.
    pub(crate) pid: u32,
    /// Its protocol.
    pub(crate) dialect: Dialect,
    /// The keys to choose from.
    pub(crate) keys: Rc<Keys>,
    /// Size of every value.
    pub(crate) value_bytes: usize,
    /// What to do.
    pub(crate) op: Op,
    /// Connections.
    pub(crate) connections: usize,
    /// Requests in flight on each.
    pub(crate) in_flight: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measurement {
    /// Answers per second.
    pub(crate) ops_per_second: f64,
    /// Half of the answers came within this.
    pub(crate) p50_us: f64,
    /// 99 of 100.
    pub(crate) p99_us: f64,
    /// 999 of 1000.
    pub(crate) p99_9_us: f64,
    /// CPU time of the server, user and system, per answer.
    pub(crate) server_cpu_us: f64,
}

/// What the connections of a run share; they take turns on one thread.
struct Shared {
    measuring: Cell<bool>,
    stopping: Cell<bool>,
    latency_ns: RefCell<Histogram<u64>>,
}

impl Shared {
    fn new() -> Rc<Shared> {
        let latency_ns = Histogram::new_with_max(LATENCY_NS_MAX, 3);
        Rc::new(Shared {
            measuring: Cell::new(false),
            stopping: Cell::new(false),
            latency_ns: RefCell::new(latency_ns.expect("bounds that the library accepts")),
        })
    }
}

/// Next key of a connection; none when it shall end.
type NextKey = Box<dyn FnMut() -> Option<u64>>;

impl Workload {
    /// Writes every key once.
    ///
    /// # Errors
    /// When the server refuses one, or goes away.
    pub(crate) fn fill(self) -> io::Result<()> {
        let (step, count) = (self.connections, self.keys.count());
        let share = |first: usize| -> NextKey {
            let mut keys = (first as u64..count).step_by(step);
            Box::new(move || keys.next())
        };
        runtime(async {
            let mut connections = Rc::new(self).spawn(&Shared::new(), share);
            wait_for(&mut connections).await
        })
    }

    /// Asks random keys for as long as `window`, and measures.
    ///
    /// # Errors
    /// When the server answers anything but what was asked for, or goes away.
    pub(crate) fn measure(self, window: Duration) -> io::Result<Measurement> {
        let (shared, count) = (Shared::new(), self.keys.count());
        let any = |number: usize| -> NextKey {
            let (mut random, shared) = (SplitMix(number as u64), shared.clone());
            Box::new(move || (!shared.stopping.get()).then(|| random.next() % count))
        };
        runtime(async {
            let workload = Rc::new(self);
            let mut connections = workload.clone().spawn(&shared, any);
            let measured = tokio::select! {
                measured = workload.watch(&shared, window) => measured?,
                ended = wait_for(&mut connections) => {
                    return Err(ended.err().unwrap_or_else(|| io::Error::other("ended too early")));
                }
            };
            wait_for(&mut connections).await?;
            Ok(measured)
        })
    }

    /// Starts every connection in a task of its own.
    fn spawn(
        self: Rc<Self>,
        shared: &Rc<Shared>,
        keys: impl Fn(usize) -> NextKey,
    ) -> JoinSet<io::Result<()>> {
        let mut connections = JoinSet::new();
        for number in 0..self.connections {
            let (workload, shared) = (self.clone(), shared.clone());
            connections.spawn_local(workload.connection(shared, keys(number)));
        }
        connections
    }

    /// Opens and closes the window.
    async fn watch(&self, shared: &Shared, window: Duration) -> io::Result<Measurement> {
        tokio::time::sleep(WARM_UP).await;
        let (cpu, started) = (proc::cpu_time(self.pid)?, Instant::now());
        shared.measuring.set(true);
        tokio::time::sleep(window).await;
        shared.measuring.set(false);
        let (elapsed, spent) = (started.elapsed(), proc::cpu_time(self.pid)? - cpu);
        shared.stopping.set(true);
        let latency_ns = shared.latency_ns.borrow();
        let at_us = |quantile: f64| latency_ns.value_at_quantile(quantile) as f64 / 1000.0;
        let answers = latency_ns.len() as f64;
        Ok(Measurement {
            ops_per_second: answers / elapsed.as_secs_f64(),
            p50_us: at_us(0.5),
            p99_us: at_us(0.99),
            p99_9_us: at_us(0.999),
            server_cpu_us: spent.as_secs_f64() * 1e6 / answers.max(1.0),
        })
    }

    /// One connection; ends when there is no next key and everything is answered.
    async fn connection(
        self: Rc<Self>,
        shared: Rc<Shared>,
        mut next_key: NextKey,
    ) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let value = vec![b'x'; self.value_bytes];
        let (mut input, mut output) = (Vec::with_capacity(64 << 10), Vec::new());
        let mut sent: VecDeque<Instant> = VecDeque::with_capacity(self.in_flight);
        loop {
            let now = Instant::now();
            while sent.len() < self.in_flight
                && let Some(key) = next_key()
            {
                self.dialect
                    .ask(self.op, &self.keys, key, &value, &mut output);
                sent.push_back(now);
            }
            if sent.is_empty() {
                return Ok(());
            }
            stream.write_all(&output).await?;
            output.clear();
            receive(&mut stream, &mut input).await?;
            self.take_answers(&shared, &mut input, &mut sent)?;
        }
    }

    /// Takes the answers that are there whole off the front of `input`.
    fn take_answers(
        &self,
        shared: &Shared,
        input: &mut Vec<u8>,
        sent: &mut VecDeque<Instant>,
    ) -> io::Result<()> {
        let arrived = Instant::now();
        let mut taken = 0;
        while let Some(bytes) = self.dialect.answer(self.op, &input[taken..])? {
            taken += bytes;
            let asked = sent
                .pop_front()
                .ok_or_else(|| io::Error::other("an answer too many"))?;
            if shared.measuring.get() {
                let ns = arrived.duration_since(asked).as_nanos() as u64; // 584 years fit
                shared.latency_ns.borrow_mut().saturating_record(ns);
            }
        }
        input.drain(..taken);
        Ok(())
    }
}

/// Runs the loader's one thread, until the work is done or somebody asks for the end: then the server
/// that was started has to be ended too, which its owner does on the way out.
fn runtime<R>(work: impl Future<Output = io::Result<R>>) -> io::Result<R> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            done = work => done,
            _ = terminate.recv() => Err(io::ErrorKind::Interrupted.into()),
            _ = interrupt.recv() => Err(io::ErrorKind::Interrupted.into()),
        }
    })
}

/// Waits until every connection has ended; the first that failed ends the wait.
async fn wait_for(connections: &mut JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(ended) = connections.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

/// Waits for more input.
async fn receive(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
    let received = tokio::time::timeout(ANSWER_TIMEOUT, stream.read_buf(input)).await;
    match received.map_err(|_| io::Error::other("no answer in time"))?? {
        0 => Err(io::Error::other("the server closed a connection")),
        _ => Ok(()),
    }
}

/// A small generator; the same keys in every run.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
