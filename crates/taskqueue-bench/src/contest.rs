//! Contestants timed in turn, A B A B, so that what the machine does meanwhile meets each of them. It knows no queue.

use anyhow::{Context, Result};
use futures::future::LocalBoxFuture;

use crate::report::Samples;

type Run<'a> = Box<dyn FnMut() -> LocalBoxFuture<'a, Result<f64>> + 'a>;

/// Contestants of one comparison. Each run answers one figure.
#[derive(Default)]
pub(crate) struct Contest<'a> {
    entrants: Vec<(String, Run<'a>)>,
}

impl<'a> Contest<'a> {
    /// Adds a contestant; what [`run`](Self::run) answers is in the order of adding.
    pub(crate) fn enter<F>(&mut self, name: impl Into<String>, mut run: impl FnMut() -> F + 'a)
    where
        F: Future<Output = Result<f64>> + 'a,
    {
        self.entrants.push((name.into(), Box::new(move || Box::pin(run()))));
    }

    /// Runs each contestant once a round.
    ///
    /// # Errors
    /// The first error of a contestant, with its name.
    pub(crate) async fn run<const N: usize>(mut self, rounds: usize) -> Result<[Samples; N]> {
        let mut samples: Vec<Samples> = self.entrants.iter().map(|_| Samples::default()).collect();
        for _ in 0..rounds {
            for ((name, run), samples) in self.entrants.iter_mut().zip(&mut samples) {
                let figure = run().await.with_context(|| name.clone())?;
                eprintln!("  {name}: {figure:.1}");
                samples.push(figure);
            }
        }
        Ok(samples.try_into().expect("there are as many contestants as answers"))
    }
}
