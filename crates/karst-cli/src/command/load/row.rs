//! One line of a file as one record.

use karst_client::{Bin, Key, UserKey};
use serde_json::{Map, Value as Json};

use crate::args::Place;
use crate::command::key::check_bin_name;
use crate::json;

/// A record to write, or to compare with.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Where it goes.
    pub(super) key: Key,
    /// Every member that is not null, the key's among them.
    pub(super) bins: Vec<Bin>,
}

impl Row {
    /// Reads a record out of an object. The error says what is wrong with the line.
    pub(super) fn new(
        object: &Map<String, Json>,
        key_field: &str,
        place: &Place,
    ) -> Result<Row, String> {
        let user_key = match object.get(key_field) {
            Some(key) => user_key(key).ok_or_else(|| {
                format!("key \"{key_field}\" is {key}; a key is an integer or text")
            })?,
            None => return Err(format!("has no member \"{key_field}\" for its key")),
        };
        let key = Key::new(place.namespace.as_str(), place.set.as_str(), user_key)
            .map_err(|error| error.to_string())?;
        let mut bins = Vec::with_capacity(object.len());
        for (name, member) in object.iter().filter(|(_, member)| !member.is_null()) {
            check_bin_name(name)?;
            let value =
                json::to_value(member).map_err(|what| format!("member \"{name}\": {what}"))?;
            bins.push(Bin::new(name.as_str(), value));
        }
        Ok(Row { key, bins })
    }
}

fn user_key(key: &Json) -> Option<UserKey> {
    match key {
        Json::Number(number) => number.as_i64().map(UserKey::Int),
        Json::String(text) => Some(UserKey::String(text.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use karst_client::Value;
    use serde_json::json;

    use super::*;

    fn row(object: Json) -> Result<Row, String> {
        let place = Place {
            namespace: "test".into(),
            set: "cities".into(),
        };
        Row::new(object.as_object().unwrap(), "id", &place)
    }

    #[test]
    fn members_become_bins_and_nulls_are_left_out() {
        let row = row(json!({"id": 7, "name": "Oslo", "gone": null, "at": [1.5]})).unwrap();
        assert_eq!(row.key.user_key(), Some(&UserKey::Int(7)));
        let mut bins = row.bins;
        bins.sort_by(|a, b| a.name.cmp(&b.name));
        let expected = [
            Bin::new("at", Value::List(vec![Value::Float(1.5)])),
            Bin::new("id", 7),
            Bin::new("name", "Oslo"),
        ];
        assert_eq!(bins, expected);
    }

    #[test]
    fn a_line_that_is_no_record_says_why() {
        let check = |object: Json, part: &str| {
            let message = row(object).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        check(json!({"name": "Oslo"}), "no member \"id\"");
        check(json!({"id": null}), "\"id\" is null");
        check(json!({"id": 1.5}), "\"id\" is 1.5");
        check(json!({"id": u64::MAX}), "a key is an integer or text");
        check(
            json!({"id": 1, "sixteen_letters_": 1}),
            "has 16 bytes; 15 are allowed",
        );
        check(json!({"id": 1, "": 1}), "needs a name");
        check(json!({"id": 1, "n": u64::MAX}), "member \"n\"");
        assert!(row(json!({"id": "text key", "fifteen_letters": 1})).is_ok());
    }
}
