//! What URLs write in percent signs, as it was before. It knows no URL.

/// As a form's text: a plus is a space.
pub(crate) fn of_form(text: &str) -> String {
    // The decoder at hand reads pairs: with these encoded the text is the name of one.
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map_or(String::new(), |(name, _)| name.into_owned())
}

/// As part of the credentials of a URL: a plus stays one.
pub(crate) fn of_credentials(text: &str) -> String {
    of_form(&text.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_is_a_space_in_a_form_and_itself_in_credentials() {
        assert_eq!(of_form("a+b%2Bc&d=e%C3%BC"), "a b+c&d=eü");
        assert_eq!(of_credentials("a+b%40c&d=e"), "a+b@c&d=e");
        assert_eq!(of_form(""), "");
    }
}
