//! How sketches change.

use super::estimate::fresh_count;
use super::hash::Offer;
use super::read::sketch;
use super::sketch::{Shape, Sketch, View};
use super::{Change, Elements, HllModify, Wanted};
use crate::call::{CallError, WriteFlags};
use crate::value::{ParticleType, Value};

/// What a call did: the bin's value if it changed, and what is answered if anything is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// The new value.
    pub value: Option<Value<'static>>,
    /// The answer.
    pub answer: Option<Value<'static>>,
}

const NO_INDEX_BITS: CallError =
    CallError::NotApplicable("a sketch cannot be made without its index bits");

impl HllModify<'_> {
    /// Changes a bin's value, or makes one.
    ///
    /// # Errors
    /// See [`CallError`]. Nothing was changed then.
    pub fn modify(&self, current: Option<&Value<'_>>) -> Result<Done, CallError> {
        let own = match current {
            Some(value) if value.particle != ParticleType::Hll => {
                return Err(CallError::Incompatible(value.particle));
            }
            Some(_) if self.flags.has(WriteFlags::CREATE_ONLY) => {
                return self.unless_no_fail(CallError::BinExists);
            }
            Some(value) => Some(View::stored(&value.bytes)?),
            None if self.flags.has(WriteFlags::UPDATE_ONLY) => {
                return self.unless_no_fail(CallError::BinNotFound);
            }
            None => None,
        };
        match &self.kind {
            Change::Init(wanted) => self.init(own, *wanted),
            Change::Add(elements, wanted) => self.add(own, elements, *wanted),
            Change::Union(views) => self.union(own, &views.views()),
            Change::RefreshCount => refresh(own.ok_or(CallError::BinNotFound)?),
            Change::Fold(index_bits) => fold(own.ok_or(CallError::BinNotFound)?, *index_bits),
        }
    }

    fn unless_no_fail(&self, error: CallError) -> Result<Done, CallError> {
        let nothing = self.flags.unless_no_fail(error)?;
        Ok(nothing.unwrap_or_default())
    }

    fn init(&self, own: Option<View<'_>>, wanted: Wanted) -> Result<Done, CallError> {
        match wanted.shape(own.map(|own| own.shape)) {
            Ok(shape) => Ok(changed(Sketch::new(shape))),
            Err(error) => self.unless_no_fail(error),
        }
    }

    fn add(
        &self,
        own: Option<View<'_>>,
        elements: &Elements<'_>,
        wanted: Wanted,
    ) -> Result<Done, CallError> {
        let mut sketch = match (own, wanted.shape(None)) {
            (Some(own), _) => own.to_sketch(),
            (None, Ok(shape)) => Sketch::new(shape),
            (None, Err(error)) => return self.unless_no_fail(error),
        };
        let shape = sketch.view().shape;
        let mut raised = 0;
        elements.each(|element| {
            let offer = Offer::of(element, shape);
            raised += i64::from(sketch.offer(offer.register, offer.value));
        });
        Ok(Done {
            answer: Some(Value::integer(raised)),
            ..changed(sketch)
        })
    }

    fn union(&self, own: Option<View<'_>>, views: &[View<'_>]) -> Result<Done, CallError> {
        let Some(common) = Shape::common(views.iter().map(|view| view.shape)) else {
            return Err(CallError::Parameter("a union of no sketches")); // refused when it was parsed
        };
        let shape = match own {
            None => common,
            Some(own) if self.flags.has(WriteFlags::ALLOW_FOLD) => {
                Shape::common([common, own.shape].into_iter()).unwrap_or(common)
            }
            Some(own) if fits(own.shape, common) => own.shape,
            Some(_) => {
                let refused = CallError::NotApplicable("the bin would lose precision");
                return self.unless_no_fail(refused);
            }
        };
        let all = views.iter().copied().chain(own);
        Ok(changed(Sketch::union(shape, all)))
    }
}

/// Whether sketches of a common shape can be joined into one of this shape without changing it.
fn fits(own: Shape, common: Shape) -> bool {
    own.index_bits <= common.index_bits
        && (own.minhash_bits == 0 || own.minhash_bits == common.minhash_bits)
}

fn changed(new: Sketch) -> Done {
    Done {
        value: Some(sketch(new.into_bytes())),
        answer: None,
    }
}

fn refresh(own: View<'_>) -> Result<Done, CallError> {
    let count = own.known_count().unwrap_or_else(|| fresh_count(own));
    let mut sketch = own.to_sketch();
    sketch.set_count(count);
    Ok(Done {
        answer: Some(Value::integer(count as i64)),
        ..changed(sketch)
    })
}

fn fold(own: View<'_>, index_bits: u8) -> Result<Done, CallError> {
    let shape = Shape {
        index_bits,
        ..own.shape
    };
    if own.shape.minhash_bits > 0 {
        return Err(CallError::NotApplicable(
            "sketches with minhashes cannot be folded",
        ));
    }
    if index_bits > own.shape.index_bits {
        return Err(CallError::NotApplicable(
            "a sketch cannot be folded into more registers",
        ));
    }
    if index_bits == own.shape.index_bits {
        return Ok(Done::default());
    }
    Ok(changed(Sketch::union(shape, [own].into_iter())))
}

impl Wanted {
    /// The shape of a sketch that is made, or made anew over one of this shape.
    fn shape(self, old: Option<Shape>) -> Result<Shape, CallError> {
        let index_bits = self.index_bits.or(old.map(|old| old.index_bits));
        let minhash_bits = self.minhash_bits.or(old.map(|old| old.minhash_bits));
        Shape::new(index_bits.ok_or(NO_INDEX_BITS)?, minhash_bits.unwrap_or(0)).ok_or(
            CallError::NotApplicable("index and minhash take more bits than a hash has"),
        )
    }
}
