//! What ours is to reach beside the peers, from the figures of one run. It measures nothing.

use taskqueue_bench::report::{Better, Figure as Bar};

use crate::report::{BARE, Figure};

/// What our packages' names begin with.
const OURS: &str = "taskqueue-";

/// The bars whose figures are there.
pub(crate) fn bars(figures: &[Figure]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for ours in figures.iter().filter(|figure| figure.peer.starts_with(OURS)) {
        let others = figures.iter().filter(|other| {
            other.engine == ours.engine
                && other.trial == ours.trial
                && other.peer != ours.peer
                && other.peer != BARE
        });
        let bar = match (ours.engine.as_str(), ours.trial.as_str()) {
            ("mysql", trial) if is_tuned_drain(trial) => Some(("apalis", Better::Higher(7.0))),
            ("postgres", trial) if trial.starts_with("enqueue, batches") => Some(("", Better::Higher(1.0))),
            ("postgres", trial) if trial.starts_with("latency, tuned") => {
                Some(("sqlxmq", Better::Lower(1.0)))
            }
            _ => None,
        };
        let Some((package, better)) = bar else { continue };
        let best = others
            .filter(|other| other.peer.starts_with(package))
            .filter_map(|other| Some((other, other.median?)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other));
        if let (Some(median), Some((other, limit))) = (ours.median, best) {
            let name = format!("{}, against {}", ours.trial, other.peer);
            bars.push(Bar::new(name, &ours.engine, median, limit, better));
        }
    }
    bars
}

fn is_tuned_drain(trial: &str) -> bool {
    trial.starts_with("drain") && trial.ends_with("tuned")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(engine: &str, peer: &str, trial: &str, median: Option<f64>) -> Figure {
        Figure {
            engine: engine.to_owned(),
            peer: peer.to_owned(),
            trial: trial.to_owned(),
            tasks: 1,
            median,
            p99: None,
            spread: None,
            share: None,
            error: None,
        }
    }

    #[test]
    fn ours_is_held_against_the_best_peer_that_was_measured_in_the_same_trial() {
        let batches = "enqueue, batches of 1000";
        let figures = [
            figure("postgres", BARE, batches, Some(99.0)),
            figure("postgres", "taskqueue-postgres 1", batches, Some(10.0)),
            figure("postgres", "pgmq 1", batches, Some(8.0)),
            figure("postgres", "awa 1", batches, Some(12.0)),
            figure("postgres", "fang 1", batches, None),
            figure("mysql", "taskqueue-mysql 1", "drain, c10, tuned", Some(70.0)),
            figure("mysql", "apalis-sql 0.7", "drain, c10, tuned", Some(10.0)),
        ];
        let found: Vec<_> = bars(&figures).into_iter().map(|bar| (bar.name, bar.passed)).collect();
        let expected = [
            ("enqueue, batches of 1000, against awa 1".to_owned(), false),
            ("drain, c10, tuned, against apalis-sql 0.7".to_owned(), true),
        ];
        assert_eq!(found, expected);
    }
}
