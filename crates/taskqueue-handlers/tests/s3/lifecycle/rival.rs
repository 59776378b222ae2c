//! A store in which something happens after each look at an object, by itself or in a listing, after each copy, and before
//! each part of an upload; in which batches leave locked objects, and which may begin its listings with an empty page.

use async_trait::async_trait;
use taskqueue_handlers::store::*;

#[async_trait]
pub(super) trait Looks: Send + Sync + 'static {
    fn store(&self) -> &dyn ObjectStore;
    async fn looked(&self);
    async fn copied(&self) {}
    async fn sends_part(&self, _number: u32) {}
    fn begins_with_an_empty_page(&self) -> bool {
        false
    }
    fn is_locked(&self, _object: &ObjectRef) -> bool {
        false
    }
}

pub(super) struct Between<L>(pub(super) L);

type Answer<T> = Result<T, StoreError>;

#[async_trait]
impl<L: Looks> ObjectStore for Between<L> {
    async fn head(&self, object: &ObjectRef) -> Answer<ObjectInfo> {
        let info = self.0.store().head(object).await;
        self.0.looked().await;
        info
    }
    async fn get(&self, get: &GetObject) -> Answer<ObjectBody> {
        self.0.store().get(get).await
    }
    async fn put(
        &self,
        object: &ObjectRef,
        with: &Attributes,
        on: &Condition,
        body: Body,
    ) -> Answer<Written> {
        self.0.store().put(object, with, on, body).await
    }
    async fn copy(&self, copy: &CopyObject) -> Answer<Written> {
        let written = self.0.store().copy(copy).await;
        self.0.copied().await;
        written
    }
    async fn delete(&self, object: &ObjectRef, on: &Condition) -> Answer<()> {
        self.0.store().delete(object, on).await
    }
    async fn delete_many(&self, bucket: &str, objects: &[ObjectRef]) -> Answer<Vec<DeleteOutcome>> {
        let free: Vec<_> = objects.iter().filter(|it| !self.0.is_locked(it)).cloned().collect();
        let mut deleted = self.0.store().delete_many(bucket, &free).await?.into_iter();
        let locked =
            |object| Err(StoreError::new(StoreErrorKind::Denied, format!("delete {object}: locked")));
        let outcome = |it| if self.0.is_locked(it) { Some(locked(it)) } else { deleted.next() };
        Ok(objects.iter().map_while(outcome).collect())
    }
    async fn list(&self, list: &ListObjects) -> Answer<ObjectPage> {
        if self.0.begins_with_an_empty_page() && list.continuation.is_none() {
            let start = list.start_after.clone().unwrap_or_default();
            return Ok(ObjectPage { objects: Vec::new(), continuation: Some(start) });
        }
        let page = self.0.store().list(list).await;
        self.0.looked().await;
        page
    }
    async fn list_versions(&self, list: &ListVersions) -> Answer<VersionPage> {
        self.0.store().list_versions(list).await
    }
    async fn create_upload(&self, object: &ObjectRef, with: &Attributes) -> Answer<Upload> {
        self.0.store().create_upload(object, with).await
    }
    async fn upload_part(&self, upload: &Upload, number: u32, body: Body) -> Answer<Part> {
        self.0.sends_part(number).await;
        self.0.store().upload_part(upload, number, body).await
    }
    async fn list_parts(&self, upload: &Upload) -> Answer<Vec<Part>> {
        self.0.store().list_parts(upload).await
    }
    async fn complete_upload(&self, upload: &Upload, parts: &[Part], on: &Condition) -> Answer<Written> {
        self.0.store().complete_upload(upload, parts, on).await
    }
    async fn abort_upload(&self, upload: &Upload) -> Answer<()> {
        self.0.store().abort_upload(upload).await
    }
    async fn list_uploads(&self, list: &ListObjects) -> Answer<UploadPage> {
        self.0.store().list_uploads(list).await
    }
    async fn restore(&self, object: &ObjectRef, restore: &RestoreRequest) -> Answer<RestoreStarted> {
        self.0.store().restore(object, restore).await
    }
}
