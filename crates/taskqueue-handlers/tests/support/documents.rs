//! What every store of documents does, whatever it keeps them in.

use std::sync::Arc;

use taskqueue_core::{Clock, ManualClock, TaskId};
use taskqueue_handlers::documents::{DocumentId, DocumentStore, Documents, ListNames, RestoreDocument};
use taskqueue_handlers::event::{NotificationConfigStore, NotificationConfiguration};
use taskqueue_handlers::federation::{ExternalBucket, FederationConfig, FederationConfigStore};
use taskqueue_handlers::restore::{RestoreProgress, RestoreStatus, RestoreStatusStore};
use taskqueue_handlers::store::ObjectRef;

fn id(name: &str) -> DocumentId<'_> {
    DocumentId { kind: "notification", name }
}

/// Names that a careless store takes for each other, or for something else.
const NAMES: [&str; 9] = ["a", "A", "a ", "a/b", "../a", "a.json", ".a", "ä", "%61"];

/// Runs everything on an empty store.
pub(crate) async fn behaves(store: impl DocumentStore) {
    let store = Arc::new(store);
    what_is_written_is_read_back_until_it_is_removed(&*store).await;
    names_are_listed_in_the_order_of_their_bytes(&*store).await;
    long_names_and_texts_are_kept_whole(&*store).await;
    writers_at_the_same_time_leave_one_of_their_documents(&store).await;
    handlers_find_their_configurations(store).await;
}

async fn what_is_written_is_read_back_until_it_is_removed(store: &dyn DocumentStore) {
    assert_eq!(store.get(id("a")).await.unwrap(), None);
    store.delete(id("a")).await.unwrap();
    for text in ["{\"é\": 1.50}", "[\"another\"]"] {
        store.put(id("a"), text).await.unwrap();
        assert_eq!(store.get(id("a")).await.unwrap().as_deref(), Some(text));
    }
    let of_another_kind = DocumentId { kind: "federation", name: "a" };
    assert_eq!(store.get(of_another_kind).await.unwrap(), None);
    store.delete(id("a")).await.unwrap();
    assert_eq!(store.get(id("a")).await.unwrap(), None);
}

async fn names_are_listed_in_the_order_of_their_bytes(store: &dyn DocumentStore) {
    for name in NAMES {
        store.put(id(name), &format!("{name:?}")).await.unwrap();
    }
    let mut sorted = NAMES.to_vec();
    sorted.sort_unstable();
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = store.list(ListNames { kind: "notification", after: &after, limit: 2 }).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after.clone_from(last);
        listed.extend(page);
    }
    assert_eq!(listed, sorted);
    for name in NAMES {
        assert_eq!(store.get(id(name)).await.unwrap(), Some(format!("{name:?}")));
        store.delete(id(name)).await.unwrap();
    }
    assert!(store.list(ListNames { kind: "notification", after: "", limit: 9 }).await.unwrap().is_empty());
}

async fn long_names_and_texts_are_kept_whole(store: &dyn DocumentStore) {
    let (long, longer) = ("ü/".repeat(340), format!("{}x", "ü/".repeat(340)));
    let text = format!("{:?}", "x".repeat(200_000));
    store.put(id(&long), &text).await.unwrap();
    store.put(id(&longer), "1").await.unwrap();
    assert_eq!(store.get(id(&long)).await.unwrap(), Some(text));
    let names = store.list(ListNames { kind: "notification", after: "", limit: 9 }).await.unwrap();
    assert_eq!(names, [long.clone(), longer.clone()]);
    for name in [long, longer] {
        store.delete(id(&name)).await.unwrap();
    }
}

async fn writers_at_the_same_time_leave_one_of_their_documents(store: &Arc<impl DocumentStore>) {
    let texts: Vec<String> = (0..10).map(|number| format!("[{number}]")).collect();
    let writes = texts.iter().map(|text| {
        let (store, text) = (Arc::clone(store), text.clone());
        tokio::spawn(async move { store.put(id("a"), &text).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    assert!(texts.contains(&store.get(id("a")).await.unwrap().unwrap()));
    store.delete(id("a")).await.unwrap();
}

async fn handlers_find_their_configurations(store: Arc<impl DocumentStore>) {
    let documents = Documents::new(store);
    let json =
        r#"{"TopicConfigurations":[{"Id":"t","TopicArn":"pictures","Events":["s3:ObjectCreated:*"]}]}"#;
    let configuration: NotificationConfiguration = serde_json::from_str(json).unwrap();
    documents.write("photos", &configuration).await.unwrap();
    let found = NotificationConfigStore::get(&documents, "photos").await.unwrap();
    assert_eq!(found, Some(Arc::new(configuration)));
    assert_eq!(NotificationConfigStore::get(&documents, "others").await.unwrap(), None);
    let external = ExternalBucket {
        endpoint: "https://s3.example.org".into(),
        region: "eu-north-1".into(),
        bucket: "old".into(),
        credentials: "partner".into(),
    };
    let federation = FederationConfig::new("photos", external);
    documents.write("photos", &federation).await.unwrap();
    assert_eq!(FederationConfigStore::get(&documents, "photos").await.unwrap(), Some(federation));
    documents.remove::<FederationConfig>("photos").await.unwrap();
    assert_eq!(FederationConfigStore::get(&documents, "photos").await.unwrap(), None);
    a_restore_is_told_of_and_the_later_word_counts(&documents).await;
    assert_eq!(documents.names::<NotificationConfiguration>("", 9).await.unwrap(), ["photos"]);
    assert!(documents.write("", &NotificationConfiguration::default()).await.unwrap_err().is_permanent());
}

async fn a_restore_is_told_of_and_the_later_word_counts(documents: &Documents) {
    let object_id = TaskId::generate().as_uuid();
    let mut progress = RestoreProgress {
        object_id,
        request_id: "C3D13FE58DE4C810".to_owned(),
        object: ObjectRef::new("photos", "a/b"),
        status: RestoreStatus::Requested,
        expires_at: None,
        at: ManualClock::default().now(),
    };
    for status in RestoreStatus::ALL {
        progress.status = status;
        documents.record(&progress).await.unwrap();
        let name = RestoreDocument::name(object_id, &progress.request_id);
        let found = documents.read(&name).await.unwrap();
        assert_eq!(found, Some(RestoreDocument::from(&progress)));
    }
    assert_eq!(documents.names::<RestoreDocument>("", 9).await.unwrap().len(), 1);
}
