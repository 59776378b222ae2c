//! Signatures of the Standard Webhooks specification, version 1: HMAC-SHA256 over `id.timestamp.body`. It knows
//! nothing of HTTP.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use taskqueue_core::{Error, Result};

const PREFIX: &str = "whsec_";

/// A signing secret that sender and receiver share. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// Reads `whsec_<base64>`, the form of the specification; any other text is the secret itself, byte for byte.
    ///
    /// # Errors
    /// `InvalidInput` when it is empty, or has the prefix and is not base64. The message does not repeat it.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = match text.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| invalid("signing secret: what follows whsec_ is not base64"))?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.is_empty() {
            return Err(invalid("signing secret: it is empty"));
        }
        Ok(Self(bytes))
    }

    /// The value of `webhook-signature` for a delivery: `v1,<base64>`.
    pub fn sign(&self, id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

fn invalid(message: &'static str) -> Error {
    Error::invalid_input("webhook", message)
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_signature_is_that_of_the_specifications_example() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_without_the_prefix_is_taken_byte_for_byte() {
        let encoded = SigningSecret::parse("whsec_c2VjcmV0").unwrap();
        assert_eq!(SigningSecret::parse("secret").unwrap(), encoded);
    }

    #[test]
    fn a_malformed_secret_is_refused_without_being_repeated() {
        for (text, secret) in [("", "\0"), ("whsec_", "whsec_\0"), ("whsec_not*base64", "not*base64")] {
            let error = SigningSecret::parse(text).unwrap_err().to_string();
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let secret = SigningSecret::parse("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "SigningSecret(hidden)");
    }
}
