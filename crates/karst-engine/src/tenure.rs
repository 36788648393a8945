//! What a node knows of a strongly consistent partition that it leads: whether it serves, which of its writes are
//! not confirmed yet, and who holds everything.
//!
//! The rules are those of `karst-cluster`'s `tests/strong_model.rs`, one partition here where it has one record:
//!
//! ```text
//! a regime that this node leads and did not serve before
//!   -> everybody in sync, the node itself too, is fenced: agrees to the regime, sees to it that what he has is as
//!      durable as the namespace asks, and tells what he has that is newer                        (fenced)
//!   -> everybody in sync is brought to what is here by then                                      (holders)
//!   -> it is reported, Raft activates the regime, and the node hears of it                       (serves)
//! a regime that follows one that it serves: it goes on, under the quorums of both
//!   -> whoever is not known to hold everything is brought to it, and no write of an older regime is on its way to anybody
//!   -> it is reported, and Raft activates it
//! ```
//!
//! A write is *in flight* from when it is made until everybody has it who is to have it; it is *confirmed* when
//! those have it who make it last. What is read is not told anybody before it is confirmed: [`Namespace::observe`] says
//! so, asked after the read. When a write gets stuck, because some did not take it in time, the record stays as it is, and
//! unread, until it is [sent again](Observed::Stuck) or everybody was brought to it.
//!
//! Invariants
//!   a node serves only under the regime of its newest map, and only if it did so, without a break, since that
//!     regime or one before was activated
//!   who is among the holders has everything that is here and not in flight: he was brought to it and sent all that came
//!     since, and is still the same process
//!   all of it is void when the node serves no more

use karst_cluster::map::Role;
use karst_cluster::node::NodeId;
use karst_cluster::view::{Quorums, Share};
use karst_data::key::{Digest, PartitionId};
use karst_data::mutation::{Mutation, is_planted};
use karst_storage::place::Version;
use smallvec::SmallVec;

use crate::namespace::{Namespace, Partition};

/// Writes of one partition that may be in flight at once; others wait.
const IN_FLIGHT_MAX: usize = 1024;

/// See [the module](self).
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    /// The newest regime that this node knows of.
    regime: u32,
    /// The activated regime since which it serves; 0 if it does not.
    serves: u32,
    /// Who leads the partition: this node, if it serves.
    primary: Option<NodeId>,
    in_flight: Vec<InFlight>,
    /// Who has been fenced, under this regime.
    fenced: SmallVec<[NodeId; 4]>,
    /// Of those, who had just what this node had.
    alike: SmallVec<[NodeId; 4]>,
    /// Something was kept since that others had.
    kept: bool,
    /// Who holds everything.
    holders: SmallVec<[NodeId; 4]>,
    /// Whom this node sends its writes, each with his process.
    processes: SmallVec<[(NodeId, u64); 4]>,
    /// Who did not take a write in time, since he came to be one of those in sync.
    lacking: SmallVec<[NodeId; 2]>,
    /// Counts writes that somebody did not take.
    missed: u64,
    /// This node is being filled under this regime, and nothing that it has counts.
    joins: bool,
    /// This node has nothing to do with the partition any more, and whoever sends it something does not know yet:
    /// a regime stays the same when it is activated.
    is_stranger: bool,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    digest: Digest,
    version: Version,
    confirmed: bool,
    /// Somebody sees to it that it arrives.
    spreading: bool,
}

/// What there is to say about a record that was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// What was read is confirmed.
    Confirmed,
    /// It may not be, yet: read again in a moment.
    Waits,
    /// Nobody sees to it any more: it is to be sent again to everybody, as the caller does from now on. It is this
    /// version at least.
    Stuck(Version),
    /// This node does not serve the partition, or not under this regime.
    Elsewhere,
}

/// How far a node is with a partition that it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The newest regime that it knows of.
    pub regime: u32,
    /// It serves.
    pub serves: bool,
    /// Who has been fenced.
    pub fenced: SmallVec<[NodeId; 4]>,
    /// Who holds everything.
    pub holders: SmallVec<[NodeId; 4]>,
    /// Who did not take a write in time, and was not brought to hold everything since.
    pub lacking: SmallVec<[NodeId; 2]>,
    /// A write of an older regime got stuck, and nothing tells that this node has it where a cut of power does not take it.
    pub unsure: bool,
}

impl Namespace {
    /// A partition has another place among nodes, or the same: it is written under the regime of this share from now on,
    /// as far as this node writes it.
    pub fn learn(&self, id: PartitionId, share: &Share) {
        self.reign(id, share.regime.0, share.apart);
        if let Some(quorums) = &share.quorums {
            let mut partition = self.partition(id);
            partition.tenure.learn(share, quorums);
        }
    }

    /// Whether this node answers requests of a strongly consistent partition under this regime.
    pub fn is_serving(&self, id: PartitionId, regime: u32) -> bool {
        self.partition(id).serves_under(regime)
    }

    /// What there is to say about a record that was just read under this regime.
    pub fn observe(&self, digest: &Digest, regime: u32) -> Observed {
        let mut partition = self.partition_of(digest);
        if !partition.serves_under(regime) {
            return Observed::Elsewhere;
        }
        match partition.tenure.newest_of(digest) {
            _ if is_planted(Mutation::ReadsUnconfirmed) => Observed::Confirmed,
            None => Observed::Confirmed,
            Some(it) if it.confirmed => Observed::Confirmed,
            Some(it) if it.spreading => Observed::Waits,
            Some(it) => {
                it.spreading = true;
                Observed::Stuck(it.version)
            }
        }
    }

    /// Those have a write who make it last, by the map of this regime. `false` if another one is in force, or this
    /// node does not serve any more: then it does not count.
    pub fn confirm(&self, digest: &Digest, version: Version, regime: u32) -> bool {
        let mut partition = self.partition_of(digest);
        partition.serves_under(regime) && partition.tenure.confirm(digest, version)
    }

    /// Whether a write is still one of those that this node has to see to.
    pub fn is_in_flight(&self, digest: &Digest, version: Version) -> bool {
        let partition = self.partition_of(digest);
        let mut all = partition.tenure.in_flight.iter();
        all.any(|it| it.digest == *digest && it.version == version)
    }

    /// A write is on its way no more: everybody has it, or somebody did not take it in time.
    pub fn settle(&self, digest: &Digest, version: Version) {
        self.partition_of(digest).tenure.settle(digest, version);
    }

    /// A node did not take a write in time.
    pub fn misses(&self, id: PartitionId, node: NodeId) {
        let mut partition = self.partition(id);
        let tenure = &mut partition.tenure;
        tenure.missed += 1;
        tenure.holders.retain(|it| it != &node);
        if !tenure.lacking.contains(&node) {
            tenure.lacking.push(node);
        }
    }

    /// Counts writes that somebody did not take: who is brought to hold everything does so only if none comes to
    /// it meanwhile.
    pub fn missed(&self, id: PartitionId) -> u64 {
        self.partition(id).tenure.missed
    }

    /// A node in sync, maybe this one, agrees to this regime, has all that it holds where a cut of power does not take
    /// it, and what it had that was newer is here; or it had just the same.
    pub fn has_fenced(&self, id: PartitionId, regime: u32, node: NodeId, alike: bool) {
        let mut partition = self.partition(id);
        let tenure = &mut partition.tenure;
        if tenure.regime == regime && !tenure.fenced.contains(&node) {
            tenure.fenced.push(node);
            if alike {
                tenure.alike.push(node);
            }
            tenure.let_go_of_stuck();
        }
    }

    /// A node was brought to hold everything, under this regime, and had missed so many writes when that began.
    /// Whether it counts.
    pub fn has_filled(&self, id: PartitionId, regime: u32, node: NodeId, missed: u64) -> bool {
        let mut partition = self.partition(id);
        let tenure = &mut partition.tenure;
        let counts = tenure.regime == regime && tenure.missed == missed;
        if counts {
            tenure.lacking.retain(|it| it != &node);
            if !tenure.holders.contains(&node) {
                tenure.holders.push(node);
            }
        }
        counts
    }

    /// How far this node is with a partition that it leads.
    pub fn stage(&self, id: PartitionId) -> Stage {
        let partition = self.partition(id);
        let tenure = &partition.tenure;
        Stage {
            regime: tenure.regime,
            serves: tenure.serves != 0,
            fenced: tenure.fenced.clone(),
            holders: tenure.all_holders(),
            lacking: tenure.lacking.clone(),
            unsure: tenure
                .in_flight
                .iter()
                .any(|it| tenure.is_old_and_stuck(it)),
        }
    }

    /// Whether this node's regime of a partition that it leads can be activated.
    pub fn can_activate(&self, id: PartitionId, share: &Share) -> bool {
        let Some(quorums) = &share.quorums else {
            return false;
        };
        let partition = self.partition(id);
        let leads = share.role == Role::Primary && partition.is_under(share.regime.0);
        leads && !quorums.is_activated() && partition.tenure.can_activate(share, quorums)
    }

    /// Writes that are in flight, and of those the stuck ones, over all partitions.
    pub fn in_flight(&self) -> (u64, u64) {
        let (mut all, mut stuck) = (0, 0);
        for id in PartitionId::all() {
            let partition = self.partition(id);
            let flights = &partition.tenure.in_flight;
            all += flights.len() as u64;
            stuck += flights.iter().filter(|it| !it.spreading).count() as u64;
        }
        (all, stuck)
    }
}

impl Partition {
    pub(crate) fn serves_under(&self, regime: u32) -> bool {
        self.is_under(regime) && self.tenure.serves != 0
    }
}

impl Tenure {
    fn learn(&mut self, share: &Share, quorums: &Quorums) {
        let same = self.regime == share.regime.0;
        let leads = share.role == Role::Primary;
        self.regime = share.regime.0;
        self.primary = share.primary;
        self.joins = share.role == Role::Joining && !quorums.knows;
        self.is_stranger = share.role == Role::Stranger && quorums.is_activated();
        if !same {
            self.fenced.clear();
            self.alike.clear();
            self.kept = false;
        }
        if same && leads && quorums.is_activated() {
            // Nobody but this process can have brought that about.
            if self.serves == 0 {
                self.holders = self.all_holders();
            }
            self.serves = quorums.activated.0;
            self.let_go_of_stuck();
        } else if !leads || self.serves != quorums.activated.0 {
            self.serves = 0;
            self.in_flight.clear(); // in doubt from now on
        }
        if !same && self.serves == 0 {
            self.holders.clear();
        }
        // Whoever was not sent everything since, or is another process, may hold less by now.
        let before = std::mem::replace(&mut self.processes, quorums.processes[..].into());
        let goes_on = |it: &(NodeId, u64)| before.contains(it);
        let go_on = self.processes.iter().filter(|it| goes_on(it));
        let go_on: SmallVec<[NodeId; 4]> = go_on.map(|(node, _)| *node).collect();
        self.holders.retain(|it| go_on.contains(it));
        if !same {
            self.lacking.clear();
        }
    }

    fn is_old_and_stuck(&self, it: &InFlight) -> bool {
        !it.spreading && it.version.regime < self.regime
    }

    /// Writes of older regimes that got stuck are confirmed once this regime is activated, as whoever else is in sync
    /// was brought to what was here when that was reported, and this node has them durable as well: it was fenced
    /// after they were made.
    fn let_go_of_stuck(&mut self) {
        let is_durable = self.primary.is_some_and(|it| self.fenced.contains(&it));
        if self.serves == self.regime && is_durable {
            let mut all = std::mem::take(&mut self.in_flight);
            all.retain(|it| !self.is_old_and_stuck(it));
            self.in_flight = all;
        }
    }

    /// Whether this node is being filled with the partition: nobody asks it what was confirmed.
    pub(crate) fn joins(&self) -> bool {
        self.joins
    }

    /// Something is here now that another node had.
    pub(crate) fn keeps(&mut self) {
        self.kept = true;
    }

    /// Who holds everything. Before anything is served, who had the same when he was fenced does as well, unless more
    /// has come to this node since.
    fn all_holders(&self) -> SmallVec<[NodeId; 4]> {
        let mut all = self.holders.clone();
        if self.serves == 0 && !self.kept {
            let alike = self.alike.iter().filter(|it| !self.holders.contains(it));
            all.extend(alike.copied());
        }
        all
    }

    /// Whether this node is to have nothing of the partition, whatever it is sent.
    pub(crate) fn is_stranger(&self) -> bool {
        self.is_stranger
    }

    /// Whether a client's write may be made.
    pub(crate) fn takes_writes(&self) -> bool {
        self.serves != 0 && self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// Whether what is known of a record may not last.
    pub(crate) fn is_unconfirmed(&mut self, digest: &Digest) -> bool {
        self.newest_of(digest).is_some_and(|it| !it.confirmed)
            && !is_planted(Mutation::ReadsUnconfirmed)
    }

    /// A write was made. Its version, if it is to be seen to from now on.
    pub(crate) fn begin(&mut self, digest: Digest, version: Version) -> Option<Version> {
        (self.serves != 0).then(|| {
            self.in_flight.push(InFlight {
                digest,
                version,
                confirmed: false,
                spreading: true,
            });
            version
        })
    }

    fn newest_of(&mut self, digest: &Digest) -> Option<&mut InFlight> {
        let all = self.in_flight.iter_mut();
        let same = all.filter(|it| it.digest == *digest);
        same.max_by_key(|it| it.version)
    }

    fn confirm(&mut self, digest: &Digest, version: Version) -> bool {
        let mut found = false;
        for it in self.in_flight.iter_mut() {
            // A later state of the record is one that this write led to.
            if it.digest == *digest && it.version <= version {
                it.confirmed = true;
                found |= it.version == version;
            }
        }
        found
    }

    fn settle(&mut self, digest: &Digest, version: Version) {
        let newer = |it: &InFlight| it.digest == *digest && it.version > version;
        let superseded = self.in_flight.iter().any(newer);
        self.in_flight.retain_mut(|it| {
            if it.digest != *digest || it.version != version {
                return true;
            }
            it.spreading = false;
            !it.confirmed && !superseded
        });
    }

    fn can_activate(&self, share: &Share, quorums: &Quorums) -> bool {
        if self.regime != share.regime.0 {
            return false;
        }
        let me = share.primary;
        let others = || quorums.in_sync.iter().filter(|it| Some(**it) != me);
        let fenced = self.serves != 0
            || is_planted(Mutation::SkipsFence)
            || quorums.in_sync.iter().all(|it| self.fenced.contains(it));
        let holders = self.all_holders();
        let brought = others().all(|it| holders.contains(it));
        let older = |it: &InFlight| it.spreading && it.version.regime < self.regime;
        // Who is alone holds all that anybody in sync holds, whatever is in flight; and that may wait for just this, since who
        // had to confirm it is gone.
        let rests = others().next().is_none() || !self.in_flight.iter().any(older);
        fenced && (brought && rests || is_planted(Mutation::ActivatesEarly))
    }
}

#[cfg(test)]
mod tests {
    use karst_cluster::map::Regime;

    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);
    const D: Digest = Digest([7; 20]);

    fn share(regime: u32, in_sync: &[NodeId], prior: &[NodeId], activated: u32) -> Share {
        Share {
            regime: Regime(regime),
            role: match in_sync.first() == Some(&A) {
                true => Role::Primary,
                false => Role::Replica,
            },
            apart: false,
            primary: in_sync.first().copied(),
            followers: in_sync.iter().copied().filter(|it| *it != A).collect(),
            quorums: Some(Quorums {
                in_sync: in_sync.into(),
                prior: prior.into(),
                activated: Regime(activated),
                can_confirm: true,
                knows: in_sync.contains(&A),
                stands: true,
                processes: in_sync.iter().map(|it| (*it, 1)).collect(),
            }),
        }
    }

    fn learn(tenure: &mut Tenure, share: &Share) {
        tenure.learn(share, share.quorums.as_ref().unwrap());
    }

    fn can_activate(tenure: &Tenure, share: &Share) -> bool {
        tenure.can_activate(share, share.quorums.as_ref().unwrap())
    }

    fn version(regime: u32, sequence: u64) -> Version {
        Version { regime, sequence }
    }

    /// A partition that A has taken over with B and C, and serves.
    fn serving() -> Tenure {
        let mut tenure = Tenure::default();
        let taken = share(5, &[A, B, C], &[B, C], 3);
        learn(&mut tenure, &taken);
        assert!(!tenure.takes_writes() && !can_activate(&tenure, &taken));
        tenure.fenced.extend([A, B, C]);
        assert!(!can_activate(&tenure, &taken));
        tenure.holders.extend([B, C]);
        assert!(can_activate(&tenure, &taken));
        learn(&mut tenure, &share(5, &[A, B, C], &[], 5));
        assert!(tenure.takes_writes());
        tenure
    }

    #[test]
    fn a_node_serves_once_everybody_is_fenced_and_brought_to_what_it_has_and_raft_agrees() {
        serving();
        let mut late = Tenure::default();
        learn(&mut late, &share(5, &[A, B], &[], 5));
        assert!(
            !late.takes_writes(),
            "another process has brought that about"
        );
    }

    #[test]
    fn nothing_is_activated_before_what_the_node_itself_holds_is_durable() {
        for in_sync in [&[A][..], &[A, B]] {
            let mut tenure = Tenure::default();
            let taken = share(5, in_sync, &[A, B], 3);
            learn(&mut tenure, &taken);
            tenure.fenced.push(B);
            tenure.holders.push(B);
            assert!(!can_activate(&tenure, &taken));
            tenure.fenced.push(A);
            assert!(can_activate(&tenure, &taken));
        }
    }

    #[test]
    fn who_had_the_same_when_he_was_fenced_is_not_compared_with_again_unless_another_had_more() {
        let mut tenure = Tenure::default();
        let taken = share(5, &[A, B, C], &[A, B, C], 3);
        learn(&mut tenure, &taken);
        tenure.fenced.extend([A, B, C]);
        tenure.alike.extend([B, C]);
        assert!(can_activate(&tenure, &taken));
        tenure.keeps();
        assert!(!can_activate(&tenure, &taken));
        let mut tenure = Tenure::default();
        learn(&mut tenure, &taken);
        tenure.fenced.extend([A, B, C]);
        tenure.alike.extend([B, C]);
        learn(&mut tenure, &share(5, &[A, B, C], &[], 5));
        assert_eq!(tenure.holders.as_slice(), [B, C]);
        learn(&mut tenure, &share(6, &[A, B], &[A, B, C], 5));
        assert!(can_activate(&tenure, &share(6, &[A, B], &[A, B, C], 5)));
    }

    #[test]
    fn a_primary_goes_on_under_the_next_regime_which_is_activated_when_older_writes_have_arrived() {
        let mut tenure = serving();
        tenure.begin(D, version(5, 1));
        let next = share(6, &[A, B], &[A, B, C], 5);
        learn(&mut tenure, &next);
        assert!(tenure.takes_writes());
        assert!(!can_activate(&tenure, &next), "B may lack the write");
        tenure.begin(Digest([8; 20]), version(6, 2));
        tenure.settle(&D, version(5, 1));
        assert!(
            can_activate(&tenure, &next),
            "what it has written since is confirmed by both"
        );
        tenure.holders.retain(|it| *it != B);
        assert!(!can_activate(&tenure, &next));
    }

    #[test]
    fn who_is_left_alone_does_not_wait_for_writes_that_who_is_gone_had_to_confirm() {
        let mut tenure = serving();
        learn(&mut tenure, &share(6, &[A, B], &[A, B, C], 5));
        learn(&mut tenure, &share(6, &[A, B], &[], 6));
        tenure.begin(D, version(6, 1));
        let alone = share(7, &[A], &[A, B], 6);
        learn(&mut tenure, &alone);
        assert!(can_activate(&tenure, &alone));
        learn(&mut tenure, &share(7, &[A], &[], 7));
        assert!(
            tenure.is_unconfirmed(&D),
            "it is confirmed once it is durable here"
        );
        assert!(tenure.confirm(&D, version(6, 1)));
    }

    #[test]
    fn a_write_that_got_stuck_is_not_confirmed_by_a_regime_before_it_is_durable_here() {
        for fenced_first in [false, true] {
            let mut tenure = serving();
            tenure.begin(D, version(5, 1));
            tenure.settle(&D, version(5, 1)); // no device takes it, and C is lost
            let next = share(6, &[A, B], &[A, B, C], 5);
            learn(&mut tenure, &next);
            assert!(can_activate(&tenure, &next));
            if fenced_first {
                tenure.fenced.push(A);
                tenure.let_go_of_stuck();
                assert!(tenure.is_unconfirmed(&D), "nobody has activated the regime");
            }
            learn(&mut tenure, &share(6, &[A, B], &[], 6));
            assert_eq!(tenure.is_unconfirmed(&D), !fenced_first);
            tenure.fenced.push(A);
            tenure.let_go_of_stuck();
            assert!(!tenure.is_unconfirmed(&D));
        }
    }

    #[test]
    fn who_was_not_sent_everything_or_is_another_process_holds_everything_no_more() {
        let mut tenure = serving();
        learn(&mut tenure, &share(6, &[A, B], &[A, B, C], 5));
        assert_eq!(tenure.holders[..], [B], "C is not sent anything any more");
        learn(&mut tenure, &share(6, &[A, B], &[], 6));
        learn(&mut tenure, &share(7, &[A, B, C], &[A, B], 6));
        assert_eq!(tenure.holders[..], [B]);
        let mut restarted = share(8, &[A, B, C], &[A, B], 6);
        let quorums = restarted.quorums.as_mut().unwrap();
        quorums.processes = Box::new([(B, 2), (C, 1)]);
        learn(&mut tenure, &restarted);
        assert!(tenure.holders.is_empty());
    }

    #[test]
    fn who_leads_no_more_knows_of_no_write_any_more() {
        for after in [
            share(6, &[B, A], &[A, B, C], 5),
            share(7, &[A, B], &[A, B, C], 6), // in between another one served
        ] {
            let mut tenure = serving();
            tenure.begin(D, version(5, 1));
            learn(&mut tenure, &after);
            assert!(!tenure.takes_writes() && !tenure.confirm(&D, version(5, 1)));
        }
    }

    #[test]
    fn who_served_until_the_regime_was_activated_takes_nothing_under_it_from_then_on() {
        let mut tenure = Tenure::default();
        let mut stranger = share(5, &[B, C], &[A, B], 4);
        stranger.role = Role::Stranger;
        learn(&mut tenure, &stranger);
        assert!(!tenure.is_stranger(), "it has to confirm");
        let quorums = stranger.quorums.as_mut().unwrap();
        (quorums.prior, quorums.activated) = (Box::default(), Regime(5));
        learn(&mut tenure, &stranger);
        assert!(tenure.is_stranger());
    }

    #[test]
    fn a_record_is_unconfirmed_until_its_newest_state_is() {
        let mut tenure = serving();
        tenure.begin(D, version(5, 1));
        tenure.begin(D, version(5, 2));
        assert!(tenure.confirm(&D, version(5, 1)));
        tenure.settle(&D, version(5, 1));
        assert!(tenure.is_unconfirmed(&D));
        tenure.settle(&D, version(5, 2)); // somebody did not take it
        assert!(tenure.is_unconfirmed(&D));
        assert!(tenure.confirm(&D, version(5, 2)));
        assert!(!tenure.is_unconfirmed(&D));
    }
}
