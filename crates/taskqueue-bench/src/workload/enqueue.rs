//! Enqueues against bare inserts: single from one and from many clients, inside a transaction of the caller's, and
//! in batches.

use std::sync::Arc;

use anyhow::Result;
use futures::future::try_join_all;
use tokio::time::Instant;

use super::rate;
use crate::bare::Bare;
use crate::contest::Contest;
use crate::engine::{Engine, Kind, Producer};
use crate::plan::Plan;
use crate::report::{Better, Figure, Samples};
use crate::tasks::Workload;

/// The most clients at once.
const CLIENTS_MAX: usize = 64;

/// How tasks are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Single { clients: usize },
    InTransaction,
    Batch { clients: usize, tasks: usize },
}

const WAYS: [Way; 7] = [
    Way::Single { clients: 1 },
    Way::Single { clients: 16 },
    Way::Single { clients: CLIENTS_MAX },
    Way::InTransaction,
    Way::Batch { clients: 1, tasks: 100 },
    Way::Batch { clients: 1, tasks: 1_000 },
    Way::Batch { clients: 2, tasks: 1_000 },
];

impl Way {
    fn name(self) -> String {
        match self {
            Self::Single { clients } => format!("enqueue, tasks/s, single, {clients} client(s)"),
            Self::InTransaction => "enqueue, tasks/s, single, in the caller's transaction".to_owned(),
            Self::Batch { clients, tasks } => {
                format!("enqueue, tasks/s, batches of {tasks}, {clients} client(s)")
            }
        }
    }

    fn clients(self) -> usize {
        match self {
            Self::Single { clients } | Self::Batch { clients, .. } => clients,
            Self::InTransaction => 1,
        }
    }

    fn tasks_per_call(self) -> usize {
        if let Self::Batch { tasks, .. } = self { tasks } else { 1 }
    }

    /// How often each client calls. A lone client calls more often, so that its run is not too short.
    fn calls(self, plan: &Plan) -> usize {
        match self {
            Self::Single { clients: 1 } | Self::InTransaction => plan.singles * 16,
            Self::Single { .. } => plan.singles,
            Self::Batch { clients, tasks } => (plan.batched / clients / tasks).max(1),
        }
    }

    fn better(self, kind: Kind) -> Better {
        match (kind, self) {
            (Kind::Postgres, Self::Single { clients: 1 }) => Better::Higher(0.85),
            (Kind::Postgres, Self::Single { clients: 16 }) => Better::Higher(1.3),
            (Kind::Postgres, Self::Single { .. }) => Better::Higher(3.0),
            (Kind::Postgres, Self::Batch { tasks: 1_000, .. }) => Better::Higher(0.80),
            (_, Self::Batch { tasks: 1_000, .. }) => Better::Higher(0.60),
            _ => Better::Told,
        }
    }
}

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let bed = engine.bed("enqueue").await?;
    let server = bed.on_server()?;
    let (producer, bare) = (&server.producer().await?, &bed.bare(CLIENTS_MAX).await?);
    let mut figures = Vec::with_capacity(WAYS.len());
    for way in WAYS {
        let mut contest = Contest::default();
        contest.enter(format!("ours: {}", way.name()), move || ours(producer, way, plan));
        contest.enter(format!("bare: {}", way.name()), move || bares(bare, way, plan));
        let [ours, limit]: [Samples; 2] = contest.run(plan.rounds).await?;
        figures.push(Figure::of(way.name(), &kind.to_string(), &ours, &limit, way.better(kind)));
    }
    bed.remove().await?;
    Ok(figures)
}

async fn ours(producer: &Arc<dyn Producer>, way: Way, plan: &Plan) -> Result<f64> {
    let (producer, workload) = (Arc::clone(producer), Arc::new(Workload::new("producer")?));
    together(way, plan, move |_| {
        let (producer, workload) = (Arc::clone(&producer), Arc::clone(&workload));
        async move {
            let mut tasks = workload.tasks(way.tasks_per_call());
            match (way, tasks.pop()) {
                (Way::Single { .. }, Some(task)) => producer.enqueue(task).await,
                (Way::InTransaction, Some(task)) => producer.enqueue_in_transaction(task).await,
                (_, last) => {
                    tasks.extend(last);
                    producer.queue().enqueue_many(tasks).await?;
                    Ok(())
                }
            }
        }
    })
    .await
}

async fn bares(bare: &Arc<dyn Bare>, way: Way, plan: &Plan) -> Result<f64> {
    let bare = Arc::clone(bare);
    together(way, plan, move |client| {
        let bare = Arc::clone(&bare);
        async move {
            match way {
                Way::Single { .. } => bare.insert(client).await,
                Way::InTransaction => bare.insert_in_transaction(client).await,
                Way::Batch { tasks, .. } => bare.insert_many(client, tasks).await,
            }
        }
    })
    .await
}

/// Calls from every client at once, each waiting for its answers; tasks a second.
async fn together<F>(way: Way, plan: &Plan, call: impl Fn(usize) -> F + Clone + Send + 'static) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (clients, calls) = (way.clients(), way.calls(plan));
    let start = Instant::now();
    let running = (0..clients).map(|client| {
        let call = call.clone();
        tokio::spawn(async move {
            for _ in 0..calls {
                call(client).await?;
            }
            anyhow::Ok(())
        })
    });
    try_join_all(running).await?.into_iter().collect::<Result<()>>()?;
    Ok(rate(clients * calls * way.tasks_per_call(), start.elapsed()))
}
