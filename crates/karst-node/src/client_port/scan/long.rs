//! Records of a scan that take longer than a core may be held: they are looked at on another thread.
//!
//! What is found out about a record, whether the filter lets it pass, whether it is what an index was asked for, and
//! what is to be told of it, is found out anew there, on a copy of the record. A scan has one record there at a time, and
//! waits when there is no room.

use std::rc::Rc;
use std::sync::Arc;

use karst_data::work::Work;
use karst_wire::code::ResultCode;
use karst_wire::reply::ReplyStream;
use karst_wire::request::Message;
use tokio::time::Instant;

use super::is_confirmed;
use super::{Hit, Plan, Taken, Telling, UNCONFIRMED_MAX, UNCONFIRMED_PAUSE, Unconfirmed};
use crate::client_port::aside::{self, Snapshot};
use crate::client_port::call::{self, Scene};
use crate::client_port::query::{Question, Verdict};
use crate::client_port::single::{self, Operations, Refused};
use crate::core::Core;

/// Looks at a record on another thread. As [`super::read`] otherwise.
pub(super) async fn read(
    core: &Rc<Core>,
    plan: &Plan<'_>,
    hit: &Hit,
) -> Result<(Taken, Vec<u8>), Unconfirmed> {
    let refused = |code| {
        let taken = Taken {
            refused: Some(code),
            ..Taken::default()
        };
        Ok((taken, Vec::new()))
    };
    let Ok(_turn) = plan.long.acquire().await else {
        return refused(ResultCode::Unknown); // nobody closes it
    };
    let deadline = Instant::now() + UNCONFIRMED_MAX;
    loop {
        let snapshot = aside::snapshot(core, plan.namespace, hit.digest, plan.set).await;
        let Ok(Some(snapshot)) = snapshot else {
            return Ok((Taken::default(), Vec::new())); // it has gone, or cannot be read
        };
        let version = snapshot.version;
        let job = Arc::new(Job::new(core, plan, hit, snapshot));
        let looked = match aside::look(core, &job, Job::carry_out).await {
            Ok(looked) => looked,
            Err(code) => return refused(code),
        };
        let is_there = || aside::is_still_there(core, plan.namespace, &hit.digest, Some(version));
        let is_strong = core.namespace(plan.namespace).engine.config().strong;
        if !is_strong || (is_there() && is_confirmed(core, plan.namespace, &hit.digest)) {
            return Ok(looked);
        }
        if Instant::now() >= deadline {
            return Err(Unconfirmed);
        }
        tokio::time::sleep(UNCONFIRMED_PAUSE).await;
    }
}

/// A record with all that a thread has to know of the scan.
struct Job {
    /// The operations of the scan's request, as one of this record.
    body: Vec<u8>,
    snapshot: Snapshot,
    question: Question,
    namespace: String,
    /// The name of the record's set, if it is in one.
    set: Option<Vec<u8>>,
    value: Option<i64>,
    no_bins: bool,
    scene: Scene,
}

impl Job {
    fn new(core: &Core, plan: &Plan<'_>, hit: &Hit, snapshot: Snapshot) -> Job {
        let state = core.namespace(plan.namespace);
        let mut body = Vec::new();
        plan.message.put(&mut body);
        let set = (snapshot.set_id != 0).then(|| state.engine.sets().get(snapshot.set_id));
        Job {
            body,
            question: Question::of(&plan.message, plan.search.as_ref()),
            namespace: state.config.name.clone(),
            set: set.map(|set| set.name.to_vec()),
            value: hit.value,
            no_bins: plan.no_bins,
            scene: plan.scene(core, hit.digest),
            snapshot,
        }
    }

    fn carry_out(&self) -> Result<(Taken, Vec<u8>), ResultCode> {
        self.look().map_err(|Refused(code)| code)
    }

    fn look(&self) -> Result<(Taken, Vec<u8>), Refused> {
        let message = Message::parse(&self.body)?;
        let (work, found) = (Work::aside(), self.snapshot.found()?);
        let record = found.record.ok_or(ResultCode::Unknown)?;
        let of_record = (self.scene.metadata(&found), record);
        let mut taken = Taken::default();
        match self.question.verdict(&of_record, &work)? {
            Verdict::Wanted => taken.counts = true,
            Verdict::Missed => taken.missed = true,
            Verdict::FilteredOut => taken.filtered = true,
        }
        let mut out = Vec::new();
        if taken.counts {
            let operations = match call::only_names(message.ops) {
                true => Operations::new(),
                false => single::parsed(message.ops)?,
            };
            let telling = Telling {
                namespace: &self.namespace,
                set: self.set.as_deref(),
                value: self.value,
                no_bins: self.no_bins,
                ops: message.ops,
                operations: &operations,
            };
            let mut stream = ReplyStream::begin(&mut out);
            telling.record(&self.scene, (&found, &work), &mut stream, &mut out);
            stream.finish(&mut out);
        }
        match work.is_exhausted() {
            true => Err(call::EXHAUSTED.into()),
            false => Ok((taken, out)),
        }
    }
}
