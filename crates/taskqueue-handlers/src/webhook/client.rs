//! The HTTP client of deliveries: TLS by rustls with ring, guarded name resolution, no redirects, no proxies. It
//! knows nothing of tasks.

use std::sync::Arc;

use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};
use taskqueue_core::{Error, ErrorKind, Result};

use super::WebhookConfig;
use super::address::GuardedResolver;

/// Builds the client. A proxy would connect on our behalf, past the address check, so none is used.
pub(super) fn build(config: &WebhookConfig) -> Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(tls()?)
        .dns_resolver(Arc::new(GuardedResolver(config.addresses)))
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(config.user_agent.clone())
        .timeout(config.timeout)
        .build()
        .map_err(|source| unusable("cannot build the HTTP client").with_source(source.without_url()))
}

/// The provider is named here rather than installed for the process, which belongs to the application.
fn tls() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| unusable("cannot set up TLS").with_source(source))?;
    Ok(builder.with_root_certificates(roots()).with_no_client_auth())
}

/// The host's roots; Mozilla's where it has none, as in many a small container image.
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn unusable(message: &'static str) -> Error {
    Error::new(ErrorKind::Backend, "webhook", message)
}
