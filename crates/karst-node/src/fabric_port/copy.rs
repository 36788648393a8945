//! A write on its way to the nodes that are to have it.
//!
//! It is sent to all of them at once, in the turn in which it was made. Whoever waits for it waits until
//! each has taken it or has ceased to be one of those who should: then another node is filled in its
//! stead, from an index that knows of the write already.
//!
//! If meanwhile another node has become the primary, it may lack the write, and will not be sent it as a copy any
//! more. Then it is asked to take the write over, and when it has, the write counts as arrived: a partition
//! that changes hands in order fails no request.

use std::rc::Rc;
use std::time::Duration;

use karst_cluster::fabric::{Ack, Kind, OfPartition, Replicate};
use karst_cluster::map::{Regime, Role};
use karst_cluster::node::NodeId;
use karst_cluster::view::Share;
use karst_data::key::PartitionId;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::peer::{Answer, Asked, Peer};
use crate::core::Core;

/// How long an answer is waited for before it is asked whether it is still owed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Pause before a node that has another map, or no connection, is asked again.
const PAUSE: Duration = Duration::from_millis(5);

/// See [the module](self).
pub struct Copies {
    namespace: usize,
    partition: PartitionId,
    image: Vec<u8>,
    sent: SmallVec<[(NodeId, Option<Asked>); 2]>,
}

/// Why a write is not where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCopied {
    /// Some node did not take it in time, or cannot.
    Missed,
    /// This node is the partition's primary no more.
    Overtaken,
}

impl Copies {
    /// Sends a write to everybody who is to have it.
    pub fn send(
        core: &Core,
        namespace: usize,
        partition: PartitionId,
        share: &Share,
        image: Vec<u8>,
    ) -> Option<Copies> {
        if share.followers.is_empty() {
            return None;
        }
        let mut copies = Copies {
            namespace,
            partition,
            image,
            sent: SmallVec::new(),
        };
        for node in &share.followers {
            let asked = copies.ask(core, *node, share.regime);
            copies.sent.push((*node, asked));
        }
        Some(copies)
    }

    fn ask(&self, core: &Core, node: NodeId, regime: Regime) -> Option<Asked> {
        core.counters.replicated_out.add(1);
        let peer = core.peers.to(node)?;
        self.put(core, &peer, Kind::Replicate, regime)
    }

    fn put(&self, core: &Core, peer: &Peer, kind: Kind, regime: Regime) -> Option<Asked> {
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

    /// Waits until everybody has it who is to have it.
    ///
    /// # Errors
    /// When that does not come true in time: it may or may not be on some of them.
    pub async fn arrive(mut self, core: &Rc<Core>, patience: Duration) -> Result<(), NotCopied> {
        let deadline = Instant::now() + patience;
        match self.arrive_at_all(core, deadline).await {
            Err(NotCopied::Overtaken) => self.hand_over(core, deadline).await,
            outcome => outcome,
        }
    }

    async fn arrive_at_all(&mut self, core: &Rc<Core>, deadline: Instant) -> Result<(), NotCopied> {
        let mut outcome = Ok(());
        for (node, asked) in std::mem::take(&mut self.sent) {
            outcome = outcome.and(self.arrive_at(core, node, asked, deadline).await);
        }
        outcome
    }

    /// Has the primary of now take the write over.
    async fn hand_over(&self, core: &Rc<Core>, deadline: Instant) -> Result<(), NotCopied> {
        while Instant::now() < deadline {
            let (primary, regime) = {
                let sight = core.node.sights.now();
                let share = sight.view.share(self.namespace, self.partition);
                if share.role == Role::Primary {
                    return self.compare_with_all(core, share); // it is the primary again
                }
                (share.primary, share.regime)
            };
            let link = primary.and_then(|primary| core.peers.to(primary));
            let asked = link.and_then(|link| {
                core.counters.replicated_out.add(1);
                self.put(core, &link, Kind::Late, regime)
            });
            let Some(asked) = asked else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            match tokio::time::timeout_at(deadline, asked).await {
                Ok(Ok(Answer::Reply(_) | Answer::Refused(Ack::Done))) => return Ok(()),
                Ok(Ok(Answer::Refused(Ack::Failed))) => return Err(NotCopied::Missed),
                // Another map is in force there, or the link has ended: to merge it twice does no harm.
                Ok(Ok(Answer::Refused(_)) | Err(_)) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(NotCopied::Missed)
    }

    async fn arrive_at(
        &self,
        core: &Rc<Core>,
        node: NodeId,
        mut asked: Option<Asked>,
        deadline: Instant,
    ) -> Result<(), NotCopied> {
        loop {
            let ended = match &mut asked {
                None => Ended::Unsent,
                Some(asked) => wait(asked, deadline).await,
            };
            match ended {
                Ended::Done => return Ok(()),
                Ended::Never => return self.missed(core, node),
                Ended::Pending | Ended::Unsent | Ended::Again => {}
            }
            let Some(regime) = self.still_owed(core, node)? else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return self.missed(core, node);
            }
            match ended {
                Ended::Pending => {}
                _ => {
                    tokio::time::sleep(PAUSE).await;
                    asked = self.ask(core, node, regime);
                }
            }
        }
    }

    /// The regime under which a node is to have it; `None` once it need not.
    fn still_owed(&self, core: &Core, node: NodeId) -> Result<Option<Regime>, NotCopied> {
        let sight = core.node.sights.now();
        let share = sight.view.share(self.namespace, self.partition);
        if share.role != Role::Primary {
            return Err(NotCopied::Overtaken); // whoever is it now has it, or does not
        }
        Ok(share.followers.contains(&node).then_some(share.regime))
    }

    /// Notes that whoever follows now may lack it: in between it was sent to others, or to nobody.
    fn compare_with_all(&self, core: &Core, share: &Share) -> Result<(), NotCopied> {
        let ask = |node: &NodeId| core.node.repairs.ask(self.namespace, self.partition, *node);
        share.followers.iter().for_each(ask);
        Err(NotCopied::Missed)
    }

    /// Notes that a node holds less than it should.
    fn missed(&self, core: &Core, node: NodeId) -> Result<(), NotCopied> {
        core.node.repairs.ask(self.namespace, self.partition, node);
        Err(NotCopied::Missed)
    }
}

enum Ended {
    Done,
    /// It cannot be taken, now or later.
    Never,
    /// Another map is in force there; ask again.
    Again,
    /// There is no connection, or no room on it.
    Unsent,
    /// Nothing came yet.
    Pending,
}

async fn wait(asked: &mut Asked, deadline: Instant) -> Ended {
    let until = deadline.min(Instant::now() + LOOK_AGAIN);
    match tokio::time::timeout_at(until, asked).await {
        Err(_) => Ended::Pending,
        Ok(Err(_)) => Ended::Unsent, // the connection ended: it does no harm to send it twice
        Ok(Ok(Answer::Reply(_))) => Ended::Done,
        Ok(Ok(Answer::Refused(ack))) => match ack {
            Ack::Done => Ended::Done,
            Ack::Stale | Ack::Early | Ack::Misled | Ack::Full => Ended::Again,
            Ack::Failed => Ended::Never,
        },
    }
}
