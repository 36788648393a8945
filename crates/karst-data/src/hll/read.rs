//! What sketches tell.

use std::borrow::Cow;

use super::estimate::{count, intersect_count, similarity, union};
use super::hash::Offer;
use super::sketch::View;
use super::{HllRead, Reading};
use crate::call::CallError;
use crate::msgpack::{write_int, write_list_count};
use crate::value::{ParticleType, Value};

/// Request sketches from which on all must have the same minhashes, those of the bin too.
const ALIKE_FROM: usize = 3;

impl HllRead<'_> {
    /// Reads from a bin's value.
    ///
    /// # Errors
    /// It is no sketch, or cannot be compared with those of the call.
    pub fn read(&self, value: &Value<'_>) -> Result<Value<'static>, CallError> {
        if value.particle != ParticleType::Hll {
            return Err(CallError::Incompatible(value.particle));
        }
        let own = View::stored(&value.bytes)?;
        Ok(match &self.0 {
            Reading::Count => Value::integer(count(own) as i64),
            Reading::Union(views) => sketch(union(&with(&views.views(), own)).into_bytes()),
            Reading::UnionCount(views) => {
                Value::integer(count(union(&with(&views.views(), own)).view()) as i64)
            }
            Reading::IntersectCount(views) => {
                check_alike(&views.views(), own)?;
                Value::integer(intersect_count(&with(&views.views(), own)) as i64)
            }
            Reading::Similarity(views) => {
                check_alike(&views.views(), own)?;
                let similarity = similarity(&with(&views.views(), own));
                Value {
                    particle: ParticleType::Float,
                    bytes: Cow::Owned(similarity.to_be_bytes().to_vec()),
                }
            }
            Reading::Describe => describe(own),
            Reading::MayContain(elements) => {
                let mut all = true;
                elements.each(|element| {
                    let offer = Offer::of(element, own.shape);
                    all &= offer.value <= own.register(offer.register);
                });
                Value::integer(i64::from(all))
            }
        })
    }
}

/// The sketches of the call, and the bin's own last.
fn with<'v>(views: &[View<'v>], own: View<'v>) -> Vec<View<'v>> {
    let mut all = Vec::with_capacity(views.len() + 1);
    all.extend_from_slice(views);
    all.push(own);
    all
}

/// A value of type HyperLogLog.
pub(super) fn sketch(bytes: Vec<u8>) -> Value<'static> {
    Value {
        particle: ParticleType::Hll,
        bytes: Cow::Owned(bytes),
    }
}

fn describe(own: View<'_>) -> Value<'static> {
    let mut list = Vec::new();
    write_list_count(&mut list, 2);
    write_int(&mut list, i64::from(own.shape.index_bits), false);
    write_int(&mut list, i64::from(own.shape.minhash_bits), false);
    Value {
        particle: ParticleType::List,
        bytes: Cow::Owned(list),
    }
}

fn check_alike(views: &[View<'_>], own: View<'_>) -> Result<(), CallError> {
    let alike = |view: &View<'_>| view.shape.minhash_bits == own.shape.minhash_bits;
    if views.len() >= ALIKE_FROM && !views.iter().all(alike) {
        return Err(CallError::NotApplicable("the bin has other minhashes"));
    }
    Ok(())
}
