//! A primary takes a state of a record over that was made elsewhere, and brings it to everybody who is to have
//! it: what another node kept while it was apart, and what a former primary was writing when it was told that it
//! is one no more.

use std::rc::Rc;
use std::time::Duration;

use karst_cluster::fabric::Ack;
use karst_cluster::map::{Regime, Role};
use karst_data::flat::Record;
use karst_data::key::PartitionId;
use karst_engine::write::{Hand, Stored};
use karst_engine::{Fetched, Reason, Step};

use super::copy::Copies;
use crate::core::Core;

/// How long a write that merging makes may take to arrive.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a write that has to wait is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The map has changed, or the other node has another one: look again.
    Overtaken,
    /// The other node does not answer, or something failed: try again later.
    Later,
}

/// A partition that this node is the primary of, under one regime.
pub(super) struct Adopting<'c> {
    pub(super) core: &'c Rc<Core>,
    /// Position of the namespace.
    pub(super) namespace: usize,
    pub(super) partition: PartitionId,
    pub(super) regime: Regime,
}

impl Adopting<'_> {
    /// Carries out a write that comparing asked for, and brings it to everybody.
    pub(super) async fn write(
        &self,
        write: impl Fn(&Hand, Option<&Fetched>) -> Step<Result<Stored, Reason>>,
    ) -> Result<(), Cut> {
        let (core, index) = (self.core, self.namespace);
        let mut fetched = None;
        loop {
            core.begin_turn();
            let hand = core.hand(index, self.regime, true);
            match write(&hand, fetched.as_ref()) {
                Step::Done(Ok(merged)) => return self.spread(merged).await,
                Step::Done(Err(_)) => return Err(Cut::Later),
                Step::Read(read) => {
                    fetched = Some(core.fetch(index, read).await.map_err(|_| Cut::Later)?);
                }
                Step::Wait => {
                    let engine = &core.namespace(index).engine;
                    if engine.regime(self.partition) != self.regime.0 {
                        return Err(Cut::Overtaken);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn spread(&self, merged: Stored) -> Result<(), Cut> {
        let (core, index) = (self.core, self.namespace);
        if merged.commit.is_some() && core.namespace(index).engine.log().config().on_devices {
            core.appended(index);
        }
        let Some(image) = merged.image else {
            return Ok(());
        };
        let copies = {
            let sight = core.node.sights.now();
            let share = sight.view.share(index, self.partition);
            Copies::send(core, index, self.partition, share, image, WRITE_PATIENCE)
        };
        match copies {
            None => Ok(()),
            Some(copies) => {
                let arrived = copies.arrive(core).await;
                arrived.map_err(|_| Cut::Later)
            }
        }
    }
}

/// Takes over a write of a former primary. The later of two writes wins, as everywhere when copies are merged;
/// one that came here already changes nothing.
pub(super) async fn late(
    core: &Rc<Core>,
    namespace: usize,
    partition: PartitionId,
    regime: Regime,
    image: &[u8],
) -> Ack {
    let role = {
        let sight = core.node.sights.now();
        let share = sight.view.share(namespace, partition);
        (share.regime == regime).then_some(share.role)
    };
    if role != Some(Role::Primary) {
        return Ack::Misled;
    }
    let Ok(record) = Record::parse_unsealed(image) else {
        return Ack::Failed; // it was parsed before it was copied
    };
    let adopting = Adopting {
        core,
        namespace,
        partition,
        regime,
    };
    let engine = &core.namespace(namespace).engine;
    match adopting.write(|hand, _| engine.merge(hand, &record)).await {
        Ok(()) => Ack::Done,
        Err(Cut::Overtaken) => Ack::Stale,
        Err(Cut::Later) => Ack::Failed,
    }
}
