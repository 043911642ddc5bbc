//! Liveness: when a connection is pinged, when it counts as silent, and when it is closed.
//!
//! Whatever arrives shows that the peer lives. When nothing has arrived for a while, the peer is pinged; when nothing
//! has arrived for longer, the connection is dead. One timer serves both. Traffic does not touch it: when it fires too
//! early it is set anew. While the node takes no frames the connection reads nothing, which is not the peer's fault:
//! then the peer is pinged, so that it receives something, but the connection is not closed.
//!
//! This takes a minute and a half, too long for messages that could take another path. So sent frames are watched
//! ([`Probing`]) by a second timer that runs only when needed:
//!
//! 1. Frames are followed by a ping, unless the last ping is less than `every` ago: this measures the round trip.
//! 2. Frames that went out without a ping are followed by one if nothing has been heard for `after`.
//! 3. If nothing arrives after a ping for four retransmission time-outs (RFC 6298, from this connection's pings, and
//!    from its set-up before the first) but at least `silent_after`, the connection is *silent*. It stays up; the first
//!    byte ends the silence. Where the bearer is known to be slow, the time to carry what was written before the ping
//!    is added.
//!
//! Where bytes cost money, pings are rare. An idle link is pinged as its bearer says ([`Profile::keep_alive`]). Sent
//! frames are followed by a ping once in a while, to measure, and otherwise only if nothing has been heard for a
//! retransmission time-out and a second: answers to what was sent also show that the peer lives.
//!
//! Invariants
//! 1. At most one ping is unanswered, unless the node takes no frames or a proof of life is wanted.
//! 2. The second timer is armed by a ping or by frames only, and not at rest.
//! - Echoes are not watched: two ends that only answer each other's pings fall quiet.
//! - The second timer fires about four times a second at most.

use super::{NetConfig, Probing};
use crate::link::bearer::Profile;
use futures::FutureExt;
use futures_timer::Delay;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The state of the watch over one connection.
#[derive(Debug)]
pub(crate) struct Silence {
    ping_after: Duration,
    dead_after: Duration,
    probing: Probing,
    heard: Instant,
    pinged: Instant,
    /// When the last ping was sent, if it has no answer yet.
    asked: Option<Instant>,
    /// When the first frames were sent after the last byte arrived.
    unanswered: Option<Instant>,
    silent: bool,
    /// The connection fell silent while the last ping was under way: its answer is no measurement.
    tainted: bool,
    /// Reading waits for the node to take frames.
    blocked: bool,
    timer: Delay,
    /// The second timer, created when it is first needed.
    probe: Option<Delay>,
    /// When the second timer fires, if it is armed.
    armed: Option<Instant>,
    /// The second timer was armed and has not been polled since.
    unpolled: bool,
    metered: bool,
    timing: Timing,
    /// The most kilobits a second that the bearer carries; `u32::MAX` if unknown.
    rate: u32,
    /// Bytes that were written before the last ping and may still be under way.
    before: u64,
    /// Bytes that were written after the last ping.
    behind: u64,
}

/// The parameters by which a connection is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    ping_after: Duration,
    dead_after: Duration,
    probing: Probing,
    metered: bool,
    rate: u32,
    /// The round-trip time that was measured in the set-up.
    round_trip: Duration,
    /// How long the two ends may take to negotiate a stream.
    pub(crate) negotiation: Duration,
}

impl Watch {
    /// Derives the parameters from the settings and from the bearer, for a connection over datagrams or a stream.
    pub(crate) fn new(config: &NetConfig, bearer: &Profile, datagrams: bool, round_trip: Duration) -> Self {
        let ping_after = bearer.keep_alive(config.ping_after, datagrams);
        let every = if bearer.metered { METERED_EVERY } else { config.probing.every };
        Self {
            ping_after,
            // A lost ping is sent once more before the connection counts as dead.
            dead_after: config.dead_after.max(ping_after.saturating_mul(3)),
            probing: Probing { every: every.max(config.probing.every), ..config.probing },
            metered: bearer.metered,
            rate: bearer.rate,
            round_trip,
            negotiation: bearer.setup_time(config.setup_time),
        }
    }
}

/// What the watch asks its connection to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Ping,
    /// Report that the connection is silent now.
    Tell,
    Close,
}

/// The smoothed round-trip time and its variation (RFC 6298, section 2), once there is a measurement.
#[derive(Debug)]
struct Timing {
    measured: Option<(Duration, Duration)>,
    /// The retransmission time-out before the first measurement.
    expected: Duration,
}

impl Silence {
    pub(crate) fn new(watch: Watch) -> Self {
        let Watch { ping_after, dead_after, probing, metered, rate, round_trip, .. } = watch;
        let now = Instant::now();
        let timing = Timing::new(round_trip);
        Self {
            ping_after,
            dead_after,
            probing,
            heard: now,
            pinged: now,
            asked: None,
            unanswered: None,
            silent: false,
            tainted: false,
            blocked: false,
            timer: Delay::new(ping_after),
            probe: None,
            armed: None,
            unpolled: false,
            metered,
            timing,
            rate,
            before: 0,
            behind: 0,
        }
    }

    /// Handles bytes that have arrived. Returns whether they end a silence.
    #[must_use]
    pub(crate) fn handle_heard(&mut self) -> bool {
        self.heard = Instant::now();
        self.unanswered = None;
        std::mem::take(&mut self.silent)
    }

    /// Handles frames that have been taken to be written. Returns whether a ping is to follow them.
    #[must_use]
    pub(crate) fn handle_wrote(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.unanswered.get_or_insert(now);
        if self.asked.is_some() {
            return false;
        }
        if now.saturating_duration_since(self.pinged) >= self.probing.every {
            return true;
        }
        self.arm(since + self.unheard());
        false
    }

    /// Returns how long nothing may be heard after frames without a ping, before a ping follows them.
    fn unheard(&self) -> Duration {
        if self.metered { self.probing.after.max(self.timing.time_out() + METERED_AFTER) } else { self.probing.after }
    }

    /// Counts bytes that have been written.
    pub(crate) fn handle_bytes(&mut self, bytes: u64) {
        self.behind = self.behind.saturating_add(bytes);
    }

    /// Handles a ping that has been queued.
    pub(crate) fn handle_pinged(&mut self) {
        let now = Instant::now();
        self.pinged = now;
        self.asked = Some(now);
        self.before = self.before.saturating_add(std::mem::take(&mut self.behind));
        self.arm(now + self.limit());
    }

    /// Handles the answer to the last ping. Returns whether it is a measurement: an answer after a silence says nothing
    /// about the round trip (Karn's rule).
    #[must_use]
    pub(crate) fn handle_answered(&mut self, round_trip: Duration) -> bool {
        self.asked = None;
        self.before = 0;
        if std::mem::take(&mut self.tainted) {
            return false;
        }
        self.timing.measured(round_trip);
        true
    }

    /// Discards the measurements.
    pub(crate) fn forget_timing(&mut self) {
        self.timing = Timing::new(Duration::ZERO);
    }

    /// Returns the retransmission time-out.
    pub(crate) fn time_out(&self) -> Duration {
        self.timing.time_out()
    }

    /// Whether a ping is unanswered.
    pub(crate) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Notes whether reading waits for the node to take frames.
    pub(crate) fn set_blocked(&mut self, blocked: bool) {
        if self.blocked && !blocked {
            self.heard = Instant::now();
            if self.asked.is_some() {
                self.arm(self.heard + self.limit());
            }
        }
        self.blocked = blocked;
    }

    /// Whether the unanswered bytes are enough to fill the longest packets.
    pub(crate) fn is_long_unanswered(&self) -> bool {
        self.before.saturating_add(self.behind) >= LONG
    }

    /// Whether [`Silence::poll`] must be called once more.
    pub(crate) fn wants_poll(&self) -> bool {
        self.unpolled
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Asks> {
        while self.timer.poll_unpin(cx).is_ready() {
            let now = Instant::now();
            // A ping under way is given the time that its answer takes.
            let dead = self.heard + self.dead_after.max(self.ping_after + self.timing.time_out() * 2);
            let ping = self.heard.max(self.pinged) + self.ping_after;
            if now >= dead && !self.blocked {
                self.timer.reset(self.ping_after);
                return Poll::Ready(Asks::Close);
            }
            if now >= ping {
                let next = if self.blocked { now + self.ping_after } else { dead.min(now + self.ping_after) };
                self.timer.reset(next - now);
                if self.blocked || self.asked.is_none() {
                    return Poll::Ready(Asks::Ping);
                }
                continue;
            }
            let next = if self.blocked { ping } else { ping.min(dead) };
            self.timer.reset(next - now);
        }
        self.unpolled = false;
        while self.armed.is_some() && self.probe.as_mut().is_some_and(|probe| probe.poll_unpin(cx).is_ready()) {
            self.armed = None;
            if let Some(asks) = self.probe_due() {
                return Poll::Ready(asks);
            }
        }
        Poll::Pending
    }

    /// Handles the second timer when it has fired.
    fn probe_due(&mut self) -> Option<Asks> {
        // A connection that does not read hears nothing.
        if self.silent || self.blocked {
            return None;
        }
        let now = Instant::now();
        if let Some(asked) = self.asked {
            let due = asked.max(self.heard) + self.limit();
            if now >= due {
                (self.silent, self.tainted) = (true, true);
                return Some(Asks::Tell);
            }
            self.arm(due);
        } else if let Some(since) = self.unanswered {
            let due = since + self.unheard();
            if now >= due {
                return Some(Asks::Ping);
            }
            self.arm(due);
        }
        None
    }

    /// Arms the second timer for this time, unless it fires earlier.
    fn arm(&mut self, at: Instant) {
        if self.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.armed = Some(at);
        self.unpolled = true;
        let rest = at.saturating_duration_since(Instant::now());
        match &mut self.probe {
            Some(probe) => probe.reset(rest),
            None => self.probe = Some(Delay::new(rest)),
        }
    }

    /// Returns how long nothing may be heard after a ping before the connection is silent.
    pub(crate) fn limit(&self) -> Duration {
        let ahead = match self.rate {
            u32::MAX => 0,
            // Kilobits a second equal bits a millisecond.
            rate => self.before.saturating_mul(8) / u64::from(rate.max(1)),
        };
        let time_out = self.timing.time_out();
        let patience = (time_out * TIME_OUTS).min(LONGEST.max(time_out * 2)).max(self.probing.silent_after);
        patience + Duration::from_millis(ahead)
    }
}

impl Timing {
    /// Starts with the time-out of an unmeasured connection. A slow set-up raises it; a fast one does not lower it,
    /// since the other end may be busier later.
    fn new(round_trip: Duration) -> Self {
        Self { measured: None, expected: UNMEASURED.max(round_trip.saturating_mul(2)) }
    }

    fn measured(&mut self, round_trip: Duration) {
        self.measured = Some(match self.measured {
            None => (round_trip, round_trip / 2),
            Some((smoothed, variation)) => {
                (smoothed * 7 / 8 + round_trip / 8, variation * 3 / 4 + smoothed.abs_diff(round_trip) / 4)
            }
        });
    }

    /// Returns the retransmission time-out of RFC 6298, without its lower bound of a second.
    fn time_out(&self) -> Duration {
        self.measured.map_or(self.expected, |(smoothed, variation)| smoothed + variation * 4)
    }
}

/// How many retransmission time-outs may pass in silence after a ping: a transport below has sent it twice more by
/// then.
const TIME_OUTS: u32 = 4;
/// The upper bound of that time, unless two time-outs are longer.
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes that fill the longest packet that every path must carry (RFC 9000, section 14).
const LONG: u64 = 1_200;
/// The shortest time between two pings that follow frames on a metered bearer.
const METERED_EVERY: Duration = Duration::from_secs(300);
/// What is added to the retransmission time-out on a metered bearer, since receivers gather what they confirm.
const METERED_AFTER: Duration = Duration::from_secs(1);
/// The retransmission time-out before there is a measurement (RFC 6298, section 2.1).
const UNMEASURED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::future::poll_fn;

    const MS: Duration = Duration::from_millis(1);

    fn watch(bearer: &Profile, round_trip: Duration) -> Watch {
        let probing = Probing { every: 1_000 * MS, after: 20 * MS, silent_after: 40 * MS };
        Watch::new(&NetConfig { probing, ..NetConfig::default() }, bearer, false, round_trip)
    }

    fn silence() -> Silence {
        let mut silence = Silence::new(watch(&Profile::default(), Duration::ZERO));
        for _ in 0..8 {
            assert!(silence.handle_answered(MS));
        }
        silence
    }

    fn next(silence: &mut Silence) -> Asks {
        block_on(poll_fn(|cx| silence.poll(cx)))
    }

    /// Invariant 1.
    #[test]
    fn what_is_sent_and_not_answered_is_asked_after_and_then_called_silent() {
        let mut silence = silence();
        let began = Instant::now();
        assert!(!silence.handle_wrote(), "it has only just begun");
        assert_eq!(next(&mut silence), Asks::Ping);
        assert!(began.elapsed() >= 20 * MS);
        silence.handle_pinged();
        assert!(!silence.handle_wrote() && silence.is_asking());
        assert_eq!(next(&mut silence), Asks::Tell);
        assert!(began.elapsed() >= 60 * MS);
        assert!(silence.handle_heard() && !silence.handle_heard());
    }

    /// Invariant 2.
    #[test]
    fn an_answer_ends_the_asking_and_rest_arms_nothing() {
        let mut silence = silence();
        assert!(silence.armed.is_none() && silence.probe.is_none());
        assert!(!silence.handle_wrote());
        assert!(!silence.handle_heard());
        let waker = futures::task::noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(silence.poll(&mut cx).is_pending() && !silence.wants_poll());
        block_on(Delay::new(30 * MS));
        assert!(silence.poll(&mut cx).is_pending());
        assert_eq!((silence.armed, silence.asked), (None, None));
        silence.pinged = Instant::now().checked_sub(1_000 * MS).expect("a machine that has run for a second");
        assert!(silence.handle_wrote(), "time to measure");
    }

    #[test]
    fn the_limit_follows_the_round_trip() {
        let mut silence = silence();
        assert_eq!(silence.limit(), 40 * MS);
        for _ in 0..100 {
            assert!(silence.handle_answered(100 * MS));
        }
        assert!((400 * MS..500 * MS).contains(&silence.limit()), "{:?}", silence.limit());
        silence.forget_timing();
        assert_eq!(silence.limit(), Duration::from_secs(4));
        // 2 kbit/s, and 1,000 bytes before the ping: 4 s more, until it is answered.
        silence.rate = 2;
        silence.handle_bytes(1_000);
        assert_eq!(silence.limit(), Duration::from_secs(4));
        silence.handle_pinged();
        silence.handle_bytes(5_000);
        assert_eq!(silence.limit(), Duration::from_secs(8));
        silence.forget_timing();
        assert!(silence.handle_answered(10 * MS));
        assert_eq!(silence.limit(), 120 * MS);
    }

    #[test]
    fn a_far_peer_is_waited_for_from_the_start() {
        let mut silence = Silence::new(watch(&Profile::default(), 40_000 * MS));
        assert_eq!(silence.limit(), 160_000 * MS, "two time-outs, which are more than ten seconds");
        for _ in 0..100 {
            assert!(silence.handle_answered(40_000 * MS));
        }
        assert!((80_000 * MS..81_000 * MS).contains(&silence.limit()), "{:?}", silence.limit());
    }

    #[test]
    fn on_a_metered_bearer_pings_follow_only_what_stays_without_an_answer() {
        let metered = Profile { metered: true, ..Profile::default() };
        let mut silence = Silence::new(watch(&metered, MS));
        assert!(silence.handle_answered(100 * MS));
        assert_eq!((silence.ping_after, silence.dead_after), (600_000 * MS, 1_800_000 * MS));
        silence.pinged = Instant::now().checked_sub(2_000 * MS).expect("a machine that has run for two seconds");
        assert!(!silence.handle_wrote(), "the last measurement is fresh");
        // The smoothed round trip of 100 ms, and four times a variation of half of that.
        assert_eq!(silence.unheard(), 1_300 * MS);
    }

    #[test]
    fn a_silence_does_not_count_as_a_round_trip() {
        let mut silence = silence();
        let limit = silence.limit();
        silence.handle_pinged();
        assert_eq!(next(&mut silence), Asks::Tell);
        assert!(silence.handle_heard());
        assert!(!silence.handle_answered(Duration::from_secs(5)));
        assert_eq!(silence.limit(), limit);
        silence.handle_pinged();
        assert!(silence.handle_answered(MS));
    }
}
