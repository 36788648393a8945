//! What waits until everything is durable that a node holds: what `karst_node`'s `Core::settled` is for.
//!
//! Who is fenced for a new primary, the primary too, answers for what he holds by then; so does who is sent something that he
//! has already, and who sends something again that got stuck. Where there are no devices none of them waits.

use karst_cluster::fabric::{Ack, Kind, OfPartition};
use karst_cluster::map::Regime;
use karst_data::key::{Digest, PartitionId};
use karst_data::mutation::{Mutation, is_planted};
use karst_engine::migrate::Cut;
use karst_engine::migrate::answer;
use karst_storage::log::CommitPoint;
use karst_storage::place::Version;

use super::World;
use super::fabric::ReplyTo;
use super::flow::of;
use super::node::Deed;

/// How long it may take.
const WITHIN_US: u64 = 5_000_000;

/// What is done when everything is durable, or lost with its device.
#[derive(Clone, Copy, Debug)]
pub enum Settles {
    /// It is told that something is here that was here already.
    Known(ReplyTo),
    /// It is told what the ranges of a partition hash to.
    Hashes(ReplyTo, PartitionId, Regime),
    /// A primary has fenced itself: the number of that comparison.
    Fence(u64),
    /// A record that got stuck is sent again.
    Again(Digest, Version),
}

/// Something that waits.
pub struct Settling {
    number: u64,
    points: Vec<CommitPoint>,
    then: Settles,
}

impl World {
    /// Does something as soon as everything that a node has appended by now has its outcome.
    pub(crate) fn once_settled(&mut self, node: usize, then: Settles) {
        let number = self.nodes[node].number();
        let it = &mut self.nodes[node];
        let points = it.engine.log().unsettled();
        let waits = !points.is_empty() && !is_planted(Mutation::FencesBeforeDurable);
        match it.devices.as_mut().filter(|_| waits) {
            None => self.settled(node, then, true),
            Some(devices) => {
                let settling = Settling {
                    number,
                    points,
                    then,
                };
                devices.doing.settling.push(settling);
                self.later(node, WITHIN_US, Deed::SettlesLate(number));
            }
        }
    }

    /// Looks whether something that waits can be done.
    pub(crate) fn look_at_settling(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let Some(devices) = &mut it.devices else {
            return;
        };
        let log = it.engine.log();
        let settling = &mut devices.doing.settling;
        for it in settling.iter_mut() {
            it.points.retain(|point| !log.is_settled(point));
        }
        let done: Vec<Settling> = settling.extract_if(.., |it| it.points.is_empty()).collect();
        for it in done {
            self.settled(node, it.then, true);
        }
    }

    /// It has taken too long.
    pub(crate) fn settles_late(&mut self, node: usize, number: u64) {
        let Some(devices) = &mut self.nodes[node].devices else {
            return;
        };
        let settling = &mut devices.doing.settling;
        let late: Vec<Settling> = settling.extract_if(.., |it| it.number == number).collect();
        for it in late {
            self.settled(node, it.then, false);
        }
    }

    fn settled(&mut self, node: usize, then: Settles, in_time: bool) {
        match then {
            Settles::Known(reply) => {
                let ack = if in_time { Ack::Done } else { Ack::Failed };
                self.acknowledge(node, reply, ack);
            }
            Settles::Hashes(reply, ..) if !in_time => self.acknowledge(node, reply, Ack::Failed),
            Settles::Hashes(reply, partition, regime) => {
                match self.place(node, &of(partition, regime)) {
                    Err(ack) => self.acknowledge(node, reply, ack),
                    Ok(id) => {
                        let mut hashes = Vec::new();
                        answer::put_hashes(&self.nodes[node].engine, id, &mut hashes);
                        self.put_reply(node, reply, Kind::Reply, &hashes);
                    }
                }
            }
            Settles::Fence(number) => self.fenced_itself(node, number, in_time),
            Settles::Again(digest, version) if in_time => {
                self.send_settled(node, &digest, version);
            }
            Settles::Again(digest, version) => self.nodes[node].engine.settle(&digest, version),
        }
    }

    fn fenced_itself(&mut self, node: usize, number: u64, in_time: bool) {
        let it = &mut self.nodes[node];
        let Some(running) = it.running_tasks.remove(&number) else {
            return;
        };
        let task = running.comparison.task();
        if in_time {
            it.engine
                .has_fenced(task.partition, task.regime.0, it.id, false);
        }
        let outcome = if in_time { Ok(()) } else { Err(Cut::Later) };
        self.compared(node, task, outcome);
    }

    /// Answers what the ranges of a partition hash to, once all that is here is durable.
    pub(crate) fn hashed(&mut self, node: usize, reply: ReplyTo, of: &OfPartition<'_>) {
        match self.place(node, of) {
            Err(ack) => self.acknowledge(node, reply, ack),
            Ok(id) => self.once_settled(node, Settles::Hashes(reply, id, of.regime)),
        }
    }
}
