//! What a query, a background change or a secondary index is about.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use karst_wire::command::{Body, CommandError};
use karst_wire::{field, particle};

use crate::context::{self, Context};
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::key::check_names;
use crate::value::Value;

/// Which values of what is indexed an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elements {
    /// The value itself.
    #[default]
    Whole,
    /// The elements of a list.
    List,
    /// The keys of a map.
    MapKeys,
    /// The values of a map.
    MapValues,
}

impl Elements {
    fn number(self) -> u8 {
        match self {
            Elements::Whole => 0,
            Elements::List => 1,
            Elements::MapKeys => 2,
            Elements::MapValues => 3,
        }
    }
}

/// What an index is of: a bin, an element inside it, or an expression.
///
/// ```
/// use karst_client::{Context, Elements, Expr, Indexed};
///
/// let age = Indexed::bin("age");
/// let tags = Indexed::bin("tags").elements(Elements::List);
/// let city = Indexed::bin("profile").at([Context::map_key("city")]);
/// let area = Indexed::expression(Expr::int_bin("w") * Expr::int_bin("h"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    pub(crate) of: Of,
    pub(crate) elements: Elements,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Of {
    Bin { name: String, path: Vec<Context> },
    Expression(Expr),
}

impl Indexed {
    /// A bin.
    pub fn bin(name: impl Into<String>) -> Indexed {
        let (name, path) = (name.into(), vec![]);
        Indexed {
            of: Of::Bin { name, path },
            elements: Elements::Whole,
        }
    }

    /// What an expression gives.
    pub fn expression(expression: Expr) -> Indexed {
        Indexed {
            of: Of::Expression(expression),
            elements: Elements::Whole,
        }
    }

    /// Of the bin, the element at the end of a path; of an expression nothing else than before.
    #[must_use]
    pub fn at(mut self, steps: impl IntoIterator<Item = Context>) -> Indexed {
        if let Of::Bin { path, .. } = &mut self.of {
            path.extend(steps);
        }
        self
    }

    /// Its elements, keys or values instead of itself.
    #[must_use]
    pub fn elements(mut self, elements: Elements) -> Indexed {
        self.elements = elements;
        self
    }

    /// Why it cannot be sent, if it cannot.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match &self.of {
            Of::Bin { path, .. } => context::fault(path),
            Of::Expression(expression) => expression.fault(),
        }
    }
}

impl From<&str> for Indexed {
    fn from(bin: &str) -> Indexed {
        Indexed::bin(bin)
    }
}

impl From<String> for Indexed {
    fn from(bin: String) -> Indexed {
        Indexed::bin(bin)
    }
}

/// What a query looks for in a secondary index.
///
/// ```
/// use karst_client::{Elements, Indexed, Lookup};
///
/// let adults = Lookup::range("age", 18..);
/// let ada = Lookup::equal("name", "Ada");
/// let tagged = Lookup::equal(Indexed::bin("tags").elements(Elements::List), "new");
/// let near = Lookup::geo("place", r#"{"type":"AeroCircle","coordinates":[[8.5,47.4],3000]}"#);
/// let by_name = Lookup::range("age", ..=17).through("by_age");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    of: Indexed,
    /// The index to use, if it is named.
    index: Option<String>,
    target: Target,
    fault: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Integers { first: i64, last: i64 },
    Bytes { particle: u8, bytes: Vec<u8> },
}

impl Lookup {
    fn new(of: impl Into<Indexed>, target: Target) -> Lookup {
        let of = of.into();
        Lookup {
            fault: of.fault(),
            of,
            index: None,
            target,
        }
    }

    /// Integers in a range.
    pub fn range(of: impl Into<Indexed>, range: impl RangeBounds<i64>) -> Lookup {
        let first = match range.start_bound() {
            Bound::Included(first) => Some(*first),
            Bound::Excluded(before) => before.checked_add(1),
            Bound::Unbounded => Some(i64::MIN),
        };
        let last = match range.end_bound() {
            Bound::Included(last) => Some(*last),
            Bound::Excluded(behind) => behind.checked_sub(1),
            Bound::Unbounded => Some(i64::MAX),
        };
        let bounds = first.zip(last).filter(|(first, last)| first <= last);
        let (first, last) = bounds.unwrap_or_default();
        let mut lookup = Lookup::new(of, Target::Integers { first, last });
        if bounds.is_none() {
            lookup.fault = Some("no integer lies in the range that is looked for");
        }
        lookup
    }

    /// An integer, text or a blob.
    pub fn equal(of: impl Into<Indexed>, value: impl Into<Value>) -> Lookup {
        let value = value.into();
        let particle = value.particle();
        let (target, fault) = match value {
            Value::Int(value) => (
                Target::Integers {
                    first: value,
                    last: value,
                },
                None,
            ),
            Value::String(text) => {
                let bytes = text.into_bytes();
                (Target::Bytes { particle, bytes }, None)
            }
            Value::Blob(bytes) => (Target::Bytes { particle, bytes }, None),
            _ => {
                let bytes = vec![];
                let fault = "indexes are asked for integers, text and blobs";
                (Target::Bytes { particle, bytes }, Some(fault))
            }
        };
        let mut lookup = Lookup::new(of, target);
        lookup.fault = lookup.fault.or(fault);
        lookup
    }

    /// GeoJSON: a region for points within it, a point for regions around it.
    pub fn geo(of: impl Into<Indexed>, geojson: impl Into<String>) -> Lookup {
        let target = Target::Bytes {
            particle: particle::GEOJSON,
            bytes: geojson.into().into_bytes(),
        };
        Lookup::new(of, target)
    }

    /// By the index of this name, whatever that is of.
    #[must_use]
    pub fn through(mut self, index: impl Into<String>) -> Lookup {
        self.index = Some(index.into());
        self
    }

    /// The fields that say so.
    pub(crate) fn encode(&self, body: &mut Body<'_>) {
        if let Some(reason) = self.fault {
            return body.refuse(CommandError::Argument { reason });
        }
        let bin = match (&self.index, &self.of.of) {
            (None, Of::Bin { name, .. }) => name.as_str(),
            (Some(_), _) | (None, Of::Expression(_)) => "",
        };
        match &self.index {
            Some(index) => body.field(field::INDEX_NAME, index.as_bytes()),
            None if self.of.elements == Elements::Whole => {}
            None => body.field(field::INDEX_TYPE, &[self.of.elements.number()]),
        }
        match &self.target {
            Target::Integers { first, last } => {
                let [first, last] = [first, last].map(|value| value.to_be_bytes());
                body.index_range(bin, particle::INTEGER, &first, &last);
            }
            Target::Bytes { particle, bytes } => body.index_range(bin, *particle, bytes, bytes),
        }
        if self.index.is_some() {
            return; // an index that is named says itself what it is of
        }
        match &self.of.of {
            Of::Bin { path, .. } if path.is_empty() => {}
            Of::Bin { path, .. } => {
                body.field_with(field::INDEX_CONTEXT, |out| context::pack(path, 0, out));
            }
            Of::Expression(expression) => {
                body.field(field::INDEX_EXPRESSION, expression.as_bytes());
            }
        }
    }
}

/// Which records: all of a set or namespace, or those that a secondary index finds.
///
/// ```no_run
/// use karst_client::{Client, Lookup, Query, ScanPolicy};
///
/// # async fn example(client: &Client) -> karst_client::Result<()> {
/// let adults = Query::new("test", "users").by(Lookup::range("age", 18..));
/// let mut found = client.query(&adults, ScanPolicy::default())?;
/// while let Some(record) = found.next().await {
///     println!("{}", record?.key);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub(crate) namespace: Arc<str>,
    pub(crate) set: Arc<str>,
    pub(crate) lookup: Option<Lookup>,
}

impl Query {
    /// All records of a set, or of the whole namespace if `set` is empty.
    pub fn new(namespace: impl Into<Arc<str>>, set: impl Into<Arc<str>>) -> Query {
        Query {
            namespace: namespace.into(),
            set: set.into(),
            lookup: None,
        }
    }

    /// Those that a secondary index finds.
    #[must_use]
    pub fn by(mut self, lookup: Lookup) -> Query {
        self.lookup = Some(lookup);
        self
    }

    /// Refuses what the protocol cannot carry.
    pub(crate) fn check(&self) -> Result<()> {
        check_names(&self.namespace, &self.set)?;
        let fault = self.lookup.as_ref().and_then(|lookup| lookup.fault);
        match fault {
            None => Ok(()),
            Some(reason) => Err(Error::Invalid {
                reason: reason.to_owned(),
            }),
        }
    }

    /// The fields that say which records.
    pub(crate) fn encode(&self, body: &mut Body<'_>) {
        body.namespace(&self.namespace);
        if !self.set.is_empty() {
            body.set(&self.set);
        }
        if let Some(lookup) = &self.lookup {
            lookup.encode(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use karst_wire::command::message;
    use karst_wire::frame::{HEADER_BYTES, MESSAGE_HEADER_BYTES, MessageHeader};

    use super::*;

    fn fields(query: &Query) -> Vec<u8> {
        let mut out = vec![];
        message(&mut out, MessageHeader::default(), |body| {
            query.encode(body)
        })
        .unwrap();
        out.split_off(HEADER_BYTES + MESSAGE_HEADER_BYTES)
    }

    fn users(lookup: Lookup) -> Vec<u8> {
        let namespace = [0, 0, 0, 2, 0, b'n'];
        let fields = fields(&Query::new("n", "").by(lookup));
        assert_eq!(fields[..namespace.len()], namespace);
        fields[namespace.len()..].to_vec()
    }

    #[test]
    fn lookups_travel_as_the_protocol_says() {
        let mut range = vec![0, 0, 0, 29, 22, 1, 1, b'a', 1, 0, 0, 0, 8];
        range.extend_from_slice(&18i64.to_be_bytes());
        range.extend_from_slice(&[0, 0, 0, 8]);
        range.extend_from_slice(&29i64.to_be_bytes());
        assert_eq!(users(Lookup::range("a", 18..30)), range);
        let text = [
            0, 0, 0, 15, 22, 1, 1, b'a', 3, 0, 0, 0, 1, b'x', 0, 0, 0, 1, b'x',
        ];
        assert_eq!(users(Lookup::equal("a", "x")), text);
        let list = Indexed::bin("a").elements(Elements::List);
        let of_list = [&[0, 0, 0, 2, 26, 1][..], &text].concat();
        assert_eq!(users(Lookup::equal(list, "x")), of_list);
    }

    #[test]
    fn an_index_is_named_by_path_expression_or_name() {
        let unnamed = [0, 0, 0, 14, 22, 1, 0, 3, 0, 0, 0, 1, b'x', 0, 0, 0, 1, b'x'];
        let expression = Indexed::expression(Expr::string_bin("a"));
        let expected = [&unnamed[..], &[0, 0, 0, 6, 24, 0x93, 81, 3, 0xa1, b'a']].concat();
        assert_eq!(users(Lookup::equal(expression, "x")), expected);
        let expected = [&[0, 0, 0, 3, 21, b'i', b'x'][..], &unnamed].concat();
        assert_eq!(users(Lookup::equal("a", "x").through("ix")), expected);
        let path = Indexed::bin("a").at([Context::map_key("k")]);
        let sent = users(Lookup::equal(path, "x"));
        assert!(sent.ends_with(&[0, 0, 0, 6, 23, 0x92, 0x22, 0xa2, 3, b'k']));
    }

    #[test]
    fn what_no_index_holds_is_refused() {
        let refused = |lookup| Query::new("n", "").by(lookup).check().is_err();
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let backwards = 9..3;
        assert!(refused(Lookup::range("a", backwards)));
        assert!(refused(Lookup::equal("a", 1.5)));
        assert!(!refused(Lookup::equal("a", i64::MIN)));
        assert!(!refused(Lookup::range("a", ..)));
    }
}
