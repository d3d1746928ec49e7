//! The way of one node to another server (database, broker): a TCP proxy of this process that can break as networks do.

use std::{sync::OnceLock, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::{Builder, Runtime},
    sync::watch,
    task::JoinHandle,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Each piece comes later by so much.
    Slow(Duration),
    /// Nothing comes through and nothing is refused. What was sent waits, as TCP would send it again.
    Silent,
    /// What was open is reset, what comes is refused.
    Cut,
}

/// It ends with the value, and all of its connections with it.
pub struct Link {
    pub port: u16,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// A way to a host and port, open.
    pub fn to(address: String) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(State::Open);
        let accepting = runtime().spawn(accept(listener, address, seen));
        Self { port, state, accepting }
    }

    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    pub fn slow(&self, by: Duration) {
        self.state.send_replace(State::Slow(by));
    }

    pub fn mend(&self) {
        self.state.send_replace(State::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One of its own: tests block their threads.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

async fn accept(listener: std::net::TcpListener, address: String, state: watch::Receiver<State>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        tokio::spawn(connect(near, address.clone(), state.clone()));
    }
}

async fn connect(near: TcpStream, address: String, mut state: watch::Receiver<State>) {
    // A connection that is reset is closed with what it has not sent yet.
    let reset = |stream: &TcpStream| {
        let _ = stream.set_zero_linger();
    };
    if may_pass(&mut state).await.is_none() {
        return reset(&near);
    }
    let Ok(far) = TcpStream::connect(&address).await else { return reset(&near) };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
        reset(stream);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = pump(near_in, far_out, state.clone());
    let back = pump(far_in, near_out, state);
    // One side that closes ends both: neither database nor broker talks on over half a connection.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            _ = state.wait_for(|state| *state == State::Cut) => return,
        };
        let Ok(length @ 1..) = read else { return };
        if may_pass(&mut state).await.is_none() || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// Waits as long as nothing passes; `None` once the link is cut.
async fn may_pass(state: &mut watch::Receiver<State>) -> Option<()> {
    let seen = *state.wait_for(|state| *state != State::Silent).await.ok()?;
    match seen {
        State::Cut => None,
        State::Slow(by) => {
            super::linger(by).await;
            Some(())
        }
        State::Open | State::Silent => Some(()),
    }
}
