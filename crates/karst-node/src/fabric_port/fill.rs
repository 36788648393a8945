//! A primary brings the nodes that join a partition to hold what it holds, merges what those have that were
//! apart, and repairs those that missed a write.
//!
//! Each core does that for its part of the partitions, a few at a time. What is to be done says
//! [`karst_engine::migrate::duty`], and how it goes on [`karst_engine::migrate::compare`]; here it is carried out.
//! Once a node has everything, that is reported, and the map makes it one of those in sync.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use karst_cluster::fabric::{Ack, Kind, OfPartition, Replicate};
use karst_cluster::map::Role;
use karst_cluster::node::NodeId;
use karst_cluster::plan::{Holds, Synced};
use karst_cluster::state::ClusterState;
use karst_cluster::view::Share;
use karst_data::key::{Digest, PartitionId};
use karst_engine::migrate::Cut;
use karst_engine::migrate::compare::{Comparison, Next, Question};
use karst_engine::migrate::duty::{self, After, Duties, Repair, Task};
use karst_engine::reconcile::How;
use parking_lot::Mutex;

use super::adopt::Adopting;
use super::peer::{Answer, Peer};
use crate::core::Core;

/// Partitions that one core fills at once.
const PARTITIONS_AT_ONCE: usize = 4;

/// Partitions of which one core compares at once what those hold who are to hold everything already, which is short
/// work: nobody serves a strongly consistent partition before.
const TAKE_OVERS_AT_ONCE: usize = 32;

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
    asked: Mutex<BTreeSet<Repair>>,
}

impl Repairs {
    /// Asks for a comparison with a node that missed a write.
    pub fn ask(&self, namespace: usize, partition: PartitionId, node: NodeId) {
        self.add(Repair {
            namespace,
            partition,
            node,
            how: How::Impose, // it has taken nothing but what this one sent
        });
    }

    /// Asks for a comparison.
    pub fn add(&self, repair: Repair) {
        let mut asked = self.asked.lock();
        if asked.len() < REPAIRS_MAX {
            asked.insert(repair);
        }
    }

    /// Takes what is to be done by one core of so many.
    fn take(&self, core: usize, cores: usize) -> Vec<Repair> {
        let mut asked = self.asked.lock();
        let mine = |it: &Repair| it.partition.index() % cores == core;
        let (taken, left) = std::mem::take(&mut *asked).into_iter().partition(mine);
        *asked = left;
        let taken: BTreeSet<Repair> = taken;
        taken.into_iter().collect()
    }
}

/// Fills whoever joins, for as long as the core runs.
pub async fn keep_filled(core: Rc<Core>) {
    let mut changes = core.node.sights.changes();
    let mut duties = Duties::default();
    loop {
        let tasks = tasks(&core, &mut duties);
        report(&core);
        if tasks.is_empty() {
            let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
            continue;
        }
        changes.mark_unchanged();
        let generation = core.node.sights.generation();
        run(&core, tasks, &mut duties).await;
        if core.node.sights.generation() == generation {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// What this core has to do now.
fn tasks(core: &Core, duties: &mut Duties) -> VecDeque<Task> {
    let sight = core.node.sights.now();
    let (number, cores) = (usize::from(core.number), core.node.cores.len());
    let namespaces = core.node.namespaces.iter();
    duties.look(
        core.node.id,
        &sight.state,
        namespaces.map(|it| it.config.name.as_str()),
        |id| id.index() % cores == number,
        || core.node.repairs.take(number, cores),
        |namespace, id| core.namespace(namespace).engine.stage(id),
    )
}

/// Tells the leader what is to be known of the strongly consistent partitions that this node leads.
fn report(core: &Core) {
    let sight = core.node.sights.now();
    let (number, cores) = (usize::from(core.number), core.node.cores.len());
    for (index, namespace) in core.node.namespaces.iter().enumerate() {
        if !namespace.engine.config().strong {
            continue;
        }
        let mine = PartitionId::all().filter(|id| id.index() % cores == number);
        for id in mine {
            report_one(core, &sight.state, index, id, sight.view.share(index, id));
        }
    }
}

async fn run(core: &Rc<Core>, tasks: VecDeque<Task>, duties: &mut Duties) {
    let mut running = FuturesUnordered::new();
    let generation = core.node.sights.generation();
    let is_own = |it: &Task| it.node == core.node.id;
    let (own, mut tasks): (VecDeque<Task>, VecDeque<Task>) = tasks.into_iter().partition(is_own);
    for own in Vec::from(own).chunk_by(|a, b| a.namespace == b.namespace) {
        let own = own.to_vec();
        running.push(async move { fence_itself(core, own).await }.boxed_local());
    }
    loop {
        while let Some(task) = tasks.front().copied()
            && running.len() < at_once(core, task)
            && core.node.sights.generation() == generation
        {
            tasks.pop_front();
            running.push(async move { (vec![task], fill(core, task).await) }.boxed_local());
        }
        let Some((done, outcome)) = running.next().await else {
            break;
        };
        for task in done {
            ended(core, duties, task, outcome);
            if outcome.is_ok() && core.namespace(task.namespace).engine.config().strong {
                for more in go_on(core, duties, task) {
                    match is_in_sync(core, more) {
                        true => tasks.push_front(more),
                        false => tasks.push_back(more),
                    }
                }
            }
        }
    }
    for task in tasks {
        ended(core, duties, task, Err(Cut::Overtaken));
    }
}

/// Comparisons like this one that may be under way at once.
fn at_once(core: &Core, task: Task) -> usize {
    let strong = core.namespace(task.namespace).engine.config().strong;
    match strong && is_in_sync(core, task) {
        true => TAKE_OVERS_AT_ONCE,
        false => PARTITIONS_AT_ONCE,
    }
}

/// Whether the map counts a task's node among those in sync.
fn is_in_sync(core: &Core, task: Task) -> bool {
    let sight = core.node.sights.now();
    let name = &core.namespace(task.namespace).config.name;
    let map = sight.state.maps.get(name);
    map.is_some_and(|map| map.partition(task.partition).in_sync.contains(&task.node))
}

/// What follows for a strongly consistent partition when one of its comparisons has ended well.
fn go_on(core: &Core, duties: &Duties, task: Task) -> Vec<Task> {
    let sight = core.node.sights.now();
    let state = &core.namespace(task.namespace);
    let share = sight.view.share(task.namespace, task.partition);
    let stage = state.engine.stage(task.partition);
    report_one(core, &sight.state, task.namespace, task.partition, share);
    duties.look_again(&sight.state, &state.config.name, task, &stage)
}

/// Tells the leader what is to be known of a strongly consistent partition that this node leads.
fn report_one(core: &Core, state: &ClusterState, index: usize, id: PartitionId, share: &Share) {
    let namespace = core.namespace(index);
    let (name, engine) = (&namespace.config.name, &namespace.engine);
    let Some(map) = state.maps.get(name).filter(|map| map.strong) else {
        return;
    };
    if share.role != Role::Primary {
        return;
    }
    let (can_activate, stage) = (engine.can_activate(id, share), engine.stage(id));
    let me = core.node.id;
    for synced in duty::reports(me, name, id, map.partition(id), can_activate, &stage) {
        core.node.cluster.report_synced(synced);
    }
}

fn ended(core: &Core, duties: &mut Duties, task: Task, outcome: Result<(), Cut>) {
    let name = &core.namespace(task.namespace).config.name;
    match duties.ended(&core.node.sights.now().state, name, task, outcome) {
        After::Report => {
            core.node.cluster.report_synced(Synced {
                namespace: name.clone(),
                partition: task.partition.0,
                regime: task.regime,
                node: task.node,
                holds: Holds::All,
            });
        }
        After::Repair => core.node.repairs.add(task.repair()),
        After::Nothing => {}
    }
}

/// One comparison of one partition with one node.
struct Filling<'c> {
    core: &'c Rc<Core>,
    task: Task,
    peer: Rc<Peer>,
}

async fn fill(core: &Rc<Core>, task: Task) -> Result<(), Cut> {
    let peer = core.peers.bulk(task.node).ok_or(Cut::Later)?;
    Filling { core, task, peer }.carry_out().await
}

/// Sees to it that what this node holds of partitions that it takes over is durable, all of one namespace. It has known of
/// their regimes since before, and takes nothing of an older one.
async fn fence_itself(core: &Rc<Core>, tasks: Vec<Task>) -> (Vec<Task>, Result<(), Cut>) {
    let Some(namespace) = tasks.first().map(|it| it.namespace) else {
        return (tasks, Ok(()));
    };
    let settled = core.settled(namespace).await;
    if settled.is_ok() {
        let engine = &core.namespace(namespace).engine;
        for it in &tasks {
            engine.has_fenced(it.partition, it.regime.0, it.node, false);
        }
    }
    (tasks, settled.map_err(|_| Cut::Later))
}

impl Filling<'_> {
    fn of(&self) -> OfPartition<'_> {
        OfPartition {
            namespace: self
                .core
                .namespace(self.task.namespace)
                .config
                .name
                .as_bytes(),
            partition: self.task.partition.0,
            regime: self.task.regime,
        }
    }

    async fn carry_out(&self) -> Result<(), Cut> {
        let engine = &self.core.namespace(self.task.namespace).engine;
        let mut comparison = Comparison::new(self.task, engine);
        let mut pushing = FuturesUnordered::new();
        loop {
            match comparison.go_on() {
                Next::Ask(question) => self.ask(&mut comparison, &question).await,
                Next::Adopt(write) => {
                    let adopting = Adopting {
                        core: self.core,
                        namespace: self.task.namespace,
                        partition: self.task.partition,
                        regime: self.task.regime,
                    };
                    comparison.adopted(adopting.adopt(&write).await);
                }
                Next::Push(digest) => pushing.push(self.push(digest)),
                Next::Wait => match pushing.next().await {
                    Some(outcome) => comparison.pushed(outcome),
                    None => return Err(Cut::Later), // it waits for nothing: that is a mistake of ours
                },
                Next::Over(Ok(())) => return comparison.conclude(engine),
                Next::Over(Err(cut)) => return Err(cut),
            }
        }
    }

    async fn ask(&self, comparison: &mut Comparison, question: &Question) {
        let put = |out: &mut Vec<u8>| question.put(self.of(), out);
        let engine = &self.core.namespace(self.task.namespace).engine;
        match self.peer.request(question.kind(), PATIENCE, put).await {
            Ok(Answer::Reply(payload)) => comparison.replied(engine, &payload),
            Ok(Answer::Refused(ack)) => comparison.refused(ack),
            Err(_) => comparison.failed(Cut::Later),
        }
    }

    /// Sends a record as it is here.
    async fn push(&self, digest: Digest) -> Result<(), Cut> {
        let (core, index) = (self.core, self.task.namespace);
        let _place = core.pace.place().await;
        let Some(image) = core.image(index, &digest).await.map_err(|_| Cut::Later)? else {
            return Ok(());
        };
        core.pace.take(image.len()).await;
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
            Ok(Ok(Answer::Reply(_) | Answer::Refused(Ack::Done))) => Ok(()),
            Ok(Ok(Answer::Refused(ack))) => Err(Cut::of(ack)),
            Ok(Err(_)) | Err(_) => Err(Cut::Later),
        }
    }
}
