//! A bucket's notification configuration, in the JSON of `GetBucketNotificationConfiguration`, and what of it matches
//! an event. Pure; it knows neither stores nor sinks.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskqueue_core::payloads::EventPayload;

/// Who is told of what happens in a bucket.
///
/// Its JSON is that of S3's `GetBucketNotificationConfiguration`: `TopicConfigurations`, `QueueConfigurations` and
/// `LambdaFunctionConfigurations`, each with `Id`, an ARN, `Events` and `Filter`. A name that is not known is refused: it
/// may be one of these misspelt, and its events would be told to nobody. So is `EventBridgeConfiguration`, which would ask
/// for deliveries that nobody makes. `ResponseMetadata`, which clients of S3 put beside the answer, is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct NotificationConfiguration {
    /// The rules. All that match are told.
    pub rules: Vec<NotificationRule>,
}

/// Who is told of which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRule {
    /// Its name, which records repeat as `configurationId`; `None`: that of the record's configuration.
    pub id: Option<String>,
    /// In which of the three lists it stands; it makes no other difference.
    pub kind: RuleKind,
    /// Where notifications go: an ARN, whose last part is the name of a destination, or such a name.
    pub destination: String,
    /// Names of events, `s3:ObjectCreated:Put`; a `*` at the end stands for every ending.
    pub events: Vec<String>,
    /// How the key begins, not URL-encoded; empty: anyhow.
    pub prefix: String,
    /// How the key ends, not URL-encoded; empty: anyhow.
    pub suffix: String,
}

/// The list that a rule stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// `TopicConfigurations`.
    Topic,
    /// `QueueConfigurations`.
    Queue,
    /// `LambdaFunctionConfigurations`.
    Function,
}

/// One delivery that an event calls for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// Where to, as the rule says it.
    pub destination: String,
    /// The rule's name, if it has one.
    pub configuration_id: Option<String>,
}

impl NotificationConfiguration {
    /// The deliveries that an event calls for, each once, in a fixed order.
    pub fn matches(&self, event: &EventPayload) -> Vec<Match> {
        let matching = self.rules.iter().filter(|rule| rule.matches(event));
        let mut found: Vec<Match> = matching
            .map(|rule| Match { destination: rule.destination.clone(), configuration_id: rule.id.clone() })
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

impl NotificationRule {
    /// Whether it is to be told of this event.
    pub fn matches(&self, event: &EventPayload) -> bool {
        self.events.iter().any(|pattern| is_of(pattern, &event.event_name))
            && event.key.starts_with(&self.prefix)
            && event.key.ends_with(&self.suffix)
    }
}

/// Names with and without `s3:` are the same: records leave it out.
fn is_of(pattern: &str, name: &str) -> bool {
    let bare = |text| str::strip_prefix(text, "s3:").unwrap_or(text);
    let (pattern, name) = (bare(pattern), bare(name));
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Wire {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topic_configurations: Vec<WireRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue_configurations: Vec<WireRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lambda_function_configurations: Vec<WireRule>,
    #[serde(skip_serializing)]
    event_bridge_configuration: Option<Value>,
    /// Some tools print it with the rest.
    #[serde(rename = "ResponseMetadata", skip_serializing)]
    _response: Option<Value>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct WireRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lambda_function_arn: Option<String>,
    events: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<WireFilter>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct WireFilter {
    key: WireKey,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct WireKey {
    filter_rules: Vec<WireFilterRule>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct WireFilterRule {
    name: String,
    value: String,
}

impl TryFrom<Wire> for NotificationConfiguration {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        if wire.event_bridge_configuration.is_some() {
            return Err("EventBridgeConfiguration is not supported".to_owned());
        }
        let of = |kind, rules: Vec<WireRule>| rules.into_iter().map(move |rule| rule.read(kind));
        let rules = of(RuleKind::Topic, wire.topic_configurations)
            .chain(of(RuleKind::Queue, wire.queue_configurations))
            .chain(of(RuleKind::Function, wire.lambda_function_configurations));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }
}

impl WireRule {
    fn read(self, kind: RuleKind) -> Result<NotificationRule, String> {
        let (arn, name) = match kind {
            RuleKind::Topic => (self.topic_arn, "TopicArn"),
            RuleKind::Queue => (self.queue_arn, "QueueArn"),
            RuleKind::Function => (self.lambda_function_arn, "LambdaFunctionArn"),
        };
        let of = self.id.as_deref().unwrap_or("without Id").to_owned();
        let destination = arn.filter(|arn| !arn.is_empty()).ok_or(format!("rule {of}: no {name}"))?;
        if let Some(event) = self.events.iter().find(|event| !event.starts_with("s3:")) {
            return Err(format!("rule {of}: event {event:?} does not begin with s3:"));
        }
        if self.events.is_empty() {
            return Err(format!("rule {of}: no Events"));
        }
        let mut rule = NotificationRule {
            id: self.id.filter(|id| !id.is_empty()),
            kind,
            destination,
            events: self.events,
            prefix: String::new(),
            suffix: String::new(),
        };
        for WireFilterRule { name, value } in self.filter.unwrap_or_default().key.filter_rules {
            // AWS itself writes them with capitals in its answers.
            let place = match name.to_ascii_lowercase().as_str() {
                "prefix" => &mut rule.prefix,
                "suffix" => &mut rule.suffix,
                _ => return Err(format!("rule {of}: filter {name:?} is neither prefix nor suffix")),
            };
            if !std::mem::replace(place, value).is_empty() {
                return Err(format!("rule {of}: filter {name:?} stands there twice"));
            }
        }
        Ok(rule)
    }
}

impl From<NotificationConfiguration> for Wire {
    fn from(configuration: NotificationConfiguration) -> Self {
        let mut wire = Self::default();
        for rule in configuration.rules {
            let list = match rule.kind {
                RuleKind::Topic => &mut wire.topic_configurations,
                RuleKind::Queue => &mut wire.queue_configurations,
                RuleKind::Function => &mut wire.lambda_function_configurations,
            };
            list.push(rule.into());
        }
        wire
    }
}

impl From<NotificationRule> for WireRule {
    fn from(rule: NotificationRule) -> Self {
        let filters = [("prefix", rule.prefix), ("suffix", rule.suffix)];
        let filter_rules: Vec<_> = filters
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| WireFilterRule { name: name.to_owned(), value })
            .collect();
        let filter = (!filter_rules.is_empty()).then_some(WireFilter { key: WireKey { filter_rules } });
        let mut wire = Self { id: rule.id, events: rule.events, filter, ..Self::default() };
        let arn = match rule.kind {
            RuleKind::Topic => &mut wire.topic_arn,
            RuleKind::Queue => &mut wire.queue_arn,
            RuleKind::Function => &mut wire.lambda_function_arn,
        };
        *arn = Some(rule.destination);
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = r#"{"TopicConfigurations":[{"Id":"images","TopicArn":"arn:aws:sns:::pictures",
        "Events":["s3:ObjectCreated:*"],"Filter":{"Key":{"FilterRules":[{"Name":"prefix","Value":"in/"},
        {"Name":"suffix","Value":".jpg"}]}}}],
        "QueueConfigurations":[{"Id":"all","QueueArn":"arn:aws:sqs:eu-north-1:1:log","Events":["s3:ObjectRemoved:Delete"]}],
        "LambdaFunctionConfigurations":[{"Id":"f","LambdaFunctionArn":"resize","Events":["s3:ObjectCreated:Put"]}]}"#;

    fn configuration(json: &str) -> NotificationConfiguration {
        serde_json::from_str(json).unwrap()
    }

    fn told(configuration: &NotificationConfiguration, name: &str, key: &str) -> Vec<String> {
        let event =
            EventPayload { event_name: name.to_owned(), key: key.to_owned(), ..EventPayload::default() };
        configuration.matches(&event).into_iter().map(|it| it.configuration_id.unwrap()).collect()
    }

    #[test]
    fn the_form_of_s3_is_read_and_written_again() {
        let read = configuration(ALL);
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(configuration(&written), read);
        let expected: Value = serde_json::from_str(ALL).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
    }

    #[test]
    fn an_event_is_told_to_the_rules_whose_name_prefix_and_suffix_match() {
        let rules = configuration(ALL);
        assert_eq!(told(&rules, "s3:ObjectCreated:Copy", "in/a b.jpg"), ["images"]);
        assert_eq!(told(&rules, "s3:ObjectCreated:Put", "in/a.jpg"), ["images", "f"]);
        assert_eq!(told(&rules, "ObjectCreated:Put", "out/a.jpg"), ["f"]);
        assert_eq!(told(&rules, "s3:ObjectRemoved:Delete", "in/a.png"), ["all"]);
        assert_eq!(told(&rules, "s3:ObjectRemoved:DeleteMarkerCreated", "in/a.png"), [""; 0]);
        assert_eq!(told(&rules, "s3:ObjectCreatedX", "in/a.jpg"), [""; 0]);
    }

    #[test]
    fn filters_see_the_key_as_it_is_and_not_url_encoded() {
        let json = ALL.replace("in/", "in b/ü");
        assert_eq!(told(&configuration(&json), "s3:ObjectCreated:Copy", "in b/ü.jpg"), ["images"]);
        assert_eq!(told(&configuration(&json), "s3:ObjectCreated:Copy", "in+b/%C3%BC.jpg"), [""; 0]);
    }

    #[test]
    fn rules_that_say_the_same_are_one_delivery_and_a_bare_star_is_every_event() {
        let rule = r#"{"Id":"a","TopicArn":"t","Events":["s3:*","s3:ObjectCreated:Put"]}"#;
        let twice = configuration(&format!(r#"{{"TopicConfigurations":[{rule},{rule}]}}"#));
        assert_eq!(told(&twice, "s3:ObjectCreated:Put", "k"), ["a"]);
        assert_eq!(told(&twice, "s3:LifecycleExpiration:Delete", "k"), ["a"]);
    }

    #[test]
    fn capital_filter_names_and_response_metadata_are_taken_as_aws_writes_them() {
        let json = ALL.replace("\"prefix\"", "\"Prefix\"").replacen('{', "{\"ResponseMetadata\":{},", 1);
        assert_eq!(configuration(&json), configuration(ALL));
    }

    #[test]
    fn what_would_be_lost_silently_is_refused() {
        for (from, to) in [
            ("\"TopicArn\"", "\"QueueArn\""),
            ("\"prefix\"", "\"regex\""),
            ("\"prefix\"", "\"suffix\""),
            ("s3:ObjectCreated:*", "ObjectCreated"),
            (r#"["s3:ObjectCreated:*"]"#, "[]"),
            ("{\"TopicConf", "{\"EventBridgeConfiguration\":{},\"TopicConf"),
            ("\"TopicConfigurations\"", "\"TopicConfiguration\""),
            ("{\"Key\":", "{\"S3Key\":"),
            ("\"FilterRules\"", "\"FilterRule\""),
            ("\"Filter\":", "\"Filters\":"),
            ("\"Value\":\"in/\"", "\"Value\":\"in/\",\"Values\":[]"),
        ] {
            let json = ALL.replacen(from, to, 1);
            assert_ne!(json, ALL, "{from}");
            assert!(serde_json::from_str::<NotificationConfiguration>(&json).is_err(), "{from} {to}");
        }
    }
}
