//! Carries a write of [`karst_engine::migrate::adopt`] out: device reads, room, and its way to everybody who is to
//! have it.

use std::rc::Rc;
use std::time::Duration;

use karst_cluster::fabric::Ack;
use karst_cluster::map::Regime;
use karst_data::key::PartitionId;
use karst_engine::migrate::Cut;
use karst_engine::migrate::adopt::{Adopt, Adopted};
use karst_engine::migrate::answer::{admit_late, of_late};
use karst_engine::write::Stored;

use super::copy::{Copies, NotCopied};
use super::flight::{Flight, Made};
use crate::core::Core;

/// How long a write that merging makes may take to arrive.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a write that has to wait is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// A partition that this node is the primary of, under one regime.
pub(super) struct Adopting<'c> {
    pub(super) core: &'c Rc<Core>,
    /// Position of the namespace.
    pub(super) namespace: usize,
    pub(super) partition: PartitionId,
    pub(super) regime: Regime,
}

impl Adopting<'_> {
    /// Makes a write, and brings it to everybody.
    pub(super) async fn adopt(&self, write: &Adopt) -> Result<(), Cut> {
        let (core, index) = (self.core, self.namespace);
        let engine = &core.namespace(index).engine;
        let mut fetched = None;
        loop {
            core.begin_turn();
            let hand = core.hand(index, self.regime, true);
            match write.attempt(engine, self.partition, &hand, fetched.as_ref()) {
                Adopted::Stored(stored) => return self.spread(write, stored).await,
                Adopted::Read(read) => {
                    fetched = Some(core.fetch(index, read).await.map_err(|_| Cut::Later)?);
                }
                Adopted::Wait => tokio::time::sleep(PAUSE).await,
                Adopted::Cut(cut) => return Err(cut),
            }
        }
    }

    async fn spread(&self, write: &Adopt, stored: Stored) -> Result<(), Cut> {
        let (core, index) = (self.core, self.namespace);
        let engine = &core.namespace(index).engine;
        if stored.commit.is_some() && engine.log().config().on_devices {
            core.appended(index);
        }
        if engine.config().strong {
            return self.see_to(write, stored).await;
        }
        let Some(image) = stored.image else {
            return Ok(());
        };
        let copies = {
            let sight = core.node.sights.now();
            let share = sight.view.share(index, self.partition);
            Copies::send(core, index, self.partition, share, image, WRITE_PATIENCE)
        };
        match copies {
            None => Ok(()),
            Some(copies) => copies.arrive(core).await.map_err(|NotCopied| Cut::Later),
        }
    }
}

impl Adopting<'_> {
    /// Brings a write to everybody that was made while this node serves a strongly consistent partition. What it
    /// keeps before, it keeps for itself.
    async fn see_to(&self, write: &Adopt, stored: Stored) -> Result<(), Cut> {
        let (core, index) = (self.core, self.namespace);
        let engine = &core.namespace(index).engine;
        let durable = engine.config().commit_to_device;
        if let (Adopt::Keep(_), Some(point)) = (write, stored.commit.filter(|_| durable)) {
            let committed = core.committed(index, point).await;
            return committed.map_err(|_| Cut::Later);
        }
        let (Some(version), Some(digest)) = (stored.in_flight, write.digest()) else {
            return Ok(());
        };
        let flight = {
            let sight = core.node.sights.now();
            let share = sight.view.share(index, self.partition);
            let made = Made {
                namespace: index,
                digest,
                version,
                image: stored.image,
                point: stored.commit.filter(|_| durable),
            };
            Flight::begin(core, share, made)
        };
        let confirmed = match flight {
            Some(flight) => flight.is_confirmed().await,
            None => true,
        };
        confirmed.then_some(()).ok_or(Cut::Later)
    }
}

/// Takes over a write of a former primary.
pub(super) async fn late(
    core: &Rc<Core>,
    namespace: usize,
    partition: PartitionId,
    regime: Regime,
    image: Vec<u8>,
) -> Ack {
    let admitted = {
        let sight = core.node.sights.now();
        admit_late(sight.view.share(namespace, partition), regime)
    };
    if let Err(ack) = admitted {
        return ack;
    }
    let adopting = Adopting {
        core,
        namespace,
        partition,
        regime,
    };
    of_late(adopting.adopt(&Adopt::TakeOver(image)).await)
}
