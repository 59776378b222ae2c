//! One attempt to bring an object over: look, decide, copy. It owns the steps and what each does when a store has
//! changed meanwhile; it knows no tasks.

use std::sync::Arc;

use chrono::DateTime;
use taskqueue_core::Timestamp;
use taskqueue_core::payloads::FederationIngestPayload;

use super::discovery::{ingest_of, nanos};
use super::history::{History, Next, is_copy};
use super::{Conflict, FederationConfig, How, Ingested, SOURCE_ETAG_KEY, TransferConfig};
use crate::HandlerError;
use crate::store::{
    Condition, ListObjects, ListVersions, ObjectInfo, ObjectRef, ObjectStore, Upload, Version, Written, found,
};
use crate::transfer::{self, Source, TransferError};

/// How often one attempt looks again because something has changed under it.
const LOOKS_MAX: usize = 4;
/// The version of what was written while a bucket kept none.
const NULL_VERSION: &str = "null";

/// One attempt: what it works on.
pub(super) struct Attempt<'a> {
    pub(super) payload: &'a FederationIngestPayload,
    pub(super) config: &'a FederationConfig,
    pub(super) external: Arc<dyn ObjectStore>,
    pub(super) local: Arc<dyn ObjectStore>,
    pub(super) transfer: TransferConfig,
    pub(super) now: Timestamp,
}

/// The state of the external object that is to be here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    version_id: Option<String>,
    size: u64,
    etag: String,
    last_modified: Timestamp,
}

/// What a look led to.
#[expect(clippy::large_enum_variant, reason = "there is one a step, and it is moved twice")]
enum Step {
    Done(Ingested),
    /// Something has changed since: look again.
    Again,
}

/// What is to be done about the object here.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Leave(How),
    Write(Condition),
}

impl Attempt<'_> {
    /// Makes the attempt.
    pub(super) async fn run(&self) -> Result<Ingested, HandlerError> {
        let mut wanted = Wanted::of(self.payload);
        for look in 0..LOOKS_MAX {
            if look > 0 && self.payload.version_id.is_none() {
                match self.look_outside().await? {
                    Some(info) => wanted = Wanted::found(&info),
                    None => return self.gone().await,
                }
            }
            let step = match self.payload.version_id {
                None => self.bring_current(&wanted).await?,
                Some(_) => self.bring_next_version().await?,
            };
            if let Step::Done(ingested) = step {
                return Ok(ingested);
            }
        }
        Err(HandlerError::transient(format!("{} keeps changing", self.here())))
    }

    /// Aborts the upload that the payload names, if it does. That it cannot be reached now is no reason to fail: it is
    /// given up, and the bucket's lifecycle rules are there for what is left.
    pub(super) async fn drop_upload(&self) {
        let Some(upload) = self.upload() else { return };
        if let Err(error) = self.local.abort_upload(&upload).await {
            tracing::warn!(key = upload.object.key, %error, "an upload that is given up was not aborted");
        }
    }

    async fn bring_current(&self, wanted: &Wanted) -> Result<Step, HandlerError> {
        let here = found(self.local.head(&self.here()).await)?;
        match decide(here.as_ref(), wanted, self.config.conflict) {
            Decision::Leave(how) => self.leave(how).await,
            Decision::Write(condition) => self.write(wanted, &condition, self.upload()).await,
        }
    }

    async fn bring_next_version(&self) -> Result<Step, HandlerError> {
        let external = versions(&*self.external, &self.config.external.bucket, &self.payload.key).await?;
        if external.is_empty() {
            return self.gone().await.map(Step::Done);
        }
        let local = versions(&*self.local, &self.payload.bucket, &self.payload.key).await?;
        let condition = match local.last() {
            Some(newest) if !newest.is_delete_marker => Condition::IfMatch(newest.etag.clone()),
            _ => Condition::IfAbsent,
        };
        let history = History { local: self.with_source_etags(local, &external).await?, external };
        let next = history.next(self.payload.version_id.as_deref());
        let Next::Version(version, following) = next else { return self.leave(How::Present).await };
        let own = history.newest_of_its_own().filter(|own| own.last_modified > version.last_modified);
        if own.is_some() && self.config.conflict == Conflict::KeepNewer {
            return self.leave(How::KeptNewer).await;
        }
        let step = if version.is_delete_marker {
            self.leave_marker().await?
        } else {
            let upload = self.upload().filter(|_| self.payload.version_id == version.version_id);
            if upload.is_none() {
                self.drop_upload().await;
            }
            self.write(&Wanted::listed(version), &condition, upload).await?
        };
        Ok(match step {
            // Not there any more, though it was listed: another is next.
            Step::Done(Ingested { how: How::Gone, .. }) => Step::Again,
            Step::Done(ingested) if ingested.next.is_none() => {
                let following = following.map(|next| ingest_of(&self.payload.bucket, next.clone(), self.now));
                Step::Done(Ingested { next: following, ..ingested })
            }
            step => step,
        })
    }

    /// Puts a delete marker over what is here.
    async fn leave_marker(&self) -> Result<Step, HandlerError> {
        self.local.delete(&self.here(), &Condition::Always).await?;
        let local = versions(&*self.local, &self.payload.bucket, &self.payload.key).await?;
        match local.last() {
            Some(newest) if newest.is_delete_marker => done(How::Deleted, 0),
            _ => Err(self.keeps_no_versions()),
        }
    }

    async fn write(
        &self,
        wanted: &Wanted,
        condition: &Condition,
        upload: Option<Upload>,
    ) -> Result<Step, HandlerError> {
        let source = Source {
            store: Arc::clone(&self.external),
            object: self.outside().version(wanted.version_id.clone()),
            size: wanted.size,
            etag: wanted.etag.clone(),
            etag_is_md5: self.config.etag_is_md5,
        };
        // Its parts are of the object as it was listed: where it has changed since, they are none of this one's.
        let is_of_another = upload.is_some() && wanted.etag != self.payload.etag;
        if is_of_another {
            self.drop_upload().await;
        }
        match upload.filter(|_| !is_of_another) {
            Some(upload) => self.finish_upload(&source, &upload, condition, wanted).await,
            None if self.transfer.in_parts(wanted.size, &wanted.etag) => {
                self.begin_upload(&source, wanted).await
            }
            None => match transfer::put(&source, &*self.local, &self.here(), condition, None).await {
                Ok(written) => self.written(&written, wanted),
                Err(error) => self.not_copied(error).await,
            },
        }
    }

    async fn begin_upload(&self, source: &Source, wanted: &Wanted) -> Result<Step, HandlerError> {
        let info = match found(self.external.head(&source.object).await)? {
            None => return self.gone().await.map(Step::Done),
            Some(info) if info.etag != wanted.etag => return Ok(Step::Again),
            Some(info) => info,
        };
        let upload = transfer::begin(source, &info.attributes, &*self.local, &self.here()).await?;
        Ok(self.followed_by(How::Begun, wanted, Some(upload.id)))
    }

    async fn finish_upload(
        &self,
        source: &Source,
        upload: &Upload,
        condition: &Condition,
        wanted: &Wanted,
    ) -> Result<Step, HandlerError> {
        let sent = transfer::send_parts(source, &*self.local, upload, &self.transfer).await;
        let written = match sent {
            Ok(parts) => {
                let completed = transfer::complete(&*self.local, upload, &parts, condition).await;
                completed.map_err(TransferError::Target)
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(written) => self.written(&written, wanted),
            // Aborted, or completed by an attempt that could not say so: then the object is found to be here. Or its
            // parts have another size than is configured now.
            Err(error) if error.upload_is_lost() => {
                self.drop_upload().await;
                Ok(self.followed_by(How::Restarted, wanted, None))
            }
            Err(error) if error.source_has_changed() => {
                self.drop_upload().await;
                match self.look_outside().await? {
                    None => self.gone().await.map(Step::Done),
                    Some(info) => Ok(self.followed_by(How::Restarted, &Wanted::found(&info), None)),
                }
            }
            Err(error) => self.not_copied(error).await,
        }
    }

    async fn not_copied(&self, error: TransferError) -> Result<Step, HandlerError> {
        if error.source_is_gone() {
            return self.gone().await.map(Step::Done);
        }
        if error.source_has_changed() || error.target_has_changed() {
            return Ok(Step::Again);
        }
        Err(error.into())
    }

    fn written(&self, written: &Written, wanted: &Wanted) -> Result<Step, HandlerError> {
        let version = written.version_id.as_deref().filter(|id| *id != NULL_VERSION);
        if wanted.version_id.is_some() && version.is_none() {
            return Err(self.keeps_no_versions());
        }
        done(How::Copied, wanted.size)
    }

    /// The end of a task whose object is not outside. A bucket that is not there is another matter: then every object
    /// would seem to be gone.
    async fn gone(&self) -> Result<Ingested, HandlerError> {
        let bucket = self.config.external.bucket.clone();
        self.external.list(&ListObjects { bucket, limit: 1, ..ListObjects::default() }).await?;
        self.drop_upload().await;
        Ok(Ingested { how: How::Gone, bytes: 0, next: None })
    }

    async fn leave(&self, how: How) -> Result<Step, HandlerError> {
        self.drop_upload().await;
        done(how, 0)
    }

    fn followed_by(&self, how: How, wanted: &Wanted, upload_id: Option<String>) -> Step {
        let next = FederationIngestPayload {
            version_id: wanted.version_id.clone(),
            size: wanted.size,
            etag: wanted.etag.clone(),
            last_modified: nanos(wanted.last_modified),
            upload_id,
            ..self.payload.clone()
        };
        Step::Done(Ingested { how, bytes: 0, next: Some(next) })
    }

    async fn look_outside(&self) -> Result<Option<ObjectInfo>, HandlerError> {
        Ok(found(self.external.head(&self.outside().version(self.payload.version_id.clone())).await)?)
    }

    /// The versions here with the ETag of what each is a copy of. Only one that no version outside shares its ETag with,
    /// and some its size, is worth a look.
    async fn with_source_etags(
        &self,
        mut local: Vec<Version>,
        external: &[Version],
    ) -> Result<Vec<Version>, HandlerError> {
        for here in &mut local {
            let has_its_size = |there: &Version| !there.is_delete_marker && there.size == here.size;
            let may_be_copy = !here.is_delete_marker && external.iter().any(has_its_size);
            if may_be_copy && !external.iter().any(|there| is_copy(here, there)) {
                let object = self.here().version(here.version_id.clone());
                if let Some(info) = found(self.local.head(&object).await)? {
                    here.etag = source_etag(&info).to_owned();
                }
            }
        }
        Ok(local)
    }

    fn here(&self) -> ObjectRef {
        ObjectRef::new(&self.payload.bucket, &self.payload.key)
    }

    fn outside(&self) -> ObjectRef {
        ObjectRef::new(&self.config.external.bucket, &self.payload.key)
    }

    fn upload(&self) -> Option<Upload> {
        self.payload.upload_id.clone().map(|id| Upload { object: self.here(), id })
    }

    fn keeps_no_versions(&self) -> HandlerError {
        let bucket = &self.payload.bucket;
        HandlerError::permanent(format!(
            "bucket {bucket:?} keeps no versions: turn them on, or discover without include_versions"
        ))
    }
}

impl Wanted {
    fn of(payload: &FederationIngestPayload) -> Self {
        Self {
            version_id: payload.version_id.clone(),
            size: payload.size,
            etag: payload.etag.clone(),
            last_modified: DateTime::from_timestamp_nanos(payload.last_modified),
        }
    }

    fn found(info: &ObjectInfo) -> Self {
        Self { version_id: None, size: info.size, etag: info.etag.clone(), last_modified: info.last_modified }
    }

    fn listed(version: &Version) -> Self {
        Self {
            version_id: version.version_id.clone(),
            size: version.size,
            etag: version.etag.clone(),
            last_modified: version.last_modified,
        }
    }
}

fn done(how: How, bytes: u64) -> Result<Step, HandlerError> {
    Ok(Step::Done(Ingested { how, bytes, next: None }))
}

/// What is to be done with `here` so that `wanted` is here.
fn decide(here: Option<&ObjectInfo>, wanted: &Wanted, conflict: Conflict) -> Decision {
    let Some(here) = here else { return Decision::Write(Condition::IfAbsent) };
    let is_copy = here.etag == wanted.etag || source_etag(here) == wanted.etag;
    if is_copy && here.size == wanted.size {
        return Decision::Leave(How::Present);
    }
    if conflict == Conflict::KeepNewer && here.last_modified > wanted.last_modified {
        return Decision::Leave(How::KeptNewer);
    }
    Decision::Write(Condition::IfMatch(here.etag.clone()))
}

/// The ETag of what an object here is a copy of: its own, unless it says another.
fn source_etag(info: &ObjectInfo) -> &str {
    info.attributes.metadata.get(SOURCE_ETAG_KEY).unwrap_or(&info.etag)
}

/// The versions of one key, the oldest first; none when there is no such key.
async fn versions(store: &dyn ObjectStore, bucket: &str, key: &str) -> Result<Vec<Version>, HandlerError> {
    let mut newest_first = Vec::new();
    let mut after = None;
    loop {
        let prefix = Some(key.to_owned());
        let page =
            store.list_versions(&ListVersions { bucket: bucket.to_owned(), prefix, after, limit: 0 }).await?;
        // Of the keys that begin with this one it comes first itself.
        let is_past = page.versions.last().is_some_and(|last| last.key != key);
        newest_first.extend(page.versions.into_iter().filter(|version| version.key == key));
        after = page.next.filter(|_| !is_past);
        if after.is_none() {
            newest_first.reverse();
            return Ok(newest_first);
        }
    }
}
