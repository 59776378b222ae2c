//! The S3 notification record of an event, as JSON. Pure. Source of the form: "Event message structure" in the
//! user guide of Amazon S3, event version 2.1.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use taskqueue_core::payloads::EventPayload;

use crate::HandlerError;

/// The region of records whose task has none, unless configured otherwise.
pub const REGION_DEFAULT: &str = "us-east-1";

/// What records say that is not in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordConfig {
    /// `awsRegion` of records whose task has no region. `us-east-1` by default.
    pub region: String,
    /// `configurationId`: which notification rule matched. `taskqueue` by default.
    pub configuration_id: String,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self { region: REGION_DEFAULT.to_owned(), configuration_id: "taskqueue".to_owned() }
    }
}

impl RecordConfig {
    /// Sets the region of records whose task has none.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets which notification rule records say that matched.
    #[must_use]
    pub fn configuration_id(mut self, id: impl Into<String>) -> Self {
        self.configuration_id = id.into();
        self
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Notification<'a> {
    records: [Record<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    event_version: &'static str,
    event_source: &'static str,
    aws_region: &'a str,
    event_time: String,
    event_name: &'a str,
    user_identity: Identity<'a>,
    request_parameters: RequestParameters<'a>,
    response_elements: ResponseElements<'a>,
    s3: S3<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    principal_id: &'a str,
}

#[derive(Serialize)]
struct RequestParameters<'a> {
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'a str,
}

#[derive(Serialize)]
struct ResponseElements<'a> {
    #[serde(rename = "x-amz-request-id")]
    request_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct S3<'a> {
    s3_schema_version: &'static str,
    configuration_id: &'a str,
    bucket: Bucket<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Object<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bucket<'a> {
    name: &'a str,
    owner_identity: Identity<'a>,
    arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e_tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<&'a str>,
    sequencer: &'a str,
}

/// `{"Records":[…]}` with the one record of this event.
pub(super) fn notification(
    event: &EventPayload,
    region: Option<&str>,
    config: &RecordConfig,
) -> Result<String, HandlerError> {
    let time = DateTime::from_timestamp_millis(event.timestamp).ok_or_else(|| {
        HandlerError::permanent(format!(
            "event timestamp {} is no time in Unix milliseconds",
            event.timestamp
        ))
    })?;
    let record = Record {
        event_version: "2.1",
        event_source: "aws:s3",
        aws_region: region.unwrap_or(&config.region),
        event_time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
        event_name: event.event_name.strip_prefix("s3:").unwrap_or(&event.event_name),
        // The payload names no requester but the owner, who is the requester wherever there is one tenant a bucket.
        user_identity: Identity { principal_id: &event.owner_id },
        request_parameters: RequestParameters { source_ip_address: &event.source_ip },
        response_elements: ResponseElements { request_id: &event.request_id },
        s3: S3 {
            s3_schema_version: "1.0",
            configuration_id: &config.configuration_id,
            bucket: Bucket {
                name: &event.bucket,
                owner_identity: Identity { principal_id: &event.owner_id },
                arn: format!("arn:aws:s3:::{}", event.bucket),
            },
            object: object(event),
        },
    };
    Ok(serde_json::to_string(&Notification { records: [record] })
        .expect("a record is strings and numbers, which have a JSON form"))
}

/// Events of a bucket have no object; those of a removal have no size and no ETag, as with S3.
fn object(event: &EventPayload) -> Option<Object<'_>> {
    let exists = !event.event_name.contains("ObjectRemoved:") && !event.etag.is_empty();
    (!event.key.is_empty()).then(|| Object {
        key: encode_key(&event.key),
        size: exists.then_some(event.size),
        e_tag: exists.then_some(&event.etag),
        version_id: event.version_id.as_deref(),
        sequencer: &event.sequencer,
    })
}

/// The form encoding that S3 has in its records: a space is `+`, and slashes stay as they are.
fn encode_key(key: &str) -> String {
    let encode = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    key.split('/').map(encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn event() -> EventPayload {
        EventPayload {
            event_name: "s3:ObjectCreated:Put".to_owned(),
            bucket: "photos".to_owned(),
            key: "2026/red car (1).jpg".to_owned(),
            size: 1024,
            etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            version_id: Some("v1".to_owned()),
            owner_id: "owner".to_owned(),
            request_id: "C3D13FE58DE4C810".to_owned(),
            source_ip: "203.0.113.7".to_owned(),
            timestamp: 1_767_225_600_123,
            sequencer: "0055AED6DCD90281E5".to_owned(),
            user_agent: None,
        }
    }

    fn parse(event: &EventPayload, region: Option<&str>) -> Value {
        let json = notification(event, region, &RecordConfig::default()).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn an_event_becomes_the_record_that_s3_sends() {
        let expected = json!({"Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-central-1",
            "eventTime": "2026-01-01T00:00:00.123Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "owner"},
            "requestParameters": {"sourceIPAddress": "203.0.113.7"},
            "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "taskqueue",
                "bucket": {
                    "name": "photos",
                    "ownerIdentity": {"principalId": "owner"},
                    "arn": "arn:aws:s3:::photos"
                },
                "object": {
                    "key": "2026/red+car+%281%29.jpg",
                    "size": 1024,
                    "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                    "versionId": "v1",
                    "sequencer": "0055AED6DCD90281E5"
                }
            }
        }]});
        assert_eq!(parse(&event(), Some("eu-central-1")), expected);
    }

    #[test]
    fn a_task_without_a_region_gets_the_configured_one() {
        assert_eq!(parse(&event(), None)["Records"][0]["awsRegion"], REGION_DEFAULT);
    }

    #[test]
    fn a_removal_has_neither_size_nor_etag() {
        let removal = EventPayload { event_name: "s3:ObjectRemoved:Delete".to_owned(), ..event() };
        let object = &parse(&removal, None)["Records"][0]["s3"]["object"];
        assert!(object.get("size").is_none() && object.get("eTag").is_none(), "{object}");
        assert_eq!(object["key"], "2026/red+car+%281%29.jpg");
    }

    #[test]
    fn an_empty_object_that_was_created_has_its_size_of_zero() {
        let created = EventPayload { size: 0, ..event() };
        assert_eq!(parse(&created, None)["Records"][0]["s3"]["object"]["size"], 0);
    }

    #[test]
    fn an_event_of_a_bucket_has_no_object() {
        let of_bucket = EventPayload { key: String::new(), ..event() };
        assert!(parse(&of_bucket, None)["Records"][0]["s3"].get("object").is_none());
    }

    #[test]
    fn a_timestamp_that_is_no_time_is_a_permanent_failure() {
        let broken = EventPayload { timestamp: i64::MAX, ..event() };
        assert!(notification(&broken, None, &RecordConfig::default()).unwrap_err().is_permanent());
    }

    #[test]
    fn a_key_is_encoded_as_s3_does() {
        assert_eq!(encode_key("a b/ü+&=%.txt"), "a+b/%C3%BC%2B%26%3D%25.txt");
        assert_eq!(encode_key("/-_.*/"), "/-_.*/");
    }

    proptest! {
        #[test]
        fn every_key_comes_back_from_its_encoding(key in any::<String>()) {
            let decoded: String = form_urlencoded::parse(format!("k={}", encode_key(&key)).as_bytes())
                .map(|(_, value)| value.into_owned())
                .collect();
            prop_assert_eq!(decoded, key);
        }
    }
}
