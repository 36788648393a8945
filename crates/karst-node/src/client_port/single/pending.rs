//! What a reply waits for, and what it says if that does not come true.

use std::rc::Rc;
use std::time::Duration;

use karst_storage::log::CommitPoint;
use karst_wire::code::ResultCode;

use super::Asked;
use super::answer::error;
use crate::client_port::strong;
use crate::core::Core;
use crate::fabric_port::copy::Copies;
use crate::fabric_port::flight::Flight;

/// Writes of one core whose copies may be on their way with nobody waiting for them.
const UNWATCHED_MAX: usize = 4096;

/// What a reply has to wait for.
#[allow(
    clippy::large_enum_variant,
    reason = "the largest is what most writes are, and it is moved once"
)]
pub(in crate::client_port) enum Pending {
    /// A write is where it should be.
    Write(PendingWrite),
    /// A write is confirmed.
    Flight {
        /// The write.
        flight: Flight,
        /// How long its client waits.
        patience: Duration,
    },
    /// Whoever confirms writes of a partition agrees that this node still leads it.
    Standing(strong::Standing),
}

/// A write that is answered when it is durable, and where it should be.
pub(in crate::client_port) struct PendingWrite {
    pub(super) namespace: usize,
    /// A commit on this node's devices.
    pub(super) point: Option<CommitPoint>,
    /// Copies on their way to other nodes.
    pub(super) copies: Option<Copies>,
}

/// Lets a reply wait until its write is durable here and has arrived where it is to be. When that fails
/// the outcome is in doubt: the record is served from memory, and may be gone after a restart or a
/// failure. Clients read a timeout so.
pub(in crate::client_port) async fn settle(
    core: &Rc<Core>,
    asked: Asked,
    pending: Option<Pending>,
    out: &mut Vec<u8>,
) {
    let Some(pending) = pending else { return };
    let otherwise = match pending {
        Pending::Write(_) | Pending::Flight { .. } => ResultCode::Timeout,
        Pending::Standing(_) => ResultCode::Unavailable, // it was only a read
    };
    if !pending.comes_true(core).await {
        out.clear();
        error(out, asked, otherwise);
    }
}

impl Pending {
    /// Whether everything that was waited for came true.
    pub(in crate::client_port) async fn comes_true(self, core: &Rc<Core>) -> bool {
        match self {
            Pending::Write(write) => write.comes_true(core).await,
            Pending::Flight { flight, patience } => {
                let confirmed = tokio::time::timeout(patience, flight.is_confirmed()).await;
                confirmed.unwrap_or(false)
            }
            Pending::Standing(standing) => standing.comes_true(core).await,
        }
    }
}

impl PendingWrite {
    async fn comes_true(self, core: &Rc<Core>) -> bool {
        let committed = async {
            match self.point {
                None => true,
                Some(point) => core.committed(self.namespace, point).await.is_ok(),
            }
        };
        let copied = async {
            match self.copies {
                None => true,
                Some(copies) => copies.arrive(core).await.is_ok(),
            }
        };
        let (committed, copied) = tokio::join!(committed, copied);
        committed && copied
    }

    /// Lets copies arrive with nobody waiting for them, unless too many do so already. What is left is
    /// what the reply has to wait for.
    pub(super) fn unwatched(mut self, core: &Core) -> Option<PendingWrite> {
        let unwatched = &core.unwatched;
        if unwatched.get() < UNWATCHED_MAX
            && let Some(copies) = self.copies.take()
        {
            unwatched.set(unwatched.get() + 1);
            let core = core.itself();
            tokio::task::spawn_local(async move {
                let _ = copies.arrive(&core).await; // who missed it is compared with later
                core.unwatched.set(core.unwatched.get() - 1);
            });
        }
        (self.point.is_some() || self.copies.is_some()).then_some(self)
    }
}
