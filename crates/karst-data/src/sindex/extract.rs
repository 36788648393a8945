//! Taking the values of an index out of a record.

use std::borrow::Cow;

use super::{Definition, Kind, Source, Wanted, add_cells, add_values};
use crate::bin::BinRef;
use crate::cdt::Context;
use crate::expr::{Datum, Expr, Lookup, Subject, Type};
use crate::geo;
use crate::msgpack::elements::{Element, Elements, Part, Place};
use crate::value::ParticleType;
use crate::work::{STEPS, Work};

/// Text of GeoJSON behind which a slice ends, in bytes.
const SLICE_TEXT_BYTES: usize = 32 << 10;

/// Steps to walk over a byte of a collection: an element may be one byte.
const STEPS_OF_BYTE: u64 = 4;

/// Steps to make a shape of GeoJSON and to compare it with another, for each byte of its text.
const STEPS_OF_PLACE_BYTE: u64 = 16;

/// Why there can be no index of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undefinable {
    /// It says neither of what the index is, or says it twice.
    #[error("an index is of a bin, perhaps with a context, or of an expression")]
    Of,
    /// The context is none, or not in its shortest form.
    #[error("bad 'context'")]
    Context,
    /// The expression is none.
    #[error("bad 'exp'")]
    Expression,
    /// The expression computes something else than the index holds.
    #[error("'exp' is not of the index's type")]
    ExpressionType,
    /// What the expression computes changes while the record does not.
    #[error("'exp' depends on the time")]
    ExpressionOfTime,
    /// It is of a set, and names none, or says more than that.
    #[error("a set index is of a set alone")]
    OfSet,
    /// Keys of maps are never points or regions.
    #[error("no key of a map is a place")]
    PlacesInKeys,
}

/// Takes the values of an index out of records: a definition that was found right.
#[derive(Clone, Debug)]
pub struct Extractor {
    kind: Kind,
    source: Source,
    origin: Origin,
}

/// From where in a record the values come.
#[derive(Clone, Debug)]
enum Origin {
    Bin(Vec<u8>),
    Within(Vec<u8>, Context),
    Computed(Expr),
    /// There are none: see [`Kind::Set`].
    Set,
}

impl Definition {
    /// What takes the values out of records.
    ///
    /// # Errors
    /// See [`Undefinable`].
    pub fn extractor(&self) -> Result<Extractor, Undefinable> {
        if (self.kind, self.source) == (Kind::Geo, Source::MapKeys) {
            return Err(Undefinable::PlacesInKeys);
        }
        let is_set_alone = !self.set.is_empty() && *self == Definition::of_set(&self.set);
        let bin = self.bin.as_bytes().to_vec();
        let parts = (
            bin.as_slice(),
            self.context.as_slice(),
            self.expression.as_slice(),
        );
        let origin = match parts {
            _ if self.kind == Kind::Set && is_set_alone => Origin::Set,
            _ if self.kind == Kind::Set => return Err(Undefinable::OfSet),
            ([_, ..], [], []) => Origin::Bin(bin),
            ([_, ..], context, []) => {
                let context = Context::parse(context).map_err(|_| Undefinable::Context)?;
                Origin::Within(bin, context)
            }
            ([], [], [_, ..]) => Origin::Computed(self.computed()?),
            _ => return Err(Undefinable::Of),
        };
        Ok(Extractor {
            kind: self.kind,
            source: self.source,
            origin,
        })
    }

    fn computed(&self) -> Result<Expr, Undefinable> {
        let expr = Expr::parse(&self.expression).map_err(|_| Undefinable::Expression)?;
        let due = match (self.source, self.kind) {
            (Source::Bin, Kind::Numeric) => Type::Int,
            (Source::Bin, Kind::Text) => Type::String,
            (Source::Bin, Kind::Blob) => Type::Blob,
            (Source::Bin, Kind::Geo) => Type::GeoJson,
            (Source::Bin, Kind::Set) => return Err(Undefinable::OfSet),
            (Source::List, _) => Type::List,
            (Source::MapKeys | Source::MapValues, _) => Type::Map,
        };
        if expr.result_type() != due {
            return Err(Undefinable::ExpressionType);
        }
        match expr.depends_on_time() {
            true => Err(Undefinable::ExpressionOfTime),
            false => Ok(expr),
        }
    }
}

/// What an index is of, in one record.
enum Origins<'v> {
    Nothing,
    Integer(i64),
    Text(Cow<'v, [u8]>),
    Blob(Cow<'v, [u8]>),
    GeoJson {
        /// None, if they have to be found yet.
        cells: &'v [[u8; 8]],
        text: Cow<'v, [u8]>,
    },
    /// A packed element, which is what is indexed, or holds it.
    Packed(Cow<'v, [u8]>),
}

impl<'v> Origins<'v> {
    fn of_bin(bin: BinRef<'v>) -> Origins<'v> {
        match bin.particle {
            ParticleType::Integer => match bin.value.try_into() {
                Ok(bytes) => Origins::Integer(i64::from_be_bytes(bytes)),
                Err(_) => Origins::Nothing,
            },
            ParticleType::String => Origins::Text(Cow::Borrowed(bin.value)),
            ParticleType::Blob => Origins::Blob(Cow::Borrowed(bin.value)),
            ParticleType::GeoJson => match geo::split(bin.value) {
                Some((cells, text)) => Origins::GeoJson {
                    cells,
                    text: Cow::Borrowed(text),
                },
                None => Origins::Nothing,
            },
            ParticleType::List | ParticleType::Map => Origins::Packed(Cow::Borrowed(bin.value)),
            _ => Origins::Nothing,
        }
    }

    fn of_datum(datum: Datum<'v>) -> Origins<'v> {
        match datum {
            Datum::Int(value) => Origins::Integer(value),
            Datum::Bytes(Type::String, bytes) => Origins::Text(bytes),
            Datum::Bytes(Type::Blob, bytes) => Origins::Blob(bytes),
            Datum::Bytes(Type::GeoJson, text) => Origins::GeoJson { cells: &[], text },
            Datum::Bytes(Type::List | Type::Map, bytes) => Origins::Packed(bytes),
            _ => Origins::Nothing, // unknown among them
        }
    }
}

impl Extractor {
    /// Whether it is of which records there are in a set: then no record has values for it.
    pub fn is_of_set(&self) -> bool {
        matches!(self.origin, Origin::Set)
    }

    /// Adds the values of a record, in order, each once.
    pub fn values<S: Subject + ?Sized>(&self, subject: &S, out: &mut Vec<i64>) {
        let _ = self.values_within(subject, usize::MAX, out);
    }

    /// Adds the values of a record, in order, each once, and tells how many bytes of a collection, or of GeoJSON that
    /// an expression computed, it walked over for that. Nothing, and `None`, if these would be more than `bytes_max`:
    /// see [`Extractor::slices`].
    pub fn values_within<S: Subject + ?Sized>(
        &self,
        subject: &S,
        bytes_max: usize,
        out: &mut Vec<i64>,
    ) -> Option<usize> {
        let mut walked = 0;
        if let Origin::Within(name, _) = &self.origin
            && let Lookup::Found(bin) = subject.bin(name)
        {
            walked = bin.value.len();
        }
        if walked > bytes_max {
            return None;
        }
        let work = Work::at_once();
        let origins = self.origins(subject, &work);
        match (&origins, self.part()) {
            (Origins::Packed(packed), Some(_)) => walked = walked.max(packed.len()),
            (Origins::GeoJson { text, .. }, None) if self.computes_places() => walked = text.len(),
            _ => {}
        }
        if walked > bytes_max {
            return None;
        }
        let (begin, mut fine_bytes) = (out.len(), 0);
        self.each(&origins, |element| {
            add_values(self.kind, element, &mut fine_bytes, out);
            false
        });
        if out.len() - begin > 1 {
            let mut values = out.split_off(begin);
            values.sort_unstable();
            values.dedup();
            out.append(&mut values);
        }
        Some(walked)
    }

    /// The values of a record, to be taken out a few at a time. Copies what holds them.
    pub fn slices<S: Subject + ?Sized>(&self, subject: &S) -> ValueSlices {
        let mut slices = ValueSlices {
            kind: self.kind,
            single: Vec::new(),
            uncovered: None,
            fine_bytes: 0,
            part: self.part().unwrap_or(Part::Element),
            packed: Vec::new(),
            place: Elements::of(&[]).place(),
        };
        let work = Work::at_once();
        match (self.origins(subject, &work), self.part()) {
            (Origins::Packed(packed), Some(_)) => {
                slices.place = Elements::of(&packed).place();
                slices.packed = packed.into_owned();
            }
            (origins, _) => {
                self.each(&origins, |element| {
                    match (self.kind, element) {
                        (Kind::Geo, Element::GeoJson { cells: [], text }) => {
                            slices.uncovered = Some(text.to_vec());
                        }
                        _ => add_values(self.kind, element, &mut 0, &mut slices.single),
                    }
                    false
                });
            }
        }
        slices
    }

    /// Whether a record has what a query wants.
    pub fn finds<S: Subject + ?Sized>(&self, wanted: &Wanted<'_>, subject: &S) -> bool {
        self.finds_within(wanted, subject, &Work::unlimited())
    }

    /// The same with so much work to look for it. When more is asked for than there is, what it says means nothing.
    pub fn finds_within<S: Subject + ?Sized>(
        &self,
        wanted: &Wanted<'_>,
        subject: &S,
        work: &Work,
    ) -> bool {
        let left = work.left();
        let to_compute = Work::new(left.min(STEPS));
        let origins = self.origins(subject, &to_compute);
        if to_compute.is_exhausted() && left < STEPS {
            return work.allows(left + 1); // it may be in the index: not enough is left to find out
        }
        let to_walk = match (&origins, self.part()) {
            (Origins::Packed(packed), Some(_)) => STEPS_OF_BYTE * packed.len() as u64,
            _ => 0,
        };
        if !work.allows(to_compute.spent() + to_walk) {
            return false;
        }
        self.each(&origins, |element| {
            let is_to_be_read = match (wanted, element) {
                (Wanted::Geo(_), Element::GeoJson { text, .. }) => {
                    work.allows(STEPS_OF_PLACE_BYTE * text.len() as u64)
                }
                _ => true,
            };
            is_to_be_read && wanted.is(element)
        })
    }

    /// Whether a query comes upon a record at most once: there is one value to it, or cells of which a query for
    /// places wants no more than one, and always few enough bytes to be walked over.
    pub fn finds_once(&self) -> bool {
        let is_long = matches!(self.origin, Origin::Within(..)) || self.computes_places();
        self.source == Source::Bin && !is_long
    }

    /// Whether the values are of GeoJSON whose cells nobody has kept.
    fn computes_places(&self) -> bool {
        self.kind == Kind::Geo && matches!(self.origin, Origin::Computed(_))
    }

    /// Which elements of a collection are indexed, if not what is there itself.
    fn part(&self) -> Option<Part> {
        match self.source {
            Source::Bin => None,
            Source::List => Some(Part::Element),
            Source::MapKeys => Some(Part::Key),
            Source::MapValues => Some(Part::Value),
        }
    }

    /// What is indexed is what an expression computes, or a context leads to, with so much work, always as much: else
    /// nothing, as of one that is unknown.
    fn origins<'v, S: Subject + ?Sized>(&'v self, subject: &'v S, work: &'v Work) -> Origins<'v> {
        let bin = |name| match subject.bin(name) {
            Lookup::Found(bin) => Some(bin),
            Lookup::Unread | Lookup::Missing => None,
        };
        match &self.origin {
            Origin::Bin(name) => bin(name).map_or(Origins::Nothing, Origins::of_bin),
            Origin::Within(name, context) => {
                let is_collection =
                    |it: &BinRef<'_>| matches!(it.particle, ParticleType::List | ParticleType::Map);
                let found = bin(name).filter(is_collection);
                let found = found.and_then(|bin| context.find(bin.value, work));
                found.map_or(Origins::Nothing, |it| Origins::Packed(Cow::Borrowed(it)))
            }
            Origin::Computed(expr) => {
                let datum = expr.evaluate(subject, work);
                match work.is_exhausted() {
                    true => Origins::Nothing,
                    false => Origins::of_datum(datum),
                }
            }
            Origin::Set => Origins::Nothing,
        }
    }

    /// Visits the elements that are indexed until `see` says that it has seen enough, and returns whether it has.
    fn each(&self, origins: &Origins<'_>, mut see: impl FnMut(Element<'_>) -> bool) -> bool {
        match (origins, self.part()) {
            (Origins::Packed(packed), Some(part)) => {
                let mut elements = Elements::of(packed);
                elements.any(|(of, element)| of == part && see(element))
            }
            (Origins::Packed(packed), None) => see(Element::first_of(packed)),
            (Origins::Integer(value), None) => see(Element::Integer(*value)),
            (Origins::Text(bytes), None) => see(Element::Text(bytes)),
            (Origins::Blob(bytes), None) => see(Element::Blob(bytes)),
            (Origins::GeoJson { cells, text }, None) => see(Element::GeoJson { cells, text }),
            (Origins::Nothing, _) | (_, Some(_)) => false,
        }
    }
}

/// The values of one record, taken out a few at a time: for collections that are too large for one step.
#[derive(Clone, Debug)]
pub struct ValueSlices {
    kind: Kind,
    /// What the record has if it is no collection.
    single: Vec<i64>,
    /// The text of which it has the cells, if it is no collection.
    uncovered: Option<Vec<u8>>,
    /// See [`add_values`].
    fine_bytes: usize,
    part: Part,
    packed: Vec<u8>,
    place: Place,
}

impl ValueSlices {
    /// Adds the values of the next elements until these are as many as given, or their values are, or their text is
    /// long; a value may come again in another slice. Whether there is more.
    pub fn next(&mut self, count_max: usize, out: &mut Vec<i64>) -> bool {
        let begin = out.len();
        out.append(&mut self.single);
        if let Some(text) = self.uncovered.take() {
            add_cells(&text, &mut self.fine_bytes, out);
        }
        let mut elements = Elements::resumed(&self.packed, self.place);
        let (mut taken, mut text_bytes) = (0, 0);
        let is_full = |taken, text_bytes, values: usize| {
            taken >= count_max || values >= count_max || text_bytes >= SLICE_TEXT_BYTES
        };
        let mut is_more = false;
        for (part, element) in elements.by_ref() {
            taken += 1;
            if part == self.part {
                if let (Kind::Geo, Element::GeoJson { text, .. }) = (self.kind, element) {
                    text_bytes += text.len();
                }
                add_values(self.kind, element, &mut self.fine_bytes, out);
            }
            is_more = is_full(taken, text_bytes, out.len() - begin);
            if is_more {
                break;
            }
        }
        self.place = elements.place();
        is_more
    }
}
