//! Queries by a secondary index: which index answers, and what it is asked.
//!
//! A query is a scan ([`super::scan`]) whose records are named by an index, in the order of (value, digest). Each
//! bears the value that it was found under: the client goes on after that, here or at another node.

use std::ops::RangeInclusive;
use std::sync::Arc;

use karst_data::expr::{Filter, Metadata, Subject};
use karst_data::geo;
use karst_data::key::PartitionId;
use karst_data::sindex::{Definition, Source, Undefinable, Wanted};
use karst_data::time::Now;
use karst_data::weigh;
use karst_data::work::{STEPS, Work};
use karst_engine::read::Found;
use karst_engine::sindex::query::{Query, QuerySlice};
use karst_engine::sindex::{Index, Named};
use karst_storage::sindex::Position;
use karst_wire::code::ResultCode;
use karst_wire::malformed::Malformed;
use karst_wire::particle;
use karst_wire::request::{IndexKind, IndexRange, Message, Target};

use super::call::{EXHAUSTED, read_elsewhere};
use super::single::Refused;
use crate::core::Core;
use crate::counters::NamespaceCounters;
use crate::node::NamespaceState;

/// What is asked of which index.
pub(super) struct Search<'a> {
    named: Named,
    wanted: Wanted<'a>,
    /// What of the index that is.
    ranges: Vec<RangeInclusive<i64>>,
}

/// Reads the places that a request searches for on another thread, if that takes longer than a core may be held;
/// `None` if it does not.
///
/// # Errors
/// When they are none, or nobody reads them.
pub(super) async fn region_ahead(
    core: &Core,
    message: &Message<'_>,
) -> Result<Option<Arc<geo::Search>>, Refused> {
    let text = match message.index_range()? {
        Some(IndexRange {
            target: Target::Geo(text),
            ..
        }) if steps_to_region(text) > STEPS => text.to_vec(),
        _ => return Ok(None),
    };
    let read = read_elsewhere(core, move || geo::Search::parse(&text)).await?;
    let region = read.map_err(|_| ResultCode::Parameter)?;
    Ok(Some(Arc::new(region)))
}

/// How much work it is to read a region and to cover it.
fn steps_to_region(text: &[u8]) -> u64 {
    weigh::of_value(particle::GEOJSON, text, STEPS)
}

/// What a request searches for; `None` for a scan. A search for places is counted. `region` was read [ahead](region_ahead).
///
/// # Errors
/// The code to refuse it with.
pub(super) fn search<'a>(
    state: &NamespaceState,
    counters: &NamespaceCounters,
    message: &Message<'a>,
    region: Option<Arc<geo::Search>>,
) -> Result<Option<Search<'a>>, ResultCode> {
    let code = |malformed: Malformed| malformed.code();
    let fields = &message.fields;
    let Some(range) = message.index_range().map_err(code)? else {
        return Ok(None);
    };
    let wanted = wanted(&range, region)?;
    let named = match fields.index_name {
        Some(name) => by_name(state, message, name, &range, &wanted)?,
        None => by_definition(state, message, &range, &wanted)?,
    };
    if !named.index.serves() {
        return Err(ResultCode::SindexNotReadable);
    }
    let ranges = wanted.ranges();
    if matches!(wanted, Wanted::Geo(_)) {
        counters.places.queries.add(1);
        counters.places.ranges.add(ranges.len() as u64);
    }
    Ok(Some(Search {
        named,
        wanted,
        ranges,
    }))
}

/// What of an index is asked for. A region that takes long to read was read before.
///
/// # Errors
/// The code to refuse it with.
pub(super) fn wanted<'a>(
    range: &IndexRange<'a>,
    region: Option<Arc<geo::Search>>,
) -> Result<Wanted<'a>, ResultCode> {
    Ok(match range.target {
        Target::Integers { first, last } => Wanted::Integers { first, last },
        Target::Text(text) => Wanted::Text(text),
        Target::Blob(blob) => Wanted::Blob(blob),
        Target::Geo(text) => Wanted::Geo(match region {
            Some(region) => region,
            None if steps_to_region(text) > STEPS => return Err(EXHAUSTED),
            None => Arc::new(geo::Search::parse(text).map_err(|_| ResultCode::Parameter)?),
        }),
    })
}

fn by_name(
    state: &NamespaceState,
    message: &Message<'_>,
    name: &[u8],
    range: &IndexRange<'_>,
    wanted: &Wanted<'_>,
) -> Result<Named, ResultCode> {
    let fields = &message.fields;
    let says_more = fields.index_context.is_some() || fields.index_expression.is_some();
    if !range.bin.is_empty() || says_more {
        return Err(ResultCode::Parameter);
    }
    let named = state.engine.sindex_named(name);
    let named = named.ok_or(ResultCode::SindexNotFound)?;
    let of = &named.index.definition;
    if of.kind != wanted.kind() {
        return Err(ResultCode::Parameter);
    }
    let set = message.set().map_err(|it| it.code())?.unwrap_or_default();
    match of.set.is_empty() || of.set.as_bytes() == set {
        true => Ok(named),
        false => Err(ResultCode::SindexNotFound),
    }
}

fn by_definition(
    state: &NamespaceState,
    message: &Message<'_>,
    range: &IndexRange<'_>,
    wanted: &Wanted<'_>,
) -> Result<Named, ResultCode> {
    let source = match message.index_kind().map_err(|it| it.code())? {
        IndexKind::Default => Source::Bin,
        IndexKind::List => Source::List,
        IndexKind::MapKeys => Source::MapKeys,
        IndexKind::MapValues => Source::MapValues,
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let set = message.set().map_err(|it| it.code())?.unwrap_or_default();
    let (Ok(set), Ok(bin)) = (text(set), text(range.bin)) else {
        return Err(ResultCode::SindexNotFound); // no index has such names
    };
    let wanted = Definition {
        set,
        bin,
        kind: wanted.kind(),
        source,
        context: message.fields.index_context.unwrap_or_default().to_vec(),
        expression: message.fields.index_expression.unwrap_or_default().to_vec(),
    };
    if let Some(found) = state.engine.sindex_for(&wanted) {
        return Ok(found);
    }
    if weigh::of_expression(&wanted.expression, STEPS) > STEPS {
        return Err(ResultCode::SindexNotFound); // whether there could be one takes long to say
    }
    match wanted.extractor() {
        Err(Undefinable::Of | Undefinable::Context | Undefinable::Expression) => {
            Err(ResultCode::Parameter)
        }
        Ok(_)
        | Err(
            Undefinable::ExpressionType
            | Undefinable::ExpressionOfTime
            | Undefinable::OfSet
            | Undefinable::PlacesInKeys,
        ) => Err(ResultCode::SindexNotFound), // of some of that no index can be
    }
}

impl Search<'_> {
    /// The index's name.
    pub(super) fn index_name(&self) -> &str {
        &self.named.name
    }

    /// The next records of a partition. `None` when the index has gone meanwhile.
    pub(super) fn slice(
        &self,
        state: &NamespaceState,
        partition: PartitionId,
        set_id: Option<u16>,
        behind: Option<Position>,
        records_max: usize,
        now: Now,
    ) -> Option<QuerySlice> {
        let query = Query {
            partition,
            index: &self.named.index,
            ranges: &self.ranges,
            set_id,
            records_max,
        };
        state.engine.query_slice(&query, behind, now)
    }

    /// Whether a record can come under more than one value.
    pub(super) fn may_find_twice(&self) -> bool {
        let extractor = self.named.index.extractor.as_ref();
        extractor.is_some_and(|it| !it.finds_once()) && self.wanted.may_find_twice()
    }

    /// The places that are searched for, if that is what is.
    fn region(&self) -> Option<Arc<geo::Search>> {
        match &self.wanted {
            Wanted::Geo(region) => Some(region.clone()),
            Wanted::Integers { .. } | Wanted::Text(_) | Wanted::Blob(_) => None,
        }
    }

    /// Whether a record, as it was read, is what is searched for. When that takes more work than there is, it means
    /// nothing.
    pub(super) fn is_met_by(&self, found: &Found<'_>, metadata: Metadata<'_>, work: &Work) -> bool {
        match (&self.named.index.extractor, found.record) {
            (Some(extractor), Some(record)) => {
                extractor.finds_within(&self.wanted, &(metadata, record), work)
            }
            (None, _) | (_, None) => false,
        }
    }

    /// Counts a record that the index named, if a place is searched for.
    pub(super) fn count(&self, is_met: bool, counters: &NamespaceCounters) {
        if matches!(self.wanted, Wanted::Geo(_)) {
            match is_met {
                true => counters.places.met.add(1),
                false => counters.places.missed.add(1),
            }
        }
    }
}

/// What is asked of a record on another thread.
pub(super) struct Question {
    filter: Option<Vec<u8>>,
    /// What an index is asked, if one is.
    of_index: Option<OfIndex>,
}

struct OfIndex {
    index: Arc<Index>,
    /// The field of the request.
    range: Vec<u8>,
    /// The places that it stands for.
    region: Option<Arc<geo::Search>>,
}

/// What a record is to a query.
pub(super) enum Verdict {
    /// It is one of those that were asked for.
    Wanted,
    /// An index named it, and it is not what is searched for.
    Missed,
    /// The filter does not let it pass.
    FilteredOut,
}

impl Question {
    /// Of a query that searches for this; for nothing if it is a scan.
    pub(super) fn of(message: &Message<'_>, search: Option<&Search<'_>>) -> Question {
        let fields = &message.fields;
        Question {
            filter: fields.filter.map(<[u8]>::to_vec),
            of_index: search.map(|search| OfIndex {
                index: search.named.index.clone(),
                range: fields.index_range.unwrap_or_default().to_vec(),
                region: search.region(),
            }),
        }
    }

    /// What a record is to the query. When that takes more work than there is, it means nothing.
    ///
    /// # Errors
    /// When the request cannot be read; but it was read before.
    pub(super) fn verdict<S: Subject>(
        &self,
        of_record: &S,
        work: &Work,
    ) -> Result<Verdict, Refused> {
        let filter = self.filter.as_deref().map(Filter::parse).transpose()?;
        if filter.is_some_and(|filter| !filter.passes(of_record, work)) {
            return Ok(Verdict::FilteredOut);
        }
        let Some(asked) = &self.of_index else {
            return Ok(Verdict::Wanted);
        };
        let wanted = wanted(&IndexRange::read(&asked.range)?, asked.region.clone())?;
        let extractor = asked.index.extractor.as_ref();
        Ok(match extractor {
            Some(it) if it.finds_within(&wanted, of_record, work) => Verdict::Wanted,
            Some(_) | None => Verdict::Missed,
        })
    }
}
