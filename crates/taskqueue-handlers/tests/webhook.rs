//! Webhook deliveries against a real local receiver, and the handlers on a real queue.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use support::{Answer, Receiver, proof};
use taskqueue_core::payloads::WebhookPayload;
use taskqueue_core::{Clock, ManualClock, NewTask, Queue, RawPayload, Retry, Status, TaskId, TaskType};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::webhook::{
    AddressPolicy, Delivery, Endpoint, EndpointHandler, Signing, SigningSecret, WebhookConfig,
    WebhookHandler, WebhookSender,
};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::Worker;

fn local() -> WebhookConfig {
    WebhookConfig::default().addresses(AddressPolicy::Any)
}

fn payload(url: String) -> WebhookPayload {
    let body = RawPayload::parse(r#"{ "b": 1.50, "a": "\u00e9" }"#).unwrap();
    WebhookPayload { url, headers: None, body, secret_name: None, timeout_ms: None }
}

async fn deliver(config: WebhookConfig, payload: &WebhookPayload) -> Result<(), HandlerError> {
    let handler = WebhookHandler::new(WebhookSender::new(config).unwrap());
    handler.deliver(TaskId::generate(), payload).await
}

fn shows(what: &'static str) -> proof::Proof {
    proof::begin("webhook", what, "the tests' HTTP receiver")
}

async fn failure(answer: Answer) -> HandlerError {
    let receiver = Receiver::start(answer).await;
    deliver(local(), &payload(receiver.url("/hook"))).await.unwrap_err()
}

#[tokio::test]
async fn a_delivery_posts_the_body_byte_for_byte() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    deliver(local(), &payload(receiver.url("/hook?x=1"))).await.unwrap();
    let request = receiver.only();
    assert_eq!(request.request_line, "POST /hook?x=1 HTTP/1.1");
    assert_eq!(request.body, br#"{ "b": 1.50, "a": "\u00e9" }"#);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert!(request.header("user-agent").unwrap().starts_with("taskqueue/"));
    assert_eq!(request.header("webhook-signature"), None);
}

/// The specification: sign `id.timestamp.body` with HMAC-SHA256 under the decoded secret; `v1,` and base64.
fn assert_signed(request: &support::Received, key: &[u8]) {
    let (id, timestamp) =
        (request.header("webhook-id").unwrap(), request.header("webhook-timestamp").unwrap());
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.body].concat());
    let signature = request.header("webhook-signature").unwrap().strip_prefix("v1,").unwrap();
    mac.verify_slice(&STANDARD.decode(signature).unwrap()).unwrap();
}

#[tokio::test]
async fn a_receiver_can_verify_the_signature_by_the_specification() {
    let _proof = shows("signed by the Standard Webhooks specification, as a receiver verifies it");
    let clock = ManualClock::default();
    let receiver = Receiver::start(Answer::status("204 No Content")).await;
    let secret = format!("whsec_{}", STANDARD.encode(b"a key of some twenty-four bytes"));
    let config = local().secret(SigningSecret::parse(&secret).unwrap()).clock(clock.clone());
    let handler = WebhookHandler::new(WebhookSender::new(config).unwrap());
    let id = TaskId::generate();
    handler.deliver(id, &payload(receiver.url("/"))).await.unwrap();
    let request = receiver.only();
    assert_eq!(request.header("webhook-id"), Some(id.to_string().as_str()));
    assert_eq!(request.header("webhook-timestamp"), Some(clock.now().timestamp().to_string().as_str()));
    assert_signed(&request, b"a key of some twenty-four bytes");
}

#[tokio::test]
async fn a_payload_can_name_its_secret() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let config = local()
        .secret(SigningSecret::parse("default").unwrap())
        .named_secret("billing", SigningSecret::parse("of billing").unwrap());
    let named = WebhookPayload { secret_name: Some("billing".to_owned()), ..payload(receiver.url("/")) };
    deliver(config, &named).await.unwrap();
    assert_signed(&receiver.only(), b"of billing");
}

#[tokio::test]
async fn a_secret_that_the_worker_does_not_know_fails_for_good_and_sends_nothing() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let named = WebhookPayload { secret_name: Some("billing".to_owned()), ..payload(receiver.url("/")) };
    assert!(deliver(local(), &named).await.unwrap_err().is_permanent());
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn headers_of_the_payload_are_sent_and_can_replace_the_content_type() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let headers = [("X-Tenant", "7"), ("Content-Type", "application/cloudevents+json")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let payload = WebhookPayload { headers: Some(headers.into()), ..payload(receiver.url("/")) };
    deliver(local(), &payload).await.unwrap();
    assert_eq!(receiver.only().header("x-tenant"), Some("7"));
    assert_eq!(receiver.only().header("content-type"), Some("application/cloudevents+json"));
}

#[tokio::test]
async fn a_header_that_is_malformed_or_the_deliverys_own_fails_for_good() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    for (name, value) in
        [("Webhook-Id", "1"), ("host", "internal"), ("Content-Length", "1"), ("a b", "1"), ("a", "1\n2")]
    {
        let headers = Some([(name.to_owned(), value.to_owned())].into());
        let payload = WebhookPayload { headers, ..payload(receiver.url("/")) };
        assert!(deliver(local(), &payload).await.unwrap_err().is_permanent(), "{name}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn any_answer_in_the_two_hundreds_is_a_delivery() {
    for status in ["200 OK", "201 Created", "202 Accepted", "204 No Content"] {
        let receiver = Receiver::start(Answer::status(status)).await;
        deliver(local(), &payload(receiver.url("/"))).await.unwrap();
    }
}

#[tokio::test]
async fn client_errors_are_permanent() {
    for status in
        ["400 Bad Request", "401 Unauthorized", "404 Not Found", "410 Gone", "422 Unprocessable Entity"]
    {
        assert_eq!(failure(Answer::status(status)).await.retry(), Retry::Never, "{status}");
    }
}

#[tokio::test]
async fn passing_client_errors_and_server_errors_are_retried_by_the_policy() {
    for status in [
        "408 Request Timeout",
        "425 Too Early",
        "429 Too Many Requests",
        "500 Oh",
        "502 Oh",
        "503 Oh",
        "504 Oh",
    ] {
        assert_eq!(failure(Answer::status(status)).await.retry(), Retry::ByPolicy, "{status}");
    }
}

#[tokio::test]
async fn retry_after_in_seconds_is_honoured() {
    let _proof = shows("Retry-After in seconds is honoured");
    let answer = Answer::Status("429 Too Many Requests", vec!["Retry-After: 120".to_owned()], Vec::new());
    assert_eq!(failure(answer).await.retry(), Retry::After(Duration::from_secs(120)));
}

#[tokio::test]
async fn retry_after_as_a_date_is_honoured() {
    let _proof = shows("Retry-After as a date is honoured");
    let date = "Retry-After: Thu, 01 Jan 2026 00:05:00 GMT".to_owned();
    let receiver = Receiver::start(Answer::Status("503 Oh", vec![date], Vec::new())).await;
    let config = local().clock(ManualClock::default());
    let error = deliver(config, &payload(receiver.url("/"))).await.unwrap_err();
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(300)));
}

#[tokio::test]
async fn a_client_error_stays_permanent_whatever_its_retry_after_says() {
    let answer = Answer::Status("400 Bad Request", vec!["Retry-After: 1".to_owned()], Vec::new());
    assert!(failure(answer).await.is_permanent());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let _proof = shows("redirects are not followed");
    let target = Receiver::start(Answer::status("200 OK")).await;
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("Location: {}", target.url("/"));
        let error = failure(Answer::Status(status, vec![location], Vec::new())).await;
        assert_eq!(error.retry(), Retry::ByPolicy, "{status}");
    }
    assert!(target.received().is_empty());
}

#[tokio::test]
async fn a_receiver_that_never_answers_runs_into_the_timeout() {
    let receiver = Receiver::start(Answer::Silence).await;
    let config = local().timeout(Duration::from_millis(50));
    let error = deliver(config, &payload(receiver.url("/"))).await.unwrap_err();
    assert_eq!(error.retry(), Retry::ByPolicy);
    assert!(error.to_string().contains("not answered within 50ms"), "{error}");
}

#[tokio::test]
async fn a_payload_can_ask_for_a_shorter_timeout_but_not_for_a_longer_one() {
    for (configured, asked) in [(60_000, 50), (50, 60_000)] {
        let receiver = Receiver::start(Answer::Silence).await;
        let payload = WebhookPayload { timeout_ms: Some(asked), ..payload(receiver.url("/")) };
        let config = local().timeout(Duration::from_millis(configured));
        let error = deliver(config, &payload).await.unwrap_err();
        assert!(error.to_string().contains("within 50ms"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_or_breaks_off_is_retried() {
    let error = failure(Answer::HangUp).await;
    assert_eq!(error.retry(), Retry::ByPolicy);
    let nobody = "127.0.0.1:1";
    let error = deliver(local(), &payload(format!("http://{nobody}/"))).await.unwrap_err();
    assert_eq!(error.retry(), Retry::ByPolicy);
    assert!(error.to_string().contains(&format!("http://{nobody} failed")), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_read_only_so_far() {
    let receiver = Receiver::start(Answer::EndlessBody).await;
    deliver(local(), &payload(receiver.url("/"))).await.unwrap();
}

#[tokio::test]
async fn deliveries_to_one_host_share_a_connection() {
    let receiver = Receiver::start(Answer::Status("200 OK", Vec::new(), b"thanks".to_vec())).await;
    let handler = WebhookHandler::new(WebhookSender::new(local()).unwrap());
    for _ in 0..3 {
        handler.deliver(TaskId::generate(), &payload(receiver.url("/"))).await.unwrap();
    }
    assert_eq!(receiver.received().len(), 3);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn internal_addresses_are_refused_unless_allowed() {
    let _proof = shows("internal addresses are refused however they are written, and names of them");
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let port = receiver.address.port();
    // The last ones are spellings that an HTTP client reads as 127.0.0.1, and a name that resolves to it.
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "0.0.0.0",
        "127.1",
        "0x7f000001",
        "2130706433",
        "localhost",
    ] {
        let payload = payload(format!("http://{host}:{port}/"));
        let error = deliver(WebhookConfig::default(), &payload).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("refused"), "{host}: {error}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_is_connected_to_where_its_addresses_are_allowed() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    deliver(local(), &payload(url)).await.unwrap();
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_url_that_is_none_or_not_http_fails_for_good() {
    for url in ["", "example.org/hook", "file:///etc/passwd", "ftp://example.org/"] {
        assert!(deliver(local(), &payload(url.to_owned())).await.unwrap_err().is_permanent(), "{url}");
    }
}

#[tokio::test]
async fn an_error_holds_no_part_of_a_url_that_may_be_secret() {
    let echoes = [
        "you sent Bearer abcdefghijkl".to_owned(),
        "Cannot POST /services/tok3n".to_owned(),
        r#"{"path":"/services/tok3n","query":"key=s3cret"}"#.to_owned(),
        "no route for /services/tok3n?key=s3cret".to_owned(),
        format!("user:hunter2 sent Authorization: Basic {}", STANDARD.encode("user:hunter2")),
    ];
    let echo = echoes.join("\r\n").into_bytes();
    let receiver = Receiver::start(Answer::Status("404 Not Found", Vec::new(), echo)).await;
    let url = format!("http://user:hunter2@{}/services/tok3n?key=s3cret", receiver.address);
    let headers = Some([("Authorization2".to_owned(), "Bearer abcdefghijkl".to_owned())].into());
    let answered = WebhookPayload { headers, ..payload(url) };
    let broken = payload("http://user:hunter2@127.0.0.1:1/services/tok3n?key=s3cret".to_owned());
    for payload in [answered, broken] {
        let error = deliver(local(), &payload).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        for secret in ["hunter2", "tok3n", "s3cret", "abcdefghijkl", &STANDARD.encode("user:hunter2")] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let sent = receiver.only().header("authorization").map(str::to_owned);
    assert_eq!(sent, Some(format!("Basic {}", STANDARD.encode("user:hunter2"))));
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let config = local().secret(SigningSecret::parse("hunter2").unwrap());
    let endpoint = Endpoint::parse("https://user:hunter2@example.org/hunter2?key=hunter2").unwrap();
    let sender = WebhookSender::new(config.clone()).unwrap();
    let mut delivery = Delivery::new(TaskId::generate(), "http://a/hunter2".parse().unwrap(), "hunter2");
    delivery.headers.insert("authorization", "hunter2".parse().unwrap());
    delivery.signing = Signing::Secret(SigningSecret::parse("hunter2").unwrap());
    let shown = format!("{config:?} {delivery:?} {:?}", EndpointHandler::new(sender, endpoint));
    assert!(!shown.contains("hunter2") && shown.contains("https://example.org"), "{shown}");
}

#[tokio::test]
async fn a_timeout_of_zero_is_refused() {
    let error = WebhookSender::new(WebhookConfig::default().timeout(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), taskqueue_core::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_task_of_type_webhook_is_delivered_and_completed() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let queue = MemoryQueue::new();
    let id = queue.enqueue(payload(receiver.url("/hook"))).await.unwrap();
    let handler = WebhookHandler::new(WebhookSender::new(local()).unwrap());
    let webhook = TaskType::of::<WebhookPayload>().unwrap();
    let report = Worker::builder(queue).handle(webhook, handler).build().unwrap().drain().await;
    assert_eq!(report.completed, 1);
    assert_eq!(receiver.only().header("webhook-id"), Some(id.to_string().as_str()));
}

#[tokio::test]
async fn a_fixed_endpoint_gets_the_raw_payload_of_any_type() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let queue = MemoryQueue::new();
    queue.enqueue(NewTask::raw("orders:paid", "[ 1,  2.0 ]").unwrap()).await.unwrap();
    let handler = EndpointHandler::new(WebhookSender::new(local()).unwrap(), receiver.endpoint("/all"));
    let paid = TaskType::new("orders:paid").unwrap();
    let report = Worker::builder(queue).handle(paid, handler).build().unwrap().drain().await;
    assert_eq!(report.completed, 1);
    let request = receiver.only();
    assert_eq!(request.body, b"[ 1,  2.0 ]");
    assert_eq!(request.header("taskqueue-type"), Some("orders:paid"));
    assert_eq!(request.header("taskqueue-attempt"), Some("1"));
}

#[tokio::test]
async fn a_task_that_the_receiver_refuses_is_a_dead_letter_at_once_and_says_why() {
    let _proof = shows("410 is a dead letter at once");
    let refusal = Answer::Status("410 Gone", Vec::new(), b"unsubscribed".to_vec());
    let receiver = Receiver::start(refusal).await;
    let queue = std::sync::Arc::new(MemoryQueue::new());
    let id = queue.enqueue(payload(receiver.url("/hook"))).await.unwrap();
    let handler = WebhookHandler::new(WebhookSender::new(local()).unwrap());
    let webhook = TaskType::of::<WebhookPayload>().unwrap();
    Worker::builder(queue.clone()).handle(webhook, handler).build().unwrap().drain().await;
    let task = queue.get(id).await.unwrap();
    assert_eq!((task.status, task.attempts), (Status::DeadLetter, 1));
    let expected = format!("POST to http://{} was answered 410 Gone: unsubscribed", receiver.address);
    assert_eq!(task.last_error, Some(expected));
}
