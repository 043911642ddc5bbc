//! Handler: this node's part of one connection, run by the connection's task.
//!
//! The dialer opens two streams as soon as the connection is established; the listener accepts one of each kind. All
//! input and output happens inside [`ConnectionHandler::poll`]: there is no task or channel between the outbox and the
//! socket. Pings are answered here and never reach the node; [`liveness`](super::liveness) decides when to ping.
//!
//! A connection that is no longer needed is *finished*: it takes no new frames, writes those that wait and ends its own
//! direction of both streams. When the peer has ended its direction too, the connection lingers, so that the peer can
//! read what is still under way, and is then closed. A peer that sees its streams end does the same.
//!
//! Invariants
//! 1. Frames of one lane are handed over in the order in which they were read.
//! 2. Nothing is read while the network's channel has no room: back-pressure through the socket holds the sender back.

use super::Lane;
use super::lane::{LaneError, LaneIo, Read};
use super::liveness::{Asks, Silence, Watch};
use super::pacing::{ALL, Pacer};
use super::pipe::Pipe;
use crate::wire::data::Class;
use crate::wire::frame::{self, Frames, Kind};
use crate::wire::ping::Ping;
use bytes::Bytes;
use futures::FutureExt;
use futures::channel::mpsc;
use futures_timer::Delay;
use libp2p::core::upgrade::{ReadyUpgrade, SelectUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, ConnectionId, Stream, StreamProtocol, SubstreamProtocol,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// This node's part of one connection.
#[derive(Debug)]
pub(crate) struct Handler {
    connection: ConnectionId,
    /// Streams that are still to be opened; empty at the listener.
    to_open: Vec<Lane>,
    dialer: bool,
    control: LaneIo<Stream>,
    data: LaneIo<Stream>,
    pipe: Arc<Pipe>,
    frames: mpsc::Sender<Received>,
    /// How long the two ends may take to negotiate a stream.
    negotiation: Duration,
    silence: Silence,
    pacer: Pacer,
    state: State,
    /// Events for the network, reported one by one; each kind is queued at most once.
    events: VecDeque<Event>,
    began: Instant,
    /// Stamp from which on echoes count as measurements: those of earlier pings do not.
    measured_from: u64,
    /// Stamp of the last ping.
    stamped: u64,
    /// Stamp of the first ping whose echo proves that the peer lives: earlier answers may be from a process that is
    /// gone.
    proves_from: u64,
}

#[derive(Debug)]
enum State {
    Running,
    /// The peer must prove before this timer fires that it lives.
    Proving(Delay),
    /// Both directions must end before this timer fires.
    Finishing(Delay),
    /// Both directions have ended; the peer may still be reading until this timer fires.
    Lingering(Delay),
    Over,
}

/// A buffer of frames on its way to the network.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) connection: ConnectionId,
    pub(crate) lane: Lane,
    pub(crate) buffer: Bytes,
}

/// A request of the network to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Prove within [`PROOF_TIME`] that the peer lives.
    Prove,
    /// Finish: write what waits, end both streams and close.
    Finish,
    /// Forget the round-trip time and measure it anew.
    Measure,
}

/// An event that a connection reports to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A queue that was full has space again.
    Writable,
    /// The peer lives: the answer to [`Command::Prove`].
    Proved,
    /// A ping has been answered after this time.
    Measured(Duration),
    /// Frames were sent, and nothing has been received since.
    Silent,
    /// The silent connection had long packets under way: packets of that length may not come through.
    Stuck,
    /// Something was received on a silent connection.
    Heard,
    /// The connection is being finished: it takes no more frames.
    Finishing,
    /// The connection has finished or failed, for this reason, and is to be closed.
    Over(String),
}

impl Handler {
    pub(crate) fn new(
        connection: ConnectionId,
        dialer: bool,
        pipe: Arc<Pipe>,
        frames: mpsc::Sender<Received>,
        (watch, pacer): (Watch, Pacer),
    ) -> Self {
        Self {
            connection,
            to_open: if dialer { vec![Lane::Data, Lane::Control] } else { Vec::new() },
            dialer,
            control: LaneIo::new(),
            data: LaneIo::new(),
            pipe,
            frames,
            negotiation: watch.negotiation,
            silence: Silence::new(watch),
            pacer,
            state: State::Running,
            events: VecDeque::new(),
            began: Instant::now(),
            measured_from: 0,
            stamped: 0,
            proves_from: 0,
        }
    }

    fn open(&mut self, lane: Lane, stream: Stream) {
        match lane {
            Lane::Control => {
                self.control.open(stream);
                // This ping makes the first measurement of the round-trip time.
                self.ping();
            }
            Lane::Data => self.data.open(stream),
        }
    }

    /// Reads, writes and checks all timers once; an error ends the connection.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        for lane in [Lane::Control, Lane::Data] {
            self.read(lane, cx).map_err(|error| error.to_string())?;
        }
        self.write_all(cx).map_err(|error| error.to_string())?;
        while let Poll::Ready(asks) = self.silence.poll(cx) {
            match asks {
                Asks::Ping => self.ping(),
                Asks::Tell => {
                    self.tell(Event::Silent);
                    if self.silence.is_long_unanswered() {
                        self.tell(Event::Stuck);
                    }
                }
                Asks::Close => return Err("silent for too long".to_owned()),
            }
        }
        if self.control.has_urgent() {
            self.write_all(cx).map_err(|error| error.to_string())?;
        }
        if self.silence.wants_poll() {
            cx.waker().wake_by_ref();
        }
        let finished = self.control.is_finished() && self.data.is_finished();
        let (limit, reason) = match &mut self.state {
            state @ State::Finishing(_) if finished => {
                *state = State::Lingering(Delay::new(LINGER_TIME.max(self.silence.time_out())));
                let _ = self.pipe.finished.set(Instant::now());
                cx.waker().wake_by_ref();
                return Ok(());
            }
            State::Finishing(limit) => (limit, "not finished in time"),
            State::Lingering(limit) => (limit, FINISHED),
            State::Proving(limit) => (limit, "silent when asked"),
            State::Running | State::Over => return Ok(()),
        };
        match limit.poll_unpin(cx) {
            Poll::Ready(()) => Err(reason.to_owned()),
            Poll::Pending => Ok(()),
        }
    }

    fn read(&mut self, lane: Lane, cx: &mut Context<'_>) -> Result<(), LaneError> {
        for _ in 0..TURN {
            match self.frames.poll_ready(cx) {
                Poll::Ready(Ok(())) => self.silence.set_blocked(false),
                Poll::Pending => {
                    self.silence.set_blocked(true);
                    return Ok(());
                }
                // The network is gone; this task ends soon too.
                Poll::Ready(Err(_)) => return Ok(()),
            }
            let io = match lane {
                Lane::Control => &mut self.control,
                Lane::Data => &mut self.data,
            };
            let read = io.poll_read(cx);
            if io.take_heard() && self.silence.handle_heard() {
                self.tell(Event::Heard);
            }
            match read {
                Poll::Ready(Ok(Read::Frames(buffer, frames))) => self.handle_frames(lane, buffer, frames),
                Poll::Ready(Ok(Read::End)) => self.finish(),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn handle_frames(&mut self, lane: Lane, mut buffer: Bytes, mut frames: u64) {
        self.pipe.bytes_in.fetch_add(buffer.len() as u64, Relaxed);
        if lane == Lane::Control {
            frames -= self.take_pings(&mut buffer);
        }
        self.pipe.frames_in.fetch_add(frames, Relaxed);
        if buffer.is_empty() {
            return;
        }
        let received = Received { connection: self.connection, lane, buffer };
        if self.frames.start_send(received).is_ok() {
            self.pipe.handed_over.fetch_add(1, Relaxed);
        }
    }

    /// Answers pings and measures by their echoes. Removes both from the buffer and returns their number.
    fn take_pings(&mut self, buffer: &mut Bytes) -> u64 {
        let is_ping = |kind| kind == Kind::Ping as u8 || kind == Kind::Pong as u8;
        if !Frames(buffer).flatten().any(|frame| is_ping(frame.kind)) {
            return 0;
        }
        let mut others = Vec::new();
        let mut taken = 0;
        for frame in Frames(buffer).flatten() {
            if !is_ping(frame.kind) {
                let start = others.len();
                others.extend_from_slice(&[0, 0, 0, 0, frame.kind, frame.flags]);
                others.extend_from_slice(frame.body);
                frame::finish(&mut others, start);
                continue;
            }
            taken += 1;
            // A ping that does not decode is not answered.
            let Ok(Ping { stamp }) = crate::wire::decode(frame.body) else { continue };
            if frame.kind == Kind::Ping as u8 {
                self.control.push_urgent(&frame::raw(Kind::Pong, frame.body));
            } else if let Some(round_trip) = self.stamp().checked_sub(stamp)
                && stamp == self.stamped
                && self.silence.is_asking()
            {
                self.handle_echo(stamp, Duration::from_micros(round_trip));
            }
        }
        *buffer = others.into();
        taken
    }

    /// Handles the answer to the last ping.
    fn handle_echo(&mut self, stamp: u64, round_trip: Duration) {
        let measures = self.silence.handle_answered(round_trip);
        if matches!(self.state, State::Proving(_)) && stamp >= self.proves_from {
            self.state = State::Running;
            self.tell(Event::Proved);
        }
        if stamp < self.measured_from {
            self.silence.forget_timing();
            return self.ping();
        }
        if measures {
            self.pipe.measured(round_trip);
            self.tell(Event::Measured(round_trip));
        }
    }

    /// Writes what waits: all that the streams take, or a piece at a time where the bearer's rate is known.
    fn write_all(&mut self, cx: &mut Context<'_>) -> Result<(), LaneError> {
        if !self.pacer.is_paced() {
            self.write(Lane::Control, usize::MAX, cx)?;
            return self.write(Lane::Data, usize::MAX, cx).map(drop);
        }
        for _ in 0..TURN {
            let Poll::Ready(piece) = self.pacer.poll_room(cx) else { return Ok(()) };
            let [first, second] = self.pacer.order(self.pipe.data.waiting()[Class::Alarm as usize]);
            if self.write(first, piece, cx)? == 0 && self.write(second, piece, cx)? == 0 {
                self.pacer.await_share(self.pipe.data.waiting(), cx);
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Writes up to `most` bytes on a lane and returns how many.
    fn write(&mut self, lane: Lane, most: usize, cx: &mut Context<'_>) -> Result<u64, LaneError> {
        let (io, outbox, allowed) = match lane {
            Lane::Control => (&mut self.control, &self.pipe.control, ALL),
            Lane::Data => (&mut self.data, &self.pipe.data, self.pacer.allowed()),
        };
        let written = io.poll_write(outbox, most, allowed, cx)?;
        if written.bytes > 0 {
            self.pacer.charge(lane, usize::try_from(written.bytes).unwrap_or(usize::MAX), &written.filled.classes);
        }
        self.pipe.bytes_out.fetch_add(written.bytes, Relaxed);
        self.silence.handle_bytes(written.bytes);
        self.pipe.frames_out.fetch_add(written.filled.frames, Relaxed);
        if written.filled.writable {
            self.tell(Event::Writable);
        }
        if written.filled.frames > 0 && self.silence.handle_wrote() {
            self.ping();
        }
        Ok(written.bytes)
    }

    fn finish(&mut self) {
        if matches!(self.state, State::Running | State::Proving(_)) {
            self.pipe.close();
            self.control.finish();
            self.data.finish();
            self.state = State::Finishing(Delay::new(FINISH_TIME.max(self.silence.limit() * 2)));
            self.tell(Event::Finishing);
        }
    }

    fn ping(&mut self) {
        self.stamped = self.stamp();
        self.control.push_urgent(&frame::of(Kind::Ping, &Ping { stamp: self.stamped }));
        self.silence.handle_pinged();
    }

    /// Returns the microseconds since the connection was established.
    fn stamp(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn tell(&mut self, event: Event) {
        // A new measurement replaces a queued one; a silence that ends before it was reported is not reported.
        let undone = |other: &Event| {
            use Event::{Heard, Measured, Silent};
            matches!((&event, other), (Measured(_), Measured(_)) | (Heard, Silent) | (Silent, Heard))
        };
        let told = self.events.len();
        self.events.retain(|other| !undone(other));
        if matches!(event, Event::Heard | Event::Silent) && self.events.len() < told {
            return;
        }
        if !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }

    fn end(&mut self, reason: String) {
        self.pipe.close();
        self.state = State::Over;
        self.tell(Event::Over(reason));
    }
}

type Inbound = SelectUpgrade<ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>;

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Event;
    type InboundProtocol = Inbound;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Lane;

    fn listen_protocol(&self) -> SubstreamProtocol<Inbound> {
        let streams = SelectUpgrade::new(ReadyUpgrade::new(CONTROL), ReadyUpgrade::new(DATA));
        SubstreamProtocol::new(streams, ()).with_timeout(self.negotiation)
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Prove if matches!(self.state, State::Running) => {
                self.state = State::Proving(Delay::new(PROOF_TIME.max(self.silence.limit())));
                self.ping();
                self.proves_from = self.stamped;
            }
            Command::Prove => {}
            Command::Finish => self.finish(),
            Command::Measure => {
                self.measured_from = self.stamp();
                self.pipe.forget_round_trip();
                self.silence.forget_timing();
                // Otherwise the ping follows when the stream is open, or when the ping under way has been answered,
                // whose own answer does not count.
                if self.control.is_open() && !self.silence.is_asking() {
                    self.ping();
                }
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Inbound, Self::OutboundProtocol, (), Lane>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) if !self.dialer => {
                match protocol {
                    futures::future::Either::Left(stream) => self.open(Lane::Control, stream),
                    futures::future::Either::Right(stream) => self.open(Lane::Data, stream),
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.open(info, protocol);
            }
            ConnectionEvent::DialUpgradeError(error) => self.end(format!("no stream: {}", error.error)),
            _ => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Lane, Event>> {
        if let Some(lane) = self.to_open.pop() {
            let protocol = match lane {
                Lane::Control => CONTROL,
                Lane::Data => DATA,
            };
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), lane).with_timeout(self.negotiation);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        if !matches!(self.state, State::Over)
            && let Err(reason) = self.turn(cx)
        {
            self.end(reason);
        }
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)),
            None => Poll::Pending,
        }
    }
}

/// The reason given for a connection that was finished in good order.
pub(crate) const FINISHED: &str = "finished";
const CONTROL: StreamProtocol = StreamProtocol::new("/m2mesh/1/control");
const DATA: StreamProtocol = StreamProtocol::new("/m2mesh/1/data");
/// The maximum number of buffers read from one lane before other tasks have their turn.
const TURN: usize = 8;
/// How long a peer may take to prove that it lives when another connection to it has been established.
const PROOF_TIME: Duration = Duration::from_secs(5);
/// How long a finished connection stays open for the peer to read the rest.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(5);
/// How long both ends may take to finish a connection.
const FINISH_TIME: Duration = Duration::from_secs(10);
