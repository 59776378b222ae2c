//! The S3 gateway that TASKQUEUE_S3_URL names, spoken to by signed requests of the test's own, so that no client library
//! stands between the test and what the gateway says.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Method, Response, Url};
use sha2::{Digest, Sha256};
use taskqueue_core::{Clock, SystemClock};

const REGION: &str = "default";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

pub(crate) struct Gateway {
    /// Without the keys.
    url: String,
    access_key: String,
    secret_key: String,
    http: Client,
}

/// One request. Its path is not yet percent-encoded.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// Names and values, sorted.
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) body: String,
    /// `s3` or `sns`.
    pub(crate) service: &'static str,
}

impl Gateway {
    pub(crate) fn new() -> Self {
        let given = std::env::var("TASKQUEUE_S3_URL").expect("TASKQUEUE_S3_URL names an S3 gateway");
        let mut url = Url::parse(&given).expect("TASKQUEUE_S3_URL is a URL");
        let access_key = url.username().to_owned();
        let secret_key =
            url.password().expect("TASKQUEUE_S3_URL holds the keys: http://KEY:SECRET@HOST").to_owned();
        url.set_username("").and_then(|()| url.set_password(None)).expect("it has a host");
        // The first test of this process sets it; the answer to the others is that it is set.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            url: url.as_str().trim_end_matches('/').to_owned(),
            access_key,
            secret_key,
            http: Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The access key and its secret.
    pub(crate) fn keys(&self) -> (&str, &str) {
        (&self.access_key, &self.secret_key)
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<String>) -> Response {
        self.send(Request { method: Method::PUT, path, query: &[], body: body.into(), service: "s3" }).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        let body = String::new();
        self.send(Request { method: Method::DELETE, path, query: &[], body, service: "s3" }).await
    }

    /// Sends, and checks that it succeeded.
    pub(crate) async fn send(&self, request: Request<'_>) -> Response {
        let path = encoded(request.path, true);
        let pairs = request.query.iter();
        let pairs = pairs.map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false)));
        let query = pairs.collect::<Vec<_>>().join("&");
        let time = SystemClock.now().format("%Y%m%dT%H%M%SZ").to_string();
        let host = self.url.split_once("://").unwrap().1;
        let digest = hex(&Sha256::digest(&request.body));
        // What each of the two services wants signed.
        let signed = match request.service {
            "sns" => [("content-type", FORM), ("host", host), ("x-amz-date", time.as_str())],
            _ => [("host", host), ("x-amz-content-sha256", digest.as_str()), ("x-amz-date", time.as_str())],
        };
        let headers: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = signed.map(|(name, _)| name).join(";");
        let method = request.method.as_str();
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{digest}");
        let scope = format!("{}/{REGION}/{}/aws4_request", &time[..8], request.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let key = [&time[..8], REGION, request.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret_key).into_bytes(), |key, part| mac(&key, part.as_bytes()));
        let signature = hex(&mac(&key, to_sign.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        let url = format!("{}{path}?{query}", self.url);
        let mut sent = self.http.request(request.method, url).header("authorization", authorization);
        for (name, value) in signed.iter().filter(|(name, _)| *name != "host") {
            sent = sent.header(*name, *value);
        }
        let response = sent.body(request.body).send().await.unwrap();
        if !response.status().is_success() {
            panic!("{} {}: {}", request.path, response.status(), response.text().await.unwrap());
        }
        response
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// As signatures want it: everything but the unreserved characters, and in paths slashes.
pub(crate) fn encoded(text: &str, is_path: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/');
        if is_plain {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
    }
    encoded
}
