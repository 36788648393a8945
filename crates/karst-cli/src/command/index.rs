//! `karst index`: secondary indexes.

use std::collections::BTreeMap;

use karst_client::{Client, Context, Error, Expr, IndexInfo, Indexed};
use serde::Serialize;
use serde_json::json;

use super::connect::{client, explain};
use crate::args::{Index, IndexCreate};
use crate::failure::{Failure, Outcome};
use crate::render::{output, table};
use crate::view::SecondaryIndex;

/// One index with what each node counts of it, as `--json` prints it.
#[derive(Debug, Serialize)]
struct InFull {
    #[serde(flatten)]
    index: SecondaryIndex,
    nodes: BTreeMap<String, BTreeMap<String, String>>,
}

/// `karst index`
pub(super) async fn run(host: &str, json: bool, verb: &Index) -> Outcome {
    let client = client(host).await?;
    match verb {
        Index::Create(args) => create(&client, json, args).await,
        Index::Drop { name, namespace } => drop(&client, json, namespace, name).await,
        Index::List { namespace } => {
            list(&client, json, namespace.as_deref().unwrap_or_default()).await
        }
        Index::Show { name, namespace } => show(&client, json, namespace, name).await,
    }
}

async fn create(client: &Client, json: bool, args: &IndexCreate) -> Outcome {
    let (namespace, set) = (args.place.namespace.as_str(), args.place.set.as_str());
    let name = args.name.as_str();
    let index = match args.set_index {
        true => karst_client::Index::of_set(namespace, set, name),
        false => {
            let of = indexed(args)?.elements(args.elements.into());
            karst_client::Index::new(namespace, set, name, args.kind.into(), of)
        }
    };
    let task = client.create_index(&index).await;
    let task = task.map_err(|error| explain(&error))?;
    let built = match task.wait(args.timeout).await {
        Ok(()) => true,
        Err(Error::NotDone { .. }) if args.timeout.is_zero() => false,
        Err(error @ Error::NotDone { .. }) => {
            let message = format!("{error}; the index is built on, see `karst index show {name}`");
            return Err(Failure::failed(message));
        }
        Err(error) => return Err(explain(&error)),
    };
    match (json, built) {
        (true, _) => output::json(&json!({ "created": true, "built": built })),
        (false, true) => output::line("built"),
        (false, false) => output::line("created; nodes are building it"),
    }
}

/// What the index is to be of.
fn indexed(args: &IndexCreate) -> Outcome<Indexed> {
    match (&args.bin, &args.expression) {
        (_, Some(packed)) => {
            let expression = Expr::from_base64(packed).map_err(Failure::usage)?;
            Ok(Indexed::expression(expression))
        }
        (bin, None) => {
            let bin = Indexed::bin(bin.as_deref().unwrap_or_default());
            Ok(bin.at(args.inside.iter().map(|step| inside(step))))
        }
    }
}

/// One step inside a bin: a list's index in brackets, or a map's key, a number if it looks like one.
fn inside(step: &str) -> Context {
    let index = step.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match (
        index.and_then(|index| index.parse().ok()),
        step.parse::<i64>(),
    ) {
        (Some(index), _) => Context::list_index(index),
        (None, Ok(key)) => Context::map_key(key),
        (None, Err(_)) => Context::map_key(step),
    }
}

async fn drop(client: &Client, json: bool, namespace: &str, name: &str) -> Outcome {
    find(client, namespace, name).await?;
    let task = client.drop_index(namespace, name).await;
    let task = task.map_err(|error| explain(&error))?;
    let gone = task.wait(super::FOLLOW_MAX).await;
    gone.map_err(|error| explain(&error))?;
    match json {
        true => output::json(&json!({ "dropped": true })),
        false => output::line("dropped"),
    }
}

async fn find(client: &Client, namespace: &str, name: &str) -> Outcome<IndexInfo> {
    let indexes = client.indexes(namespace).await;
    let mut indexes = indexes.map_err(|error| explain(&error))?.into_iter();
    let found = indexes.find(|index| index.name == name);
    found.ok_or_else(|| Failure::failed(format!("{namespace} has no index {name}")))
}

async fn list(client: &Client, json: bool, namespace: &str) -> Outcome {
    let indexes = client.indexes(namespace).await;
    let indexes = indexes.map_err(|error| explain(&error))?;
    let indexes: Vec<SecondaryIndex> = indexes.into_iter().map(SecondaryIndex::from).collect();
    match json {
        true => output::json(&indexes),
        false => output::line(&table::indexes(&indexes)),
    }
}

async fn show(client: &Client, json: bool, namespace: &str, name: &str) -> Outcome {
    let index = SecondaryIndex::from(find(client, namespace, name).await?);
    let stats = client.index_stats(namespace, name).await;
    let stats = stats.map_err(|error| explain(&error))?;
    if json {
        let nodes = stats.into_iter().collect();
        return output::json(&InFull { index, nodes });
    }
    output::line(&table::indexes(&[index]))?;
    output::line("")?;
    output::line(&table::index_nodes(&stats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_inside_a_bin_are_keys_or_indexes() {
        assert_eq!(inside("city"), Context::map_key("city"));
        assert_eq!(inside("7"), Context::map_key(7));
        assert_eq!(inside("[-1]"), Context::list_index(-1));
        assert_eq!(inside("[x]"), Context::map_key("[x]"));
    }
}
