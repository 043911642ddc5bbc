//! Events of a run as JSON lines: `{"at":12.345678,"node":"meter-3","event":"received","message":7}`.
//!
//! What a node writes into its event log is among them, as `"event":"logged"` with its `kind`, its `text` and its `details`.

use super::medium::{NANOS, now};
use m2mesh::event_log::Event;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Where events go; nowhere, mostly.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Sink>>);

struct Sink {
    file: Mutex<BufWriter<File>>,
    names: Vec<String>,
    flows: Vec<String>,
    /// Only this node's.
    only: Option<usize>,
}

/// What happened at a node.
pub enum What<'a> {
    /// A message was handed over.
    Sent {
        /// Its number.
        message: u64,
        /// Index of its flow.
        flow: usize,
        /// The receiver, if it is one.
        to: Option<usize>,
    },
    /// It is on this node's disk.
    Durable {
        /// Its number.
        message: u64,
    },
    /// This node's application has it.
    Received {
        /// Its number.
        message: u64,
    },
    /// A subscription of this node's was told that it has missed publications.
    Missed {
        /// Of that topic, or of that group where which topic is not known.
        topic: &'a str,
        /// Index of their publisher.
        from: usize,
        /// So many are certain.
        lost: u64,
        /// It may be more.
        uncertain: bool,
        /// The message with which it was told, if it was with one.
        before: Option<u64>,
    },
    /// It ended, for its sender.
    Ended {
        /// Its number.
        message: u64,
        /// In a word.
        outcome: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// This node's event log says so.
    Logged(&'a Event),
    /// The node starts.
    Up,
    /// The node is killed, or loses power.
    Down,
    /// A fault begins.
    Fault {
        /// As in the report.
        label: &'a str,
    },
    /// A fault is over.
    Healed {
        /// As in the report.
        label: &'a str,
    },
}

impl Events {
    /// Into a file, for nodes and flows of these names.
    pub fn create(path: &Path, names: Vec<String>, flows: Vec<String>, only: Option<usize>) -> std::io::Result<Self> {
        let file = Mutex::new(BufWriter::new(File::create(path)?));
        Ok(Self(Some(Arc::new(Sink { file, names, flows, only }))))
    }

    /// Whether they go nowhere.
    pub fn are_off(&self) -> bool {
        self.0.is_none()
    }

    /// Something happened at a node, or in the world where it is none of them.
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
        // A full disk shows when the file is closed.
        let _ = writeln!(file, "{line}");
    }

    /// Everything is written, or could not be.
    pub fn finish(&self) -> std::io::Result<()> {
        match &self.0 {
            Some(sink) => sink.file.lock().unwrap_or_else(PoisonError::into_inner).flush(),
            None => Ok(()),
        }
    }
}
