//! Publications keep to the policy for their topic where there are several links to leave over.

use super::mesh::Mesh;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Refused, Reply, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::id::LinkId;
use m2mesh::link::bearer::Profile;
use m2mesh::routing::policies::{Applies, Minimise, NamedPolicy, One};
use m2mesh::wire::frame::Kind;
use m2mesh::wire::lsa::Bearer;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn metered(class: Bearer, price: u64) -> Profile {
    Profile { name: class.name().into(), class, price, metered: true, ..Profile::default() }
}

fn policy(name: &str, one: One, avoid: &[Bearer], topics: &[&str]) -> NamedPolicy {
    NamedPolicy {
        name: name.into(),
        minimise: Minimise::One(one),
        avoid: avoid.to_vec(),
        applies: Applies { topics: topics.iter().map(|topic| (*topic).into()).collect(), ..Applies::default() },
        ..NamedPolicy::default()
    }
}

/// a and b, where b listens, have two links: one is cheap and slow, one dear and fast.
struct Two {
    mesh: Mesh,
    listens: Token,
    cheap: LinkId,
    fast: LinkId,
}

fn two() -> Two {
    let (cellular, satellite) = (Bearer::Cellular, Bearer::Satellite);
    let policies = vec![
        policy("alarms", One::Delay, &[], &["plant/+/alarm"]),
        policy("grounded", One::Delay, &[satellite], &["plant/ground/#"]),
        policy("nowhere", One::Cost, &[cellular, satellite], &["plant/secret"]),
        policy("rest", One::Cost, &[], &["plant/#"]),
        NamedPolicy { budget: Some(1.0), ..policy("within", One::Cost, &[], &[]) },
    ];
    let bearers = vec![metered(cellular, 1_000_000), metered(satellite, 9_000_000)];
    let settings = move |_| Settings { policies: policies.clone(), bearers: bearers.clone(), ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b"], settings);
    let links = [(0, 400), (1, 4)].map(|(bearer, took)| {
        let (here, there) = mesh.connect_beside(0, 1, bearer);
        for (at, link) in [(0, here), (1, there)] {
            for _ in 0..20 {
                mesh.handle(at, Input::Measured { link, round_trip: Duration::from_millis(took) });
            }
        }
        here
    });
    mesh.run(seconds(3));
    let listens = mesh.command(1, Command::subscribe("plant/#"));
    mesh.run(seconds(10));
    Two { mesh, listens, cheap: links[0], fast: links[1] }
}

impl Two {
    fn publish(&mut self, topic: &str, policy: Option<&str>) -> Token {
        let (topic, policy) = (topic.to_owned(), policy.map(str::to_owned));
        self.mesh.sent_beside.clear();
        let payload = b"21".to_vec();
        self.mesh.command(
            0,
            Command::Publish { topic, payload, policy, lifetime: seconds(30), confirm: None, latest: false },
        )
    }

    /// Over which links group frames have left since.
    fn left_over(&mut self) -> Vec<LinkId> {
        self.mesh.run(Duration::from_millis(500));
        let group = |(link, kind): &(LinkId, u8)| (*kind == Kind::Group as u8).then_some(*link);
        self.mesh.sent_beside.iter().filter_map(group).collect()
    }

    fn heard(&self) -> usize {
        let heard = |(of, reply): &&(Token, Reply)| *of == self.listens && matches!(reply, Reply::Published(_));
        self.mesh.nodes[1].replies.iter().filter(heard).count()
    }
}

/// Invariant 2 of engine::neighbours::links.
/// Invariant 1 of engine::groups::tree.
#[test]
fn each_topic_takes_the_link_that_its_policy_asks_for() {
    let mut two = two();
    let (cheap, fast) = (two.cheap, two.fast);
    for (at, (topic, over)) in
        [("plant/temperature", cheap), ("plant/1/alarm", fast), ("plant/ground/alarm", fast), ("plant/ground/x", cheap)]
            .into_iter()
            .enumerate()
    {
        let token = two.publish(topic, None);
        assert_eq!(two.left_over(), [over], "{topic}");
        assert_eq!(two.heard(), at + 1, "{topic}");
        let ended = two.mesh.ended.get(&token);
        assert!(matches!(ended, Some(Outcome::Sent { neighbours: 1, .. })), "{ended:?}");
    }
}

#[test]
fn a_publication_may_name_its_policy() {
    let mut two = two();
    two.publish("plant/1/alarm", Some("cheap"));
    assert_eq!(two.left_over(), [two.cheap]);
    two.publish("plant/temperature", Some("fast"));
    assert_eq!(two.left_over(), [two.fast]);
    let token = two.publish("plant/x", Some("fats"));
    let refused = two.mesh.reply(0, token);
    let Some(Reply::Refused(Refused::UnknownPolicy { nearest, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(nearest.as_deref(), Some("fast"));
    let token = two.publish("plant/x", Some("within"));
    let refused = two.mesh.reply(0, token);
    assert!(matches!(refused, Some(Reply::Refused(Refused::PathPolicy { limit: "budget", .. }))), "{refused:?}");
}

/// Invariant 2 of engine::groups::repair.
#[test]
fn bearers_that_a_policy_avoids_are_not_taken_though_there_is_no_other() {
    let mut two = two();
    let token = two.publish("plant/secret", None);
    assert!(two.left_over().is_empty());
    assert_eq!((two.heard(), two.mesh.counted(0, Counter::GroupFramesWithoutWay)), (0, 1));
    assert!(matches!(two.mesh.ended.get(&token), Some(Outcome::Sent { neighbours: 0, .. })));
}

/// Invariant 1 of engine.
#[test]
fn publications_of_a_turn_share_a_frame_only_under_one_policy() {
    let mut two = two();
    two.mesh.sent_beside.clear();
    let publish = |topic: &str| Command::Publish {
        topic: topic.into(),
        payload: b"21".to_vec(),
        policy: None,
        lifetime: seconds(30),
        confirm: None,
        latest: false,
    };
    let now = two.mesh.now;
    for (at, topic) in ["plant/a", "plant/b", "plant/1/alarm", "plant/c"].into_iter().enumerate() {
        let token = Token(1_000 + at as u64);
        two.mesh.nodes[0].engine.handle(Input::Command { token, command: publish(topic) }, now);
    }
    two.mesh.handle(0, Input::Timeout);
    assert_eq!(two.left_over(), [two.cheap, two.fast, two.cheap]);
    assert_eq!(two.heard(), 4);
}
