//! What became of the lines of many tasks, and how that is told: at the end, where a line or a batch fails, and where the
//! command is told to stop. It enqueues nothing.

use std::ops::RangeInclusive;

use serde::Serialize;
use taskqueue_core::Enqueued;

use super::repeats::GivenUp;
use crate::failure::{Code, Failure};
use crate::output::{self, count};

/// What became of many.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Tally {
    enqueued: u64,
    repeated: u64,
    duplicates: u64,
    #[serde(skip)]
    last_line: u64,
}

impl Tally {
    pub(super) fn add(&mut self, answers: Vec<Enqueued>, lines: &RangeInclusive<u64>) {
        for answer in answers {
            match answer {
                Enqueued::Created(_) => self.enqueued += 1,
                Enqueued::Repeated(_) => self.repeated += 1,
                Enqueued::Duplicate(_) => self.duplicates += 1,
            }
        }
        self.last_line = *lines.end();
    }

    pub(super) fn explain(&self, failure: Failure) -> Failure {
        match self.last_line {
            0 => failure.note("nothing was enqueued"),
            line => failure.partly().note(format!(
                "{} up to line {line}; go on with --from-line {}",
                count(self.enqueued, "task was enqueued", "tasks were enqueued"),
                line + 1
            )),
        }
    }

    /// As [`explain`](Self::explain), of a batch of these lines. Those that may be in are not to be repeated unseen.
    pub(super) fn explain_batch(&self, given_up: GivenUp, lines: &RangeInclusive<u64>) -> Failure {
        let GivenUp { failure, may_be_in } = given_up;
        if !may_be_in {
            return self.explain(failure);
        }
        let (first, last) = (lines.start(), lines.end());
        let failure = match self.enqueued {
            0 => failure,
            enqueued => {
                failure.note(count(enqueued, "task was enqueued before", "tasks were enqueued before"))
            }
        };
        failure.partly().note(format!(
            "lines {first} to {last} may be enqueued, all or none; --from-line {first} repeats them (safe where lines \
             have an id), --from-line {} passes over them",
            last + 1
        ))
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("enqueued {}", count(self.enqueued, "task", "tasks"));
        if self.repeated > 0 {
            text.push_str(&format!(
                ", passed over {} whose id was there before",
                output::thousands(self.repeated)
            ));
        }
        if self.duplicates > 0 {
            text.push_str(&format!(
                ", passed over {} whose unique key is taken",
                output::thousands(self.duplicates)
            ));
        }
        text
    }

    /// What to say where the command is told to stop: how far it came. These lines are on their way, if there are any.
    pub(super) fn interrupted(&self, under_way: Option<&RangeInclusive<u64>>) -> Failure {
        let failure = Failure::new(Code::Interrupted, "enqueue: interrupted");
        match under_way {
            Some(lines) => self.explain_batch(GivenUp { failure, may_be_in: true }, lines),
            None if self.last_line == 0 => self.explain(failure),
            None => self.explain(failure).note("to repeat lines is safe where they have an id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up(may_be_in: bool) -> GivenUp {
        GivenUp { failure: Failure::new(Code::Temporary, "no answer"), may_be_in }
    }

    #[test]
    fn a_batch_without_an_answer_is_told_by_its_lines() {
        let said = |tally: &Tally, may_be_in| {
            let failure = tally.explain_batch(given_up(may_be_in), &(4..=6));
            failure.message().unwrap_or_default().to_owned()
        };
        let (none, some) = (Tally::default(), Tally { enqueued: 3, last_line: 3, ..Tally::default() });
        let unsure = "lines 4 to 6 may be enqueued, all or none; --from-line 4 repeats them (safe where lines have an \
                      id), --from-line 7 passes over them";
        assert_eq!(said(&none, true), format!("no answer; {unsure}"));
        assert_eq!(said(&some, true), format!("no answer; 3 tasks were enqueued before; {unsure}"));
        assert_eq!(said(&none, false), "no answer; nothing was enqueued");
    }

    #[test]
    fn a_stop_says_how_many_lines_are_in_and_how_to_go_on() {
        let some = Tally { enqueued: 3, last_line: 4, ..Tally::default() };
        let said = |tally: &Tally, under_way: Option<RangeInclusive<u64>>| {
            let failure = tally.interrupted(under_way.as_ref());
            assert_eq!(failure.code(), Code::Interrupted);
            failure.message().unwrap_or_default().to_owned()
        };
        assert_eq!(said(&Tally::default(), None), "enqueue: interrupted; nothing was enqueued");
        assert_eq!(
            said(&some, None),
            "enqueue: interrupted; 3 tasks were enqueued up to line 4; go on with --from-line 5; to repeat lines is safe \
             where they have an id"
        );
        let unsure = said(&some, Some(5..=9));
        assert!(unsure.contains("3 tasks were enqueued before; lines 5 to 9 may be enqueued"), "{unsure}");
    }
}
