//! What a worker serves on an address of its own: GET /metrics, the Prometheus page, and GET /healthz. It owns buckets and
//! serving; which metrics there are is said in the core, and who is healthy in `health`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use taskqueue_core::metrics::{DURATION_BUCKETS, Metrics};
use tokio::net::TcpListener;

use super::health::Health;
use crate::failure::{Failure, Outcome};
use crate::output;

/// How many tasks one settle call carries, by powers of two. A worker sends 2,000 at most.
const BATCH_BUCKETS: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];
/// How often what was recorded is folded together, so that it does not pile up while nobody reads the page.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Records these metrics from now on, and serves them and the worker's health until the process ends.
pub(super) async fn serve(address: SocketAddr, metrics: &Metrics, health: Arc<Health>) -> Outcome {
    let handle = record()?;
    metrics.describe();
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| Failure::io(format!("cannot listen on {address}"), &error))?;
    let address = listener.local_addr().map_err(|error| Failure::io("cannot listen", &error))?;
    output::note(format!("taskqueue: metrics at http://{address}/metrics"));
    let page = handle.clone();
    let app = Router::new()
        .route("/metrics", get(move || async move { page.render() }))
        .route("/healthz", get(move || async move { answer(&health) }));
    tokio::spawn(async move {
        // It ends with an error only when the listener breaks; whoever reads the page sees that.
        let _ = axum::serve(listener, app).await;
    });
    tokio::spawn(upkeep(handle));
    Ok(())
}

/// The name of a namespace: what may stand before `_taskqueue_…` in the name of a metric.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_other = |c: char| is_first(c) || c.is_ascii_digit();
    let is_name = text.starts_with(is_first) && text.chars().all(is_other);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("not letters, digits and _, with no digit first".to_owned())
    }
}

fn answer(health: &Health) -> (StatusCode, String) {
    match health.judge() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn record() -> Outcome<PrometheusHandle> {
    let failed = |error| Failure::failed(format!("cannot record metrics: {error}"));
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS);
    let builder = builder.map_err(failed)?;
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), &BATCH_BUCKETS);
    builder.map_err(failed)?.install_recorder().map_err(failed)
}

async fn upkeep(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_settle_has_a_bucket() {
        assert!(BATCH_BUCKETS.is_sorted());
        assert!(BATCH_BUCKETS.iter().any(|bucket| *bucket >= 2_000.0));
    }

    #[test]
    fn a_namespace_is_what_prometheus_takes() {
        assert_eq!(namespace("my_shop2"), Ok("my_shop2".to_owned()));
        for wrong in ["", "2shop", "my-shop", "größe"] {
            assert!(namespace(wrong).is_err(), "{wrong}");
        }
    }
}
