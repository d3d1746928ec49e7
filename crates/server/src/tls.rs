//! TLS: certificates and keys from PEM files, read again when they change, and the handshake.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use crate::config::{ClientAuth, Ssl};

pub const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// The first byte of a client's first record.
const HANDSHAKE: u8 = 0x16;
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\
                         Content-Length: 44\r\n\r\nThis port speaks TLS: use an https address.\n";
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a handshake needs. Connections keep what they were made with.
pub struct Tls {
    files: Ssl,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Tls {
    pub fn load(files: Ssl) -> anyhow::Result<Tls> {
        let config = watch::Sender::new(Arc::new(config(&files)?));
        Ok(Tls { files, config })
    }

    /// Shakes hands; who speaks plain HTTP is told so.
    pub async fn accept(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            // What is not read would break the connection before the answer is.
            let mut unread = [0; 4096];
            let _ = stream.read(&mut unread).await?;
            stream.write_all(NOT_TLS).await?;
            stream.shutdown().await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not begin as TLS does"));
        }
        let config = self.config.borrow().clone();
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Reads the files again on SIGHUP and when they have changed, for ever. What can't be read changes nothing, and is
    /// tried again.
    pub async fn renew(self: Arc<Tls>) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::warn!(%error, "certificates are not read again: SIGHUP can't be followed"),
        };
        let mut read = self.changed();
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let tls = self.clone();
            let look = move || {
                let changed = tls.changed();
                (asked || changed != read).then(|| tls.reload().map(|()| changed))
            };
            match tokio::task::spawn_blocking(look).await {
                Ok(Some(Ok(changed))) => {
                    read = changed;
                    tracing::info!("the certificate was read again");
                }
                Ok(Some(Err(error))) => {
                    tracing::warn!("the certificate in use stays, the new one can't be used: {error:#}");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the certificate was not looked at"),
            }
        }
    }

    fn reload(&self) -> anyhow::Result<()> {
        self.config.send_replace(Arc::new(config(&self.files)?));
        Ok(())
    }

    /// When the files were changed last, as far as it can be told.
    fn changed(&self) -> [Option<SystemTime>; 3] {
        let trusted = match &self.files.client_auth {
            ClientAuth::None => None,
            ClientAuth::Want(trusted) | ClientAuth::Need(trusted) => Some(trusted),
        };
        [Some(&self.files.certificate), Some(&self.files.private_key), trusted]
            .map(|path| fs::metadata(path?).and_then(|file| file.modified()).ok())
    }
}

fn config(files: &Ssl) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let verifier = |trusted: &Path| -> anyhow::Result<_> {
        Ok(WebPkiClientVerifier::builder_with_provider(authorities(trusted)?, provider.clone()))
    };
    let builder = match &files.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Want(trusted) => {
            builder.with_client_cert_verifier(verifier(trusted)?.allow_unauthenticated().build()?)
        }
        ClientAuth::Need(trusted) => builder.with_client_cert_verifier(verifier(trusted)?.build()?),
    };
    let certificates = certificates(&files.certificate).context("server.ssl.certificate")?;
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .with_context(|| format!("reading a private key from {}", files.private_key.display()))
        .context("server.ssl.certificate-private-key")?;
    let mut config = builder.with_single_cert(certificates, key).with_context(|| {
        format!("the certificate {} and its key can't be used together", files.certificate.display())
    })?;
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(config)
}

fn authorities(path: &Path) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).context("server.ssl.trust-certificate")? {
        roots.add(certificate).context("server.ssl.trust-certificate")?;
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("reading certificates from {}", path.display());
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.with_context(reading)?;
    anyhow::ensure!(!all.is_empty(), "{} holds no certificate in PEM form", path.display());
    Ok(all)
}
