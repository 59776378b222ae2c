//! Who may ask, and who may change something: the password, the bearer token, the names by which the dashboard may be
//! called, and that a POST comes from its own pages. It owns these decisions, as functions of a request's headers; it
//! serves nothing.

use std::fmt;
use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::failure::Failure;

/// Whether the dashboard may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Actions {
    /// It only shows.
    #[default]
    Refused,
    /// It may cancel, run now and redrive tasks, and pause and resume types. Give it a [password](crate::DashboardBuilder::password),
    /// or nest it where only those who may do so get.
    Allowed,
}

/// By which names the dashboard may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hosts {
    /// Any: for what stands behind a password or a service's own login.
    #[default]
    Any,
    /// Only those of this host, as `localhost` and `127.0.0.1`. For what listens on a loopback address without a
    /// password: a site whose name was made to lead there (DNS rebinding) is refused.
    Loopback,
}

/// A secret, of which only a digest is kept: digests are equally long, so that comparing them tells nothing of lengths.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

/// What has to be so of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) password: Option<Secret>,
    pub(crate) bearer_token: Option<Secret>,
    pub(crate) hosts: Hosts,
    pub(crate) actions: Actions,
}

/// By what a request was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// What a browser sends along by itself, whoever made the request.
    Browser,
    /// The bearer token, which no browser sends by itself.
    Token,
}

impl Access {
    /// Whether this request may be answered.
    ///
    /// # Errors
    /// 403 for a host or an action that is refused, 401 without the password.
    pub(crate) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = host(uri, headers);
        if self.hosts == Hosts::Loopback && !host.as_ref().is_some_and(is_loopback) {
            return Err(refused("the dashboard is for this host only: open it as localhost"));
        }
        let by = self.authorise(headers)?;
        if matches!(*method, Method::GET | Method::HEAD) {
            return if by == By::Token || !is_made_by_another_site(headers) {
                Ok(())
            } else {
                Err(refused("the request was made by a page of another site"))
            };
        }
        if self.actions == Actions::Refused {
            return Err(refused("the dashboard is read-only here"));
        }
        if by == By::Token || is_from_its_own_page(host.as_ref(), headers) {
            Ok(())
        } else {
            Err(refused("the request does not come from the dashboard's own pages"))
        }
    }

    /// How a request must say who makes it. A browser asks its user for a password only where there is one.
    pub(crate) fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(if self.password.is_some() {
            "Basic realm=\"taskqueue\", charset=\"UTF-8\""
        } else {
            "Bearer realm=\"taskqueue\""
        })
    }

    /// By what the request is let in. Every secret is compared, so that the time tells nothing of which it was.
    fn authorise(&self, headers: &HeaderMap) -> Result<By, Failure> {
        let given = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let is_token = self.bearer_token.as_ref().is_some_and(|token| token.is(&bearer(given)));
        let is_password = self.password.as_ref().is_some_and(|password| password.is(&basic(given)));
        match (is_token, is_password, self.password.is_none() && self.bearer_token.is_none()) {
            (true, _, _) => Ok(By::Token),
            (_, true, _) | (_, _, true) => Ok(By::Browser),
            _ => {
                Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorised", "a password or a token is needed"))
            }
        }
    }
}

impl Secret {
    /// Of this text.
    pub(crate) fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.ct_eq(&given).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn refused(text: &'static str) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "refused", text)
}

/// What follows the scheme's name, in either case.
fn credentials<'h>(header: &'h [u8], scheme: &str) -> &'h [u8] {
    match header.split_at_checked(scheme.len() + 1) {
        Some((name, rest)) if name[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes()) => {
            rest.trim_ascii()
        }
        _ => b"",
    }
}

fn bearer(header: &[u8]) -> Vec<u8> {
    credentials(header, "Bearer").to_vec()
}

/// The password of Basic; who the user says to be does not matter.
fn basic(header: &[u8]) -> Vec<u8> {
    let pair = STANDARD.decode(credentials(header, "Basic")).unwrap_or_default();
    match pair.iter().position(|byte| *byte == b':') {
        Some(colon) => pair[colon + 1..].to_vec(),
        None => Vec::new(),
    }
}

/// The name by which the dashboard was called.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let header = headers.get(HOST).and_then(|value| value.to_str().ok());
    header.and_then(|host| host.parse().ok()).or_else(|| uri.authority().cloned())
}

fn is_loopback(host: &Authority) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a page of another site made a browser ask, to load something or in a frame: it could not read the answer, but make
/// the database work. A link or a bookmark that is followed is none of these.
fn is_made_by_another_site(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    let is_of_another = is("sec-fetch-site", "cross-site") || is("sec-fetch-site", "same-site");
    let is_followed = is("sec-fetch-mode", "navigate")
        && headers.get("sec-fetch-dest").is_none_or(|destination| destination == "document");
    is_of_another && !is_followed
}

/// Whether a browser vouches that the request was made by a page of this host. A page may set neither header. One without
/// both is refused: what is no browser has the bearer token.
fn is_from_its_own_page(host: Option<&Authority>, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    origin.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    fn status(access: &Access, method: Method, pairs: &[(&'static str, &str)]) -> u16 {
        let checked = access.check(&method, &Uri::from_static("/"), &headers(pairs));
        checked.map_or_else(|failure| failure.status.as_u16(), |()| 200)
    }

    fn secured() -> Access {
        Access {
            password: Some(Secret::new("a:long:password")),
            bearer_token: Some(Secret::new("token")),
            actions: Actions::Allowed,
            ..Access::default()
        }
    }

    #[test]
    fn only_the_password_and_the_token_let_a_request_in() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (header, expected) in [
            (basic("anyone:a:long:password"), 200),
            (basic(":a:long:password").replace("Basic", "basic"), 200),
            ("Bearer token".to_owned(), 200),
            (basic("anyone:token"), 401),
            (basic("a:long:password"), 401),
            ("Bearer a:long:password".to_owned(), 401),
            ("Bearer".to_owned(), 401),
            ("Basic ???".to_owned(), 401),
            (String::new(), 401),
        ] {
            assert_eq!(status(&secured(), Method::GET, &[("authorization", &header)]), expected, "{header}");
        }
        assert_eq!(status(&secured(), Method::GET, &[]), 401);
        assert!(!format!("{:?}", secured()).contains("long"));
    }

    #[test]
    fn a_post_is_taken_from_its_own_pages_only() {
        let access = Access { actions: Actions::Allowed, ..Access::default() };
        let host = ("host", "queue.example:8686");
        for (pairs, expected) in [
            (vec![("sec-fetch-site", "same-origin")], 200),
            (vec![("origin", "http://queue.example:8686")], 200),
            (vec![("sec-fetch-site", "cross-site"), ("origin", "http://queue.example:8686")], 403),
            (vec![("sec-fetch-site", "same-site")], 403),
            (vec![("sec-fetch-site", "none")], 403),
            (vec![("origin", "http://queue.example")], 403),
            (vec![("origin", "null")], 403),
            (vec![], 403),
        ] {
            let pairs: Vec<_> = pairs.into_iter().chain([host]).collect();
            assert_eq!(status(&access, Method::POST, &pairs), expected, "{pairs:?}");
        }
        let token = [host, ("authorization", "Bearer token")];
        assert_eq!(status(&secured(), Method::POST, &token), 200, "no browser sends it by itself");
        let read_only = Access::default();
        assert_eq!(status(&read_only, Method::POST, &[host, ("sec-fetch-site", "same-origin")]), 403);
    }

    #[test]
    fn a_page_of_another_site_may_link_to_it_and_make_it_do_nothing_else() {
        let follows = ("sec-fetch-mode", "navigate");
        for (pairs, expected) in [
            (vec![("sec-fetch-site", "cross-site"), follows], 200),
            (vec![("sec-fetch-site", "cross-site"), follows, ("sec-fetch-dest", "document")], 200),
            (vec![("sec-fetch-site", "cross-site"), follows, ("sec-fetch-dest", "iframe")], 403),
            (vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], 403),
            (vec![("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], 403),
            (vec![("sec-fetch-site", "same-site")], 403),
            (vec![("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], 200),
            (vec![("sec-fetch-site", "none"), follows], 200),
            (vec![], 200),
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(status(&Access::default(), method, &pairs), expected, "{pairs:?}");
            }
        }
    }

    #[test]
    fn a_name_that_is_not_of_this_host_is_refused_where_only_loopback_is_allowed() {
        let access = Access { hosts: Hosts::Loopback, ..Access::default() };
        for (host, expected) in [
            ("localhost:8686", 200),
            ("LOCALHOST", 200),
            ("127.0.0.1:1", 200),
            ("127.9.9.9", 200),
            ("[::1]:8686", 200),
            ("evil.example:8686", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("user@evil.example", 403),
            ("192.168.0.1", 403),
            ("", 403),
        ] {
            assert_eq!(status(&access, Method::GET, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(&access, Method::GET, &[]), 403);
    }
}
