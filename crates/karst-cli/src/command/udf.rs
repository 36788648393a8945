//! `karst udf`: modules of Lua functions, and running one on a record.

use std::io::Write as _;
use std::path::Path;

use karst_client::{Client, WritePolicy};
use serde_json::json;

use super::connect::{client, explain};
use super::key;
use crate::args::{Udf, UdfApply};
use crate::failure::{Failure, Outcome};
use crate::json;
use crate::render::{output, table};
use crate::view::Module;

/// `karst udf`
pub(super) async fn run(host: &str, json: bool, verb: &Udf) -> Outcome {
    match verb {
        Udf::Put { file, name } => put(host, json, file, name.as_deref()).await,
        Udf::List => list(&client(host).await?, json).await,
        Udf::Show { name } => show(&client(host).await?, json, name).await,
        Udf::Remove { name } => remove(&client(host).await?, json, name).await,
        Udf::Apply(args) => apply(host, json, args).await,
    }
}

async fn put(host: &str, json: bool, file: &Path, name: Option<&str>) -> Outcome {
    let own = file.file_name().and_then(|name| name.to_str());
    let name = name.or(own);
    let name = name.ok_or_else(|| Failure::usage("the file has no name; give one with --name"))?;
    let source = std::fs::read(file);
    let source = source.map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    let task = client(host).await?.register_udf(name, &source).await;
    let task = task.map_err(|error| explain(&error))?;
    let there = task.wait(super::FOLLOW_MAX).await;
    there.map_err(|error| explain(&error))?;
    match json {
        true => output::json(&json!({ "registered": name })),
        false => output::line(&format!("registered {name}")),
    }
}

async fn list(client: &Client, json: bool) -> Outcome {
    let modules = client.udfs().await;
    let modules = modules.map_err(|error| explain(&error))?.into_iter();
    let modules = modules.map(|module| Module {
        name: module.file,
        hash: module.hash,
    });
    let modules: Vec<_> = modules.collect();
    match json {
        true => output::json(&modules),
        false => output::line(&table::modules(&modules)),
    }
}

async fn show(client: &Client, json: bool, name: &str) -> Outcome {
    let source = source(client, name).await?;
    match json {
        true => output::json(&json!({
            "name": name,
            "source": String::from_utf8_lossy(&source),
        })),
        false => std::io::stdout()
            .write_all(&source)
            .map_err(Failure::output),
    }
}

async fn source(client: &Client, name: &str) -> Outcome<Vec<u8>> {
    let source = client.udf_source(name).await;
    let source = source.map_err(|error| explain(&error))?;
    source.ok_or_else(|| Failure::failed(format!("no module is named {name}")))
}

async fn remove(client: &Client, json: bool, name: &str) -> Outcome {
    source(client, name).await?;
    let task = client.remove_udf(name).await;
    let task = task.map_err(|error| explain(&error))?;
    let gone = task.wait(super::FOLLOW_MAX).await;
    gone.map_err(|error| explain(&error))?;
    match json {
        true => output::json(&json!({ "removed": name })),
        false => output::line(&format!("removed {name}")),
    }
}

async fn apply(host: &str, json: bool, args: &UdfApply) -> Outcome {
    let record = key::key(&args.key)?;
    let mut call = karst_client::Udf::new(args.module.as_str(), args.function.as_str());
    for argument in &args.arguments {
        call = call.arg(key::value("argument", argument)?);
    }
    let client = client(host).await?;
    let returned = client
        .execute(&WritePolicy::default(), &record, &call)
        .await;
    let returned = json::from_value(&returned.map_err(|error| explain(&error))?);
    match json {
        true => output::json(&json!({ "returned": returned })),
        false => output::json_line(&returned),
    }
}
