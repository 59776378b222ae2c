//! What `demo s3` prints at its end. It owns the words; it computes nothing.

use super::Moved;
use super::buckets::Compared;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table, thousands};

/// How many keys of what is wrong are named.
const NAMED_MAX: usize = 5;

/// Everything that the summary tells.
pub(super) struct Summary<'a> {
    pub(super) compared: &'a Compared,
    pub(super) bytes: u64,
    pub(super) moved: &'a Moved,
}

impl Summary<'_> {
    /// The whole text.
    pub(super) fn text(&self) -> String {
        let Compared { missing, different, extra, .. } = self.compared;
        let mut text = format!("\nThe two buckets, compared object by object\n\n{}", self.table());
        for (what, keys) in [("missing", missing), ("different", different), ("extra", extra)] {
            for key in keys.iter().take(NAMED_MAX) {
                text.push_str(&format!("  {what}: {}\n", output::printable(key)));
            }
        }
        text.push_str(&format!("\n{}\n", self.conclusion()));
        text
    }

    /// A failure, unless every object is there as it was.
    pub(super) fn judge(&self) -> Outcome {
        if self.holds() {
            return Ok(());
        }
        let Compared { missing, different, extra, .. } = self.compared;
        let (missing, different, extra) = (missing.len(), different.len(), extra.len());
        let dead_letters = self.moved.dead_letters;
        Err(Failure::failed(format!(
            "demo s3: {missing} missing, {different} different, {extra} extra, {dead_letters} dead letters"
        )))
    }

    fn holds(&self) -> bool {
        self.compared.holds() && self.moved.dead_letters == 0
    }

    fn table(&self) -> String {
        let Compared { objects, same, missing, different, extra } = self.compared;
        let took = self.moved.took.as_secs_f64();
        let mut table = Table::plain([Align::Left, Align::Right, Align::Left]);
        let mut row =
            |name: &str, value: u64, note: String| table.row([name.to_owned(), thousands(value), note]);
        row("objects", *objects, format!("{} of data", indicatif::HumanBytes(self.bytes)));
        row("the same", *same, "size, MD5 of the data, metadata and content type".to_owned());
        row("missing", missing.len() as u64, String::new());
        row("different", different.len() as u64, String::new());
        row("extra", extra.len() as u64, String::new());
        row("dead letters", self.moved.dead_letters, String::new());
        row("held at the kill", self.moved.held as u64, "taken back when their leases ended".to_owned());
        table.row(["took".to_owned(), format!("{took:.1} s"), "the kill included".to_owned()]);
        table.render(2)
    }

    fn conclusion(&self) -> &'static str {
        if self.holds() {
            "Nothing was lost and nothing was doubled: the worker that was killed left no trace."
        } else {
            "This must not happen. Please report it, with the lines above."
        }
    }
}
