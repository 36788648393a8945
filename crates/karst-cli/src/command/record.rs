//! `put`, `get`, `delete`: one record.

use std::time::{Duration, SystemTime};

use karst_client::{Exists, Generation, Key, Record, WritePolicy};
use serde_json::{Map, Value as Json, json};

use super::connect::{client, explain};
use super::key;
use crate::args::{Delete, Get, Put, Ttl};
use crate::failure::{Failure, Outcome};
use crate::json;
use crate::render::{human, output};

/// `karst put`
pub(super) async fn put(host: &str, json: bool, args: &Put) -> Outcome {
    let key = key::key(&args.key)?;
    let bins = args
        .bins
        .iter()
        .map(|text| key::bin(text))
        .collect::<Outcome<Vec<_>>>()?;
    let client = client(host).await?;
    client
        .put_with(&policy(args), &key, bins)
        .await
        .map_err(|error| explain(&error))?;
    match json {
        true => output::json(&json!({ "written": true })),
        false => output::line("written"),
    }
}

fn policy(args: &Put) -> WritePolicy {
    let mut policy = WritePolicy::default().with_send_key(args.send_key);
    if args.create_only {
        policy = policy.with_exists(Exists::CreateOnly);
    } else if args.replace {
        policy = policy.with_exists(Exists::Replace);
    }
    if let Some(generation) = args.generation {
        policy = policy.with_generation(Generation::Equal(generation));
    }
    match args.ttl {
        None => policy,
        Some(Ttl::Never) => policy.with_ttl(karst_client::Ttl::Never),
        Some(Ttl::Seconds(seconds)) => policy.with_ttl(karst_client::Ttl::Seconds(seconds)),
    }
}

/// `karst get`
pub(super) async fn get(host: &str, json: bool, args: &Get) -> Outcome {
    let key = key::key(&args.key)?;
    let client = client(host).await?;
    let record = match args.bins.as_slice() {
        [] => client.get(&key).await,
        bins => {
            let names: Vec<_> = bins.iter().map(String::as_str).collect();
            client.get_bins(&key, &names).await
        }
    };
    match record.map_err(|error| explain(&error))? {
        None => Err(not_found(&key)),
        Some(record) if json => output::json(&to_json(&key, &record)),
        Some(record) => output::line(&to_text(&record, SystemTime::now())),
    }
}

/// `karst delete`
pub(super) async fn delete(host: &str, json: bool, args: &Delete) -> Outcome {
    let key = key::key(&args.key)?;
    let client = client(host).await?;
    match client.delete(&key).await.map_err(|error| explain(&error))? {
        false => Err(not_found(&key)),
        true if json => output::json(&json!({ "deleted": true })),
        true => output::line("deleted"),
    }
}

fn not_found(key: &Key) -> Failure {
    Failure::failed(format!("{key}: no such record"))
}

/// A record as JSON: what `get --json` prints.
fn to_json(key: &Key, record: &Record) -> Json {
    let mut json = meta(key, record);
    json.insert("bins".to_owned(), Json::Object(bins(record)));
    Json::Object(json)
}

/// What is known of a record besides its bins.
pub(super) fn meta(key: &Key, record: &Record) -> Map<String, Json> {
    let mut meta = Map::new();
    let user_key = key.user_key().map_or(Json::Null, key::to_json);
    meta.insert("key".to_owned(), user_key);
    meta.insert("digest".to_owned(), key.digest().to_string().into());
    meta.insert("generation".to_owned(), record.generation.into());
    // Seconds of Unix time; null for ever.
    let expires = record.expires_at().and_then(since_unix);
    let expires = expires.map_or(Json::Null, |time| time.as_secs().into());
    meta.insert("expires_at".to_owned(), expires);
    meta
}

/// The bins of a record as the members of an object.
pub(super) fn bins(record: &Record) -> Map<String, Json> {
    record
        .bins
        .iter()
        .map(|bin| (bin.name.clone(), json::from_value(&bin.value)))
        .collect()
}

fn since_unix(time: SystemTime) -> Option<Duration> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// A record for people: a bin a line, then what else there is to know.
fn to_text(record: &Record, now: SystemTime) -> String {
    let widest = record.bins.iter().map(|bin| bin.name.chars().count()).max();
    let width = widest.unwrap_or_default();
    let mut lines: Vec<_> = record
        .bins
        .iter()
        .map(|bin| format!("{:width$}  {}", bin.name, json::from_value(&bin.value)))
        .collect();
    let life = match record.expires_at() {
        None => "never expires".to_owned(),
        Some(time) => match time.duration_since(now) {
            Ok(left) => format!("expires in {}", human::seconds(left.as_secs())),
            Err(_) => "has expired".to_owned(),
        },
    };
    lines.push(format!("(generation {}, {life})", record.generation));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use karst_client::Bin;

    use super::*;
    use crate::args::{Cli, Verb};

    fn record() -> Record {
        Record {
            bins: vec![Bin::new("name", "Oslo"), Bin::new("n", 7)],
            generation: 3,
            void_time_s: 0,
        }
    }

    #[test]
    fn a_record_is_shown_with_generation_and_life() {
        let now = SystemTime::now();
        let text = to_text(&record(), now);
        assert_eq!(
            text,
            "name  \"Oslo\"\nn     7\n(generation 3, never expires)"
        );
        let mut mortal = record();
        mortal.void_time_s = 1_000_000_000;
        let end = mortal.expires_at().unwrap();
        let text = to_text(&mortal, end - Duration::from_secs(90));
        assert!(
            text.ends_with("(generation 3, expires in 1m 30s)"),
            "{text}"
        );
        let text = to_text(&mortal, end + Duration::from_secs(1));
        assert!(text.ends_with("has expired)"), "{text}");
    }

    #[test]
    fn a_record_as_json_has_key_digest_generation_expiry_and_bins() {
        let key = Key::new("test", "demo", "key1").unwrap();
        let json = to_json(&key, &record());
        let expected = json!({
            "key": "key1",
            "digest": "ec91192d4b7f8ce35d5d78d34bca65cbaaaac960",
            "generation": 3,
            "expires_at": null,
            "bins": { "name": "Oslo", "n": 7 },
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn flags_of_put_become_the_policy_they_name() {
        let policy_of = |line: &str| match Cli::try_parse_from(line.split(' ')).unwrap().verb {
            Verb::Put(put) => policy(&put),
            other => panic!("{other:?}"),
        };
        let default = WritePolicy::default();
        assert_eq!(policy_of("karst put k a=1"), default);
        let create = policy_of("karst put k a=1 --create-only --ttl never --send-key");
        assert_eq!(create.exists, Exists::CreateOnly);
        assert_eq!(create.ttl, karst_client::Ttl::Never);
        assert!(create.send_key);
        let replace = policy_of("karst put k a=1 --replace --generation 7 --ttl 1m");
        assert_eq!(replace.exists, Exists::Replace);
        assert_eq!(replace.generation, Generation::Equal(7));
        assert_eq!(replace.ttl, karst_client::Ttl::Seconds(60));
    }
}
