//! The parameters of a database's URL. It owns what becomes of those that the driver does not know; it knows no driver.

use taskqueue_core::{Error, Result};
use tracing::warn;

/// The URL without the parameters that the driver would pass over. One about TLS is refused: a connection that was to be
/// checked would not be. The others are named in a warning. No value is: a misspelt `password` has one, too. A password with
/// a `?` or `#` that is not encoded is refused before anything is taken for a parameter.
///
/// # Errors
/// `InvalidInput`, naming the parameter.
pub fn known_parameters(url: &str, is_known: impl Fn(&str) -> bool) -> Result<String> {
    if url.contains('#') {
        return Err(Error::invalid_input("connect", "the database URL has a #: write %23"));
    }
    let Some((address, query)) = url.split_once('?') else { return Ok(url.to_owned()) };
    if query.contains('@') && !address.contains('@') {
        return Err(Error::invalid_input(
            "connect",
            "the database URL has a ? before its @: write %3F, and %40 for an @",
        ));
    }
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let name = form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default().0;
        let lower = name.to_ascii_lowercase();
        if pair.is_empty() || is_known(&name) {
            kept.push(pair);
        } else if ["ssl", "tls"].iter().any(|part| lower.contains(part)) {
            let message =
                format!("the database URL's parameter {name:?} is not known: TLS would not be as it says");
            return Err(Error::invalid_input("connect", message));
        } else {
            warn!(parameter = %name.escape_debug(), "the database URL has a parameter that is not known");
        }
    }
    Ok(if kept.is_empty() { address.to_owned() } else { format!("{address}?{}", kept.join("&")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(url: &str) -> Result<String> {
        known_parameters(url, |name| matches!(name, "sslmode" | "options[search_path]"))
    }

    #[test]
    fn a_parameter_of_tls_that_is_not_known_is_refused_without_its_value() {
        for name in ["sslmod", "ssl_mode", "tls", "useSSL", "%73slmod"] {
            let error = known(&format!("mysql://u:secret@h/d?sslmode=x&{name}=hidden")).expect_err(name);
            let said = error.to_string();
            assert!(
                said.contains("is not known") && !said.contains("hidden") && !said.contains("secret"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_taken_for_parameters() {
        for url in [
            "postgres://u:pa?ssl-secret@h/d",
            "postgres://u:pa#x@h/d?sslmode=require",
            "mysql://h/d#?sslmode=x",
        ] {
            let said = known(url).expect_err(url).to_string();
            assert!(said.contains("write %") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn others_are_left_out_and_those_that_are_known_stay_as_they_are() {
        for (url, expected) in [
            ("postgres://h/d", "postgres://h/d"),
            ("postgres://h/d?pasword=x", "postgres://h/d"),
            ("postgres://h/d?a=1&sslmode=require&b", "postgres://h/d?sslmode=require"),
            (
                "postgres://h/d?options%5Bsearch_path%5D=a%26b",
                "postgres://h/d?options%5Bsearch_path%5D=a%26b",
            ),
        ] {
            assert_eq!(known(url).expect("nothing of TLS is unknown"), expected);
        }
    }
}
