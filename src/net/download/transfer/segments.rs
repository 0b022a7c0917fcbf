//! One file over several connections. Its rest is divided into ranges of equal size, the segments, each of which is received
//! by a transfer of its own: it resumes, renews its link and waits as any other. Their bytes are sent to the reader in order.
//!
//! ```text
//! one connection ─► divided? ─► segment 1 ─┐
//!                               segment 2 ─┼─► in order ─► reader
//!                               segment 3 ─┘   │
//! one connection ◄─ from the first missing byte ┴ a segment failed
//! ```
//!
//! # Why the bytes are those of one file
//!
//! A segment takes nothing but a 206 that begins at its next byte, ends within the segment, and shows the entity tag of the
//! first response ([`super::super::identity`]). It sends exactly its bytes, or an error. After an error the rest is requested
//! over one connection, from the first byte that the reader lacks: what is wrong, a changed file or a server without ranges,
//! is judged there and nowhere else.
//!
//! # Bounds
//!
//! Each segment has a share of the window, and there are at most two segments for each connection, one that is being received
//! and one that waits for its turn. They are sent in order, so that [`super::super::window`] holds for them as for downloads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{BodyEnd, Connected, ReaderGone, SinceProgress, Transfer};
use crate::net::download::connections::{Connections, Division, Pace, SEGMENTS_PER_CONNECTION};
use crate::net::download::message::BodyMessage;
use crate::net::{Error, Kind};

/// Divisions of one download. After that many which failed, the file comes over one connection.
const MOST_DIVISIONS: u32 = 3;

/// Messages between a segment and the transfer; the window bounds their bytes.
const MAX_QUEUED_MESSAGES: usize = 256;

/// A segment that is being received, or waits to be sent on.
struct Segment {
    end: u64,
    messages: mpsc::Receiver<BodyMessage>,
}

impl Transfer {
    /// Returns how the rest of the file is to be divided; `None` if it goes on over one connection.
    pub(super) fn division(&self, pace: &Pace) -> Option<Division> {
        let may_divide = self.offers_ranges
            && self.use_ranges
            && self.segment_end.is_none()
            && self.divisions < MOST_DIVISIONS
            && self.connections != Connections::Count(1)
            // The entity tag says that the segments are of one file; a date has only seconds.
            && self.file.as_ref()?.etag.as_ref().is_some_and(|tag| !tag.starts_with("W/"))
            && self.share.is_being_read();
        if !may_divide {
            return None;
        }
        let left = self.total()?.checked_sub(self.position)?;
        // Parsed only when all else speaks for a division: this is asked for each chunk.
        let counts_requests =
            || url::Url::parse(self.link.url.reveal()).map_or(true, |url| self.http.sends_key_to(&url));
        let sizes = (self.http.policy().min_segment_bytes, self.share.window_bytes());
        self.connections.division(left, pace, counts_requests, sizes)
    }

    /// Receives the rest of the file over several connections.
    pub(super) async fn send_segments(&mut self, division: Division) -> Result<BodyEnd, ReaderGone> {
        let Some(total) = self.total() else { return Ok(BodyEnd::Broken(self.fail(Kind::CutShort))) };
        let Division { segment_bytes, mut climb } = division;
        self.divisions += 1;
        // Dropping it ends all segments.
        let mut tasks = JoinSet::new();
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let mut next = self.position;
        let was_refused = Arc::new(AtomicBool::new(false));
        let mut pace = Pace::new(&self.waits);
        let mut since = Instant::now();
        loop {
            let begin_more = |tasks: &mut JoinSet<()>, segments: &mut VecDeque<Segment>, next: &mut u64| {
                while *next < total
                    && tasks.len() < climb.connections()
                    && segments.len() < SEGMENTS_PER_CONNECTION * climb.connections()
                {
                    let end = total.min(*next + segment_bytes);
                    let (sender, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
                    let segment = self.segment(*next, end, sender, &was_refused);
                    tasks.spawn(segment.run_segment());
                    segments.push_back(Segment { end, messages });
                    *next = end;
                }
            };
            begin_more(&mut tasks, &mut segments, &mut next);
            let Some(segment) = segments.front_mut() else {
                if next == total {
                    return Ok(BodyEnd::Whole { proven: true });
                }
                // The last segment is read, and its connection not free yet.
                tasks.join_next().await;
                continue;
            };
            let message = tokio::select! {
                biased;
                message = segment.messages.recv() => message,
                // A connection is free for the next segment.
                Some(_) = tasks.join_next() => continue,
            };
            match message {
                Some(BodyMessage::Chunk(chunk, permit)) => {
                    self.position += chunk.len() as u64;
                    self.furthest = self.furthest.max(self.position);
                    pace.add(chunk.len() as u64, since.elapsed());
                    since = Instant::now();
                    self.send(BodyMessage::Chunk(chunk, permit)).await?;
                }
                Some(BodyMessage::End { .. }) if self.position == segment.end => {
                    segments.pop_front();
                    if was_refused.swap(false, Ordering::Relaxed) {
                        climb.halve();
                    }
                    if climb.complete(&pace) {
                        pace = Pace::new(&self.waits);
                    }
                }
                Some(BodyMessage::Failed(error)) => return Ok(BodyEnd::Broken(error)),
                // Of no segment that ends as it should.
                Some(BodyMessage::Body(_) | BodyMessage::End { .. }) | None => {
                    return Ok(BodyEnd::Broken(self.fail(Kind::CutShort).with_text(self.progress_text(self.position))));
                }
            }
        }
    }

    /// Returns the transfer of a segment.
    fn segment(
        &self,
        start: u64,
        end: u64,
        messages: mpsc::Sender<BodyMessage>,
        was_refused: &Arc<AtomicBool>,
    ) -> Transfer {
        Transfer {
            http: self.http.clone(),
            link: self.link.clone(),
            fresh: self.fresh.clone(),
            budget: self.budget,
            share: self.share.another(),
            messages,
            file: self.file.clone(),
            position: start,
            segment_end: Some(end),
            offers_ranges: true,
            connections: Connections::Count(1),
            divisions: 0,
            waits: self.waits.clone(),
            was_refused: Some(Arc::clone(was_refused)),
            any_sent: true,
            use_ranges: true,
            furthest: start,
            resumes: 0,
            failure: None,
            unframed_end: None,
            early_unframed_end: None,
            since_progress: SinceProgress::new(self.now(), start),
            again: None,
        }
    }

    /// Receives one segment, over as many connections as necessary, and sends its bytes and then its end or error.
    async fn run_segment(mut self) {
        let outcome = self.send_segment().await;
        // An error means that the download was dropped.
        let _ = match outcome {
            Ok(Ok(())) => self.send(BodyMessage::End { proven: true }).await,
            Ok(Err(error)) => self.send(BodyMessage::Failed(error)).await,
            Err(ReaderGone) => Ok(()),
        };
    }

    async fn send_segment(&mut self) -> Result<Result<(), Error>, ReaderGone> {
        let mut broken = None;
        loop {
            let is_resumed = broken.is_some();
            let mut open_body = match self.connect(broken).await {
                Ok(Connected::Body(open_body)) => open_body,
                Ok(Connected::AtEnd) => return Ok(Err(self.changed("its size is different"))),
                Err(error) => return Ok(Err(error)),
            };
            if is_resumed {
                self.http.recoveries().add_resume();
            }
            let end = self.send_body(&mut open_body).await?;
            drop(open_body);
            self.note_progress();
            broken = Some(match end {
                BodyEnd::Whole { .. } if self.segment_end == Some(self.position) => return Ok(Ok(())),
                BodyEnd::Broken(error) => error,
                BodyEnd::Whole { .. } | BodyEnd::Divided(_) => {
                    self.fail(Kind::CutShort).with_text(self.progress_text(self.position))
                }
            });
        }
    }
}
