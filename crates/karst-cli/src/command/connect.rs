//! The way to the data: ask a node where its clients connect, then connect there.

use karst_client::{Client, ClientBuilder, Error};

use crate::admin::Admin;
use crate::failure::{Failure, Outcome};

/// A client of the cluster that the node at `host` belongs to.
pub(super) async fn client(host: &str) -> Outcome<Client> {
    admin_and_client(host).await.map(|(_, client)| client)
}

/// As [`client`], with the admin connection that led to it.
pub(super) async fn admin_and_client(host: &str) -> Outcome<(Admin, Client)> {
    let mut admin = Admin::connect(host).await?;
    let nodes = admin.nodes().await?;
    let seeds = admin.service_addresses(&nodes)?;
    let client = ClientBuilder::new(seeds)
        .connect()
        .await
        .map_err(Failure::failed)?;
    Ok((admin, client))
}

/// An error of the client for the person who typed the verb: what happened, and whether the record
/// may have changed all the same.
pub(super) fn explain(error: &Error) -> Failure {
    match error.in_doubt() {
        true => Failure::failed(format!(
            "{error}; the write may have been applied all the same"
        )),
        false => Failure::failed(error),
    }
}
