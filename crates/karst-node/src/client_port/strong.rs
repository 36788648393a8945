//! Requests about strongly consistent partitions: what is refused, which node reads, and what a read has to wait for.

use std::rc::Rc;
use std::time::Duration;

use karst_cluster::map::{Regime, Role};
use karst_cluster::view::Share;
use karst_data::key::{Digest, PartitionId};
use karst_data::time::Ttl;
use karst_engine::tenure::Observed;
use karst_io::clock;
use karst_wire::code::ResultCode;
use karst_wire::flags::ScReadMode;
use karst_wire::request::Message;

use super::single::{Pending, Try, timeout};
use crate::core::Core;
use crate::fabric_port::flight::{send_again, stands};

/// What a read has to be sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// Of nothing: whoever holds all of the partition answers.
    Anything,
    /// That nobody else leads the partition, by a lease or by a quorum.
    Session {
        /// How long the client waits.
        patience: Duration,
    },
    /// The same by a quorum.
    Linearize {
        /// How long the client waits.
        patience: Duration,
    },
}

impl Reads {
    pub(super) fn of(share: &Share, message: &Message<'_>) -> Reads {
        let patience = timeout(message);
        match (share.quorums.is_some(), message.header.info3.read_mode()) {
            (false, _) => Reads::Anything,
            (true, ScReadMode::Session) => Reads::Session { patience },
            (true, ScReadMode::Linearize) => Reads::Linearize { patience },
            (true, ScReadMode::AllowReplica | ScReadMode::AllowUnavailable) => Reads::Anything,
        }
    }

    /// The same of a write that is refused: what it is told is what the primary knows.
    pub(super) fn of_primary(self) -> Reads {
        match self {
            Reads::Anything => Reads::Session {
                patience: super::single::TIMEOUT_DEFAULT,
            },
            reads => reads,
        }
    }

    /// Whether nobody but the primary may answer.
    pub(super) fn belong_to_primary(self) -> bool {
        self != Reads::Anything
    }
}

/// Refuses what is not to be had where consistency is strong: whether a record has expired is a matter of clocks.
///
/// # Errors
/// The code that says so.
pub(super) fn admit(message: &Message<'_>) -> Result<(), ResultCode> {
    match Ttl::from_wire(message.header.record_ttl) {
        Some(Ttl::Seconds(_)) => Err(ResultCode::Forbidden),
        _ => Ok(()),
    }
}

/// Whether a write would be confirmed by those who are alive, as far as this node knows, and as many hold everything
/// as the namespace asks for.
pub(super) fn can_confirm(core: &Core, index: usize, share: &Share) -> bool {
    let min_in_sync = usize::from(core.namespace(index).config.min_in_sync);
    let quorums = share.quorums.as_ref();
    quorums.is_none_or(|quorums| quorums.can_confirm && quorums.in_sync.len() >= min_in_sync)
}

/// Whether it is known that nobody serves the partition before more nodes are back, or ever: then nobody is asked.
/// Who leads it finds out by himself.
pub(super) fn is_given_up(share: &Share) -> bool {
    let quorums = share.quorums.as_ref();
    share.role != Role::Primary && quorums.is_some_and(|quorums| !quorums.stands)
}

/// Whether a record that was just read is confirmed. If it has got stuck it is sent again.
pub(super) fn is_confirmed(core: &Rc<Core>, index: usize, digest: &Digest, regime: Regime) -> bool {
    match core.namespace(index).engine.observe(digest, regime.0) {
        Observed::Confirmed => true,
        Observed::Waits | Observed::Elsewhere => false,
        Observed::Stuck(version) => {
            tokio::task::spawn_local(send_again(core.clone(), index, *digest, version));
            false
        }
    }
}

/// The map by which a read is made. Another one may be in force when it comes to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    /// The partition's regime.
    pub(super) regime: Regime,
    /// The generation of the cluster's state.
    pub(super) generation: u64,
}

/// What becomes of the answer to a read that was just made.
pub(super) fn after_read(
    core: &Rc<Core>,
    index: usize,
    digest: &Digest,
    By { regime, generation }: By,
    reads: Reads,
) -> Try {
    if !is_confirmed(core, index, digest, regime) {
        return Try::Wait(index);
    }
    let patience = match reads {
        Reads::Anything => return Try::Replied(None),
        Reads::Session { patience } => {
            // The read has been made, however long that was ago.
            let (now_us, lease) = (clock::boot_us(), core.node.cluster.lease());
            if lease.covers(generation, now_us) {
                core.counted(index).lease_reads.add(1);
                return Try::Replied(None);
            }
            patience
        }
        Reads::Linearize { patience } => patience,
    };
    core.counted(index).quorum_reads.add(1);
    Try::Replied(Some(Pending::Standing(Standing {
        namespace: index,
        partition: digest.partition(),
        regime,
        patience,
    })))
}

/// A read that is answered if this node still leads the partition.
pub(super) struct Standing {
    namespace: usize,
    partition: PartitionId,
    regime: Regime,
    patience: Duration,
}

impl Standing {
    /// Whether it does.
    pub(super) async fn comes_true(self, core: &Rc<Core>) -> bool {
        let deadline = tokio::time::Instant::now() + self.patience;
        let (namespace, partition) = (self.namespace, self.partition);
        stands(core, namespace, partition, self.regime, deadline).await
    }
}

/// Whether a request that has waited in vain did so because nobody serves its partition here.
pub(super) fn is_unavailable(core: &Core, index: usize, message: &Message<'_>) -> bool {
    let Ok(Some(digest)) = message.digest() else {
        return false;
    };
    let partition = digest.partition();
    let sight = core.node.sights.now();
    let share = sight.view.share(index, partition);
    let engine = &core.namespace(index).engine;
    share.quorums.is_some() && !engine.is_serving(partition, share.regime.0)
}

/// Sends the record of a request again if that has got stuck: until then nobody is told what it is like.
pub(super) fn send_stuck_again(core: &Rc<Core>, index: usize, message: &Message<'_>) {
    let Ok(Some(digest)) = message.digest() else {
        return;
    };
    let regime = {
        let sight = core.node.sights.now();
        let share = sight.view.share(index, digest.partition());
        share.quorums.is_some().then_some(share.regime)
    };
    let engine = &core.namespace(index).engine;
    if let Some(regime) = regime
        && let Observed::Stuck(version) = engine.observe(&digest, regime.0)
    {
        tokio::task::spawn_local(send_again(core.clone(), index, digest, version));
    }
}
