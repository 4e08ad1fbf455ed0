//! The two verifiers that rustls calls during a handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::super::verify::{CertProblem, Named, PeerStore, PeerTrust, Usage};
use super::rejections::Rejections;

fn chain_of<'a>(end_entity: &CertificateDer<'a>, intermediates: &[CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    core::iter::once(end_entity).chain(intermediates).cloned().collect()
}

/// Lets a client certificate in that verifies for any one peer.
#[derive(Debug)]
pub(super) struct ListenerVerifier {
    pub(super) store: Arc<PeerStore>,
    pub(super) mandatory: bool,
    pub(super) rejections: Arc<Rejections>,
}

impl ClientCertVerifier for ListenerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// Empty: the client sends what it has. A list would tell strangers whom we federate with.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = chain_of(end_entity, intermediates);
        match self.store.verify_any(&chain, now, Usage::Client) {
            Ok(Named::Yes) => Ok(ClientCertVerified::assertion()),
            // A user of the peer may come with such a one; who takes it for the peer's is refused by `decide`.
            Ok(Named::No(peer, problem)) => {
                self.rejections.unnamed(&peer.name, &chain, now, problem);
                Ok(ClientCertVerified::assertion())
            }
            Err(problem) => Err(self.rejections.refuse(None, &chain, now, problem)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.store.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.store.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.store.algorithms.supported_schemes()
    }
}

/// Accepts the certificate of one peer's server: that peer's anchors and names, nobody else's.
#[derive(Debug)]
pub(super) struct TrunkVerifier {
    pub(super) peer: Arc<PeerTrust>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) rejections: Arc<Rejections>,
}

impl TrunkVerifier {
    fn check(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), CertProblem> {
        let how = self.peer.verify(chain, now, Usage::Server, &self.algorithms)?;
        self.peer.named(chain, how)
    }
}

impl ServerCertVerifier for TrunkVerifier {
    /// The server name is only what we asked for by SNI; the peer's own names decide.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = chain_of(end_entity, intermediates);
        match self.check(&chain, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(problem) => Err(self.rejections.refuse(Some(&self.peer.name), &chain, now, problem)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
