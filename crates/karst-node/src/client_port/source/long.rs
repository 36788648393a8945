//! Records that take longer to look at than a core may be held: another thread finds out whether they are meant.
//!
//! It looks at a copy of the record, at one of each query at a time: others need the threads too.

use std::rc::Rc;
use std::sync::Arc;

use karst_data::key::Digest;
use karst_data::work::Work;
use karst_engine::read::Found;
use karst_wire::code::ResultCode;

use super::{FETCHES_MAX, Looked, Source};
use crate::client_port::aside::{self, Snapshot};
use crate::client_port::call::{EXHAUSTED, Scene};
use crate::client_port::query::{Question, Verdict};
use crate::client_port::single::Refused;
use crate::core::Core;

/// Looks at a record on another thread. As [`Source::look`] otherwise.
pub(super) async fn look<T>(
    core: &Rc<Core>,
    source: &Source<'_>,
    digest: &Digest,
    make: impl Fn(&Found<'_>) -> T,
) -> Looked<T> {
    let Ok(_turn) = source.long.acquire().await else {
        return Looked::Unreadable; // nobody closes it
    };
    let namespace = source.namespace;
    let is_strong = core.namespace(namespace).engine.config().strong;
    for _ in 0..FETCHES_MAX {
        let snapshot = match aside::snapshot(core, namespace, *digest, source.set).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Looked::Other,
            Err(_) => return Looked::Unreadable,
        };
        let job = Arc::new(Job::new(core, source, digest, snapshot));
        let verdict = match aside::look(core, &job, Job::verdict).await {
            Ok(verdict) => verdict,
            Err(code) => return Looked::Refused(code),
        };
        // What is there now may be confirmed, and what was looked at never.
        let version = Some(job.snapshot.version);
        if !is_strong || aside::is_still_there(core, namespace, digest, version) {
            return job.looked(core, source, verdict, make);
        }
    }
    Looked::Unreadable
}

/// A record with all that a thread has to know of the query.
struct Job {
    question: Question,
    snapshot: Snapshot,
    scene: Scene,
}

impl Job {
    fn new(core: &Core, source: &Source<'_>, digest: &Digest, snapshot: Snapshot) -> Job {
        Job {
            question: Question::of(&source.message, source.search.as_ref()),
            snapshot,
            scene: source.scene(core, digest),
        }
    }

    fn verdict(&self) -> Result<Verdict, ResultCode> {
        let verdict = || {
            let (work, found) = (Work::aside(), self.snapshot.found()?);
            let record = found.record.ok_or(ResultCode::Unknown)?;
            let of_record = (self.scene.metadata(&found), record);
            let verdict = self.question.verdict(&of_record, &work)?;
            match work.is_exhausted() {
                true => Err(EXHAUSTED.into()),
                false => Ok(verdict),
            }
        };
        verdict().map_err(|Refused(code)| code)
    }

    fn looked<T>(
        &self,
        core: &Core,
        source: &Source<'_>,
        verdict: Verdict,
        make: impl Fn(&Found<'_>) -> T,
    ) -> Looked<T> {
        match verdict {
            Verdict::FilteredOut => return Looked::FilteredOut,
            Verdict::Wanted => source.count(core, true),
            Verdict::Missed => {
                source.count(core, false);
                return Looked::Other;
            }
        }
        match self.snapshot.found() {
            Ok(found) => Looked::Wanted(make(&found)),
            Err(_) => Looked::Unreadable,
        }
    }
}
