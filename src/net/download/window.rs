//! How many downloads go at a time, and the bytes that may lie between their sockets and their readers.
//!
//! Each download has room of its own, and there is a common pool. Downloads are read one after the other, in the order
//! in which they were started. The one that is being read always has its own room, however full the others keep the
//! pool, so nobody waits in a ring; the others use what it leaves. At most `jobs` downloads are unfinished at a time,
//! so the sum is the window, whatever their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// No download has less room of its own: a few reads of a socket.
const LEAST_OWN_BYTES: usize = 256 << 10;

/// More room of its own makes no download faster: by eye, several reads of a socket.
const MOST_OWN_BYTES: usize = 2 << 20;

/// The downloads of one command. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Window(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    jobs: usize,
    own_bytes: usize,
    pool: Arc<Semaphore>,
    started: AtomicUsize,
    finished: watch::Sender<usize>,
}

impl Window {
    /// Room for `jobs` downloads at a time with `bytes` between them.
    pub fn new(jobs: usize, bytes: usize) -> Self {
        let jobs = jobs.max(1);
        let own_bytes = (bytes / (2 * jobs)).clamp(LEAST_OWN_BYTES, MOST_OWN_BYTES);
        let pool = Arc::new(Semaphore::new(bytes.saturating_sub(jobs * own_bytes)));
        Window(Arc::new(Shared {
            jobs,
            own_bytes,
            pool,
            started: AtomicUsize::new(0),
            finished: watch::Sender::new(0),
        }))
    }

    /// The next place in the row.
    pub fn enter(&self) -> WindowSlot {
        let index = self.0.started.fetch_add(1, Ordering::Relaxed);
        WindowSlot { window: self.clone(), index }
    }

    pub fn share(&self) -> WindowShare {
        WindowShare {
            own: Arc::new(Semaphore::new(self.0.own_bytes)),
            pool: Arc::clone(&self.0.pool),
            own_bytes: self.0.own_bytes,
        }
    }

    /// Waits until the download at `index` may begin.
    pub async fn wait_for_slot(&self, index: usize) {
        let mut finished = self.0.finished.subscribe();
        // The sender lives in `self`.
        let _ = finished.wait_for(|finished| finished + self.0.jobs > index).await;
    }
}

/// A download's place in the row, given back when its reader has finished with it.
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

/// The room of one download.
#[derive(Clone, Debug)]
pub(super) struct WindowShare {
    own: Arc<Semaphore>,
    pool: Arc<Semaphore>,
    own_bytes: usize,
}

impl WindowShare {
    /// The largest piece that there is always room for, sooner or later.
    pub fn largest(&self) -> usize {
        self.own_bytes
    }

    /// Waits for room for a piece of at most [`Room::largest`] bytes.
    pub async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes).expect("pieces are at most a few MiB");
        let take = |from: &Arc<Semaphore>| Arc::clone(from).acquire_many_owned(bytes);
        let permit = tokio::select! {
            biased;
            permit = take(&self.own) => permit,
            permit = take(&self.pool) => permit,
        };
        permit.expect("these semaphores are never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls it once.
    async fn is_ready<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn the_first_has_room_however_full_the_pool_is() {
        let window = Window::new(2, 4 << 20);
        let (first, second) = (window.share(), window.share());
        let piece = second.largest();
        assert_eq!(piece, 1 << 20);
        let held = [second.take(piece).await, second.take(piece).await, second.take(piece).await];
        assert_eq!(window.0.pool.available_permits(), 0);
        let own = first.take(piece).await;
        let full = first.take(1);
        tokio::pin!(full);
        assert!(!is_ready(full.as_mut()).await);
        drop((held, own));
        drop(full.await);
    }

    #[tokio::test]
    async fn so_many_at_a_time_in_order() {
        let window = Window::new(2, 1 << 20);
        let mut places: Vec<_> = (0..4).map(|_| window.enter()).collect();
        let may_begin = |index| {
            let window = window.clone();
            async move {
                let wait_for_slot = window.wait_for_slot(index);
                tokio::pin!(wait_for_slot);
                is_ready(wait_for_slot.as_mut()).await
            }
        };
        assert!(may_begin(0).await && may_begin(1).await && !may_begin(2).await);
        drop(places.remove(0));
        assert!(may_begin(2).await && !may_begin(3).await);
    }
}
