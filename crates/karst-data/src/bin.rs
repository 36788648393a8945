//! Bins: the named values of a record.

use std::borrow::Cow;
use std::collections::HashMap;

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

/// More bins than these are found by a table of their names.
const FEW: usize = 64;

/// The bins of a record in the making, in order, names unique.
#[derive(Clone, Debug, Default)]
pub struct Bins<'a> {
    bins: SmallVec<[Bin<'a>; 4]>,
    /// Where each is, if they are more than a few and one was looked for since the last was removed.
    places: Option<HashMap<&'a [u8], usize>>,
}

impl PartialEq for Bins<'_> {
    fn eq(&self, other: &Bins<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Bins<'_> {}

impl<'a> Bins<'a> {
    /// The value of a bin.
    pub fn get(&self, name: &[u8]) -> Option<&Value<'a>> {
        self.place(name).map(|at| &self.bins[at].value)
    }

    /// A bin by reference.
    pub fn find(&self, name: &[u8]) -> Option<BinRef<'_>> {
        self.place(name).map(|at| self.bins[at].as_ref())
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.bins.iter().position(|bin| bin.name == name),
        }
    }

    /// Whether there are many bins, and to look for one is to pass by all the others.
    pub fn lacks_index(&self) -> bool {
        self.places.is_none() && self.bins.len() > FEW
    }

    /// Makes looking for bins cheap: worth it where many are looked for among many.
    pub fn index(&mut self) {
        let names = self.bins.iter().map(|bin| bin.name);
        self.places = Some(names.zip(0..).collect());
    }

    /// How many bins looking for one passes by.
    pub(crate) fn passed_by(&self) -> usize {
        match &self.places {
            Some(_) => 8, // as much as a look into the table
            None => self.bins.len(),
        }
    }

    /// Sets a bin, in its old position when it had one.
    pub fn set(&mut self, name: &'a [u8], value: Value<'a>) {
        match self.place(name) {
            Some(at) => self.bins[at].value = value,
            None => {
                if let Some(places) = &mut self.places {
                    places.insert(name, self.bins.len());
                }
                self.bins.push(Bin { name, value });
            }
        }
    }

    /// Removes a bin if it is there.
    pub fn remove(&mut self, name: &[u8]) {
        if self.place(name).is_some() {
            self.bins.retain(|bin| bin.name != name);
            self.places = None;
        }
    }

    /// Removes all bins.
    pub fn clear(&mut self) {
        self.bins.clear();
        self.places = None;
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
            places: None,
        }
    }
}
