//! What requests say, in the SDK's terms.

/// What the requests that write an object have in common, which the SDK has no type for.
macro_rules! with_attributes {
    ($request:expr, $attributes:expr) => {{
        let attributes = $attributes;
        $request
            .set_content_type(attributes.content_type.clone())
            .set_content_encoding(attributes.content_encoding.clone())
            .set_content_disposition(attributes.content_disposition.clone())
            .set_content_language(attributes.content_language.clone())
            .set_cache_control(attributes.cache_control.clone())
            .set_metadata(Some(attributes.metadata.clone().into_iter().collect()))
    }};
}
pub(super) use with_attributes;
