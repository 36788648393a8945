//! Contexts: paths that lead to one element inside a collection, as secondary indexes and their queries name it.

use std::borrow::Cow;

use super::CdtError;
use super::parse::Arguments;
use super::path::{self, Step};
use crate::msgpack::comparable;
use crate::work::Work;

/// A path into collections that only finds and makes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    path: Vec<Step<'static>>,
}

impl Context {
    /// Reads a path as clients pack it. It has to be in its shortest form, so that two contexts are the same exactly
    /// if their bytes are.
    ///
    /// # Errors
    /// [`CdtError::Parameter`] for malformed bytes, an empty path, steps that may make something or find nothing by
    /// their nature, and another form.
    pub fn parse(packed: &[u8]) -> Result<Context, CdtError> {
        let Cow::Borrowed(_) = comparable(packed)? else {
            return Err(CdtError::Parameter("a context not in its shortest form"));
        };
        let steps = Step::parse_all(Arguments::of(packed)?)?;
        if !steps.iter().all(Step::only_finds) {
            return Err(CdtError::Parameter("a context that does not only find"));
        }
        Ok(Context {
            path: steps.into_iter().map(Step::into_owned).collect(),
        })
    }

    /// The element that it leads to in a packed collection; `None` if it leads nowhere, or it takes too much
    /// [`Work`] to see where.
    pub fn find<'v>(&self, packed: &'v [u8], work: &Work) -> Option<&'v [u8]> {
        let found = path::resolve(&self.path, packed, work).ok();
        found.filter(|_| !work.is_exhausted())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `{"a": [5, {"k": 7}], "b": 9}`
    const MAP: &[u8] = &[
        0x82, 0xa2, 3, b'a', 0x92, 5, 0x81, 0xa2, 3, b'k', 7, 0xa2, 3, b'b', 9,
    ];

    fn found(context: &[u8]) -> Option<&'static [u8]> {
        let context = Context::parse(context).unwrap();
        context.find(MAP, &Work::unlimited())
    }

    #[test]
    fn a_context_leads_to_one_element_or_nowhere() {
        assert_eq!(found(&[0x92, 0x22, 0xa2, 3, b'b']), Some(&[9][..]));
        assert_eq!(found(&[0x92, 0x20, 0xff]), Some(&[9][..]));
        assert_eq!(
            found(&[0x96, 0x22, 0xa2, 3, b'a', 0x10, 1, 0x22, 0xa2, 3, b'k']),
            Some(&[7][..])
        );
        assert_eq!(found(&[0x94, 0x22, 0xa2, 3, b'a', 0x13, 5]), Some(&[5][..]));
        assert_eq!(found(&[0x92, 0x22, 0xa2, 3, b'c']), None);
        assert_eq!(found(&[0x92, 0x10, 0]), None);
        assert_eq!(found(&[0x94, 0x22, 0xa2, 3, b'b', 0x10, 0]), None);
    }

    #[test]
    fn what_could_make_something_or_is_not_in_its_shortest_form_is_refused() {
        for context in [
            &[][..],
            &[0x90],
            &[0x91, 0x10],
            &[0x92, 0x10],
            &[0x93, 0x10, 0, 0x10],
            &[0x92, 0x50, 0],                // makes a list
            &[0x92, 0x12, 0],                // a key in a list
            &[0x92, 0x30, 0],                // in both
            &[0x92, 0x14, 0],                // by an expression
            &[0x92, 0xcc, 0x10, 0],          // a number too wide
            &[0x92, 0x10, 0xd0, 0],          // the same of what is looked for
            &[0x92, 0x22, 0xc4, 2, 3, b'a'], // another family
            &[0x92, 0x10, 0, 0],             // something behind it
            &[0x92, 0xa2, 3, b'a', 0],
            &[0x81, 0x10, 0],
            &[7],
        ] {
            assert!(Context::parse(context).is_err(), "{context:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            ids in prop::collection::vec((0u8..0x28, any::<[u8; 2]>()), 1..4),
            cut in 0usize..8,
        ) {
            let mut packed = vec![0x90 + 2 * ids.len() as u8];
            for (id, argument) in ids {
                packed.push(id);
                packed.extend(argument);
            }
            packed.truncate(packed.len().saturating_sub(cut));
            if let Ok(context) = Context::parse(&packed) {
                context.find(MAP, &Work::at_once());
            }
        }
    }
}
