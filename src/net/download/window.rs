//! The window of the downloads of one command: how many are active at a time, and how many bytes may be buffered
//! between their sockets and the reader thread. It counts bytes; it neither receives nor holds them.
//!
//! The reader thread reads the downloads one after the other, in the order in which they were started, for this is the
//! order of the rows in the output. All others run ahead of it, so that the next file is there when one ends.
//!
//! # The simple algorithm
//!
//! One semaphore with as many permits as the window has bytes. A transfer acquires the permits of a chunk before it
//! sends the chunk to its reader; the permits travel with the chunk and are released when it has been read. The sum of
//! all buffered bytes is then at most the window.
//!
//! It deadlocks. Let the reader wait for download 0, whose connection is slow, while downloads 1 to 3 fill the window.
//! Now download 0 has a chunk and waits for permits; those are held by chunks of downloads 1 to 3, which are read after
//! download 0. The departures:
//!
//! 1. **Each download has a reserve of its own,** the rest of the window is a pool for all ([`WindowShare`]). A chunk
//!    takes permits from the reserve if it can, else from whichever of the two has enough first. Only the download
//!    itself uses its reserve, so the pool may be as full as it likes.
//! 2. **No chunk is larger than the reserve.** A transfer splits larger ones ([`WindowShare::max_chunk_bytes`]), or
//!    else a chunk could need more than its reserve will ever have.
//! 3. **At most `jobs` downloads are active,** and they become active in the order of their start: number `i` waits
//!    until fewer than `jobs` of those before it are unfinished ([`Window::wait_for_slot`]). This bounds the sum of
//!    the reserves, whatever the number of files, and lets the download that is being read always be an active one.
//! 4. **Messages are bounded as well,** by the capacity of the channel, in case a server sends single bytes: each
//!    message costs more than a byte.
//!
//! 5. **The segments of a divided file** ([`super::connections`]) have a reserve each, as if they were downloads: they are
//!    read one after the other, and the one that is being read never waits for those behind it. Only the download that is
//!    being read is divided ([`WindowShare::is_being_read`]), so their number is bounded.
//!
//! # Why nothing waits for ever
//!
//! Let the reader wait for a message of download `d`. All downloads before `d` are finished, so `d` is active. The
//! reader waits, so it has read every message of `d` and released every permit of its reserve. The next chunk of `d`
//! is not larger than the reserve and gets it at once, and the channel is empty. So the reader waits for the network
//! alone. A download that is not being read may wait for permits as long as it takes; nothing that the reader needs
//! depends on it.
//!
//! # Bounds
//!
//! With `W` bytes, `jobs` downloads and `n` segments of one of them the reserve is `W / (2 (jobs + n))`, but from 256 KiB to
//! 2 MiB, and the pool has what is left of `W`. Buffered are at most `W` bytes, or `jobs + n` × 256 KiB if that is more. Not counted are the buffers of
//! sockets and TLS, and the rest of a chunk of which only a slice is still unread: one socket read per download. The
//! bound assumes that downloads are dropped in order. One that is dropped before those in front of it admits another
//! in its place, as when the command ends early.
//!
//! Within one download the order of its bytes does not depend on which permits they have: one task sends them
//! through one channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Smallest reserve of a download: a few socket reads.
const MIN_RESERVE_BYTES: usize = 256 << 10;

/// Largest reserve of a download, several socket reads. Chosen by eye: more makes no download faster.
const MAX_RESERVE_BYTES: usize = 2 << 20;

/// The window that the downloads of one command share. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Window(Arc<WindowState>);

#[derive(Debug)]
struct WindowState {
    /// Downloads that may be active at a time, at least 1.
    jobs: usize,
    /// Bytes of each download's reserve, and of the largest chunk.
    reserve_bytes: usize,
    /// Bytes of the whole window.
    bytes: usize,
    /// Permits of one byte each: the window without the reserves.
    pool: Arc<Semaphore>,
    /// Slots handed out so far: the number of the next one.
    started: AtomicUsize,
    /// Slots dropped so far.
    finished: watch::Sender<usize>,
}

impl Window {
    /// Creates a window of `bytes` bytes for `jobs` active downloads and the `segments` of one that is divided.
    pub(super) fn new(jobs: usize, segments: usize, bytes: usize) -> Self {
        let jobs = jobs.max(1);
        let reserves = jobs + segments;
        let reserve_bytes = (bytes / (2 * reserves)).clamp(MIN_RESERVE_BYTES, MAX_RESERVE_BYTES);
        let pool = Arc::new(Semaphore::new(bytes.saturating_sub(reserves * reserve_bytes)));
        Window(Arc::new(WindowState {
            jobs,
            reserve_bytes,
            bytes,
            pool,
            started: AtomicUsize::new(0),
            finished: watch::Sender::new(0),
        }))
    }

    /// Returns the next slot in delivery order.
    pub(super) fn next_slot(&self) -> WindowSlot {
        let index = self.0.started.fetch_add(1, Ordering::Relaxed);
        WindowSlot { window: self.clone(), index }
    }

    /// Returns the share of the download with this slot: a new reserve, and the common pool.
    pub(super) fn share(&self, index: usize) -> WindowShare {
        WindowShare { reserve: Arc::new(Semaphore::new(self.0.reserve_bytes)), window: self.clone(), index }
    }

    /// Waits until the download with this slot may become active.
    pub(super) async fn wait_for_slot(&self, index: usize) {
        let mut finished = self.0.finished.subscribe();
        // The sender lives in `self`.
        let _ = finished.wait_for(|finished| finished + self.0.jobs > index).await;
    }
}

/// The position of a download in delivery order. Dropping it, when the reader is done, admits the next download.
#[derive(Debug)]
pub(super) struct WindowSlot {
    window: Window,
    pub index: usize,
}

impl Drop for WindowSlot {
    fn drop(&mut self) {
        self.window.0.finished.send_modify(|finished| *finished += 1);
    }
}

/// The part of the window that one download may use.
#[derive(Clone, Debug)]
pub(super) struct WindowShare {
    /// The reserve, which no other download uses.
    reserve: Arc<Semaphore>,
    window: Window,
    /// The slot of the download.
    index: usize,
}

impl WindowShare {
    /// Returns a share with a reserve of its own, for one segment of the download.
    pub(super) fn another(&self) -> WindowShare {
        self.window.share(self.index)
    }

    /// Returns the bytes of the whole window.
    pub(super) fn window_bytes(&self) -> usize {
        self.window.0.bytes
    }

    /// Returns true if all downloads before this one are finished: it is the one that is being read.
    pub(super) fn is_being_read(&self) -> bool {
        *self.window.0.finished.borrow() >= self.index
    }

    /// Returns the size of the largest chunk that [`WindowShare::acquire`] accepts.
    pub(super) fn max_chunk_bytes(&self) -> usize {
        self.window.0.reserve_bytes
    }

    /// Waits for permits for a chunk of `bytes` bytes, at most [`WindowShare::max_chunk_bytes`]; a larger one might
    /// never get them. Dropping the future returns what it had acquired.
    pub(super) async fn acquire(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes).expect("a chunk is at most 2 MiB");
        let acquire_from = |from: &Arc<Semaphore>| Arc::clone(from).acquire_many_owned(bytes);
        // Reserve first: the pool is left to the downloads whose reserve is full. The one that loses is dropped and
        // gives its permits back.
        let permit = tokio::select! {
            biased;
            permit = acquire_from(&self.reserve) => permit,
            permit = acquire_from(&self.window.0.pool) => permit,
        };
        permit.expect("these semaphores are never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls a future once, and returns whether it was ready.
    async fn is_ready<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn a_reserve_is_free_however_full_the_pool_is() {
        let window = Window::new(2, 0, 4 << 20);
        let (first, second) = (window.share(0), window.share(1));
        let chunk = second.max_chunk_bytes();
        assert_eq!(chunk, 1 << 20);
        let held = [second.acquire(chunk).await, second.acquire(chunk).await, second.acquire(chunk).await];
        assert_eq!(window.0.pool.available_permits(), 0);
        let reserve = first.acquire(chunk).await;
        let full = first.acquire(1);
        tokio::pin!(full);
        assert!(!is_ready(full.as_mut()).await);
        drop((held, reserve));
        drop(full.await);
    }

    #[tokio::test]
    async fn downloads_become_active_in_order() {
        let window = Window::new(2, 0, 1 << 20);
        let mut slots: Vec<_> = (0..4).map(|_| window.next_slot()).collect();
        let may_begin = |index| {
            let window = window.clone();
            async move {
                let wait_for_slot = window.wait_for_slot(index);
                tokio::pin!(wait_for_slot);
                is_ready(wait_for_slot.as_mut()).await
            }
        };
        assert!(may_begin(0).await && may_begin(1).await && !may_begin(2).await);
        drop(slots.remove(0));
        assert!(may_begin(2).await && !may_begin(3).await);
    }
}
