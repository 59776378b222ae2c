//! Changes of a target that are made only while it is as it was looked at, also in stores that know no conditions: these
//! are asked without, right after one more look. It knows no source.

use crate::store::{
    Condition, ObjectRef, ObjectStore, Part, StoreError, StoreErrorKind, Upload, Written, found,
};

/// Makes the parts one object, as `condition` says.
pub(crate) async fn complete(
    target: &dyn ObjectStore,
    upload: &Upload,
    parts: &[Part],
    condition: &Condition,
) -> Result<Written, StoreError> {
    match target.complete_upload(upload, parts, condition).await {
        Err(error) if is_not_known(condition, &error) => {
            look(target, &upload.object, condition).await?;
            target.complete_upload(upload, parts, &Condition::Always).await
        }
        completed => completed,
    }
}

/// Deletes the object, as `condition` says. One that is absent is deleted already.
pub(crate) async fn delete(
    target: &dyn ObjectStore,
    object: &ObjectRef,
    condition: &Condition,
) -> Result<(), StoreError> {
    let deleted = match target.delete(object, condition).await {
        Err(error) if is_not_known(condition, &error) => {
            let Some(info) = found(target.head(object).await)? else { return Ok(()) };
            check(object, condition, Some(&info.etag))?;
            target.delete(object, &Condition::Always).await
        }
        deleted => deleted,
    };
    found(deleted).map(drop)
}

/// Whether a change failed because the store has no such condition.
pub(super) fn is_not_known(condition: &Condition, error: &StoreError) -> bool {
    *condition != Condition::Always && error.kind() == StoreErrorKind::NotSupported
}

/// Fails as a change under `condition` would that does not hold now.
pub(super) async fn look(
    target: &dyn ObjectStore,
    object: &ObjectRef,
    condition: &Condition,
) -> Result<(), StoreError> {
    let there = found(target.head(object).await)?;
    check(object, condition, there.as_ref().map(|info| info.etag.as_str()))
}

fn check(object: &ObjectRef, condition: &Condition, etag: Option<&str>) -> Result<(), StoreError> {
    if condition.holds(etag) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::PreconditionFailed, format!("{object} has changed")))
}
