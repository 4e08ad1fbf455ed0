//! rustls configurations for trunks: TLS 1.2 (ECDHE with AEAD only) and 1.3, own verifiers, own certificate on both sides.
//!
//! No session resumption, no tickets, no early data, no ALPN: a resumed session would outlive a revocation. rustls has
//! no renegotiation. The listener's verifier lets in what verifies for any one peer; which peer that is, and whether
//! its names count, comes from [`identify`] and `policy::identity` after the handshake. The outgoing verifier is one
//! peer's alone and judges names itself.

mod local;
mod rejections;
mod verifiers;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

pub use local::LocalIdentity;
pub use rejections::{Rejection, Rejections};

use super::names::names_of;
use super::verify::{How, PeerStore, PeerTrust, Usage};
use crate::policy::identity::Identity;
use verifiers::{ListenerVerifier, TrunkVerifier};

/// The cryptography this build uses, named explicitly everywhere: nothing relies on a process-wide default.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "ring")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    compile_error!("one of the features `ring` and `aws-lc-rs` is needed");
    Arc::new(provider)
}

/// Whether a listener asks its clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It does not.
    None,
    /// It does; a client without one is let in, a client with a bad one is not.
    Request,
    /// It does, and a client without one is not let in.
    Require,
}

/// The configuration of a listener.
///
/// # Errors
/// When the provider supports neither TLS 1.2 nor 1.3.
pub fn server_config(
    identity: &LocalIdentity,
    store: &Arc<PeerStore>,
    client_auth: ClientAuth,
    rejections: &Arc<Rejections>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(VERSIONS)?;
    let builder = match client_auth {
        ClientAuth::None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
        asks => builder.with_client_cert_verifier(Arc::new(ListenerVerifier {
            store: Arc::clone(store),
            mandatory: asks == ClientAuth::Require,
            rejections: Arc::clone(rejections),
        })),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The configuration of connections to one peer. They succeed only if the peer's certificate verifies against that
/// peer's own anchors and names one of its domains or `tls.names`, or is pinned; the host that DNS led to plays no part.
///
/// # Errors
/// When the provider supports neither TLS 1.2 nor 1.3.
pub fn client_config(
    identity: &LocalIdentity,
    peer: &Arc<PeerTrust>,
    rejections: &Arc<Rejections>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let verifier = TrunkVerifier {
        peer: Arc::clone(peer),
        algorithms: provider.signature_verification_algorithms,
        rejections: Arc::clone(rejections),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified))));
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

static VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The name to send in the server name indication to a peer: its first domain, else its first `tls.names` entry
/// (RFC 5922 section 7.3 compares against what was asked for, never the SRV target). `None` when it has neither.
#[must_use]
pub fn server_name(peer: &PeerTrust) -> Option<ServerName<'static>> {
    peer.domains
        .iter()
        .chain(&peer.names)
        .find_map(|name| ServerName::try_from(name.to_string()).ok())
}

/// Who the other end of a finished handshake is. `chain` is what rustls reports as the peer's certificates (`None` when
/// it sent none), `usage` the side it was on.
///
/// Checks every peer's own anchors again: the listener's verifier has only found that one of them fits.
#[must_use]
pub fn identify(chain: Option<&[CertificateDer<'_>]>, store: &PeerStore, now: UnixTime, usage: Usage) -> Identity {
    let Some((end_entity, chain)) = chain.and_then(|c| Some((c.first()?, c))) else {
        return Identity::no_tls("no certificate was sent");
    };
    let Ok(names) = names_of(end_entity) else {
        return Identity::no_tls("the certificate cannot be parsed");
    };
    let (mut anchored, mut pinned) = (Vec::new(), Vec::new());
    for (peer, how) in store.verifying(chain, now, usage) {
        anchored.push(peer.id);
        if how == How::Pin {
            pinned.push(peer.id);
        }
    }
    if anchored.is_empty() {
        return Identity::no_tls("the certificate verifies for no peer");
    }
    let chain = chain.iter().map(|c| Box::from(c.as_ref())).collect();
    Identity::TlsPeer {
        names,
        anchored,
        pinned,
        chain,
    }
}

#[cfg(test)]
mod tests;
