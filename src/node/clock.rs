//! Clock differences: what the node reports when its own clock and a member's disagree.
//!
//! The node cannot know which of the two is wrong, so it reports both times: once in the event log and in the
//! diagnostics, and again after [`SAY_AGAIN`] if the difference persists. `status` reports it for [`DOUBT`] after it
//! was last observed.

use super::{EventLoop, Host};
use crate::engine::Input;
use crate::event_log::Event;
use crate::id::LinkId;
use crate::net::{Multiaddr, Skew};
use crate::store::Store;
use crate::time::{Time, Unix};
use std::time::Duration;

/// A member's clock that was seen to differ from this device's.
#[derive(Debug)]
pub(super) struct Differing {
    seen: Time,
    said: Time,
    text: String,
}

impl<S: Store, H: Host> EventLoop<S, H> {
    /// Compares clocks with a neighbour whose link has come up. Within an epoch a neighbour is admitted however far off
    /// its clock is, but messages would expire at the wrong time.
    pub(super) fn compare_clocks(&mut self, link: LinkId, address: &Multiaddr, theirs: u64, age: Duration) {
        let ours = self.now().unix.seconds();
        let allowed = self.engine.membership().epoch_length().skew().as_secs();
        // The bounds of what that clock shows now: it showed `theirs` at most `age` ago.
        let (least, most) = (theirs, theirs.saturating_add(age.as_secs()));
        if least > ours.saturating_add(allowed) || most.saturating_add(allowed) < ours {
            tracing::debug!(link = link.0, "its clock differs");
            self.handle_skew(address, Skew { theirs, ours });
        }
    }

    pub(super) fn handle_skew(&mut self, address: &Multiaddr, Skew { theirs, ours }: Skew) {
        let now = self.host.now().time;
        let text = format!(
            "the clock of the device at {address} says {}, this node's {}: set the one that is wrong",
            Unix::from_seconds(theirs),
            Unix::from_seconds(ours)
        );
        let before = self.differing.take().map(|differing| differing.said);
        let again = before.is_none_or(|said| now.since(said) >= SAY_AGAIN);
        if again {
            tracing::warn!("{text}");
            self.handle(Input::Event(Event::ClockDiffers { address: address.to_string(), theirs, ours }));
        }
        let said = if again { now } else { before.unwrap_or(now) };
        self.differing = Some(Differing { seen: now, said, text });
    }

    /// The difference to report in `status`; `None` if none was observed recently.
    pub(super) fn clock_difference(&self) -> Option<String> {
        let now = self.host.now().time;
        let differing = self.differing.as_ref().filter(|differing| now.since(differing.seen) < DOUBT);
        differing.map(|differing| differing.text.clone())
    }
}

/// After this long, a difference that persists is reported again.
const SAY_AGAIN: Duration = Duration::from_secs(3_600);
/// How long a difference is believed without being observed again. Longer than the pause before a failing address is
/// dialled again.
const DOUBT: Duration = Duration::from_secs(900);
