//! Bins: the named values of a record.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::value::{ParticleType, Value};

/// Longest bin name in bytes.
pub const NAME_BYTES_MAX: usize = 15;

/// One bin, by reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinRef<'a> {
    /// Its name, at most [`NAME_BYTES_MAX`] bytes.
    pub name: &'a [u8],
    /// The type of its value.
    pub particle: ParticleType,
    /// The value in stored form.
    pub value: &'a [u8],
}

/// One bin of a record in the making: untouched bins borrow from the stored record, written ones
/// from the request, computed ones own their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bin<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> From<BinRef<'a>> for Bin<'a> {
    fn from(bin: BinRef<'a>) -> Bin<'a> {
        let value = Value {
            particle: bin.particle,
            bytes: Cow::Borrowed(bin.value),
        };
        Bin {
            name: bin.name,
            value,
        }
    }
}

impl Bin<'_> {
    /// This bin by reference.
    pub fn as_ref(&self) -> BinRef<'_> {
        BinRef {
            name: self.name,
            particle: self.value.particle,
            value: &self.value.bytes,
        }
    }
}

/// The bins of a record in the making, in order, names unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bins<'a> {
    bins: SmallVec<[Bin<'a>; 4]>,
}

impl<'a> Bins<'a> {
    /// The value of a bin.
    pub fn get(&self, name: &[u8]) -> Option<&Value<'a>> {
        self.bins
            .iter()
            .find(|bin| bin.name == name)
            .map(|bin| &bin.value)
    }

    /// Sets a bin, in its old position when it had one.
    pub fn set(&mut self, name: &'a [u8], value: Value<'a>) {
        match self.bins.iter_mut().find(|bin| bin.name == name) {
            Some(bin) => bin.value = value,
            None => self.bins.push(Bin { name, value }),
        }
    }

    /// Removes a bin if it is there.
    pub fn remove(&mut self, name: &[u8]) {
        self.bins.retain(|bin| bin.name != name);
    }

    /// Removes all bins.
    pub fn clear(&mut self) {
        self.bins.clear();
    }

    /// How many bins there are.
    pub fn len(&self) -> usize {
        self.bins.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// The bins in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = BinRef<'_>> + Clone {
        self.bins.iter().map(Bin::as_ref)
    }
}

impl<'a> FromIterator<BinRef<'a>> for Bins<'a> {
    fn from_iter<I: IntoIterator<Item = BinRef<'a>>>(bins: I) -> Bins<'a> {
        Bins {
            bins: bins.into_iter().map(Bin::from).collect(),
        }
    }
}
