//! What the program writes to standard output: lines, JSON, aligned tables. It owns the answer to a reader that
//! has gone (stop quietly); it knows no queue.

use std::io::{self, Write};

use serde::Serialize;
use taskqueue_core::control::is_control;

use crate::failure::{Failure, Outcome};

/// Writes `text` and a line end.
pub(crate) fn line(text: impl AsRef<str>) -> Outcome {
    write(&format!("{}\n", text.as_ref()))
}

/// Writes `text` as it is, and flushes it.
pub(crate) fn write(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::io("cannot write to standard output", &error),
    })
}

/// Writes a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Outcome {
    line(
        serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("no JSON form: {error}")))?,
    )
}

/// Writes one line to standard error, its control characters shown: what a server or a store said may be in it. Nobody to
/// read it is no reason to fail.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(text.as_ref()));
}

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Rows whose columns line up.
#[derive(Debug)]
pub(crate) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
    /// What the widest cell of each column took in the parts that were printed already.
    widths: Vec<usize>,
}

impl Table {
    /// A table without a heading.
    pub(crate) fn plain(align: impl Into<Vec<Align>>) -> Self {
        let align = align.into();
        Self { widths: vec![0; align.len()], align, rows: Vec::new() }
    }

    /// A table with a heading.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = Self::plain(columns.iter().map(|column| column.1).collect::<Vec<_>>());
        table.row(columns.iter().map(|column| column.0.to_owned()));
        table
    }

    /// Adds a row. Control characters in it are shown, never sent to the terminal.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The text, each line indented by `indent` spaces, with no spaces at line ends.
    pub(crate) fn render(&self, indent: usize) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&" ".repeat(indent));
            for (column, cell) in row.iter().enumerate() {
                let blanks = " ".repeat(widths[column] - cell.chars().count());
                let is_last = column + 1 == row.len();
                match self.align[column] {
                    Align::Left if is_last => text.push_str(cell),
                    Align::Left => text.extend([cell, blanks.as_str()]),
                    Align::Right => text.extend([blanks.as_str(), cell]),
                }
                text.push_str(if is_last { "" } else { "  " });
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    /// As [`render`](Self::render), of a part: the rows that follow line up with it, but for what is wider than all before.
    pub(crate) fn render_part(&mut self) -> String {
        let text = self.render(0);
        self.widths = self.widths();
        self.rows.clear();
        text
    }

    fn widths(&self) -> Vec<usize> {
        let widest = |column| self.rows.iter().map(|row| width(row, column)).max().unwrap_or_default();
        self.widths.iter().enumerate().map(|(column, before)| widest(column).max(*before)).collect()
    }
}

fn width(row: &[String], column: usize) -> usize {
    row.get(column).map_or(0, |cell| cell.chars().count())
}

/// `text` with control characters escaped: what a task carries must not drive the reader's terminal, nor look like another
/// text.
pub(crate) fn printable(text: &str) -> String {
    if text.chars().any(is_control) {
        text.chars()
            .map(|c| if is_control(c) { c.escape_default().to_string() } else { c.to_string() })
            .collect()
    } else {
        text.to_owned()
    }
}

/// The first `chars_max` characters of `text`, marked where it was cut.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// `number` with its thousands set apart: 1,234,567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `number` things, in words: "1 task", "2,000 tasks".
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_its_columns_up() {
        let mut table = Table::new(&[("TYPE", Align::Left), ("TASKS", Align::Right)]);
        table.row(["event".to_owned(), "12".to_owned()]);
        table.row(["a".to_owned(), "1000".to_owned()]);
        assert_eq!(table.render(1), " TYPE   TASKS\n event     12\n a       1000\n");
    }

    #[test]
    fn a_cell_may_be_of_any_length() {
        let long = "x".repeat(100_000);
        let mut table = Table::plain([Align::Left, Align::Right, Align::Left]);
        table.row(["a".to_owned(), "1".to_owned(), long.clone()]);
        table.row([long.clone(), "12".to_owned(), "b".to_owned()]);
        let text = table.render(0);
        let (first, second) = text.split_once('\n').expect("two rows");
        assert_eq!(first, format!("a{}   1  {long}", " ".repeat(99_999)));
        assert_eq!(second, format!("{long}  12  b\n"));
    }

    #[test]
    fn the_parts_of_a_table_line_up() {
        let mut table = Table::new(&[("TYPE", Align::Left), ("TASKS", Align::Right)]);
        table.row(["event".to_owned(), "12".to_owned()]);
        assert_eq!(table.render_part(), "TYPE   TASKS\nevent     12\n");
        table.row(["a".to_owned(), "1000".to_owned()]);
        assert_eq!(table.render_part(), "a       1000\n");
    }

    #[test]
    fn a_tasks_text_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(printable("größe"), "größe");
        assert_eq!(printable("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count(1, "task", "tasks"), "1 task");
        assert_eq!(count(0, "task", "tasks"), "0 tasks");
    }

    #[test]
    fn a_cut_text_says_that_it_was_cut() {
        assert_eq!(cut("größer", 4), "grö…");
        assert_eq!(cut("größe", 5), "größe");
    }
}
