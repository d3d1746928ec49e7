//! Accepting connections, and ending without breaking one off: readiness goes false, the listener closes, requests
//! under way finish.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};
use tower::Service;

/// Whether this node wants requests; false from the moment it is told to stop.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn new() -> Readiness {
        Readiness(Arc::new(AtomicBool::new(true)))
    }

    pub fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Limits on what a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last.
    pub header: Duration,
    /// For requests under way when the server is told to stop.
    pub grace: Duration,
}

/// Serves until SIGTERM or SIGINT, then lets requests under way finish. A second signal ends at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    readiness: Readiness,
    timeouts: Timeouts,
) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => spawn(stream, peer, router.clone(), &connections, timeouts),
                Err(error) => {
                    // Out of file descriptors, mostly: wait for connections to end instead of spinning.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = term.recv() => break,
            _ = int.recv() => break,
        }
    }
    readiness.end();
    drop(listener);
    tracing::info!(connections = connections.count(), "stopping: no new connections, requests under way finish");
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(timeouts.grace) => tracing::warn!("requests were still under way after the grace time"),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn spawn(stream: TcpStream, peer: SocketAddr, router: Router, connections: &GracefulShutdown, timeouts: Timeouts) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    });
}
