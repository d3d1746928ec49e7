//! Accepting connections, and ending without breaking one off: readiness goes false, requests are still taken until load
//! balancers have noticed, the listener closes, requests under way finish.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, Version, header::CONNECTION},
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use kettle_rest::OverTls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::server::TlsStream;
use tower::Service;

use crate::tls::{self, Tls};

/// Whether this node wants requests; false from the moment it is told to stop.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<bool>>);

impl Readiness {
    pub fn new() -> Readiness {
        Readiness(Arc::new(watch::Sender::new(true)))
    }

    pub fn wanted(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the node was told to stop.
    pub async fn ended(&self) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(|wanted| !*wanted).await;
    }

    fn end(&self) {
        self.0.send_replace(false);
    }
}

/// Limits on what a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last.
    pub header: Duration,
    /// From SIGTERM to the last connection that is taken.
    pub drain: Duration,
    /// For requests under way after that.
    pub grace: Duration,
}

/// Ends the process with SIGTERM, which the first process of a container would not hear of by itself; until it is aborted.
pub fn stop_at_once() -> anyhow::Result<JoinHandle<()>> {
    let mut term = signal(SignalKind::terminate())?;
    Ok(tokio::spawn(async move {
        term.recv().await;
        tracing::info!("stopped before it was ready");
        std::process::exit(0);
    }))
}

/// Serves until SIGTERM or SIGINT, and after SIGTERM for the time of the drain; then lets requests under way finish. A second
/// signal goes one step on.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    readiness: Readiness,
    timeouts: Timeouts,
    until_now: JoinHandle<()>,
) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    until_now.abort();
    let connections = GracefulShutdown::new();
    let (stopping, stop) = watch::channel(());
    let mut closing = None;
    loop {
        let closed = async {
            match closing {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (router, readiness) = (router.clone(), readiness.clone());
                    let connection = Connection { peer, router, readiness, timeouts, watcher: connections.watcher() };
                    tokio::spawn(connection.run(stream, tls.clone(), stop.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, mostly: wait for connections to end instead of spinning.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = term.recv() => {
                if closing.is_some() || timeouts.drain.is_zero() {
                    break;
                }
                tracing::info!(drain = ?timeouts.drain, "stopping: not ready any more, requests are still taken");
                closing = Some(Instant::now() + timeouts.drain);
                readiness.end();
            }
            _ = int.recv() => break,
            () = closed => break,
        }
    }
    readiness.end();
    drop((listener, stopping));
    tracing::info!(connections = connections.count(), "stopping: no new connections, requests under way finish");
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(timeouts.grace) => tracing::warn!("requests were still under way after the grace time"),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    readiness: Readiness,
    timeouts: Timeouts,
    watcher: Watcher,
}

impl Connection {
    /// A handshake takes as long as a request's head may, and ends at once with `stop`: nobody was promised anything yet.
    async fn run(self, stream: TcpStream, tls: Option<Arc<Tls>>, mut stop: watch::Receiver<()>) {
        let peer = self.peer;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let ended = if let Some(tls) = tls {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(self.timeouts.header, tls.accept(stream)) => shaken,
                _ = stop.changed() => return,
            };
            match shaken {
                Ok(Ok(stream)) if is_http2(&stream) => self.serve_http2(stream).await,
                Ok(Ok(stream)) => self.serve_http1(stream, true).await,
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        } else {
            self.serve_http1(stream, false).await
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }

    async fn serve_http1(self, stream: impl Stream, over_tls: bool) -> hyper::Result<()> {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.header)
            .serve_connection(TokioIo::new(stream), service(self.router, self.readiness, self.peer, over_tls));
        self.watcher.watch(connection).await
    }

    /// A client that no longer answers pings is gone.
    async fn serve_http2(self, stream: impl Stream) -> hyper::Result<()> {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.timeouts.header)
            .serve_connection(TokioIo::new(stream), service(self.router, self.readiness, self.peer, true));
        self.watcher.watch(connection).await
    }
}

/// What connections run on.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2)
}

fn service(
    router: Router,
    readiness: Readiness,
    peer: SocketAddr,
    over_tls: bool,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send + 'static,
> {
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if over_tls {
            request.extensions_mut().insert(OverTls);
        }
        let has_connections = request.version() < Version::HTTP_2;
        let (answer, readiness) = (router.clone().call(request), readiness.clone());
        async move {
            let mut answer = answer.await?;
            // Who keeps connections goes elsewhere then, before the listener closes.
            if has_connections && !readiness.wanted() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        }
    })
}
