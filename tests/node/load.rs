//! A load of writes and deletes from several connections, which remembers what it was promised.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use karst_tests::Server;
use karst_wire::code::ResultCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

use crate::client::{self, Client, Request, code_of, connect, value};
use crate::history::{Histories, State};

/// Requests that a writer has under way at once.
const PIPELINE: usize = 16;

/// Keys of one writer.
const KEYS: u64 = 400;

/// Keys of the set that is truncated again and again.
const TRUNCATED_KEYS: u64 = 20;

/// The set that is truncated again and again.
const TRUNCATED_SET: &str = "truncated";

/// The writers of one server, each with keys of its own.
pub(crate) struct Load {
    namespace: String,
    writers: Vec<Histories>,
    /// Of the set that is truncated; none when the load does not truncate.
    truncated: Option<Histories>,
    rng: StdRng,
}

/// Writers at work.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Histories>>,
    truncating: Option<JoinHandle<Histories>>,
}

impl Load {
    /// As many writers, none of which has written yet.
    pub(crate) fn new(namespace: &str, writers: u64, seed: u64) -> Load {
        let keys = |writer: u64| (0..KEYS).map(move |key| writer * KEYS + key);
        let histories = |writer| keys(writer).map(|key| (key, Default::default())).collect();
        Load {
            namespace: namespace.into(),
            writers: (0..writers).map(histories).collect(),
            truncated: None,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// And one more writer, which fills a set and truncates it.
    pub(crate) fn with_truncation(mut self) -> Load {
        let first = 1_000_000; // beyond the keys of the other writers
        let keys = first..first + TRUNCATED_KEYS;
        self.truncated = Some(keys.map(|key| (key, Default::default())).collect());
        self
    }

    /// A random time of this load's choosing.
    pub(crate) fn moment(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from_ms..to_ms))
    }

    /// Lets the writers go on until they are stopped or the server is gone.
    pub(crate) fn start(&mut self, server: &Server) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |histories: Histories| {
            let (stop, seed) = (stop.clone(), self.rng.random());
            let writer = Writer {
                client: connect(server, &self.namespace),
                namespace: self.namespace.clone(),
                rng: StdRng::seed_from_u64(seed),
                histories,
            };
            std::thread::spawn(move || writer.run(&stop))
        };
        let threads = self.writers.drain(..).map(start).collect();
        let truncating = self.truncated.take().map(|histories| {
            let client = connect(server, &self.namespace);
            let (namespace, stop) = (self.namespace.clone(), stop.clone());
            std::thread::spawn(move || fill_and_truncate(client, &namespace, histories, &stop))
        });
        Running {
            stop,
            threads,
            truncating,
        }
    }

    /// Takes the writers back when they have ended. Returns how many requests they were promised.
    pub(crate) fn end(&mut self, running: Running) -> usize {
        running.stop.store(true, Ordering::Relaxed);
        let ended = running.threads.into_iter().map(JoinHandle::join);
        self.writers = ended
            .map(|writer| writer.expect("a writer met an error"))
            .collect();
        let truncating = running.truncating.map(JoinHandle::join);
        self.truncated = truncating.map(|ended| ended.expect("the truncating writer met an error"));
        let histories = self.writers.iter().flat_map(Histories::values);
        histories.map(|history| history.promises()).sum()
    }

    /// Reads every key and checks it. Promises younger than `kept` need not have been kept.
    pub(crate) fn check(&mut self, server: &Server, kept: Instant) {
        let mut client = connect(server, &self.namespace);
        for histories in self.writers.iter_mut().chain(&mut self.truncated) {
            let keys: Vec<u64> = histories.keys().copied().collect();
            let found = client.get_all(&keys).expect("the server answers");
            for ((key, history), found) in histories.iter_mut().zip(found) {
                let found = match found {
                    Ok(value) => Some(value),
                    Err(ResultCode::NotFound) => None,
                    Err(code) => panic!("key {key} was answered with {code:?}"),
                };
                history.check(*key, found.as_deref(), kept);
                history.settle(found.as_deref(), *key);
            }
        }
    }
}

/// Writes every key of a set, truncates the set when all of it was answered, and so on until the server
/// is gone.
fn fill_and_truncate(
    mut client: Client,
    namespace: &str,
    mut histories: Histories,
    stop: &AtomicBool,
) -> Histories {
    let command = format!("truncate:namespace={namespace};set={TRUNCATED_SET}");
    while !stop.load(Ordering::Relaxed) {
        for (key, history) in &mut histories {
            let version = history.new_version();
            let value = value(*key, version, 200);
            let request = client::put_in_set(namespace, TRUNCATED_SET, *key, &value);
            history.sent(State::Version(version));
            match client.call_all(&[request]) {
                Ok(replies) => assert_eq!(code_of(&replies[0]), ResultCode::Ok, "key {key}"),
                Err(_) => return histories,
            }
            history.promised();
        }
        std::thread::sleep(Duration::from_millis(3)); // so that the mark is later than all of them
        histories
            .values_mut()
            .for_each(|history| history.sent(State::Absent));
        match client.connection.info(&[&command]) {
            Ok(answers) => assert_eq!(answers[0].to_lowercase(), "ok"),
            Err(_) => return histories,
        }
        histories
            .values_mut()
            .for_each(|history| history.promised());
        std::thread::sleep(Duration::from_millis(3)); // and earlier than what comes
    }
    histories
}

struct Writer {
    client: Client,
    namespace: String,
    rng: StdRng,
    histories: Histories,
}

impl Writer {
    fn run(mut self, stop: &AtomicBool) -> Histories {
        while !stop.load(Ordering::Relaxed) {
            let mut keys = Vec::new();
            let requests: Vec<Request> = (0..PIPELINE).map(|_| self.request(&mut keys)).collect();
            if self.client.send_all(&requests).is_err() || !self.take_replies(&keys) {
                break;
            }
        }
        self.histories
    }

    /// A request of a random kind for a random key of this writer.
    fn request(&mut self, keys: &mut Vec<u64>) -> Request {
        let nth = self.rng.random_range(0..self.histories.len());
        let (&key, history) = self
            .histories
            .iter_mut()
            .nth(nth)
            .expect("a key of this number");
        keys.push(key);
        let version = history.new_version();
        let bytes = self.rng.random_range(16..3000);
        let (state, request) = match self.rng.random_range(0..10) {
            0 | 1 => (State::Absent, client::delete(&self.namespace, key)),
            2 => {
                let ttl_s = self.rng.random_range(1..4);
                let state = State::Expiring(version, Duration::from_secs(u64::from(ttl_s)));
                (
                    state,
                    client::put(&self.namespace, key, &value(key, version, bytes), ttl_s),
                )
            }
            _ => {
                let never = u32::MAX;
                let request = client::put(&self.namespace, key, &value(key, version, bytes), never);
                (State::Version(version), request)
            }
        };
        history.sent(state);
        request
    }

    /// `false` when the server went away.
    fn take_replies(&mut self, keys: &[u64]) -> bool {
        for key in keys {
            let Ok(reply) = self.client.reply() else {
                return false;
            };
            match code_of(&reply) {
                // A delete that found nothing is a promise too: nothing is there.
                ResultCode::Ok | ResultCode::NotFound => {}
                code => panic!("a write of key {key} was answered with {code:?}"),
            }
            self.histories
                .get_mut(key)
                .expect("a key of this writer")
                .promised();
        }
        true
    }
}
