//! Lengths: what does not fit on a few screens is not read as a whole.

use super::Violation;
use crate::source;
use crate::workspace::Files;

/// The most lines of code in a file.
const CODE_LINES_MAX: usize = 400;
/// The most lines in a file of tests or with tests.
const TEST_LINES_MAX: usize = 800;
/// The most lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// `file-length`: the code of a file up to its inline tests, and the file as a whole.
pub(super) fn files(files: &Files) -> Vec<Violation> {
    let check = |path: &str, text: &str| {
        let lines = text.lines().count();
        let code = if source::is_test_file(path) { 0 } else { source::tests_begin(text) - 1 };
        let (lines, most) =
            if code > CODE_LINES_MAX { (code, CODE_LINES_MAX) } else { (lines, TEST_LINES_MAX) };
        let message = format!("{lines} lines, more than {most}: split it by idea");
        (lines > most).then(|| Violation::new("file-length", path, most + 1, message))
    };
    files.rust().filter_map(|file| check(&file.path, &file.text)).collect()
}

/// `function-length`
pub(super) fn functions(files: &Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.rust() {
        for function in source::functions(&source::code(&file.text)) {
            let lines = function.last - function.first + 1;
            if lines > FUNCTION_LINES_MAX {
                let message =
                    format!("fn {} has {lines} lines, more than {FUNCTION_LINES_MAX}", function.name);
                violations.push(Violation::new("function-length", &file.path, function.first, message));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_may_have_400_lines_and_tests_800() {
        let (short, long) = ("a();\n".repeat(400), "a();\n".repeat(401));
        let with_tests =
            format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a();\n".repeat(390), "b();\n".repeat(300));
        let found = files(&Files::of([
            ("crates/a/src/short.rs", &short),
            ("crates/a/src/long.rs", &long),
            ("crates/a/src/with_tests.rs", &with_tests),
            ("crates/a/tests/long.rs", &long),
            ("crates/a/tests/longer.rs", &"a();\n".repeat(801)),
        ]));
        let places: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.line)).collect();
        assert_eq!(places, [("crates/a/src/long.rs", 401), ("crates/a/tests/longer.rs", 801)]);
    }

    #[test]
    fn a_function_may_have_70_lines() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    a();\n".repeat(lines - 2));
        assert_eq!(functions(&Files::of([("a.rs", &function(70))])), []);
        let found = functions(&Files::of([("a.rs", &format!("\n{}", function(71)))]));
        assert_eq!(found[0].to_string(), "a.rs:2: function-length: fn f has 71 lines, more than 70");
    }
}
