//! Admission: a wrapper around the transport that lets in members of the realm only.
//!
//! After encryption and multiplexing, and before libp2p's Swarm sees the connection, the two ends of a connection talk
//! on one raw substream:
//!
//! ```text
//! dialer                                listener
//!   │ ── Hello (own credential) ──────────▶ │ verifies, or closes
//!   │ ◀────────── Hello (own credential) ── │
//!   │ verifies, or closes                   │
//!   │ ── Ok ──────────────────────────────▶ │
//!   ▼ admitted                              ▼ admitted
//! ```
//!
//! The listener shows its credential only to a dialer that has shown a valid one. A listener without room for another
//! link sends `Full` instead of its Hello, and the dialer tries another member. In a lab, a listener sends `Ok` instead
//! of its Hello to a member that it must keep apart from, so that neither end takes the other for hostile. An end that
//! rejects a credential for its time alone sends its own clock before it closes ([`clocks`](super::clocks)). A dialer
//! that sends `Enrol` instead of `Hello` is served at the [`Desk`](super::enrol::Desk) and never becomes a connection.
//! What the [`Gatekeeper`] found out about a peer waits in [`Admitted`] until the Swarm reports the connection. The
//! behaviour denies a connection without an entry there, so that nothing is gained by bypassing this wrapper.
//!
//! A Hello also names the process that sends it. A node that meets its own key in another process has met a copy of
//! itself and reports it.
//!
//! **Time.** Set-up has two halves, and the bearer gives the time for each. At the dialer the first half ends when the
//! connection is encrypted (two round trips over TCP), and the second when the listener's Hello arrives (one round
//! trip). The listener waits for one round trip in each half, so its limits are half as long. Between encryption and
//! the dialer's Hello it waits for a quarter only, since the Hello comes with the last packet of the encryption
//! handshake. A permit may be taken away earlier ([`Permits`]).
//!
//! Invariants
//! 1. The Swarm gets a connection only after both ends have verified each other.
//! 2. A set-up, including the layers below, ends within its time; meanwhile it holds one permit.
//! 3. A connection that is refused for what its peer said or failed to say is counted under that reason.
//! 4. A lack of room for another link is counted as `links_over_limit`.
//! - A barred member is counted as [`Item::Cut`]; meeting the node's own key is not counted.

use super::admitted::{Admitted, Found};
use super::clocks::{Clocks, Skew};
use super::counters::{Counters, Item};
use super::emulation::Shaping;
use super::enrol::Desk;
use super::handshake::{Reason, Setup, read, unless_given_up, within, write};
use super::links::Room;
use super::permits::{Denied, GivenUp, Permit, Permits, Source, Stage};
use super::sorter::Sorter;
use super::turnstile::{Turnstile, hear_wait, tell_wait};
use super::{Multiaddr, PeerId, StreamMuxerBox, Transport};
use crate::counter::Counter;
use crate::id::Pseudonym;
use crate::wire::enrolment::Refusal;
use crate::wire::hello::{CLOCK, EnrolHello, Kind};
use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::core::Endpoint;
use libp2p::core::muxing::SubstreamBox;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Decides who is a member. The node implements this over its membership; tests use simpler rules.
pub trait Gatekeeper: Send + Sync + 'static {
    /// What is known of an admitted peer.
    type Peer: Clone + Send + Sync + 'static;

    /// Returns this node's current Hello, encoded: at most [`crate::wire::hello::MAX_HELLO`] bytes.
    fn hello(&self) -> Vec<u8>;

    /// Checks a neighbour's Hello against the key that its connection has proved. The error is a reason code in kebab
    /// case.
    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<Self::Peer, &'static str>;

    /// The own Hello in answer to a neighbour's that was let in.
    fn answer(&self, _theirs: &[u8]) -> Vec<u8> {
        self.hello()
    }

    /// The own Hello for a neighbour whose clock says that many unix seconds, if this device does not know the time itself.
    fn hello_at(&self, _seconds: u64) -> Option<Vec<u8>> {
        None
    }

    /// What the two clocks say, if nothing but the time speaks against a neighbour whose Hello was refused.
    fn skew(&self, _hello: &[u8], _peer: &Pseudonym) -> Option<Skew> {
        None
    }

    /// Returns the clock of this device in unix seconds; `None` if it must not be compared with other clocks.
    fn clock(&self) -> Option<u64> {
        None
    }

    /// Whether to keep apart from a verified member, as if there were no connection to it.
    fn bars(&self, _peer: &Self::Peer) -> bool {
        false
    }

    /// Whether a member that was refused for this reason is to be dialled more seldom than after any failure.
    fn shuns(&self, _reason: &str) -> bool {
        false
    }

    /// Checks that a request for enrolment is for this realm and for a known issuer. The error is the answer to the
    /// device.
    fn enrols(&self, _hello: &EnrolHello) -> Result<(), Refusal> {
        Ok(())
    }

    /// Returns the number of the peer's process, or of this process for `None`. Each process has another number.
    fn process(&self, _peer: Option<&Self::Peer>) -> u64 {
        0
    }
}

/// A transport that yields admitted connections only.
pub(crate) struct Admission<G: Gatekeeper> {
    inner: Transport,
    gate: Arc<Gate<G>>,
}

/// State that all connections in set-up share.
pub(crate) struct Gate<G: Gatekeeper> {
    pub(crate) local: PeerId,
    pub(crate) gatekeeper: Arc<G>,
    pub(crate) permits: Permits,
    /// The time for each half of a set-up, unless the bearer needs longer.
    pub(crate) setup_time: Duration,
    pub(crate) sorter: Arc<Sorter>,
    pub(crate) room: Arc<Room>,
    pub(crate) turnstile: Turnstile,
    pub(crate) admitted: Admitted<G::Peer>,
    pub(crate) desk: Desk,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clocks: Arc<Clocks>,
    /// Present only in a lab.
    pub(crate) shaping: Option<Arc<Shaping>>,
}

/// The reason why a connection was not established.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    /// The transport below admission failed.
    #[error(transparent)]
    Transport(#[from] io::Error),
    /// Admission refused it, at this end or the other.
    #[error("not admitted: {0}")]
    Refused(#[from] Reason),
    /// The peer asked for enrolment and was served.
    #[error("enrolment")]
    Enrolment,
}

type Connection = (PeerId, StreamMuxerBox);

impl<G: Gatekeeper> Admission<G> {
    pub(crate) fn new(inner: Transport, gate: Arc<Gate<G>>) -> Self {
        Self { inner, gate }
    }
}

impl<G: Gatekeeper> libp2p::Transport for Admission<G> {
    type Output = Connection;
    type Error = AdmissionError;
    type ListenerUpgrade = BoxFuture<'static, Result<Connection, AdmissionError>>;
    type Dial = BoxFuture<'static, Result<Connection, AdmissionError>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<AdmissionError>> {
        self.inner.listen_on(id, address).map_err(|error| error.map(AdmissionError::Transport))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<AdmissionError>> {
        let upgrade =
            self.inner.dial(address.clone(), options).map_err(|error| error.map(AdmissionError::Transport))?;
        let gate = self.gate.clone();
        // The permit is taken when the dial is first polled: the Swarm may make dials that it never begins.
        let dial = async move {
            let permit = gate.permits.outbound();
            gate.pass(upgrade, options.role, address, None, permit).await
        };
        Ok(dial.boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, AdmissionError>> {
        let event = std::task::ready!(Pin::new(&mut self.inner).poll(cx));
        Poll::Ready(match event {
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                let gate = self.gate.clone();
                let (address, permit) = (send_back_addr.clone(), gate.permits.inbound(&send_back_addr));
                let local = local_addr.clone();
                let upgrade = async move { gate.pass(upgrade, Endpoint::Listener, address, Some(local), permit).await };
                let upgrade = upgrade.boxed();
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
            }
            TransportEvent::NewAddress { listener_id, listen_addr } => {
                TransportEvent::NewAddress { listener_id, listen_addr }
            }
            TransportEvent::AddressExpired { listener_id, listen_addr } => {
                TransportEvent::AddressExpired { listener_id, listen_addr }
            }
            TransportEvent::ListenerClosed { listener_id, reason } => {
                TransportEvent::ListenerClosed { listener_id, reason: reason.map_err(AdmissionError::Transport) }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                TransportEvent::ListenerError { listener_id, error: error.into() }
            }
        })
    }
}

/// What a connection turned out to be, within the deadline.
enum Arrival<P> {
    Member(P, Duration, Setup),
    Enrol(EnrolHello, Setup, SubstreamBox),
}

impl<G: Gatekeeper> Gate<G> {
    /// Runs the whole set-up of one connection.
    async fn pass(
        self: Arc<Self>,
        upgrade: impl Future<Output = io::Result<Connection>>,
        role: Endpoint,
        address: Multiaddr,
        local: Option<Multiaddr>,
        permit: Result<(Permit, GivenUp), Denied>,
    ) -> Result<Connection, AdmissionError> {
        let (permit, given_up) = match permit {
            Ok(permit) => permit,
            Err(Denied::Busy) => return Err(self.refuse(Reason::Busy, &address)),
            Err(Denied::SourceBusy) => return Err(self.refuse(Reason::SourceBusy, &address)),
        };
        let bearer = self.sorter.profile(self.sorter.carrying(&address, local.as_ref()));
        let limits = Limits::new(role, bearer.setup_time(self.setup_time));
        let begun = Instant::now();
        // Until the connection is encrypted, whatever ends it is a failure of the network.
        let mut failure = Some(io::ErrorKind::TimedOut.into());
        let arrival = unless_given_up(given_up, async {
            let (peer, muxer) = match within(limits.upgrade, async { Ok(upgrade.await) }).await? {
                Ok(connection) => {
                    failure = None;
                    connection
                }
                Err(error) => {
                    failure = Some(error);
                    return Err(Reason::Upgrade);
                }
            };
            permit.reached(Stage::Silent);
            let mut setup = Setup::new(muxer);
            let by = Between { peer, role, address: &address };
            match self.exchange(&mut setup, by, &permit, &limits).await {
                Ok(Exchanged::Member(found, round_trip)) => Ok((peer, Arrival::Member(found, round_trip, setup))),
                Ok(Exchanged::Enrol(hello, stream)) => Ok((peer, Arrival::Enrol(hello, setup, stream))),
                Err(reason) => {
                    setup.close().await;
                    Err(reason)
                }
            }
        })
        .await;
        match (arrival, failure) {
            (Ok((peer, Arrival::Member(found, round_trip, setup))), _) => {
                self.permits.remember(&address);
                if self.admitted.put(peer, Found { found, round_trip, begun }) {
                    self.counters.count(Item::Dropped(Counter::AdmissionsUnclaimed), 1);
                }
                let muxer = setup.into_muxer();
                Ok(match &self.shaping {
                    Some(shaping) => (peer, shaping.wrap(peer, muxer)),
                    None => (peer, muxer),
                })
            }
            (Ok((_, Arrival::Enrol(hello, setup, stream))), _) => {
                let (source, hello) = (Source::of(&address), self.gatekeeper.enrols(&hello).map(|()| hello));
                self.desk.serve(permit, source, hello, setup, stream).await;
                Err(AdmissionError::Enrolment)
            }
            // A dial that reaches nobody is not a refusal.
            (Err(_), Some(error)) if role == Endpoint::Dialer => Err(error.into()),
            (Err(reason), _) => Err(self.refuse(reason, &address)),
        }
    }

    async fn exchange(
        &self,
        setup: &mut Setup,
        Between { peer, role, address }: Between<'_>,
        permit: &Permit,
        limits: &Limits,
    ) -> Result<Exchanged<G::Peer>, Reason> {
        let pseudonym = super::pseudonym(&peer).ok_or(Reason::KeyType)?;
        let verify = |hello: &[u8]| self.gatekeeper.verify(hello, &pseudonym).map_err(Reason::Verdict);
        match role {
            Endpoint::Dialer => {
                let mut stream = within(limits.hello, setup.open(role)).await?;
                let dialer = async {
                    let mut asked = Instant::now();
                    write(&mut stream, Kind::Member, &self.gatekeeper.hello()).await?;
                    let expected = [Kind::Member, Kind::Ok, Kind::Full, Kind::Later, Kind::Clock];
                    let mut answer = read(&mut stream, &expected).await;
                    let told = answer.as_ref().ok().filter(|(kind, _)| *kind == Kind::Clock);
                    if let Some(again) = told.and_then(|(_, theirs)| self.hello_by(theirs)) {
                        asked = Instant::now();
                        write(&mut stream, Kind::Member, &again).await?;
                        answer = read(&mut stream, &expected).await;
                    }
                    let hello = match answer.map_err(refused_by_peer) {
                        // A node that dials itself hangs up as listener before it has sent anything.
                        Err(_) if peer == self.local => return Err(Reason::Own),
                        Err(reason) => return Err(reason),
                        Ok((Kind::Ok, _)) => return Err(Reason::Cut),
                        Ok((Kind::Full, _)) => return Err(Reason::Full),
                        Ok((Kind::Later, wait)) => {
                            return Err(hear_wait(&wait).map_or(Reason::Malformed, Reason::Later));
                        }
                        Ok((Kind::Clock, theirs)) => return Err(self.hear_clock(&theirs, address)),
                        Ok((_, hello)) => hello,
                    };
                    let round_trip = asked.elapsed();
                    let found = match verify(&hello) {
                        Ok(found) => found,
                        Err(reason) => {
                            self.say_clock(&mut stream, &hello, &pseudonym, address).await;
                            return Err(reason);
                        }
                    };
                    self.meets_itself(peer, &found)?;
                    if self.gatekeeper.bars(&found) {
                        // A Hello instead of an `Ok`: the listener may not know of the cut, or no longer.
                        write(&mut stream, Kind::Member, &self.gatekeeper.hello()).await?;
                        let _ = read(&mut stream, &[]).await;
                        return Err(Reason::Cut);
                    }
                    write(&mut stream, Kind::Ok, &[]).await?;
                    Ok(Exchanged::Member(found, round_trip))
                };
                within(limits.answer, setup.drive(dialer)).await
            }
            Endpoint::Listener => {
                let first = async {
                    let mut stream = setup.open(role).await?;
                    let said = setup.drive(read(&mut stream, &[Kind::Member, Kind::Enrol])).await?;
                    Ok((stream, said))
                };
                let (mut stream, said) = within(limits.hello, first).await?;
                let hello = match said {
                    (Kind::Enrol, hello) => {
                        let hello = crate::wire::decode(&hello).map_err(|_| Reason::Malformed)?;
                        permit.reached(Stage::Served);
                        return Ok(Exchanged::Enrol(hello, stream));
                    }
                    (_, hello) => hello,
                };
                let listener = async {
                    let (found, hello) = match verify(&hello) {
                        Ok(found) => (found, hello),
                        Err(reason) => {
                            // A device that does not know the time says another hello, by this one's clock.
                            let again = self.say_clock(&mut stream, &hello, &pseudonym, address).await.ok_or(reason)?;
                            (verify(&again)?, again)
                        }
                    };
                    permit.reached(Stage::Known);
                    let itself = self.meets_itself(peer, &found);
                    if itself == Err(Reason::Own) {
                        return Err(Reason::Own);
                    }
                    // Sent instead of a Hello; the dialer then hangs up. If this end closed first, the dialer might not
                    // read it.
                    let instead = match (self.gatekeeper.bars(&found), self.room.has_for(&peer)) {
                        (true, _) => Some((Kind::Ok, Vec::new(), Reason::Cut)),
                        (false, false) => Some((Kind::Full, Vec::new(), Reason::Full)),
                        (false, true) => match self.turnstile.pass(&pseudonym, Instant::now()) {
                            Ok(()) => None,
                            Err(wait) => Some((Kind::Later, tell_wait(wait), Reason::Later(wait))),
                        },
                    };
                    if let Some((kind, body, reason)) = instead {
                        write(&mut stream, kind, &body).await?;
                        let _ = read(&mut stream, &[]).await;
                        return Err(reason);
                    }
                    let asked = Instant::now();
                    write(&mut stream, Kind::Member, &self.gatekeeper.answer(&hello)).await?;
                    if let Err(twin) = itself {
                        let _ = read(&mut stream, &[]).await;
                        return Err(twin);
                    }
                    let expected = [Kind::Ok, Kind::Member, Kind::Clock];
                    match read(&mut stream, &expected).await.map_err(refused_by_peer)? {
                        (Kind::Ok, _) => Ok(Exchanged::Member(found, asked.elapsed())),
                        (Kind::Clock, theirs) => Err(self.hear_clock(&theirs, address)),
                        _ => Err(Reason::Cut),
                    }
                };
                within(limits.answer, setup.drive(listener)).await
            }
        }
    }

    /// Tells one that was refused what the time is here, if nothing but that speaks against it. Answers what it says to that: the
    /// dialer may have another hello, by that time. Else the other end hangs up; whoever did so here might do it before that was read.
    async fn say_clock(
        &self,
        stream: &mut SubstreamBox,
        hello: &[u8],
        peer: &Pseudonym,
        address: &Multiaddr,
    ) -> Option<Vec<u8>> {
        let skew = self.gatekeeper.skew(hello, peer)?;
        self.clocks.note(address, skew);
        write(stream, Kind::Clock, &skew.ours.to_be_bytes()).await.ok()?;
        read(stream, &[Kind::Member]).await.ok().map(|(_, hello)| hello)
    }

    /// The own hello by the clock of the other end, which has told it, if this device does not know the time itself.
    fn hello_by(&self, theirs: &[u8]) -> Option<Vec<u8>> {
        self.gatekeeper.hello_at(u64::from_be_bytes(theirs.try_into().ok()?))
    }

    /// Handles a refusal by the other end, which has sent its time.
    fn hear_clock(&self, theirs: &[u8], address: &Multiaddr) -> Reason {
        let Ok(theirs) = <[u8; CLOCK]>::try_from(theirs) else { return Reason::Malformed };
        if let Some(ours) = self.gatekeeper.clock() {
            self.clocks.note(address, Skew { theirs: u64::from_be_bytes(theirs), ours });
        }
        Reason::PeerClock
    }

    /// Whether a peer is this node itself, or another process with its identity.
    fn meets_itself(&self, peer: PeerId, found: &G::Peer) -> Result<(), Reason> {
        match (peer == self.local, self.gatekeeper.process(Some(found)) == self.gatekeeper.process(None)) {
            (false, _) => Ok(()),
            (true, true) => Err(Reason::Own),
            (true, false) => Err(Reason::Twin),
        }
    }

    fn refuse(&self, reason: Reason, address: &Multiaddr) -> AdmissionError {
        tracing::debug!(reason = reason.code(), %address, "connection refused");
        match reason {
            Reason::Own | Reason::Twin => {}
            Reason::Full => self.counters.count(Item::Dropped(Counter::LinksOverLimit), 1),
            Reason::Later(_) => self.counters.count(Item::Dropped(Counter::AdmissionsPutOff), 1),
            Reason::Cut => self.counters.count(Item::Cut, 1),
            _ => self.counters.count(Item::Refused(reason.code()), 1),
        }
        AdmissionError::Refused(reason)
    }
}

/// The result of the exchange of Hellos.
enum Exchanged<P> {
    /// A member, and the round-trip time of the exchange.
    Member(P, Duration),
    Enrol(EnrolHello, SubstreamBox),
}

/// The peer, the role of this end and the peer's address.
#[derive(Clone, Copy)]
struct Between<'a> {
    peer: PeerId,
    role: Endpoint,
    address: &'a Multiaddr,
}

/// The time limits of the parts of a set-up, at one end.
struct Limits {
    /// From the start until the connection is encrypted.
    upgrade: Duration,
    /// From there until the first message arrives, or at the dialer until the substream is open.
    hello: Duration,
    /// From there until both ends have finished.
    answer: Duration,
}

impl Limits {
    fn new(role: Endpoint, half: Duration) -> Self {
        match role {
            Endpoint::Dialer => Self { upgrade: half, hello: half, answer: half },
            Endpoint::Listener => Self { upgrade: half / 2, hello: half / 4, answer: half / 2 },
        }
    }
}

/// A peer that hangs up where an answer is due has refused.
fn refused_by_peer(reason: Reason) -> Reason {
    if reason == Reason::Io { Reason::PeerRefused } else { reason }
}
