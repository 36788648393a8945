//! Carries a write to the nodes that are to have it, as [`karst_cluster::replicate`] decides.
//!
//! It is sent in the turn in which it was made; whoever waits for it waits in a task.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use karst_cluster::fabric::{Ack, Kind, OfPartition, Replicate};
use karst_cluster::map::Regime;
use karst_cluster::node::NodeId;
use karst_cluster::replicate::{Next, Outcome, Spreading};
use karst_cluster::view::Share;
use karst_data::key::PartitionId;
use karst_io::clock;
use smallvec::SmallVec;

use super::peer::{Answer, Asked};
use crate::core::Core;

/// How often whoever still waits for a write that is nowhere on its way looks again.
const OVER_US: u64 = 50_000;

/// A write on its way. See [the module](self).
pub struct Copies {
    namespace: usize,
    partition: PartitionId,
    image: Vec<u8>,
    write: Spreading,
    asked: SmallVec<[Sent; 2]>,
    /// When it is to be looked again what to do.
    until_us: u64,
}

/// What was sent and not answered yet.
struct Sent {
    to: NodeId,
    kind: Kind,
    asked: Asked,
}

/// A write did not arrive everywhere in time: it may or may not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCopied;

/// When this turn began, and the end of some patience from then on.
fn times(core: &Core, patience: Duration) -> (u64, u64) {
    let now_us = core.now_us();
    (now_us, now_us.saturating_add(patience.as_micros() as u64))
}

impl Copies {
    /// Sends a write to everybody who is to have it, within some time.
    pub fn send(
        core: &Core,
        namespace: usize,
        partition: PartitionId,
        share: &Share,
        image: Vec<u8>,
        patience: Duration,
    ) -> Option<Copies> {
        let (now_us, deadline_us) = times(core, patience);
        let write = Spreading::begin(share, now_us, deadline_us)?;
        Some(Copies::begin(
            core,
            (namespace, partition),
            share,
            image,
            write,
        ))
    }

    /// Sends a write of a strongly consistent partition to everybody who is to have it, within some time.
    pub fn send_strong(
        core: &Core,
        (namespace, partition): (usize, PartitionId),
        share: &Share,
        image: Vec<u8>,
        patience: Duration,
    ) -> Copies {
        let (_, deadline_us) = times(core, patience);
        let write = Spreading::begin_strong(deadline_us);
        Copies::begin(core, (namespace, partition), share, image, write)
    }

    fn begin(
        core: &Core,
        (namespace, partition): (usize, PartitionId),
        share: &Share,
        image: Vec<u8>,
        write: Spreading,
    ) -> Copies {
        let now_us = core.now_us();
        let mut copies = Copies {
            namespace,
            partition,
            image,
            write,
            asked: SmallVec::new(),
            until_us: now_us,
        };
        copies.go_on(core, share, now_us);
        copies
    }

    /// What became of it, once that is known.
    pub fn outcome(&self) -> Option<Outcome> {
        self.write.outcome()
    }

    /// Whether those who have it are enough to make it last, where consistency is strong.
    pub fn is_confirmed(&self, share: &Share) -> bool {
        self.write.is_confirmed(share)
    }

    /// Waits until everybody has it who is to have it.
    ///
    /// # Errors
    /// When that does not come true in time: it may or may not be on some of them.
    pub async fn arrive(mut self, core: &Rc<Core>) -> Result<(), NotCopied> {
        loop {
            self.hear().await;
            match self.write.outcome() {
                Some(Outcome::Arrived) => return Ok(()),
                Some(Outcome::Missed) => return Err(NotCopied),
                None => {}
            }
            let sight = core.node.sights.now();
            let share = sight.view.share(self.namespace, self.partition);
            self.go_on(core, share, clock::monotonic_us());
        }
    }

    /// Does all that is to be done now.
    pub fn go_on(&mut self, core: &Core, share: &Share, now_us: u64) {
        loop {
            match self.write.next(share, now_us) {
                Next::Send { to, kind, regime } => match self.ask(core, to, kind, regime) {
                    Some(asked) => self.asked.push(Sent { to, kind, asked }),
                    None => self.write.lost(to, kind, now_us),
                },
                Next::Repair(node) if share.quorums.is_some() => {
                    let engine = &core.namespace(self.namespace).engine;
                    engine.misses(self.partition, node);
                }
                Next::Repair(node) => core.node.repairs.ask(self.namespace, self.partition, node),
                Next::Wait { until_us } => return self.until_us = until_us,
                Next::Over(_) => {
                    self.until_us = now_us.saturating_add(OVER_US);
                    return self.asked.clear();
                }
            }
        }
    }

    fn ask(&self, core: &Core, to: NodeId, kind: Kind, regime: Regime) -> Option<Asked> {
        core.counters.replicated_out.add(1);
        let peer = core.peers.to(to)?;
        let name = &core.namespace(self.namespace).config.name;
        let replicate = Replicate {
            of: OfPartition {
                namespace: name.as_bytes(),
                partition: self.partition.0,
                regime,
            },
            record: &self.image,
        };
        peer.ask(kind, |out| replicate.put(out))
    }

    /// Waits until the outcome is known, or something is to be done; where consistency is strong, until somebody has
    /// it as well.
    pub async fn hear(&mut self) {
        if self.write.outcome().is_some() && !self.write.is_strong() {
            return;
        }
        let strong = self.write.is_strong();
        let pause_us = self.until_us.saturating_sub(clock::monotonic_us());
        let mut until = pin!(tokio::time::sleep(Duration::from_micros(pause_us)));
        poll_fn(|context| {
            let mut trouble = false;
            let write = &mut self.write;
            self.asked.retain(|sent| {
                let answer = match Pin::new(&mut sent.asked).poll(context) {
                    Poll::Pending => return true,
                    Poll::Ready(answer) => answer,
                };
                let ack = match answer {
                    Ok(Answer::Reply(_)) => Some(Ack::Done),
                    Ok(Answer::Refused(ack)) => Some(ack),
                    Err(_) => None, // the connection ended
                };
                match ack {
                    Some(Ack::Done) => write.answered(sent.to, sent.kind, Ack::Done, 0),
                    Some(ack) => write.answered(sent.to, sent.kind, ack, clock::monotonic_us()),
                    None => write.lost(sent.to, sent.kind, clock::monotonic_us()),
                }
                trouble |= strong || ack != Some(Ack::Done);
                false
            });
            match (write.outcome().is_some() && !strong) || trouble {
                true => Poll::Ready(()),
                false => until.as_mut().poll(context),
            }
        })
        .await;
    }
}
