//! Pages of the inbox and of the event log: read from the store, off the node's thread, and bounded in size.
//!
//! The inbox is stored in batches, each under the number of its first message. A page that starts with a batch, as most
//! do, is read from there; one that starts within a batch is read from the earliest key at which that batch could
//! begin.

use super::api::{DEFAULT_PAGE, MAX_PAGE};
use super::dto::{InboxPage, LogPage, LogQuery, LogRecord, LogVerdict, OlderLog};
use super::error::ApiError;
use crate::engine::api;
use crate::engine::store::{Read, ReadError, Table};
use crate::event_log::{Entry, Filter, HEAD_KEY, chain, verify};
use crate::id::Name;
use crate::wire::{self, DecodeError, batch};
use std::ops::RangeInclusive;

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch of the inbox is damaged.
    #[error("the inbox is damaged after message {after}: {error}")]
    Inbox {
        /// Number of the last message before the damage.
        after: u64,
        /// How the batch is damaged.
        error: DecodeError,
    },
    /// The thread that reads was ended.
    #[error("reading was broken off")]
    BrokenOff,
}

/// Runs a query on a thread that may block.
pub(super) async fn off_thread<R, T>(
    reader: R,
    query: impl FnOnce(&R) -> Result<T, PageError> + Send + 'static,
) -> Result<T, ApiError>
where
    R: Read + Send + 'static,
    T: Send + 'static,
{
    let result = tokio::task::spawn_blocking(move || query(&reader)).await;
    result.map_err(|_| PageError::BrokenOff)?.map_err(ApiError::Page)
}

/// Returns messages with these numbers, only those of `sender` if it is given. Messages beyond the last number may not
/// be durable yet.
///
/// # Errors
/// Fails if the store cannot be read, or if it is damaged before the first message found.
pub fn inbox<R: Read + ?Sized>(
    reader: &R,
    numbers: RangeInclusive<u64>,
    sender: Option<&Name>,
    limit: usize,
) -> Result<InboxPage, PageError> {
    let (start, last) = numbers.into_inner();
    let mut page = InboxPage { messages: Vec::new(), next: start, more: false };
    let (mut bytes, mut seen, mut damage) = (0, 0, None);
    reader.scan(Table::Inbox, &first_batch(reader, start)?, &mut |_, value| {
        let record: api::InboxRecord<'_> = match wire::decode(value) {
            Ok(record) => record,
            Err(error) => {
                damage = Some(error);
                return false;
            }
        };
        for message in record.messages().filter(|message| message.number >= start) {
            if message.number > last {
                return false;
            }
            if page.messages.len() >= limit || bytes >= MAX_PAGE_BYTES || seen >= MAX_SEEN {
                page.more = true;
                return false;
            }
            seen += 1;
            page.next = message.number + 1;
            if sender.is_none_or(|sender| *sender == message.from) {
                bytes += message.payload.len();
                page.messages.push(message.into());
            }
        }
        true
    })?;
    match damage {
        // Messages before the damage are still handed out.
        Some(error) if page.messages.is_empty() => Err(PageError::Inbox { after: page.next.saturating_sub(1), error }),
        _ => Ok(page),
    }
}

/// Returns the page of the log that a query asks for.
pub fn log_page<R: Read + ?Sized>(reader: &R, query: &LogQuery) -> Result<LogPage, PageError> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let numbers = query.after.map_or(1, |after| after.saturating_add(1))..=u64::MAX;
    log(reader, query, numbers, limit)
}

/// Returns the key at which a scan has to start to find the message of that number.
pub fn first_batch<R: Read + ?Sized>(reader: &R, number: u64) -> Result<[u8; 8], ReadError> {
    let key = number.to_be_bytes();
    Ok(match reader.get(Table::Inbox, &key)? {
        Some(_) => key,
        None => number.saturating_sub(batch::MAX_MESSAGES as u64 - 1).to_be_bytes(),
    })
}

/// Returns the log records with these numbers that the query selects; `after` and `limit` of the query are ignored
/// here.
pub fn log<R: Read + ?Sized>(
    reader: &R,
    query: &LogQuery,
    numbers: RangeInclusive<u64>,
    limit: usize,
) -> Result<LogPage, PageError> {
    let filter = Filter {
        kind: query.kind.clone(),
        since: query.since.map(|since| since.0),
        until: query.until.map(|until| until.0),
    };
    let (start, last) = numbers.into_inner();
    let mut page = LogPage { records: Vec::new(), after: start.saturating_sub(1), more: false };
    let mut seen = 0;
    reader.scan(Table::Log, &chain::key(start), &mut |key, value| {
        let number = <[u8; 8]>::try_from(key).map_or(page.after + 1, u64::from_be_bytes);
        if number > last {
            return false;
        }
        if page.records.len() >= limit || seen >= MAX_SEEN {
            page.more = true;
            return false;
        }
        seen += 1;
        page.after = number;
        match Entry::select(value, &filter) {
            Ok(Some(entry)) => page.records.push(LogRecord::from(entry)),
            Ok(None) => {}
            // The records around a damaged one are still of use.
            Err(error) => page.records.push(LogRecord::damaged(number, &error)),
        }
        true
    })?;
    Ok(page)
}

/// Verifies the hash chain of the event log, even while the log is being written.
pub fn verify_log<R: Read + ?Sized>(reader: &R) -> Result<LogVerdict, PageError> {
    let head = || reader.get(Table::Meta, HEAD_KEY);
    let verdict = verify::verify_live(head, |each| reader.scan(Table::Log, &[], each))?;
    Ok(match verdict {
        Ok(summary) => LogVerdict {
            intact: true,
            records: summary.records,
            first: summary.first,
            last: summary.last,
            head: Some(data_encoding::HEXLOWER.encode(&summary.head)),
            first_bad: None,
            reason: None,
            older: summary.older.map(OlderLog::from),
        },
        Err(broken) => LogVerdict {
            intact: false,
            records: 0,
            first: 0,
            last: 0,
            head: None,
            first_bad: Some(broken.sequence),
            reason: Some(broken.what.to_string()),
            older: None,
        },
    })
}

/// Bytes of payload after which a page ends.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// Entries that are examined for one page, whether or not they are selected.
const MAX_SEEN: usize = 10_000;
