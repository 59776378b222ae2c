//! The JSON habit of Go's `omitempty`, which the shared format has: an optional field that is empty is left out,
//! and absent, null and empty read the same. It knows no payload.

use serde::{Deserialize, Deserializer};

/// Whether a field is left out.
pub(super) fn is_empty<T: Default + PartialEq>(field: &Option<T>) -> bool {
    field.as_ref().is_none_or(|value| *value == T::default())
}

/// Reads a field that is there; empty reads as `None`.
pub(super) fn read<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    Ok(Option::<T>::deserialize(deserializer)?.filter(|value| *value != T::default()))
}
