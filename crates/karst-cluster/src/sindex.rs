//! Which secondary indexes there are: agreed on by the cluster, made by every node for what it holds.
//!
//! A name stands for one index of a namespace, and a definition is there once: asked for again under another name
//! the index takes that name. So nothing is ever indexed twice, and asking again for what is there changes nothing.

use karst_data::sindex::{Definition, INDEXES_MAX};
use serde::{Deserialize, Serialize};

use crate::state::{ClusterState, Outcome};

/// Why an index is not made: its name stands for another one.
pub const OTHER_DEFINITION: &str = "'indexname' already exists with different definition";

/// Why an index is not made: there are as many as there may be.
pub const TOO_MANY: &str = "already at sindex definition limit";

/// An index of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sindex {
    /// The namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// What it is of.
    pub definition: Definition,
}

impl ClusterState {
    /// The indexes of a namespace.
    pub fn sindexes_of(&self, namespace: &str) -> impl Iterator<Item = &Sindex> {
        let all = self.sindexes.iter();
        all.filter(move |it| it.namespace == namespace)
    }

    pub(crate) fn create_sindex(&mut self, new: Sindex) -> Outcome {
        if let Some(named) = self
            .sindexes_of(&new.namespace)
            .find(|it| it.name == new.name)
        {
            return match named.definition == new.definition {
                true => Outcome::Applied,
                false => Outcome::Refused(OTHER_DEFINITION.into()),
            };
        }
        let same =
            |it: &&mut Sindex| it.namespace == new.namespace && it.definition == new.definition;
        if let Some(renamed) = self.sindexes.iter_mut().find(same) {
            renamed.name = new.name;
            return Outcome::Applied;
        }
        if self.sindexes_of(&new.namespace).count() >= INDEXES_MAX {
            return Outcome::Refused(TOO_MANY.into());
        }
        self.sindexes.push(new);
        Outcome::Applied
    }

    pub(crate) fn drop_sindex(&mut self, namespace: &str, name: &str) -> Outcome {
        let is_it = |it: &Sindex| it.namespace == namespace && it.name == name;
        self.sindexes.retain(|it| !is_it(it));
        Outcome::Applied
    }
}

#[cfg(test)]
mod tests {
    use karst_data::sindex::{Kind, Source};

    use super::*;
    use crate::state::Command;

    fn sindex(name: &str, bin: &str) -> Sindex {
        Sindex {
            namespace: "test".into(),
            name: name.into(),
            definition: Definition::of_bin("demo", bin, Kind::Numeric, Source::Bin),
        }
    }

    fn create(state: &mut ClusterState, name: &str, bin: &str) -> Outcome {
        state.apply(Command::CreateSindex(sindex(name, bin)))
    }

    fn names(state: &ClusterState) -> Vec<&str> {
        state
            .sindexes_of("test")
            .map(|it| it.name.as_str())
            .collect()
    }

    #[test]
    fn a_name_stands_for_one_index_and_a_definition_is_there_once() {
        let mut state = ClusterState::default();
        assert_eq!(create(&mut state, "a", "x"), Outcome::Applied);
        assert_eq!(create(&mut state, "a", "x"), Outcome::Applied);
        let other = create(&mut state, "a", "y");
        assert_eq!(other, Outcome::Refused(OTHER_DEFINITION.into()));
        assert_eq!(names(&state), ["a"]);
        assert_eq!(create(&mut state, "b", "x"), Outcome::Applied);
        assert_eq!(names(&state), ["b"]);
        assert_eq!(create(&mut state, "a", "y"), Outcome::Applied);
        assert_eq!(names(&state), ["b", "a"]);
        let (namespace, name) = ("test".into(), "b".into());
        state.apply(Command::DropSindex { namespace, name });
        assert_eq!(names(&state), ["a"]);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut state = ClusterState::default();
        for number in 0..INDEXES_MAX {
            let name = number.to_string();
            assert_eq!(create(&mut state, &name, &name), Outcome::Applied);
        }
        let refused = Outcome::Refused(TOO_MANY.into());
        assert_eq!(create(&mut state, "one", "more"), refused);
        assert_eq!(create(&mut state, "0", "0"), Outcome::Applied);
        assert_eq!(create(&mut state, "renamed", "0"), Outcome::Applied);
    }

    #[test]
    fn a_state_of_an_older_version_has_none() {
        let mut state = serde_json::to_value(ClusterState::default()).unwrap();
        state.as_object_mut().unwrap().remove("sindexes").unwrap();
        let state: ClusterState = serde_json::from_value(state).unwrap();
        assert!(state.sindexes.is_empty());
    }
}
