//! A primary brings the nodes that join a partition to hold what it holds, merges what those have that were
//! apart, and repairs those that missed a write.
//!
//! Each core does that for its part of the partitions, a few at a time. A partition is compared by ranges,
//! and only what differs is sent; meanwhile the nodes that join take every write as replicas do. Once a
//! node has everything, that is reported, and the map makes it one of those in sync. When the partition
//! changes hands in between it begins anew, which costs little: what was sent is there.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use karst_cluster::fabric::{
    Ack, DIGESTS_MAX, Fetch, Kind, ListRange, Listed, OfPartition, RANGES, Replicate, records,
};
use karst_cluster::map::{Regime, Role};
use karst_cluster::node::NodeId;
use karst_data::flat::Record;
use karst_data::key::{Digest, PartitionId};
use karst_engine::reconcile::{How, difference};
use parking_lot::Mutex;

use super::adopt::{Adopting, Cut};
use super::door::sound;
use super::peer::{Answer, NoAnswer, Peer};
use crate::core::Core;

/// Partitions that one core fills at once.
const PARTITIONS_AT_ONCE: usize = 4;

/// Records of one partition that are on their way at once.
const RECORDS_AT_ONCE: usize = 64;

/// Digests that are asked for at once.
const FETCH_AT_ONCE: usize = 256;

/// How long an answer to a comparison may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether something is to be done, beside every change of the map.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Pause before a partition that could not be filled is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Repairs that are remembered; what comes on top is left to the next change of the map.
const REPAIRS_MAX: usize = 4096 * 4;

/// Nodes that missed a write of a partition although they count as in sync.
#[derive(Default)]
pub struct Repairs {
    asked: Mutex<HashSet<(usize, PartitionId, NodeId)>>,
}

impl Repairs {
    /// Asks for a comparison with a node.
    pub fn ask(&self, namespace: usize, partition: PartitionId, node: NodeId) {
        let mut asked = self.asked.lock();
        if asked.len() < REPAIRS_MAX {
            asked.insert((namespace, partition, node));
        }
    }

    /// Takes what is to be done by one core of so many.
    fn take(&self, core: usize, cores: usize) -> Vec<(usize, PartitionId, NodeId)> {
        let mut asked = self.asked.lock();
        let mine = |(_, id, _): &(usize, PartitionId, NodeId)| id.index() % cores == core;
        asked.extract_if(|it| mine(it)).collect()
    }
}

/// One partition that a node is to be brought to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Task {
    namespace: usize,
    partition: PartitionId,
    regime: Regime,
    node: NodeId,
    how: How,
    /// Whether the node is to hold what this one holds. If not it is only asked for what it has of its own.
    follows: bool,
}

impl From<NoAnswer> for Cut {
    fn from(_: NoAnswer) -> Cut {
        Cut::Later
    }
}

/// Fills whoever joins, for as long as the core runs.
pub async fn keep_filled(core: Rc<Core>) {
    let mut changes = core.node.sights.changes();
    // What was reported under its regime is not looked at again.
    let mut filled: HashSet<Task> = HashSet::new();
    loop {
        let tasks = tasks(&core, &mut filled);
        if tasks.is_empty() {
            let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
            continue;
        }
        changes.mark_unchanged();
        run(&core, tasks, &mut filled).await;
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// What this core has to do now.
fn tasks(core: &Core, filled: &mut HashSet<Task>) -> VecDeque<Task> {
    let sight = core.node.sights.now();
    let cores = core.node.cores.len();
    let mine = |id: &PartitionId| id.index() % cores == usize::from(core.number);
    let mut tasks = VecDeque::new();
    let mut still: HashSet<Task> = HashSet::new();
    if sight.is_island() {
        // Who has gone on alone as well is not known: to bring it to this node's state would undo its writes.
        return tasks;
    }
    for (namespace, state) in core.node.namespaces.iter().enumerate() {
        let Some(map) = sight.state.maps.get(&state.config.name) else {
            continue;
        };
        for partition in PartitionId::all().filter(mine) {
            let ownership = map.partition(partition);
            if ownership.primary() != Some(core.node.id) {
                continue;
            }
            for node in ownership.to_reconcile() {
                if !sight.is_alive(node) {
                    continue;
                }
                let task = Task {
                    namespace,
                    partition,
                    regime: ownership.regime,
                    node,
                    how: match ownership.apart.contains(&node) {
                        true => How::Merge,
                        false => How::Impose,
                    },
                    follows: ownership.row.contains(&node),
                };
                match filled.contains(&task) {
                    true => _ = still.insert(task),
                    false => tasks.push_back(task),
                }
            }
        }
    }
    for (namespace, partition, node) in core.node.repairs.take(core.number.into(), cores) {
        let share = sight.view.share(namespace, partition);
        if share.role == Role::Primary && share.followers.contains(&node) {
            tasks.push_back(Task {
                namespace,
                partition,
                regime: share.regime,
                node,
                how: How::Impose, // it has taken nothing but what this one sent
                follows: true,
            });
        }
    }
    *filled = still;
    tasks
}

async fn run(core: &Rc<Core>, mut tasks: VecDeque<Task>, filled: &mut HashSet<Task>) {
    let mut running = FuturesUnordered::new();
    let generation = core.node.sights.generation();
    loop {
        while running.len() < PARTITIONS_AT_ONCE
            && core.node.sights.generation() == generation
            && let Some(task) = tasks.pop_front()
        {
            running.push(async move { (task, fill(core, task).await) });
        }
        let Some((task, outcome)) = running.next().await else {
            return;
        };
        match outcome {
            Ok(()) => {
                filled.insert(task);
                report(core, task);
            }
            Err(Cut::Later) if is_in_sync(core, &task) => {
                core.node
                    .repairs
                    .ask(task.namespace, task.partition, task.node);
            }
            Err(Cut::Later | Cut::Overtaken) => {}
        }
    }
}

/// Whether the map takes a node for one that holds everything.
fn is_in_sync(core: &Core, task: &Task) -> bool {
    let sight = core.node.sights.now();
    let map = sight
        .state
        .maps
        .get(&core.namespace(task.namespace).config.name);
    map.is_some_and(|map| map.partition(task.partition).in_sync.contains(&task.node))
}

fn report(core: &Core, task: Task) {
    let name = &core.namespace(task.namespace).config.name;
    let cluster = &core.node.cluster;
    cluster.report_synced(name, task.partition, task.regime, task.node);
}

/// One comparison of one partition with one node.
struct Filling<'c> {
    core: &'c Rc<Core>,
    task: Task,
    peer: Rc<Peer>,
    name: Arc<str>,
}

async fn fill(core: &Rc<Core>, task: Task) -> Result<(), Cut> {
    let peer = core.peers.bulk(task.node).ok_or(Cut::Later)?;
    let filling = Filling {
        core,
        task,
        peer,
        name: core.namespace(task.namespace).config.name.as_str().into(),
    };
    filling.partition().await
}

impl Filling<'_> {
    fn of(&self) -> OfPartition<'_> {
        OfPartition {
            namespace: self.name.as_bytes(),
            partition: self.task.partition.0,
            regime: self.task.regime,
        }
    }

    async fn partition(&self) -> Result<(), Cut> {
        let (theirs, count) = self.hashes().await?;
        let engine = &self.core.namespace(self.task.namespace).engine;
        if count == 0 {
            // It has nothing: there is nothing to compare.
            return match self.task.follows {
                true => self.push(&engine.records_of(self.task.partition)).await,
                false => Ok(()),
            };
        }
        let mine = engine.range_hashes(self.task.partition);
        for range in 0..RANGES {
            if mine[range] != theirs[range] {
                self.range(range as u8).await?;
            }
        }
        Ok(())
    }

    /// The hashes of the other node's ranges, and how much it holds.
    async fn hashes(&self) -> Result<(Vec<u64>, u64), Cut> {
        let asked = self
            .peer
            .request(Kind::Hashes, PATIENCE, |out| self.of().put(out));
        let payload = reply(asked.await?)?;
        let (numbers, rest) = payload.as_chunks::<8>();
        if numbers.len() != RANGES + 1 || !rest.is_empty() {
            return Err(Cut::Later);
        }
        let mut numbers: Vec<u64> = numbers.iter().map(|it| u64::from_le_bytes(*it)).collect();
        let count = numbers.pop().ok_or(Cut::Later)?;
        Ok((numbers, count))
    }

    async fn range(&self, range: u8) -> Result<(), Cut> {
        let list = ListRange {
            of: self.of(),
            range,
        };
        let asked = self.peer.request(Kind::List, PATIENCE, |out| list.put(out));
        let theirs = Listed::read_all(&reply(asked.await?)?).map_err(|_| Cut::Later)?;
        let engine = &self.core.namespace(self.task.namespace).engine;
        let mine = engine.range_entries(self.task.partition, range);
        let difference = difference(&mine, &theirs, self.task.how);
        for digests in difference.pull.chunks(FETCH_AT_ONCE.min(DIGESTS_MAX)) {
            self.pull(digests).await?;
        }
        if !self.task.follows {
            return Ok(());
        }
        for (digest, theirs) in &difference.renew {
            self.renew(digest, *theirs).await?;
        }
        for digest in &difference.bury {
            self.bury(digest).await?;
        }
        self.push(&difference.push).await
    }

    /// Takes the other node's state of some records as writes of this one.
    async fn pull(&self, digests: &[Digest]) -> Result<(), Cut> {
        let mut left = digests.to_vec();
        while !left.is_empty() {
            let fetch = Fetch {
                of: self.of(),
                digests: left.clone(),
            };
            let asked = self
                .peer
                .request(Kind::Fetch, PATIENCE, |out| fetch.put(out));
            let payload = reply(asked.await?)?;
            let images = records(&payload).map_err(|_| Cut::Later)?;
            let mut last = None;
            for image in images {
                let record = sound(image, self.task.partition).map_err(|_| Cut::Later)?;
                last = Some(record.meta.digest);
                self.merge(&record).await?;
            }
            // What is missing of those before the last is gone there; those behind it did not fit.
            let Some(at) = last.and_then(|last| left.iter().position(|it| *it == last)) else {
                return Ok(());
            };
            left.drain(..=at);
        }
        Ok(())
    }

    async fn merge(&self, record: &Record<'_>) -> Result<(), Cut> {
        let engine = &self.core.namespace(self.task.namespace).engine;
        let adopting = self.adopting();
        adopting.write(|hand, _| engine.merge(hand, record)).await
    }

    async fn renew(&self, digest: &Digest, theirs: u64) -> Result<(), Cut> {
        let engine = &self.core.namespace(self.task.namespace).engine;
        let adopting = self.adopting();
        let renew = |hand: &_, fetched: Option<&_>| engine.renew(hand, digest, theirs, fetched);
        adopting.write(renew).await
    }

    async fn bury(&self, digest: &Digest) -> Result<(), Cut> {
        let engine = &self.core.namespace(self.task.namespace).engine;
        let adopting = self.adopting();
        adopting.write(|hand, _| engine.deny(hand, digest)).await
    }

    fn adopting(&self) -> Adopting<'_> {
        Adopting {
            core: self.core,
            namespace: self.task.namespace,
            partition: self.task.partition,
            regime: self.task.regime,
        }
    }

    /// Sends records as they are here.
    async fn push(&self, digests: &[Digest]) -> Result<(), Cut> {
        let next = Cell::new(0);
        let failed = RefCell::new(None);
        let one = || async {
            while failed.borrow().is_none()
                && let Some(digest) = digests.get(next.replace(next.get() + 1))
            {
                if let Err(cut) = self.push_one(digest).await {
                    failed.borrow_mut().get_or_insert(cut);
                }
            }
        };
        let lanes = RECORDS_AT_ONCE.min(digests.len());
        let mut sending: FuturesUnordered<_> = (0..lanes).map(|_| one()).collect();
        while sending.next().await.is_some() {}
        drop(sending);
        failed.into_inner().map_or(Ok(()), Err)
    }

    async fn push_one(&self, digest: &Digest) -> Result<(), Cut> {
        let (core, index) = (self.core, self.task.namespace);
        let Some(image) = core.image(index, digest).await.map_err(|_| Cut::Later)? else {
            return Ok(());
        };
        core.counters.filled_records.add(1);
        core.counters.filled_bytes.add(image.len() as u64);
        let replicate = Replicate {
            of: self.of(),
            record: &image,
        };
        let put = |out: &mut Vec<u8>| replicate.put(out);
        let mut asked = self.peer.ask(Kind::Replicate, put);
        while asked.is_none() {
            self.peer.has_room(Duration::from_millis(20)).await;
            if core
                .node
                .sights
                .now()
                .view
                .share(index, self.task.partition)
                .regime
                != self.task.regime
            {
                return Err(Cut::Overtaken);
            }
            asked = self.peer.ask(Kind::Replicate, put);
        }
        let answer = match asked {
            Some(asked) => tokio::time::timeout(PATIENCE, asked).await,
            None => return Err(Cut::Later),
        };
        match answer {
            Ok(Ok(answer)) => reply(answer).map(drop),
            Ok(Err(_)) | Err(_) => Err(Cut::Later),
        }
    }
}

fn reply(answer: Answer) -> Result<Vec<u8>, Cut> {
    match answer {
        Answer::Reply(payload) => Ok(payload),
        Answer::Refused(ack) => Err(match ack {
            Ack::Stale | Ack::Misled => Cut::Overtaken,
            Ack::Done | Ack::Early | Ack::Full | Ack::Failed => Cut::Later,
        }),
    }
}
