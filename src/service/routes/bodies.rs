//! Hand-over of a request's body to a handler that reads it as a stream on a blocking thread. Small bodies are received
//! first, so that slow clients occupy no thread; of larger ones a bounded number is received at a time.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::StatusCode;
use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use crate::service::api_error::ApiError;
use crate::service::request::{blocking, drain};

/// Bytes of a body that are received before a thread reads it. By eye: far more than a body without rows needs.
const SMALL_BYTES: usize = 256 << 10;

/// Capacity of the channel to that thread, by eye: enough that neither waits for each step of the other. A chunk is one
/// read of the socket, at most some 400 KiB.
const CHUNKS_IN_FLIGHT: usize = 4;

/// A body as a blocking reader. It fails if the client does not send all of it.
pub(super) struct ReceivedBody {
    /// Chunks that are here already, the last one first.
    head: Vec<Bytes>,
    /// Further chunks, then `None`; a channel that closes without it means that the body is truncated.
    rest: Option<mpsc::Receiver<Option<Bytes>>>,
    chunk: Bytes,
}

impl Read for ReceivedBody {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            self.chunk = match (self.head.pop(), &mut self.rest) {
                (Some(chunk), _) => chunk,
                (None, None) => return Ok(0),
                (None, Some(rest)) => match rest.blocking_recv() {
                    Some(Some(chunk)) => chunk,
                    Some(None) => {
                        self.rest = None;
                        return Ok(0);
                    }
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
            };
        }
        let n = self.chunk.len().min(to.len());
        to[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}

/// Calls `work` with the body on a blocking thread and returns its result; 408 if the client stops sending for longer
/// than `stall`. A body of more than [`SMALL_BYTES`] needs one of `permits` and waits for it.
pub(super) async fn received<T: Send + 'static>(
    body: Body,
    stall: Duration,
    permits: &Semaphore,
    work: impl FnOnce(ReceivedBody) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let mut body = body.into_data_stream();
    let (mut head, mut total) = (Vec::new(), 0);
    let is_whole = loop {
        match next_chunk(&mut body, stall).await? {
            None => break true,
            Some(chunk) => {
                total += chunk.len();
                head.push(chunk);
                if total > SMALL_BYTES {
                    break false;
                }
            }
        }
    };
    head.reverse();
    if is_whole {
        return blocking(move || work(ReceivedBody { head, rest: None, chunk: Bytes::new() })).await;
    }
    // The semaphore is never closed.
    let _permit = permits.acquire().await;
    let (chunks, rest) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let working = blocking(move || work(ReceivedBody { head, rest: Some(rest), chunk: Bytes::new() }));
    let sending = async {
        loop {
            let chunk = next_chunk(&mut body, stall).await?;
            let is_end = chunk.is_none();
            // The reader stops early only if it refuses the body.
            if chunks.send(chunk).await.is_err() || is_end {
                break;
            }
        }
        // A channel that stays open would keep a reader waiting that asks for more than the end.
        drop(chunks);
        Ok(())
    };
    let (done, sent): (_, Result<(), ApiError>) = tokio::join!(working, sending);
    if done.is_err() {
        // A client that is still sending would not see the response.
        drain(Body::from_stream(body)).await;
    }
    // A body that did not arrive is the cause of whatever its reader says.
    sent.and(done)
}

async fn next_chunk(body: &mut BodyDataStream, stall: Duration) -> Result<Option<Bytes>, ApiError> {
    match tokio::time::timeout(stall, body.next()).await {
        Ok(chunk) => chunk.transpose().map_err(|_| ApiError::bad_request("cannot read the request body")),
        Err(_) => Err(ApiError::Text(StatusCode::REQUEST_TIMEOUT, "the request stalled".to_owned())),
    }
}
