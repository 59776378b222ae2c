//! The oracle of event records: what Ceph's S3 gateway pushes of an object, held field by field against the record that
//! our handler builds of the same object. The gateway is the one that TASKQUEUE_S3_URL names; TASKQUEUE_S3_PUSH_HOST is
//! where it reaches this machine, the gateway of Docker's default network unless said otherwise.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeMap;

use reqwest::{Method, Response};
use serde_json::Value;
use support::events::{unique, wait_until};
use support::gateway::{Gateway, Request, encoded};
use support::{Answer, Receiver, proof};
use taskqueue_core::TaskId;
use taskqueue_core::payloads::EventPayload;
use taskqueue_handlers::event::{EventHandler, RecordConfig, WebhookSink};
use taskqueue_handlers::webhook::{AddressPolicy, WebhookConfig, WebhookSender};

const KEY: &str = "2026/red car (1)+ü&=.jpg";
const RULE: &str = "the rule";

/// Whether a difference between what the gateway says and what we say is one that there is a reason for.
type Reason = Box<dyn Fn(Option<&Value>, Option<&Value>) -> bool>;

fn reason(is_one: impl Fn(Option<&Value>, Option<&Value>) -> bool + 'static) -> Reason {
    Box::new(is_one)
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// The fields that may differ, each a deviation of the gateway from the record that AWS documents, which is the one we
/// build. Whatever is not listed has to be the same.
fn reasons(request_id: &str, is_removal: bool) -> Vec<(&'static str, Reason)> {
    let only_theirs = || reason(|theirs, ours| theirs.is_some() && ours.is_none());
    // The header writes the request's number in hexadecimal digits, `tx<number>-…`, the record in decimal ones.
    let number = request_id.strip_prefix("tx").and_then(|id| id.split('-').next()).unwrap_or_default();
    let number = u64::from_str_radix(number, 16).unwrap_or_default().to_string();
    let mut reasons: Vec<(&'static str, Reason)> = vec![
        // Theirs has a later addition of AWS (glacierEventData), which neither of us sends.
        ("eventVersion", reason(|theirs, ours| text(theirs) == "2.2" && text(ours) == "2.1")),
        // The source is the product's own name.
        ("eventSource", reason(|theirs, ours| text(theirs) == "ceph:s3" && text(ours) == "aws:s3")),
        // Theirs is not URL-encoded; the documentation of S3 says that it is.
        (
            "s3.object.key",
            reason(|theirs, ours| {
                let mut decoded = form_urlencoded::parse(text(ours).as_bytes());
                text(theirs) == KEY && text(ours) != KEY && decoded.next().is_some_and(|(key, _)| key == KEY)
            }),
        ),
        // Their ARNs name the zone group; those of buckets in S3 have neither region nor account.
        (
            "s3.bucket.arn",
            reason(|theirs, ours| {
                let name = |value| text(value).rsplit(':').next().map(str::to_owned);
                text(ours).starts_with("arn:aws:s3:::") && name(theirs) == name(ours)
            }),
        ),
        (
            "responseElements.x-amz-request-id",
            reason(move |theirs, ours| {
                text(theirs).ends_with(&format!(".{number}")) && text(ours).starts_with("tx")
            }),
        ),
        // The server's own id beside that of the request, for its support; a payload has none.
        ("responseElements.x-amz-id-2", only_theirs()),
        // Extensions of Ceph.
        ("eventId", only_theirs()),
        ("opaqueData", only_theirs()),
        ("s3.bucket.id", only_theirs()),
        ("s3.object.metadata", only_theirs()),
        ("s3.object.tags", only_theirs()),
    ];
    if is_removal {
        // Theirs are those of the object that is hidden now; S3 sends neither with a removal.
        reasons.extend([("s3.object.size", only_theirs()), ("s3.object.eTag", only_theirs())]);
    }
    reasons
}

struct Pushed {
    gateway: Gateway,
    receiver: Receiver,
    bucket: String,
}

/// A bucket with versions whose events are pushed to a receiver of the test.
async fn pushed() -> Pushed {
    let gateway = Gateway::new();
    let receiver = Receiver::on("0.0.0.0:0", |_| Answer::status("200 OK")).await;
    let host = std::env::var("TASKQUEUE_S3_PUSH_HOST").unwrap_or_else(|_| "172.17.0.1".to_owned());
    let endpoint = format!("http://{host}:{}", receiver.address.port());
    let (bucket, topic) = (unique("photos"), unique("topic"));
    gateway.put(&format!("/{bucket}"), "").await;
    let versions = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    configure(&gateway, &bucket, "versioning", versions.to_owned()).await;
    let created = gateway
        .send(Request {
            method: Method::POST,
            path: "/",
            query: &[],
            body: format!(
                "Action=CreateTopic&Name={topic}&Attributes.entry.1.key=push-endpoint&Attributes.entry.1.value={}\
                 &Version=2010-03-31",
                encoded(&endpoint, false)
            ),
            service: "sns",
        })
        .await;
    let answer = created.text().await.unwrap();
    let arn = answer.split_once("<TopicArn>").unwrap().1.split_once("</TopicArn>").unwrap().0;
    let rules = format!(
        "<NotificationConfiguration><TopicConfiguration><Id>{RULE}</Id><Topic>{arn}</Topic>\
         <Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event></TopicConfiguration>\
         </NotificationConfiguration>"
    );
    configure(&gateway, &bucket, "notification", rules).await;
    Pushed { gateway, receiver, bucket }
}

async fn configure(gateway: &Gateway, bucket: &str, what: &str, body: String) {
    let path = format!("/{bucket}");
    let query = [(what, "")];
    gateway.send(Request { method: Method::PUT, path: &path, query: &query, body, service: "s3" }).await;
}

impl Pushed {
    /// The `number`th record that the gateway pushed.
    async fn record(&self, number: usize) -> Value {
        wait_until(async || self.receiver.received().len() > number).await;
        let pushed: Value = serde_json::from_slice(&self.receiver.received()[number].body).unwrap();
        pushed["Records"][0].clone()
    }

    /// What the store would enqueue for its own record: what the test knows, and of what only the gateway knows (when,
    /// from where, in which order) what it says, once that has the right form.
    fn payload(&self, response: &Response, theirs: &Value) -> EventPayload {
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let time = theirs["eventTime"].as_str().unwrap();
        let sequencer = theirs["s3"]["object"]["sequencer"].as_str().unwrap().to_owned();
        assert!(
            !sequencer.is_empty() && sequencer.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{sequencer}"
        );
        EventPayload {
            event_name: format!("s3:{}", theirs["eventName"].as_str().unwrap()),
            bucket: self.bucket.clone(),
            key: KEY.to_owned(),
            size: theirs["s3"]["object"]["size"].as_u64().unwrap(),
            etag: header("etag").unwrap_or_default().trim_matches('"').to_owned(),
            version_id: header("x-amz-version-id"),
            owner_id: "tester".to_owned(),
            request_id: header("x-amz-request-id").unwrap(),
            source_ip: theirs["requestParameters"]["sourceIPAddress"].as_str().unwrap().to_owned(),
            timestamp: time.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis(),
            sequencer,
            user_agent: None,
        }
    }
}

/// The record that our handler delivers of this payload.
async fn ours(payload: &EventPayload) -> Value {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let sender = WebhookSender::new(WebhookConfig::default().addresses(AddressPolicy::Any)).unwrap();
    let config = RecordConfig::default().configuration_id(RULE).region("default");
    let handler = EventHandler::new(WebhookSink::new(sender, receiver.endpoint("/"))).record(config);
    handler.deliver(TaskId::generate(), None, payload).await.unwrap();
    let delivered: Value = serde_json::from_slice(&receiver.only().body).unwrap();
    delivered["Records"][0].clone()
}

/// Every leaf of a record by its path.
fn fields(record: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(record, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let Value::Object(members) = value else {
        found.insert(path.to_owned(), value.clone());
        return;
    };
    for (name, value) in members {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(value, &path, found);
    }
}

fn assert_same(theirs: &Value, ours: &Value, reasons: &[(&str, Reason)]) {
    let (theirs, ours) = (fields(theirs), fields(ours));
    for field in theirs.keys().chain(ours.keys()) {
        let (their, our) = (theirs.get(field), ours.get(field));
        let has_reason = reasons.iter().any(|(name, reason)| name == field && reason(their, our));
        assert!(same(field, their, our) || has_reason, "{field}: the gateway says {their:?}, we say {our:?}");
    }
    for field in DOCUMENTED {
        assert!(ours.contains_key(field), "our record has no {field}");
    }
}

/// What the documented record has in any case.
const DOCUMENTED: [&str; 13] = [
    "awsRegion",
    "eventName",
    "eventTime",
    "requestParameters.sourceIPAddress",
    "responseElements.x-amz-request-id",
    "userIdentity.principalId",
    "s3.s3SchemaVersion",
    "s3.configurationId",
    "s3.bucket.name",
    "s3.bucket.ownerIdentity.principalId",
    "s3.object.key",
    "s3.object.versionId",
    "s3.object.sequencer",
];

/// The gateway writes times to the microsecond, S3 to the millisecond: the same moment is the same.
fn same(field: &str, their: Option<&Value>, our: Option<&Value>) -> bool {
    if field != "eventTime" {
        return their == our;
    }
    let millis = |value: Option<&Value>| {
        let time: chrono::DateTime<chrono::Utc> = value?.as_str()?.parse().ok()?;
        Some(time.timestamp_millis())
    };
    millis(their).is_some() && millis(their) == millis(our)
}

#[tokio::test]
async fn our_record_of_a_created_object_is_the_gateways_but_for_what_is_listed() {
    let _proof =
        proof::begin("event", "the record is what the gateway itself pushes, field by field", "Ceph RGW 20");
    let pushed = pushed().await;
    let response = pushed.gateway.put(&format!("/{}/{KEY}", pushed.bucket), "a red car").await;
    let theirs = pushed.record(0).await;
    let payload = pushed.payload(&response, &theirs);
    assert_eq!((payload.event_name.as_str(), payload.size), ("s3:ObjectCreated:Put", 9));
    assert_same(&theirs, &ours(&payload).await, &reasons(&payload.request_id, false));
}

#[tokio::test]
async fn our_record_of_a_removed_object_is_the_gateways_but_for_what_is_listed() {
    let _proof = proof::begin("event", "so is that of a removal", "Ceph RGW 20");
    let pushed = pushed().await;
    let path = format!("/{}/{KEY}", pushed.bucket);
    pushed.gateway.put(&path, "a red car").await;
    pushed.record(0).await;
    let response = pushed.gateway.delete(&path).await;
    let theirs = pushed.record(1).await;
    let payload = pushed.payload(&response, &theirs);
    assert_eq!(payload.event_name, "s3:ObjectRemoved:DeleteMarkerCreated");
    assert_same(&theirs, &ours(&payload).await, &reasons(&payload.request_id, true));
}
