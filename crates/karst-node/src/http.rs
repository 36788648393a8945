//! The HTTP door: metrics for a scraper, health for whoever restarts or routes.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | every figure, as OpenMetrics text |
//! | `/healthz` | 200 while the process answers at all: restart it if it does not |
//! | `/readyz` | 200 while clients are served, 503 and the reason otherwise |
//! | `/` | where to go |
//!
//! Requests have no bodies and are answered from memory. Connections are few and must keep moving
//! (`visitors`). A door that fails takes nothing else with it.

pub(crate) mod visitors;

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use self::visitors::Visitors;
use crate::metrics;
use crate::node::{NodeSlot, State};

/// Most connections at a time: a few scrapers, a load balancer, someone with a browser.
const CONNECTIONS_MAX: usize = 64;

/// A connection on which nothing moves for this long is closed; scrapers come more often.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Serves until `stop` resolves; requests under way are finished.
///
/// # Errors
/// When the listener cannot be used at all.
pub async fn serve(
    node: impl Into<NodeSlot>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let visitors = Visitors::new(listener, CONNECTIONS_MAX, IDLE_MAX);
    axum::serve(visitors, router(node.into()))
        .with_graceful_shutdown(stop)
        .await
}

fn router(node: NodeSlot) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(node)
}

/// What is answered before there is a node.
const SEEKING: (StatusCode, &str) = (
    StatusCode::SERVICE_UNAVAILABLE,
    "starting: not in a cluster yet\n",
);

async fn index(Shared(slot): Shared<NodeSlot>) -> impl IntoResponse {
    let Some(node) = slot.get() else {
        return SEEKING.into_response();
    };
    let text = format!(
        "karstd {} node {} of cluster {}\n/metrics /healthz /readyz\n",
        env!("CARGO_PKG_VERSION"),
        node.config.node.name,
        node.config.cluster.name,
    );
    text.into_response()
}

async fn scrape(Shared(slot): Shared<NodeSlot>) -> impl IntoResponse {
    let Some(node) = slot.get() else {
        return SEEKING.into_response();
    };
    let content_type = [(CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, metrics::render(node)).into_response()
}

async fn ready(Shared(slot): Shared<NodeSlot>) -> (StatusCode, &'static str) {
    let Some(node) = slot.get() else {
        return SEEKING;
    };
    match node.state() {
        State::Serving if !node.sights.is_placed() => (
            StatusCode::SERVICE_UNAVAILABLE,
            "starting: the cluster has not given it its part yet\n",
        ),
        State::Serving => (StatusCode::OK, "serving\n"),
        State::Starting => (
            StatusCode::SERVICE_UNAVAILABLE,
            "starting: recovering its devices\n",
        ),
        State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining: about to stop\n"),
    }
}

#[cfg(test)]
mod tests;
