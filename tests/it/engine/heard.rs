//! What subscribers have heard they do not hear again, though their device crashes and a neighbour has kept the frames.

use super::mesh::Mesh;
use m2mesh::counter::Counter;
use m2mesh::engine::Input;
use m2mesh::engine::api::{Command, Reply, Token};
use m2mesh::wire::frame::Kind;
use std::collections::BTreeMap;
use std::time::Duration;

const PUBLISHER: usize = 1;
const SUBSCRIBER: usize = 2;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A publisher and a subscriber that may crash, and all that was published and heard.
struct Listening {
    mesh: Mesh,
    listens: Token,
    published: u32,
    /// How often each was heard, by all processes of the subscriber.
    heard: BTreeMap<u32, u32>,
}

impl Listening {
    fn begin(skew: &[(usize, i64)]) -> Self {
        let mut mesh = Mesh::new(&["issuer", "a", "b"]);
        mesh.skew.extend(skew.iter().copied());
        mesh.connect(PUBLISHER, SUBSCRIBER);
        let mut listening = Self { mesh, listens: Token(0), published: 0, heard: BTreeMap::new() };
        listening.subscribe();
        listening
    }

    fn subscribe(&mut self) {
        self.listens = self.mesh.command(SUBSCRIBER, Command::subscribe("plant/#"));
        self.mesh.run(Duration::from_secs(2));
    }

    fn publish(&mut self, count: u32, every: Duration) {
        for _ in 0..count {
            let payload = self.published.to_be_bytes().to_vec();
            let (topic, lifetime) = ("plant/x".to_owned(), Duration::from_secs(600));
            self.mesh.command(
                PUBLISHER,
                Command::Publish { topic, payload, policy: None, lifetime, confirm: None, latest: false },
            );
            self.published += 1;
            self.mesh.run(every);
        }
    }

    /// What has been heard since the last look.
    fn reap(&mut self) -> Vec<u32> {
        let replies = std::mem::take(&mut self.mesh.nodes[SUBSCRIBER].replies);
        let payload = |(of, reply): (Token, Reply)| match reply {
            Reply::Published(published) if of == self.listens => {
                Some(u32::from_be_bytes(published.payload.try_into().expect("four bytes")))
            }
            _ => None,
        };
        let heard: Vec<u32> = replies.into_iter().filter_map(payload).collect();
        for number in &heard {
            *self.heard.entry(*number).or_default() += 1;
        }
        heard
    }

    /// It crashes and comes back, and the subscription with it.
    fn crash(&mut self) {
        self.reap();
        self.mesh.restart(SUBSCRIBER);
        self.subscribe();
        // What the neighbour has kept is compared a moment later.
        self.mesh.connect(PUBLISHER, SUBSCRIBER);
    }

    /// The neighbour hands in again the last frames that it has sent.
    fn replay(&mut self) {
        let link = self.mesh.link(SUBSCRIBER, PUBLISHER).expect("a link");
        let sent = self.mesh.nodes[PUBLISHER].sent.clone();
        let groups = sent.into_iter().filter(|frame| frame[4] == Kind::Group as u8).collect::<Vec<_>>();
        for frame in groups.into_iter().rev().take(60).rev() {
            self.mesh.handle(SUBSCRIBER, Input::Frames { link, buffer: frame.into() });
        }
        self.mesh.run(Duration::from_secs(1));
    }

    fn most_often(&self) -> u32 {
        self.heard.values().copied().max().unwrap_or(0)
    }
}

#[test]
fn a_publication_is_not_heard_again_after_a_crash() {
    let mut listening = Listening::begin(&[]);
    listening.publish(5, millis(100));
    assert_eq!(listening.reap(), [0, 1, 2, 3, 4]);
    listening.crash();
    listening.replay();
    assert_eq!(listening.reap(), Vec::<u32>::new());
    assert!(listening.mesh.counted(SUBSCRIBER, Counter::GroupFramesHeardBefore) >= 5);
    listening.mesh.run(millis(1_000));
    listening.publish(5, millis(100));
    listening.replay();
    assert_eq!(listening.reap(), [5, 6, 7, 8, 9]);
}

/// Invariant 1 of engine::groups::heard.
/// Invariant 1 of engine::groups::multicast.
#[test]
fn nothing_is_heard_twice_whenever_the_device_crashes() {
    for ahead in [PUBLISHER, SUBSCRIBER] {
        let mut listening = Listening::begin(&[(ahead, 200)]);
        for lives in 0..6 {
            // At another point of the span and of a flush each time.
            listening.publish(15 + 3 * lives, millis(41));
            listening.crash();
            listening.replay();
        }
        listening.reap();
        assert_eq!(listening.most_often(), 1, "{ahead} ahead");
        let unheard = listening.published as usize - listening.heard.len();
        // What was published in the two seconds after a crash, at most, each time.
        assert!(unheard <= 6 * 2_200 / 41, "{ahead} ahead: {unheard} of {}", listening.published);
    }
}

/// Invariant 1 of engine::groups::heard.
#[test]
fn a_publication_is_heard_only_when_a_crash_could_not_make_it_new() {
    let mut listening = Listening::begin(&[]);
    listening.mesh.stuck.insert(SUBSCRIBER);
    listening.publish(1, millis(100));
    assert_eq!(listening.reap(), Vec::<u32>::new());
    listening.mesh.stuck.clear();
    listening.mesh.run(millis(100));
    assert_eq!(listening.reap(), [0]);
    // In the span of that commit the next need none; they come as fast as frames do.
    listening.mesh.stuck.insert(SUBSCRIBER);
    listening.publish(8, millis(100));
    assert_eq!(listening.reap().len(), 8);
}

#[test]
fn publications_cost_few_commits() {
    let mut listening = Listening::begin(&[]);
    listening.publish(1, millis(10));
    let before = listening.mesh.nodes[SUBSCRIBER].commits;
    listening.publish(1_000, millis(10));
    assert_eq!(listening.reap().len(), 1_001);
    let commits = listening.mesh.nodes[SUBSCRIBER].commits - before;
    assert!(commits <= 12, "{commits} in 10 s");
}

#[test]
fn a_node_that_is_stopped_in_good_order_misses_next_to_nothing() {
    let mut listening = Listening::begin(&[]);
    listening.publish(10, millis(50));
    let now = listening.mesh.now;
    listening.mesh.nodes[SUBSCRIBER].engine.stop(now);
    listening.mesh.handle(SUBSCRIBER, Input::Timeout);
    listening.mesh.run(millis(50));
    listening.crash();
    listening.publish(10, millis(50));
    listening.replay();
    listening.reap();
    assert_eq!((listening.heard.len(), listening.most_often()), (20, 1));
}

#[test]
fn a_clock_that_was_ahead_for_a_while_bars_nobody() {
    let mut listening = Listening::begin(&[]);
    listening.publish(10, millis(100));
    listening.mesh.skew.insert(SUBSCRIBER, 120);
    listening.publish(10, millis(100));
    listening.mesh.skew.clear();
    listening.publish(10, millis(100));
    assert_eq!(listening.reap().len(), 30);
    listening.crash();
    listening.mesh.run(millis(2_000));
    listening.publish(10, millis(100));
    listening.replay();
    assert_eq!(listening.reap(), (30..40).collect::<Vec<_>>());
    assert_eq!(listening.most_often(), 1);
}
