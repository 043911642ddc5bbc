//! Waiting: why messages of this device wait, in words, for whoever has sent them.
//!
//! Three things keep messages to a device waiting for long: the device has no room, which its receipts say; it is away, and a mailbox
//! keeps them; or there is no way to it now, which includes that the way may not be on air. A receiver that has had no room for [`FULL_FOR`] is an event,
//! and so is that it takes messages again.

use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::routing::wording::explain_no_route;
use crate::engine::view::WaitingView;
use crate::event_log::Event;
use crate::id::Name;
use crate::time::Time;
use core::time::Duration;

impl Messages {
    /// The destinations for which messages wait for long, with the reasons: at most [`MAX_TOLD`].
    pub(in crate::engine) fn waiting(&self, now: Time) -> Vec<WaitingView> {
        let full = self.sends.full().map(|(to, since, messages)| WaitingView {
            to: to.to_string(),
            messages: messages as u64,
            reason: full_for(to, now.since(since)),
        });
        let full: Vec<WaitingView> = full.take(MAX_TOLD).collect();
        let others = self.sends.without_route().filter(|(to, _)| self.sends.full_since(to).is_none());
        let others = others.map(|(to, why)| WaitingView {
            to: to.to_string(),
            messages: self.sends.open_to(to) as u64,
            reason: self.with_custody(to, explain_no_route(why)),
        });
        let kept = self.sends.kept().map(|(to, messages)| WaitingView {
            to: to.to_string(),
            messages: messages as u64,
            reason: self.custody_of(to).unwrap_or_else(|| format!("a mailbox keeps it until {to} is there")),
        });
        let room = MAX_TOLD - full.len();
        full.into_iter().chain(kept.chain(others).take(room)).collect()
    }

    /// Why messages to one device wait; `None` if nothing keeps them, as far as is known.
    pub(in crate::engine) fn why_waiting(&self, to: &Name, now: Time) -> Option<String> {
        let full = self.sends.full_since(to).map(|since| full_for(to, now.since(since)));
        full.or_else(|| self.sends.no_route(to).map(explain_no_route))
    }

    /// A reason why messages to a device wait, or have not arrived, and what custodians have said of them.
    pub(in crate::engine) fn with_custody(&self, to: &Name, reason: String) -> String {
        match self.custody_of(to) {
            Some(custody) => format!("{reason}; {custody}"),
            None => reason,
        }
    }

    /// Records that a receiver has had no room for a while, or has room again, when a receipt of it has come.
    pub(in crate::engine) fn note_fullness(&mut self, core: &mut Core, of: &Name) {
        match self.sends.full_since(of) {
            Some(since) if core.now.time.since(since) >= FULL_FOR && !self.told_full.contains(of) => {
                // Of those before, some may have had all their messages expire.
                let Self { told_full, sends, .. } = self;
                told_full.retain(|name| sends.full_since(name).is_some());
                told_full.insert(of.clone());
                core.record(Event::ReceiverFull { name: of.clone(), waiting: self.sends.open_to(of) as u64 });
            }
            None if self.told_full.remove(of) => core.record(Event::ReceiverTakes { name: of.clone() }),
            Some(_) | None => {}
        }
    }
}

fn full_for(to: &Name, since: Duration) -> String {
    format!("the inbox of {to} has been full for {} s: its consumers do not take what lies there", since.as_secs())
}

/// How long a receiver has no room before that is recorded.
const FULL_FOR: Duration = Duration::from_secs(10);
/// The most destinations that are told.
const MAX_TOLD: usize = 16;
