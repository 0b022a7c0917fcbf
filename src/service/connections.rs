//! Connections of the service: accepts them, bounds their number, and closes the silent ones, so that clients which
//! say nothing cannot keep others out. Requests are the router's.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Silence after which a connection may be closed in favour of a new one. By eye: longer than a pause within a request
/// or a response on any network, unless one side waits on purpose.
const EVICTABLE: Duration = Duration::from_secs(1);

/// Interval of the attempts to close a silent connection while the limit is reached.
const EVICTION_INTERVAL: Duration = Duration::from_millis(100);

/// Limits on connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// Connections at a time.
    pub max: usize,
    /// Time for the head of a request to arrive, counted from the start of the connection or the end of the response
    /// before it.
    pub idle: Duration,
}

impl ConnectionLimits {
    /// Returns the limits, with at most half as many connections as this process may have files open: the store, runs
    /// and downloads need files too.
    pub(super) fn within_process(max: usize, idle: Duration) -> Self {
        #[cfg(unix)]
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        #[cfg(not(unix))]
        let files: Option<u64> = None;
        let half = files.map_or(usize::MAX, |files| usize::try_from(files / 2).unwrap_or(usize::MAX));
        ConnectionLimits { max: max.min(half).clamp(1, Semaphore::MAX_PERMITS), idle }
    }
}

/// Accepts connections until `shutdown` completes, then waits until the active requests have ended. At the limit, a new
/// connection takes the place of the one that has been silent for longest.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = std::pin::pin!(shutdown);
    let open = OpenConnections::default();
    let permits = Arc::new(Semaphore::new(limits.max));
    let (stopping, _) = watch::channel(false);
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits, &open) => accepted,
            () = &mut shutdown => break,
        };
        // Reap finished tasks, or the set would grow with every connection.
        while tasks.try_join_next().is_some() {}
        let (stream, permit) = accepted;
        // The response to a poll is one small packet, which Nagle's algorithm would hold back.
        let _ = stream.set_nodelay(true);
        let activity = open.add();
        let connection = connection(stream, activity, router.clone(), limits.idle, stopping.subscribe());
        tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = stopping.send(true);
    while tasks.join_next().await.is_some() {}
}

/// Waits for a permit, if need be by closing silent connections, and for the next connection.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    open: &OpenConnections,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => loop {
                if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
                    return (stream, permit);
                }
                open.close_most_silent();
                let acquired = tokio::time::timeout(EVICTION_INTERVAL, Arc::clone(permits).acquire_owned()).await;
                if let Ok(Ok(permit)) = acquired {
                    return (stream, permit);
                }
            },
            // The client has given up in the meantime.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            // Most likely too many open files: the next attempt can succeed once one is closed.
            Err(_) => {
                open.close_most_silent();
                tokio::time::sleep(EVICTION_INTERVAL).await;
            }
        }
    }
}

/// Serves one connection until its client or the service ends it, or until it is closed for its silence.
async fn connection(
    stream: TcpStream,
    activity: Arc<Activity>,
    router: Router,
    idle: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(router);
    let busy = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, guard) = (service.clone(), busy.begin_request());
        async move {
            let response = service.call(request).await;
            drop(guard);
            response
        }
    });
    let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
    let mut connection = std::pin::pin!(
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(idle).serve_connection(io, service)
    );
    loop {
        tokio::select! {
            // Errors are those of the client or of its network; no message is possible.
            _ = connection.as_mut() => return,
            () = activity.close.notified() => return,
            // After the first change this branch is disabled, as the sender is gone or never sends again.
            Ok(()) = stopping.changed() => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// The open connections, to find the most silent one.
#[derive(Default)]
struct OpenConnections(Mutex<Vec<Weak<Activity>>>);

impl OpenConnections {
    fn add(&self) -> Arc<Activity> {
        let activity = Arc::new(Activity::new());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed ones are dropped whenever the list would have to grow.
        if all.len() == all.capacity() {
            all.retain(|connection| connection.strong_count() > 0);
        }
        all.push(Arc::downgrade(&activity));
        activity
    }

    /// Closes the connection that has been silent for longest, if one has been for [`EVICTABLE`].
    fn close_most_silent(&self) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.iter().filter_map(Weak::upgrade);
        let silent = open.filter_map(|connection| Some((connection.silence()?, connection)));
        if let Some((silence, connection)) = silent.max_by_key(|(silence, _)| *silence)
            && silence >= EVICTABLE
        {
            connection.close.notify_one();
        }
    }
}

/// Activity of one connection.
struct Activity {
    opened: Instant,
    /// Time of the last read or write, in milliseconds since `opened`.
    last_ms: AtomicU64,
    /// Requests whose response has not begun; the service, not the client, is what such a connection waits for.
    requests: AtomicUsize,
    close: Notify,
}

impl Activity {
    fn new() -> Self {
        Activity {
            opened: Instant::now(),
            last_ms: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            close: Notify::new(),
        }
    }

    fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    fn touch(&self) {
        self.last_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the time since the last read or write; `None` during a request.
    fn silence(&self) -> Option<Duration> {
        let silent_ms = self.age_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed));
        (self.requests.load(Ordering::Relaxed) == 0).then(|| Duration::from_millis(silent_ms))
    }
}

/// A request in progress; dropping it ends the request.
struct RequestGuard(Arc<Activity>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.touch();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that records when bytes pass.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    /// Records a completed read or write.
    fn noted<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_ready() {
            self.activity.touch();
        }
        poll
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.noted(poll)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
