//! Records as raw TCP and the bare stream carry them: `length:u32 | payload` in big-endian order, many per write.

/// Appends a record.
pub(super) fn put(chunk: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    chunk.extend_from_slice(&length.to_be_bytes());
    chunk.extend_from_slice(payload);
}

/// Fills a chunk with records, one by one, as an application would hand them over.
pub(super) fn fill(chunk: &mut Vec<u8>, payload: &[u8]) {
    chunk.clear();
    while chunk.len() + 4 + payload.len() <= CHUNK || chunk.is_empty() {
        put(chunk, payload);
    }
}

/// Splits received bytes into records.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Counts the records that end within these bytes.
    pub(super) fn count(&mut self, bytes: &[u8]) -> u64 {
        self.partial.extend_from_slice(bytes);
        let (mut at, mut count) = (0, 0);
        while let Some(prefix) = self.partial[at..].first_chunk::<4>() {
            let next = at + 4 + u32::from_be_bytes(*prefix) as usize;
            if next > self.partial.len() {
                break;
            }
            // Like an application that looks at every message.
            std::hint::black_box(&self.partial[at + 4..next]);
            (at, count) = (next, count + 1);
        }
        self.partial.drain(..at);
        count
    }
}

/// Bytes per write.
pub(super) const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_however_they_are_cut() {
        let mut chunk = Vec::new();
        fill(&mut chunk, &[7; 200]);
        let records = chunk.len() as u64 / 204;
        for size in [1, 7, 204, 1_000, CHUNK] {
            let mut splitter = Splitter::default();
            assert_eq!(chunk.chunks(size).map(|piece| splitter.count(piece)).sum::<u64>(), records);
        }
    }
}
