//! Splits a streamed body into lines, while holding at most one line and one chunk of the body.

use crate::wire::batch::MAX_PAYLOAD;
use axum::body::{Body, BodyDataStream, Bytes};
use futures::StreamExt;

/// The lines of a body, numbered. A line ends with `\n`, which is not part of it and which the last line may lack.
#[derive(Debug)]
pub(super) struct Lines {
    body: BodyDataStream,
    /// The part of the last chunk that is not split yet.
    chunk: Bytes,
    /// The current line so far; empty once the line is longer than a message may be.
    partial: Vec<u8>,
    /// Length of the current line so far, even if it is too long.
    length: usize,
    /// Number of the next line.
    next: u64,
    ended: bool,
}

/// A line of the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without the line feed.
    Whole(Vec<u8>),
    /// The line is longer than a message may be; its length.
    TooLong(usize),
}

impl Lines {
    pub(super) fn new(body: Body, first: u64) -> Self {
        let body = body.into_data_stream();
        Self { body, chunk: Bytes::new(), partial: Vec::new(), length: 0, next: first, ended: false }
    }

    /// Returns the number of the next line, and the line. A body that was cut off ends before its incomplete line.
    pub(super) async fn next(&mut self) -> Option<(u64, Line)> {
        while !self.ended {
            if let Some(at) = self.chunk.iter().position(|byte| *byte == b'\n') {
                let rest = self.chunk.split_off(at + 1);
                let line = std::mem::replace(&mut self.chunk, rest);
                self.extend(&line[..at]);
                return Some(self.finish());
            }
            let chunk = std::mem::take(&mut self.chunk);
            self.extend(&chunk);
            match self.body.next().await {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(_)) => self.ended = true,
                None => {
                    self.ended = true;
                    if self.length > 0 {
                        return Some(self.finish());
                    }
                }
            }
        }
        None
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if self.length <= MAX_PAYLOAD {
            self.partial.extend_from_slice(bytes);
        } else {
            self.partial = Vec::new();
        }
    }

    fn finish(&mut self) -> (u64, Line) {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let (length, partial) = (std::mem::take(&mut self.length), std::mem::take(&mut self.partial));
        (number, if length <= MAX_PAYLOAD { Line::Whole(partial) } else { Line::TooLong(length) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn lines(chunks: &[&[u8]]) -> Vec<(u64, Line)> {
        let chunks: Vec<Result<Bytes, Infallible>> = chunks.iter().map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let mut lines = Lines::new(Body::from_stream(futures::stream::iter(chunks)), 1);
        futures::executor::block_on(async {
            let mut all = Vec::new();
            while let Some(line) = lines.next().await {
                all.push(line);
            }
            all
        })
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_come() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        let expected = vec![(1, whole("one")), (2, whole("")), (3, whole("three")), (4, whole("four"))];
        assert_eq!(lines(&[b"one\n\nthree\nfour"]), expected);
        assert_eq!(lines(&[b"on", b"e", b"\n\nth", b"ree\nfour", b"\n"]), expected);
        assert_eq!(lines(&[]), vec![]);
    }

    #[test]
    fn a_line_too_long_is_skipped_and_the_next_one_is_not() {
        let long = vec![b'x'; MAX_PAYLOAD + 1];
        let found = lines(&[&long, b"yz\n", b"short\n"]);
        assert_eq!(found, vec![(1, Line::TooLong(MAX_PAYLOAD + 3)), (2, Line::Whole(b"short".to_vec()))]);
        assert!(matches!(lines(&[&long[1..]])[..], [(1, Line::Whole(_))]));
    }
}
