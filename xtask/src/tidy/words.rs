//! Words that must stand in every source, and words that must stand in none.

use super::Violation;
use crate::source;
use crate::workspace::{File, Files};

/// The folder of the rules, the only one that may spell out what they look for.
const RULES_FOLDER: &str = "xtask/src/tidy/";
/// Macros of code that is not there yet.
const UNFINISHED_CALLS: [&str; 2] = ["todo!(", "unimplemented!("];
/// Comments of code that is not there yet.
const UNFINISHED_WORDS: [&str; 3] = ["TODO", "FIXME", "XXX:"];
/// How addresses of registries begin, and paths that exist on one machine only.
const HOSTS_AND_PATHS: [&str; 7] =
    ["://registry", "://index.", "://static.", "://proxy.", "/root/", "/home/", "/Users/"];

/// Words of other queues for what ours has its own for: a task, to complete it, to fail it.
const SYNONYMS: [&str; 5] = ["job", "jobs", "ack", "acks", "nack"];
/// Another, which a function may have in its name all the same: errors have messages.
const SYNONYM_BUT_OF_ERRORS: &str = "message";
/// What stands before a name that is declared.
const DECLARING: [&str; 6] = ["fn", "struct", "enum", "trait", "mod", "type"];

/// `module-docs`: a reader learns first what a file owns and what it refuses to know.
pub(super) fn module_docs(files: &Files) -> Vec<Violation> {
    let undocumented = files.rust().filter(|file| !file.text.starts_with("//! "));
    let message = "the file does not open with `//!`: say what it owns and what it refuses to know";
    undocumented.map(|file| Violation::new("module-docs", &file.path, 1, message)).collect()
}

/// `vocabulary`: one thing has one name, in the names of files and of what they declare.
pub(super) fn vocabulary(files: &Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.rust().filter(|file| file.path.starts_with("crates/") && file.path.contains("/src/")) {
        let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        let code = source::code(&file.text);
        let declared = (1..).zip(code.lines()).filter_map(|(line, text)| Some((line, declared(text)?)));
        for (line, (kind, name)) in std::iter::once((1, ("mod", stem))).chain(declared) {
            let is_synonym = |word: &String| {
                SYNONYMS.contains(&word.as_str()) || (word == SYNONYM_BUT_OF_ERRORS && kind != "fn")
            };
            if let Some(word) = words(name).iter().find(|word| is_synonym(word)) {
                let message = format!("{name}: {word} is a word of other queues; CONTRIBUTING.md has ours");
                violations.push(Violation::new("vocabulary", &file.path, line, message));
            }
        }
    }
    violations
}

/// What a line declares, and its name.
fn declared(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    let kind = words.find(|word| DECLARING.contains(word))?;
    let name = words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    Some((kind, name))
}

/// The words of a name in either case, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("there is always one").extend(c.to_lowercase());
        }
    }
    words
}

/// `no-ignored-tests`: a test that does not run is taken for one that passes.
pub(super) fn ignored_tests(files: &Files) -> Vec<Violation> {
    let message = "an ignored test is taken for one that passes: make it run, or remove it";
    in_code(files, "no-ignored-tests", message, |code| code.contains("#[ignore"))
}

/// `no-unfinished-code`
pub(super) fn unfinished(files: &Files) -> Vec<Violation> {
    const MESSAGE: &str = "unfinished code: finish it, or file an issue";
    let is_unfinished = |code: &str| UNFINISHED_CALLS.iter().any(|call| code.contains(call));
    let mut violations = in_code(files, "no-unfinished-code", MESSAGE, is_unfinished);
    let is_noted = |line: &str| UNFINISHED_WORDS.iter().any(|word| line.contains(word));
    violations.extend(in_text(files.rust(), "no-unfinished-code", MESSAGE, is_noted));
    violations
}

/// `no-hosts`: the sources build wherever they are, from whichever mirror.
pub(super) fn hosts(files: &Files) -> Vec<Violation> {
    let message = "names a registry's host or one machine's path";
    in_text(files.0.iter(), "no-hosts", message, |line| {
        HOSTS_AND_PATHS.iter().any(|part| line.contains(part))
    })
}

/// `no-sleeps`: tests wait for events. Allowed are paused time, and the one sleep of a function named `wait…`,
/// which polls up to a limit.
pub(super) fn sleeps(files: &Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.rust().filter(|file| !file.path.starts_with(RULES_FOLDER)) {
        let code = source::code(&file.text);
        let is_paused = code.contains("start_paused") || code.contains("time::pause()");
        let tests_begin = if source::is_test_file(&file.path) { 1 } else { source::tests_begin(&code) };
        let functions = source::functions(&code);
        let waits = |line: usize| {
            let around = functions.iter().filter(|function| (function.first..=function.last).contains(&line));
            around.map(|function| function.name.as_str()).any(|name| name.starts_with("wait"))
        };
        for (line, text) in (1..).zip(code.lines()) {
            let sleeps = text.contains("sleep(") && line >= tests_begin && !is_paused && !waits(line);
            if sleeps || text.contains("thread::sleep(") {
                let message =
                    "sleeps: use a barrier, a manual clock, paused time, or wait until with a limit";
                violations.push(Violation::new("no-sleeps", &file.path, line, message));
            }
        }
    }
    violations
}

fn in_code(
    files: &Files,
    rule: &'static str,
    message: &'static str,
    breaks: impl Fn(&str) -> bool,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.rust() {
        let code = source::code(&file.text);
        let lines = (1..).zip(code.lines()).filter(|(_, text)| breaks(text));
        violations.extend(lines.map(|(line, _)| Violation::new(rule, &file.path, line, message)));
    }
    violations
}

fn in_text<'a>(
    files: impl Iterator<Item = &'a File>,
    rule: &'static str,
    message: &'static str,
    breaks: impl Fn(&str) -> bool,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.filter(|file| !file.path.starts_with(RULES_FOLDER)) {
        let lines = (1..).zip(file.text.lines()).filter(|(_, text)| breaks(text));
        violations.extend(lines.map(|(line, _)| Violation::new(rule, &file.path, line, message)));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(violations: Vec<Violation>) -> Vec<usize> {
        violations.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_file_without_an_opening_comment_is_found() {
        let found =
            module_docs(&Files::of([("a.rs", "//! Owns a.\n"), ("b.rs", "use a;\n"), ("c.md", "text")]));
        assert_eq!(found.iter().map(|found| found.path.as_str()).collect::<Vec<_>>(), ["b.rs"]);
    }

    #[test]
    fn words_of_other_queues_are_found_in_names_of_files_and_declarations() {
        let text = "//! Acks.\nuse other::Job;\npub(crate) struct AckTimer<'a>;\nlet job = message();\n\
            async fn run_job() {}\nfn message() {}\nstruct MessageId;\nfn back_track() {}\n";
        let files = Files::of([("crates/a/src/b.rs", text), ("crates/a/tests/b.rs", text)]);
        assert_eq!(lines(vocabulary(&files)), [3, 5, 7]);
        let file = Files::of([("crates/a/src/job.rs", "//! One attempt.\n")]);
        let found: Vec<_> = vocabulary(&file).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/a/src/job.rs:1: vocabulary: job: job is a word of other queues; CONTRIBUTING.md has ours"
            ]
        );
    }

    #[test]
    fn ignored_tests_are_found_but_not_in_comments_or_strings() {
        let text = "//! #[ignore]\nlet a = \"#[ignore]\";\n#[ignore]\n#[ignore = \"slow\"]\n";
        assert_eq!(lines(ignored_tests(&Files::of([("a.rs", text)]))), [3, 4]);
    }

    #[test]
    fn unfinished_code_is_found_as_a_call_and_as_a_note() {
        let text = "todo!()\n// TODO: more\nunimplemented!(\"x\")\nlet a = \"todo!()\";\nlet todo = 1;\n";
        let mut found = lines(unfinished(&Files::of([("a.rs", text)])));
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }

    #[test]
    fn hosts_and_machine_paths_are_found_in_every_kind_of_file() {
        let files = Files::of([
            ("a.rs", "// see /home/ada/x\n"),
            ("b.toml", "registry = \"sparse+https://index.example.org\"\n"),
            ("c.md", "[crates](https://crates.io/crates/sqlx) and $HOME/.cache\n"),
        ]);
        let found: Vec<_> = hosts(&files).into_iter().map(|found| found.path).collect();
        assert_eq!(found, ["a.rs", "b.toml"]);
    }

    #[test]
    fn tests_that_sleep_are_found_and_code_that_sleeps_is_not() {
        let text =
            "fn poll() { tokio::time::sleep(x) }\n#[cfg(test)]\nmod tests {\n    fn a() { sleep(y) }\n}\n";
        assert_eq!(lines(sleeps(&Files::of([("crates/a/src/a.rs", text)]))), [4]);
        assert_eq!(lines(sleeps(&Files::of([("crates/a/tests/a.rs", "fn a() { sleep(y) }\n")]))), [1]);
    }

    #[test]
    fn paused_time_and_waiting_with_a_limit_may_sleep_but_threads_never() {
        let paused = "#[tokio::test(start_paused = true)]\nasync fn a() { sleep(y) }\n";
        let waiting = "async fn wait_until() {\n    sleep(y)\n}\n";
        let thread = "fn wait() { std::thread::sleep(x) }\n";
        assert_eq!(lines(sleeps(&Files::of([("crates/a/tests/a.rs", paused)]))), [0; 0]);
        assert_eq!(lines(sleeps(&Files::of([("crates/a/tests/a.rs", waiting)]))), [0; 0]);
        assert_eq!(lines(sleeps(&Files::of([("crates/a/src/a.rs", thread)]))), [1]);
    }
}
