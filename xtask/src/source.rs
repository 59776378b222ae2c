//! Rust source as the rules see it: code without what strings and comments say, functions with their lines, and
//! where test code begins. A scanner, not a parser: it relies on rustfmt's layout and knows no rule.

/// A function and the lines it stands on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of `fn`.
    pub(crate) first: usize,
    /// The line of its closing brace.
    pub(crate) last: usize,
}

/// `text` with every character of strings, character literals and comments replaced by a space; lines stay.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = opaque_end(&chars, at);
        if end > at {
            code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

/// The functions that have a body, in the order in which they end.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut open: Vec<(Function, usize)> = Vec::new();
    let mut waiting: Option<(Function, i32)> = None;
    let (mut depth, mut brackets) = (0_usize, 0_i32);
    for (line, text) in (1..).zip(code.lines()) {
        if let Some(name) = function_name(text) {
            waiting = Some((Function { name: name.to_owned(), first: line, last: line }, brackets));
        }
        for c in text.chars() {
            match c {
                '{' => {
                    open.extend(waiting.take().map(|(function, _)| (function, depth)));
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    if let Some((function, _)) = open.pop_if(|(_, at)| *at == depth) {
                        functions.push(Function { last: line, ..function });
                    }
                }
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                // A declaration without a body, unless the semicolon is that of `[u8; 4]` in its signature.
                ';' => waiting = waiting.filter(|(_, outside)| brackets > *outside),
                _ => {}
            }
        }
    }
    functions
}

/// The first line of the inline test module, or the number of lines plus one.
pub(crate) fn tests_begin(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let is_inline = |line: &str| line.starts_with("mod ") && line.ends_with('{');
    let begins = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && is_inline(pair[1]));
    begins.unwrap_or(lines.len()) + 1
}

/// Whether a whole file is test code, by its path.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifies = |word: &str| {
        matches!(word, "pub" | "const" | "async" | "unsafe" | "extern") || word.starts_with("pub(")
    };
    let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (before.split_whitespace().all(qualifies) && !name.is_empty()).then_some(name)
}

/// Where the string, character literal or comment that begins at `at` ends; `at` itself when none begins there.
fn opaque_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (chars[at], next) {
        ('/', Some('/')) => find(chars, at, &['\n']),
        ('/', Some('*')) => block_comment_end(chars, at),
        ('"', _) => quoted_end(chars, at, '"'),
        ('r', Some('"' | '#')) if !in_word || chars[at - 1] == 'b' => raw_end(chars, at),
        ('\'', Some('\\')) => quoted_end(chars, at, '\''),
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    (find(chars, at + 2 + hashes, &closing) + closing.len()).min(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut end, mut depth) = (at, 0_usize);
    while end < chars.len() {
        match (chars[end], chars.get(end + 1)) {
            ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
            ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            break;
        }
    }
    end
}

fn find(chars: &[char], from: usize, what: &[char]) -> usize {
    let found = chars[from..].windows(what.len()).position(|window| window == what);
    found.map_or(chars.len(), |offset| from + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strings_and_comments_say_is_not_code() {
        let text = "a(\"todo!() \\\" {\"); // sleep(\nb('{', '\\'', 'x'); /* { /* } */ */ c::<'a>(r#\"}\"}\"#, br\"{\");\n";
        assert_eq!(code(text).split_whitespace().collect::<String>(), "a();b(,,);c::<'a>(,b);");
        assert_eq!(code(text).lines().count(), 2);
    }

    #[test]
    fn a_string_over_several_lines_keeps_the_lines() {
        assert_eq!(code("let a = \"x\ny\";\nb"), "let a =   \n  ;\nb");
    }

    #[test]
    fn functions_are_found_with_their_lines_and_nesting() {
        let text = "impl A {\n    pub(crate) async fn outer(&self) -> [u8; 2]\n    where\n        B: C,\n    {\n        \
            fn inner() {\n        }\n    }\n    fn declared();\n}\nfn f() { g(|| { h() }) }\n";
        let found: Vec<_> = functions(text).into_iter().map(|f| (f.name, f.first, f.last)).collect();
        let expected = [("inner", 6, 7), ("outer", 2, 8), ("f", 11, 11)];
        assert_eq!(found, expected.map(|(name, first, last)| (name.to_owned(), first, last)));
    }

    #[test]
    fn a_word_that_ends_in_fn_begins_no_function() {
        assert_eq!(function_name("    let x: Box<dyn Fn ()> = 1;"), None);
        assert_eq!(function_name("    type CustomFn = fn (u32);"), None);
        assert_eq!(function_name("    pub const fn code(self) -> i16 {"), Some("code"));
    }

    #[test]
    fn test_code_begins_at_the_inline_module() {
        assert_eq!(tests_begin("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(tests_begin("#[cfg(test)]\nmod plans;\nfn a() {}\n"), 4);
        assert_eq!(tests_begin("fn a() {}\n"), 2);
        assert!(is_test_file("tests/conformance/src/lib.rs"));
        assert!(!is_test_file("crates/taskqueue-core/src/attests.rs"));
    }
}
