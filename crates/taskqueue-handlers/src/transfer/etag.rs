//! What an ETag of S3 says of the data, by its form. It owns that form.

/// What an ETag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Etag {
    /// 32 hexadecimal digits: the MD5 of the data, unless it is encrypted with a customer's key, of which the ETag
    /// says nothing.
    Md5,
    /// Of an object that was sent in this many parts: the MD5 of the parts' MD5s.
    Composite(u32),
    /// Nothing.
    Opaque,
}

impl Etag {
    /// What `text`, without quotes, says.
    pub(crate) fn of(text: &str) -> Self {
        let is_md5 = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.split_once('-') {
            None if is_md5(text) => Self::Md5,
            Some((md5, parts)) if is_md5(md5) => parts.parse().map_or(Self::Opaque, Self::Composite),
            _ => Self::Opaque,
        }
    }
}

/// Bytes in hexadecimal, as ETags have them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_etag_says_what_it_is() {
        assert_eq!(Etag::of("d41d8cd98f00b204e9800998ecf8427e"), Etag::Md5);
        assert_eq!(Etag::of("d41d8cd98f00b204e9800998ecf8427e-12"), Etag::Composite(12));
        for opaque in ["", "abc", "d41d8cd98f00b204e9800998ecf8427e-", "xyz-1"] {
            assert_eq!(Etag::of(opaque), Etag::Opaque);
        }
    }
}
