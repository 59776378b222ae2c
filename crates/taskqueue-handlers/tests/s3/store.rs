//! What the port promises of every operation, seen on the gateway.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream;
use taskqueue_handlers::store::{
    Attributes, Body, Condition, CopyObject, GetObject, ListObjects, ListVersions, ObjectRef, ObjectStore,
    S3Config, S3Store, StoreErrorKind,
};

use crate::bucket::{Bucket, config};

const MIB: usize = 1 << 20;
/// With what URLs and XML have trouble with.
const KEY: &str = "a b/ü+&?=%25'\"<x>.txt";

fn attributes() -> Attributes {
    Attributes {
        content_type: Some("text/plain".to_owned()),
        content_encoding: Some("identity".to_owned()),
        content_disposition: Some("inline".to_owned()),
        content_language: Some("en".to_owned()),
        cache_control: Some("no-store".to_owned()),
        metadata: BTreeMap::from([("author".to_owned(), "ada".to_owned())]),
        storage_class: None,
    }
}

fn copy(source: ObjectRef, target: ObjectRef, size: usize) -> CopyObject {
    CopyObject {
        source,
        target,
        size: size as u64,
        if_match: None,
        condition: Condition::Always,
        attributes: None,
        storage_class: None,
    }
}

#[tokio::test]
async fn what_is_put_is_read_back_with_its_attributes() {
    let bucket = Bucket::new().await;
    let object = bucket.object(KEY);
    let body = Bytes::from_static(b"0123456789").into();
    let written = bucket.store.put(&object, &attributes(), &Condition::Always, body).await.unwrap();

    let info = bucket.store.head(&object).await.unwrap();
    assert_eq!((info.size, &info.etag, &info.attributes), (10, &written.etag, &attributes()));
    assert_eq!(bucket.read(KEY).await.unwrap(), b"0123456789");
    assert_eq!(bucket.read_range(KEY, Some((2, 4))).await.unwrap(), b"234");
    let listed =
        bucket.store.list(&ListObjects { bucket: bucket.name.clone(), ..ListObjects::default() }).await;
    let listed = listed.unwrap().objects;
    assert_eq!((listed[0].key.as_str(), listed[0].size, &listed[0].etag), (KEY, 10, &written.etag));
}

#[tokio::test]
async fn an_empty_object_is_put_and_read() {
    let bucket = Bucket::new().await;
    bucket.put("empty", b"").await;
    assert_eq!(bucket.read("empty").await.unwrap(), b"");
}

#[tokio::test]
async fn a_condition_that_does_not_hold_keeps_the_object_as_it_is() {
    let bucket = Bucket::new().await;
    let object = bucket.object("k");
    let first = bucket.put("k", b"first").await;
    let put = |condition: Condition| {
        let (store, object) = (bucket.store.clone(), object.clone());
        async move {
            let body = Bytes::from_static(b"second").into();
            store.put(&object, &Attributes::default(), &condition, body).await.map(drop)
        }
    };
    let refused = [put(Condition::IfAbsent).await, put(Condition::IfMatch("0".repeat(32))).await];
    for refused in
        refused.into_iter().chain([bucket.store.delete(&object, &Condition::IfMatch("0".repeat(32))).await])
    {
        assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::PreconditionFailed);
    }
    let stale = GetObject { object: object.clone(), range: None, if_match: Some("0".repeat(32)) };
    assert_eq!(bucket.store.get(&stale).await.err().unwrap().kind(), StoreErrorKind::PreconditionFailed);
    assert_eq!(bucket.read("k").await.unwrap(), b"first");

    put(Condition::IfMatch(first.etag.clone())).await.unwrap();
    assert_eq!(bucket.read("k").await.unwrap(), b"second");
    bucket.store.delete(&object, &Condition::Always).await.unwrap();
    let absent = put(Condition::IfMatch(first.etag)).await.unwrap_err();
    assert_eq!(absent.kind(), StoreErrorKind::PreconditionFailed);
    put(Condition::IfAbsent).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_is_forbidden() {
    let bucket = Bucket::new().await;
    let absent = bucket.object("absent");
    assert!(bucket.store.head(&absent).await.unwrap_err().is_not_found());
    assert!(bucket.read("absent").await.unwrap_err().is_not_found());
    bucket.store.delete(&absent, &Condition::Always).await.unwrap();
    let nowhere = ObjectRef::new("no-such-bucket-here", "k");
    assert!(bucket.store.delete(&nowhere, &Condition::Always).await.unwrap_err().is_not_found());

    let mut stranger = config();
    stranger.credentials.secret_access_key = "wrong".to_owned();
    let stranger = S3Store::new(stranger).unwrap();
    let list = ListObjects { bucket: bucket.name.clone(), ..ListObjects::default() };
    let refused = stranger.list(&list).await.unwrap_err();
    let expected = (StoreErrorKind::Unavailable, Some("SignatureDoesNotMatch"));
    assert_eq!((refused.kind(), refused.code()), expected, "it is this worker that is refused");
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_leaves_nothing() {
    let bucket = Bucket::new().await;
    for length in [3, 5] {
        let data = stream::iter([Ok(Bytes::from_static(b"fo")), Ok(Bytes::from_static(b"ur"))]);
        let body = Body { length, data: Box::pin(data) };
        let (object, attributes) = (bucket.object("k"), Attributes::default());
        let put = bucket.store.put(&object, &attributes, &Condition::Always, body);
        assert_eq!(put.await.unwrap_err().kind(), StoreErrorKind::Corrupt, "{length}");
    }
    assert!(bucket.store.head(&bucket.object("k")).await.unwrap_err().is_not_found());
}

/// Ceph encodes keys in this listing when it is asked to, without saying so.
#[tokio::test]
async fn uploads_are_listed_page_by_page_under_their_own_keys() {
    let bucket = Bucket::new().await;
    let mut begun = Vec::new();
    for key in [KEY, "b%2Fc", "größe+&"] {
        begun.push(bucket.store.create_upload(&bucket.object(key), &Attributes::default()).await.unwrap());
    }
    let mut list = ListObjects { bucket: bucket.name.clone(), limit: 1, ..ListObjects::default() };
    let mut listed = Vec::new();
    loop {
        let page = bucket.store.list_uploads(&list).await.unwrap();
        listed.extend(page.uploads.into_iter().map(|it| it.upload));
        list.continuation = page.continuation;
        if list.continuation.is_none() {
            break;
        }
    }
    assert_eq!(listed, begun);
    for upload in &listed {
        assert_eq!(bucket.store.list_parts(upload).await.unwrap(), []);
    }
}

#[tokio::test]
async fn parts_become_one_object_and_are_listed_until_then() {
    let bucket = Bucket::new().await;
    let object = bucket.object("large");
    let upload = bucket.store.create_upload(&object, &attributes()).await.unwrap();
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 * MIB), (2, 7)] {
        let body = Bytes::from(vec![number as u8; size]).into();
        parts.push(bucket.store.upload_part(&upload, number, body).await.unwrap());
    }
    assert_eq!(bucket.store.list_parts(&upload).await.unwrap(), parts);
    let list = ListObjects { bucket: bucket.name.clone(), ..ListObjects::default() };
    let uploads = bucket.store.list_uploads(&list).await.unwrap().uploads;
    assert_eq!(uploads.iter().map(|it| &it.upload).collect::<Vec<_>>(), [&upload]);

    bucket.store.complete_upload(&upload, &parts, &Condition::IfAbsent).await.unwrap();
    let info = bucket.store.head(&object).await.unwrap();
    assert_eq!((info.size, info.attributes.metadata), ((5 * MIB + 7) as u64, attributes().metadata));

    let second = bucket.store.create_upload(&object, &Attributes::default()).await.unwrap();
    for _ in 0..2 {
        bucket.store.abort_upload(&second).await.unwrap();
    }
    assert!(bucket.store.list_parts(&second).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn listings_go_on_where_a_page_ended() {
    let bucket = Bucket::versioned().await;
    for key in ["a", "b", "c", "d", "e"] {
        for data in [b"1", b"2"] {
            bucket.put(key, data).await;
        }
    }
    let mut list = ListObjects { bucket: bucket.name.clone(), limit: 2, ..ListObjects::default() };
    let mut keys = Vec::new();
    loop {
        let page = bucket.store.list(&list).await.unwrap();
        keys.extend(page.objects.into_iter().map(|it| it.key));
        list.continuation = page.continuation;
        if list.continuation.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "c", "d", "e"]);
    let after = ListObjects { start_after: Some("c".to_owned()), continuation: None, limit: 0, ..list };
    assert_eq!(bucket.store.list(&after).await.unwrap().objects.len(), 2);

    let mut list = ListVersions { bucket: bucket.name.clone(), limit: 3, ..ListVersions::default() };
    let mut versions = Vec::new();
    loop {
        let page = bucket.store.list_versions(&list).await.unwrap();
        versions.extend(page.versions.into_iter().map(|it| (it.key, it.is_latest)));
        list.after = page.next;
        if list.after.is_none() {
            break;
        }
    }
    let expected: Vec<_> =
        ["a", "b", "c", "d", "e"].iter().flat_map(|key| [(*key, true), (*key, false)]).collect();
    assert_eq!(versions.iter().map(|(key, latest)| (key.as_str(), *latest)).collect::<Vec<_>>(), expected);
    let after = ListVersions { after: Some(("d".to_owned(), None)), limit: 0, ..list };
    let page = bucket.store.list_versions(&after).await.unwrap();
    assert!(page.versions.iter().all(|version| version.key == "e") && page.versions.len() == 2);
}

#[tokio::test]
async fn a_history_of_one_second_is_listed_in_its_order() {
    let bucket = Bucket::versioned().await;
    let keys = ["a", "b", "c"];
    for key in keys {
        for data in ["1", "1", "22", "", "333", ""] {
            match data {
                "" => bucket.store.delete(&bucket.object(key), &Condition::Always).await.unwrap(),
                data => drop(bucket.put(key, data.as_bytes()).await),
            }
        }
    }
    let newest_first = [(true, 0), (false, 3), (true, 0), (false, 2), (false, 1), (false, 1)];
    for key in keys {
        let list = ListVersions { prefix: Some(key.to_owned()), ..ListVersions::default() };
        let page = bucket.store.list_versions(&ListVersions { bucket: bucket.name.clone(), ..list }).await;
        let versions = page.unwrap().versions;
        let listed: Vec<_> = versions.iter().map(|it| (it.is_delete_marker, it.size)).collect();
        assert_eq!(listed, newest_first, "{key}");
    }
    let all = bucket.versions().await.into_iter().map(|it| (it.is_delete_marker, it.size));
    assert_eq!(all.collect::<Vec<_>>(), newest_first.repeat(keys.len()));
}

#[tokio::test]
async fn many_are_deleted_at_once_absent_ones_and_versions_among_them() {
    let bucket = Bucket::versioned().await;
    let first = bucket.put("a", b"1").await;
    bucket.put("a", b"2").await;
    bucket.put(KEY, b"3").await;
    let objects = [bucket.object("a").version(first.version_id), bucket.object(KEY), bucket.object("absent")];
    let outcomes = bucket.store.delete_many(&bucket.name, &objects).await.unwrap();
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(())]);
    let left: Vec<_> = bucket.versions().await.into_iter().filter(|it| it.key == "a").collect();
    assert_eq!((left.len(), left[0].is_latest), (1, true));
    assert!(bucket.store.head(&bucket.object(KEY)).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_copy_onto_itself_changes_the_class_and_nothing_else() {
    let bucket = Bucket::new().await;
    let object = bucket.object(KEY);
    let body = Bytes::from_static(b"data").into();
    let written = bucket.store.put(&object, &attributes(), &Condition::Always, body).await.unwrap();
    let mut wish = copy(object.clone(), object.clone(), 4);
    wish.if_match = Some("0".repeat(32));
    wish.storage_class = Some("STANDARD_IA".to_owned());
    assert_eq!(bucket.store.copy(&wish).await.unwrap_err().kind(), StoreErrorKind::PreconditionFailed);
    wish.if_match = Some(written.etag.clone());
    bucket.store.copy(&wish).await.unwrap();
    let info = bucket.store.head(&object).await.unwrap();
    let expected = Attributes { storage_class: Some("STANDARD_IA".to_owned()), ..attributes() };
    assert_eq!((info.attributes, info.etag), (expected, written.etag));
}

#[tokio::test]
async fn an_object_that_is_too_large_for_one_copy_is_copied_in_parts_with_its_tags() {
    let bucket = Bucket::new().await;
    let data: Vec<u8> = (0..11 * MIB).map(|at| (at / 1000) as u8).collect();
    let request =
        bucket.client.put_object().bucket(&bucket.name).key("source").tagging("team=a%20b&of=x%2F1");
    request.body(data.clone().into()).send().await.unwrap();
    let store = S3Store::new(S3Config { copy_bytes_max: 5 << 20, ..config() }).unwrap();
    store.copy(&copy(bucket.object("source"), bucket.object("target"), data.len())).await.unwrap();
    assert!(bucket.read("target").await.unwrap() == data);
    assert!(store.head(&bucket.object("target")).await.unwrap().etag.ends_with("-3"), "it was made of parts");
    let tags = [("team", "a b"), ("of", "x/1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(store.tags(&bucket.object("target")).await.unwrap(), BTreeMap::from(tags));
}

#[tokio::test]
async fn tags_are_read() {
    let bucket = Bucket::new().await;
    let request = bucket.client.put_object().bucket(&bucket.name).key("k").tagging("team=a%20b");
    request.send().await.unwrap();
    let tags = bucket.store.tags(&bucket.object("k")).await.unwrap();
    assert_eq!(tags, BTreeMap::from([("team".to_owned(), "a b".to_owned())]));
}
