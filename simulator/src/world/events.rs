//! Events: what happens in a run, as JSON lines: `{"at":12.345678,"node":"meter-3","event":"received","message":7}`.
//!
//! The records that a node writes into its event log are among them, as `"event":"logged"` with its `kind`, its `text`
//! and its `details`.

use super::medium::{NANOS, now};
use m2mesh::event_log::Event;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The sink of events, which by default discards them.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Sink>>);

struct Sink {
    file: Mutex<BufWriter<File>>,
    names: Vec<String>,
    flows: Vec<String>,
    /// The only node whose events are written, if there is such a restriction.
    only: Option<usize>,
}

/// An event at a node.
pub enum What<'a> {
    /// A message was submitted.
    Sent {
        /// The number of the message.
        message: u64,
        /// The index of its flow.
        flow: usize,
        /// The index of the receiver, if there is exactly one.
        to: Option<usize>,
    },
    /// A message is on this node's disk.
    Durable {
        /// The number of the message.
        message: u64,
    },
    /// This node's application has received a message.
    Received {
        /// The number of the message.
        message: u64,
    },
    /// A subscription of this node was told that it has missed publications.
    Missed {
        /// The topic, or the group if the topic is not known.
        topic: &'a str,
        /// The index of the publisher.
        from: usize,
        /// The number of publications that were certainly missed.
        lost: u64,
        /// Whether more may have been missed.
        uncertain: bool,
        /// The number of the message with which it was told, if it was told with one.
        before: Option<u64>,
    },
    /// A message ended for its sender.
    Ended {
        /// The number of the message.
        message: u64,
        /// The outcome in a word.
        outcome: &'a str,
        /// The reason for the outcome.
        reason: &'a str,
    },
    /// This node's event log has a new record.
    Logged(&'a Event),
    /// The node starts.
    Up,
    /// The node is killed, or loses power.
    Down,
    /// A fault begins.
    Fault {
        /// The fault's label, as in the report.
        label: &'a str,
    },
    /// A fault is over.
    Healed {
        /// The fault's label, as in the report.
        label: &'a str,
    },
}

impl Events {
    /// Creates a file for the events of nodes and flows with these names.
    pub fn create(path: &Path, names: Vec<String>, flows: Vec<String>, only: Option<usize>) -> std::io::Result<Self> {
        let file = Mutex::new(BufWriter::new(File::create(path)?));
        Ok(Self(Some(Arc::new(Sink { file, names, flows, only }))))
    }

    /// Returns whether events are discarded.
    pub fn are_off(&self) -> bool {
        self.0.is_none()
    }

    /// Writes an event at a node, or of the world if the index is that of no node.
    pub fn note(&self, node: usize, what: &What<'_>) {
        let Some(sink) = &self.0 else { return };
        if sink.only.is_some_and(|only| only != node && node < sink.names.len()) {
            return;
        }
        let name = |node: usize| sink.names.get(node).map_or(Value::Null, |name| json!(name));
        let mut line = match what {
            What::Sent { message, flow, to } => {
                json!({ "event": "sent", "message": message, "flow": sink.flows.get(*flow), "to": to.map(name) })
            }
            What::Durable { message } => json!({ "event": "durable", "message": message }),
            What::Received { message } => json!({ "event": "received", "message": message }),
            What::Missed { topic, from, lost, uncertain, before } => {
                json!({
                    "event": "missed", "topic": topic, "from": name(*from), "lost": lost, "uncertain": uncertain,
                    "before": before,
                })
            }
            What::Ended { message, outcome, reason } => {
                json!({ "event": "ended", "message": message, "outcome": outcome, "reason": reason })
            }
            What::Logged(event) => {
                json!({ "event": "logged", "kind": event.kind(), "text": event.to_string(), "details": event.fields() })
            }
            What::Up => json!({ "event": "up" }),
            What::Down => json!({ "event": "down" }),
            What::Fault { label } => json!({ "event": "fault", "label": label }),
            What::Healed { label } => json!({ "event": "healed", "label": label }),
        };
        line["at"] = json!((now() as f64 / NANOS as f64 - 1.0).max(0.0));
        line["node"] = name(node);
        let mut file = sink.file.lock().unwrap_or_else(PoisonError::into_inner);
        // An error such as a full disk is reported when the file is closed.
        let _ = writeln!(file, "{line}");
    }

    /// Flushes and closes the file; an error says that events could not be written.
    pub fn finish(&self) -> std::io::Result<()> {
        match &self.0 {
            Some(sink) => sink.file.lock().unwrap_or_else(PoisonError::into_inner).flush(),
            None => Ok(()),
        }
    }
}
