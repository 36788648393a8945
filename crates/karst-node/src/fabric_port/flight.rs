//! Sees to a write of a strongly consistent partition until everybody has it, as [`karst_engine::tenure`] and
//! [`karst_cluster::replicate`] say; and asks whether a regime still stands.
//!
//! Whoever is to be answered waits for no longer than he likes; the write goes on all the same.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use karst_cluster::fabric::{Ack, Kind, OfPartition};
use karst_cluster::map::{Regime, Role};
use karst_cluster::node::NodeId;
use karst_cluster::replicate::Outcome;
use karst_cluster::view::Share;
use karst_data::key::{Digest, PartitionId};
use karst_io::clock;
use karst_storage::log::CommitPoint;
use karst_storage::place::Version;
use tokio::sync::oneshot;

use super::copy::Copies;
use super::peer::Answer;
use crate::core::Core;

/// How long a node has to take a write, before it counts as one that lacks it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether a write that is everywhere is confirmed, before it is left to whoever reads it.
const LOOKS_MAX: u32 = 4;

/// Pause before a node is asked again that has not come to a regime yet.
const AGAIN: Duration = Duration::from_millis(2);

/// A write that was just made.
pub struct Made {
    /// Position of the namespace.
    pub namespace: usize,
    /// The record.
    pub digest: Digest,
    /// Its version.
    pub version: Version,
    /// The record as it is to be sent, if there is anybody to send it to.
    pub image: Option<Vec<u8>>,
    /// When it is durable here, if that counts.
    pub point: Option<CommitPoint>,
}

/// A write that is being seen to.
pub struct Flight(oneshot::Receiver<()>);

impl Flight {
    /// Sends a write on its way. `None` if it is confirmed already.
    pub fn begin(core: &Core, share: &Share, made: Made) -> Option<Flight> {
        let Made {
            namespace,
            digest,
            version,
            image,
            point,
        } = made;
        let (confirmed, flight) = oneshot::channel();
        let copies = Copies::send_strong(
            core,
            (namespace, digest.partition()),
            share,
            image.unwrap_or_default(),
            PATIENCE,
        );
        let mut course = Course {
            namespace,
            digest,
            version,
            copies,
            durable: point.is_none(),
            confirmed: Some(confirmed),
        };
        course.confirm_if_due(core, share);
        if course.confirmed.is_none() && course.copies.outcome().is_some() {
            course.settle(core);
            return None;
        }
        tokio::task::spawn_local(course.run(core.itself(), point));
        Some(Flight(flight))
    }

    /// Waits until the write is confirmed. `false` if it will not be, as far as this node can tell.
    pub async fn is_confirmed(self) -> bool {
        self.0.await.is_ok()
    }
}

struct Course {
    namespace: usize,
    digest: Digest,
    version: Version,
    copies: Copies,
    /// It is durable here.
    durable: bool,
    /// Who waits for it to be confirmed, until it is.
    confirmed: Option<oneshot::Sender<()>>,
}

impl Course {
    async fn run(mut self, core: Rc<Core>, point: Option<CommitPoint>) {
        let committing = core.clone();
        let namespace = self.namespace;
        let mut committed = pin!(async move {
            match point {
                None => std::future::pending().await,
                Some(point) => committing.committed(namespace, point).await,
            }
        });
        let mut lost = false;
        let mut looks = 0;
        loop {
            tokio::select! {
                biased;
                durable = &mut committed, if !self.durable && !lost => match durable {
                    Ok(()) => self.durable = true,
                    Err(_) => lost = true, // whoever has it may serve it: it is in doubt
                },
                () = self.copies.hear() => {}
            }
            let sight = core.node.sights.now();
            let share = sight.view.share(self.namespace, self.digest.partition());
            self.copies.go_on(&core, share, clock::monotonic_us());
            if !lost {
                self.confirm_if_due(&core, share);
            }
            let engine = &core.namespace(self.namespace).engine;
            if !engine.is_in_flight(&self.digest, self.version) {
                break; // this node leads the partition no more
            }
            match self.copies.outcome() {
                None => {}
                // Enough have it, and this node will in a moment.
                Some(Outcome::Missed)
                    if !self.durable && !lost && self.copies.is_confirmed(share) => {}
                Some(Outcome::Missed) => break,
                Some(Outcome::Arrived) if lost || self.confirmed.is_none() => break,
                // Another map is about to be in force.
                Some(Outcome::Arrived) if self.durable && looks == LOOKS_MAX => break,
                Some(Outcome::Arrived) => looks += u32::from(self.durable),
            }
        }
        self.settle(&core);
    }

    fn confirm_if_due(&mut self, core: &Core, share: &Share) {
        if self.confirmed.is_some() && self.durable && self.copies.is_confirmed(share) {
            let engine = &core.namespace(self.namespace).engine;
            if engine.confirm(&self.digest, self.version, share.regime.0)
                && let Some(confirmed) = self.confirmed.take()
            {
                let _ = confirmed.send(()); // nobody may wait any more
            }
        }
    }

    fn settle(&self, core: &Core) {
        let engine = &core.namespace(self.namespace).engine;
        engine.settle(&self.digest, self.version);
    }
}

/// Sends a record again that got stuck: the record as it is now, on behalf of this version of it.
pub async fn send_again(core: Rc<Core>, namespace: usize, digest: Digest, version: Version) {
    let engine = &core.namespace(namespace).engine;
    let settled = core.settled(namespace).await; // whoever made it may not have waited for that
    let image = settled.and(core.image(namespace, &digest).await);
    let Ok(Some(image)) = image else {
        return engine.settle(&digest, version); // whoever reads it next tries again
    };
    let sight = core.node.sights.now();
    let share = sight.view.share(namespace, digest.partition());
    let made = Made {
        namespace,
        digest,
        version,
        image: Some(image),
        point: None,
    };
    if let Some(flight) = Flight::begin(&core, share, made) {
        flight.is_confirmed().await;
    }
}

/// Whether a quorum of those who confirm writes of a partition agree that this regime, under which this node leads it,
/// stands. Asked after a read, it says that nobody else had been leading when that was made.
pub async fn stands(
    core: &Rc<Core>,
    namespace: usize,
    partition: PartitionId,
    regime: Regime,
    deadline: tokio::time::Instant,
) -> bool {
    let (others, me) = {
        let sight = core.node.sights.now();
        let share = sight.view.share(namespace, partition);
        let Some(quorums) = &share.quorums else {
            return false;
        };
        let me = core.node.id;
        let all = quorums.in_sync.iter().chain(&quorums.prior);
        let others: std::collections::BTreeSet<NodeId> =
            all.copied().filter(|node| *node != me).collect();
        (others, me)
    };
    let mut agree = vec![me];
    let mut asking: FuturesUnordered<_> = (others.into_iter())
        .map(|node| ask(core, namespace, partition, regime, node, deadline))
        .collect();
    loop {
        {
            let sight = core.node.sights.now();
            let share = sight.view.share(namespace, partition);
            if share.regime != regime || share.role != Role::Primary {
                return false;
            }
            let quorums = share.quorums.as_ref();
            if quorums.is_some_and(|quorums| quorums.are_met_by(&agree)) {
                let engine = &core.namespace(namespace).engine;
                return engine.is_serving(partition, regime.0);
            }
        }
        match asking.next().await {
            Some(Some(node)) => agree.push(node),
            Some(None) => {}
            None => return false,
        }
    }
}

/// The node, if it agrees in time.
async fn ask(
    core: &Rc<Core>,
    namespace: usize,
    partition: PartitionId,
    regime: Regime,
    node: NodeId,
    deadline: tokio::time::Instant,
) -> Option<NodeId> {
    let name = core.namespace(namespace).config.name.as_bytes();
    let of = OfPartition {
        namespace: name,
        partition: partition.0,
        regime,
    };
    while tokio::time::Instant::now() < deadline {
        let patience = deadline.saturating_duration_since(tokio::time::Instant::now());
        let answer = match core.peers.to(node) {
            Some(peer) => {
                peer.request(Kind::Stands, patience, |out| of.put(out))
                    .await
            }
            None => return None,
        };
        match answer {
            Ok(Answer::Reply(_) | Answer::Refused(Ack::Done)) => return Some(node),
            Ok(Answer::Refused(Ack::Early)) | Err(_) => tokio::time::sleep(AGAIN).await,
            Ok(Answer::Refused(_)) => return None,
        }
    }
    None
}
