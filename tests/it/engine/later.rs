//! Messages that do not leave at once: because they are not to, because many would leave at the same time, because others
//! share their frame, or because a cheaper way will be there.

use super::mesh::{Mesh, message, name};
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Load, Outcome, Refused, Reply, Start, Timing, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::event_log::Event;
use m2mesh::id::SendId;
use m2mesh::link::bearer::Profile;
use m2mesh::link::windows::{EVERY_DAY, Window, Windows};
use m2mesh::routing::policies::{Applies, Late, Minimise, NamedPolicy, One};
use m2mesh::time::Unix;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::Kind;
use m2mesh::wire::lsa::Bearer;
use m2mesh::wire::parcel::put_record;
use std::time::Duration;

/// The kinds of frames that carry messages, whole or in pieces.
const DATA: [u8; 2] = [Kind::Data as u8, Kind::Fragment as u8];

fn linked(settings: impl Fn(usize) -> Settings) -> Mesh {
    let mut mesh = Mesh::with(&["issuer", "a", "b"], settings);
    mesh.connect(1, 2);
    mesh.run(seconds(1));
    mesh
}

fn later(start: Start, command: Command) -> Command {
    let timing = Timing { start: Some(start), ..Timing::default() };
    Command::Later { timing, command: Box::new(command) }
}

fn held(mesh: &Mesh) -> usize {
    mesh.nodes[1].engine.held_open()
}

/// Invariant 1 of engine::messages::held.
#[test]
fn a_message_that_is_held_leaves_at_its_time_also_after_a_restart() {
    let mut mesh = linked(|_| Settings::default());
    let at = mesh.now.unix + seconds(600);
    let id = Some(SendId([7; 16]));
    let send = m2mesh::engine::api::Send { id, ..message("b", b"at noon", Ack::End, 900) };
    mesh.command(1, later(Start::At(at), Command::Send(send.clone())));
    mesh.run(Duration::from_millis(10));
    let view = mesh.nodes[1].engine.held();
    assert_eq!((view.len(), view[0].to.as_str(), view[0].leaves, view[0].bytes), (1, "b", at, 7));
    mesh.restart(1);
    mesh.connect(1, 2);
    assert_eq!((held(&mesh), mesh.nodes[1].engine.held()[0].leaves), (1, at));
    mesh.run(seconds(590));
    assert!(mesh.inbox(2).is_empty());
    // Under its name nobody sends it twice.
    let again = mesh.command(1, Command::Send(send));
    mesh.run(seconds(20));
    assert_eq!((mesh.inbox(2).len(), held(&mesh)), (1, 0));
    assert!(mesh.inbox(2)[0].sent >= at);
    assert!(matches!(outcome(&mesh, 1, again), Outcome::Delivered { .. }));
    mesh.restart(1);
    mesh.connect(1, 2);
    mesh.run(seconds(20));
    assert_eq!((mesh.inbox(2).len(), held(&mesh)), (1, 0));
}

/// Invariant 2 of engine::messages::held.
#[test]
fn only_its_deadline_ends_a_message_that_is_held() {
    let mut mesh = linked(|_| Settings::default());
    let span = Start::After(seconds(60));
    let token = mesh.command(1, later(span, Command::Send(message("b", b"late", Ack::End, 60))));
    let Some(Reply::Refused(Refused::NeverInTime { .. })) = mesh.reply(1, token) else {
        panic!("{:?}", mesh.reply(1, token))
    };
    mesh.disconnect(1, 2);
    let token = mesh.command(1, later(span, Command::Send(message("b", b"in vain", Ack::End, 90))));
    let mut records = Vec::new();
    put_record(&mut records, 0, b"unconfirmed");
    let load = Load { to: name("b"), records, class: Class::Bulk, policy: None, lifetime: seconds(300) };
    mesh.command(1, later(span, Command::SendLoad(load)));
    mesh.run(seconds(80));
    assert_eq!((held(&mesh), mesh.reply(1, token)), (0, None));
    mesh.run(seconds(20));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Unreachable { .. }));
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    let inbox = mesh.inbox(2);
    assert_eq!((inbox.len(), inbox[0].payload.as_slice()), (1, &b"unconfirmed"[..]));
}

#[test]
fn a_clock_that_is_set_moves_what_was_named_by_it() {
    let mut mesh = linked(|_| Settings::default());
    let at = mesh.now.unix + seconds(3_000);
    mesh.command(1, later(Start::At(at), Command::Send(message("b", b"at", Ack::End, 10_000))));
    mesh.command(1, later(Start::After(seconds(3_000)), Command::Send(message("b", b"after", Ack::End, 10_000))));
    mesh.run(seconds(10));
    mesh.skew.insert(1, 200);
    mesh.send(1, "b", b"now", Ack::None, 10);
    mesh.run(seconds(2_795));
    let payloads = |mesh: &Mesh| mesh.inbox(2).iter().map(|message| message.payload.clone()).collect::<Vec<_>>();
    assert_eq!(payloads(&mesh), [b"now".to_vec(), b"at".to_vec()]);
    mesh.run(seconds(200));
    assert_eq!(payloads(&mesh).last(), Some(&b"after".to_vec()));
}

#[test]
fn requests_and_publications_are_held_too() {
    let mut mesh = linked(|_| Settings::default());
    mesh.command(2, Command::Offer { service: "clock".into(), capacity: None });
    let subscription = mesh.command(2, Command::subscribe("plant/#"));
    mesh.run(seconds(2));
    let send = message("b", b"what time", Ack::End, 60);
    mesh.command(1, later(Start::After(seconds(20)), Command::Request { send, service: None }));
    let (topic, payload) = ("plant/a".to_owned(), b"21".to_vec());
    let publish =
        Command::Publish { topic, payload, policy: None, lifetime: seconds(60), confirm: None, latest: false };
    mesh.command(1, later(Start::After(seconds(20)), publish));
    mesh.run(seconds(19));
    let calls = |mesh: &Mesh| mesh.nodes[2].replies.iter().filter(|(_, reply)| matches!(reply, Reply::Call(_))).count();
    let heard = |mesh: &Mesh| matches!(mesh.reply(2, subscription), Some(Reply::Published(_)));
    assert_eq!((held(&mesh), calls(&mesh), heard(&mesh)), (2, 0, false));
    mesh.restart(1);
    mesh.connect(1, 2);
    assert_eq!(held(&mesh), 1, "nobody waits for the response");
    mesh.run(seconds(5));
    assert_eq!((held(&mesh), calls(&mesh), heard(&mesh)), (0, 0, true));
}

/// Invariant 2 of engine::messages::held.
#[test]
fn a_newer_message_of_its_key_takes_the_place_of_one_that_is_held() {
    let mut mesh = linked(|_| Settings::default());
    let of_key = |key: &str, payload: &[u8]| {
        Command::Send(m2mesh::engine::api::Send { latest: Some(key.into()), ..message("b", payload, Ack::End, 600) })
    };
    let hold = |mesh: &mut Mesh, after, command| mesh.command(1, later(Start::After(seconds(after)), command));
    let [old, other] = [("k", 50), ("x", 60)].map(|(key, after)| hold(&mut mesh, after, of_key(key, b"old")));
    let newer = hold(&mut mesh, 100, of_key("k", b"newer"));
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, old), Outcome::Superseded { .. }));
    assert_eq!((held(&mesh), mesh.reply(1, other)), (2, None));
    let newest = mesh.command(1, of_key("k", b"newest"));
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, newer), Outcome::Superseded { .. }));
    assert!(outcome(&mesh, 1, newest).is_success());
    mesh.run(seconds(120));
    assert!(outcome(&mesh, 1, other).is_success());
    assert_eq!((mesh.inbox(2).len(), mesh.counted(1, Counter::MessagesSuperseded)), (2, 2));
    let publish = |payload: &[u8]| {
        let (topic, payload, lifetime) = ("plant/x".to_owned(), payload.to_vec(), seconds(600));
        Command::Publish { topic, payload, policy: None, lifetime, confirm: None, latest: true }
    };
    let old = hold(&mut mesh, 50, publish(b"old"));
    hold(&mut mesh, 50, publish(b"newer"));
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, old), Outcome::Superseded { .. }));
    assert_eq!((held(&mesh), mesh.counted(1, Counter::MessagesSuperseded)), (1, 3));
}

#[test]
fn there_is_a_bound_on_what_is_held() {
    let mut mesh = linked(|_| Settings::default());
    let send = || Command::Send(message("b", &[1; 60_000], Ack::End, 900));
    let tokens: Vec<Token> = (0..300).map(|_| mesh.command(1, later(Start::After(seconds(60)), send()))).collect();
    mesh.run(seconds(1));
    let refused =
        tokens.iter().filter(|token| matches!(mesh.reply(1, **token), Some(Reply::Refused(Refused::Full(_)))));
    assert_eq!(held(&mesh) + refused.count(), 300);
    assert!(held(&mesh) < 290, "{}", held(&mesh));
    assert_eq!(mesh.counted(1, Counter::OutgoingDamaged), 0);
}

fn policy(name: &str, change: impl FnOnce(&mut NamedPolicy)) -> NamedPolicy {
    let mut policy = NamedPolicy { name: name.into(), ..NamedPolicy::default() };
    change(&mut policy);
    policy
}

#[test]
fn messages_that_are_spread_make_no_peak_and_miss_no_deadline() {
    let spread = |policy: &mut NamedPolicy| {
        policy.spread = Some(seconds(600));
        policy.applies = Applies { classes: vec![Class::Telemetry], ..Applies::default() };
    };
    let own = policy("hourly", spread);
    let mut mesh = linked(|_| Settings { policies: vec![own.clone()], ..Settings::default() });
    let begin = mesh.now.unix;
    let tokens: Vec<Token> = (0..1_000).map(|_| mesh.send(1, "b", b"a reading of 20 bytes", Ack::End, 900)).collect();
    mesh.run(seconds(700));
    let delivered = |token: &&Token| matches!(outcome(&mesh, 1, **token), Outcome::Delivered { .. });
    assert_eq!(tokens.iter().filter(delivered).count(), 1_000);
    let mut minutes = [0u32; 10];
    for message in mesh.inbox(2) {
        minutes[usize::try_from(message.sent.since(begin).as_secs() / 60).expect("few").min(9)] += 1;
    }
    let peak = minutes.iter().max().copied().unwrap_or_default();
    assert!(peak <= 200, "peak to mean is {}: {minutes:?}", f64::from(peak) / 100.0);
    // A span longer than its lifetime leaves time for the way.
    let token = mesh.send(1, "b", b"soon", Ack::End, 40);
    mesh.run(seconds(40));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Delivered { .. }));
}

/// Sends readings of 20 bytes, ten a second, over two hops. Returns the bytes of data frames, with those of receipts, for
/// each reading and hop.
fn bytes_a_reading(gather: Option<Duration>) -> usize {
    let gathers = policy("metering", |policy| {
        policy.gather = gather;
        policy.applies = Applies { classes: vec![Class::Telemetry], ..Applies::default() };
    });
    let mut mesh =
        Mesh::with(&["a", "r", "b"], |_| Settings { policies: vec![gathers.clone()], ..Settings::default() });
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    mesh.send(0, "b", b"hello", Ack::End, 30);
    mesh.run(seconds(10));
    mesh.forget_past();
    let tokens: Vec<Token> = (0..600)
        .map(|_| {
            let token = mesh.send(0, "b", &[7; 20], Ack::End, 60);
            mesh.run(Duration::from_millis(100));
            token
        })
        .collect();
    mesh.run(seconds(10));
    assert!(tokens.iter().all(|token| matches!(mesh.ended.get(token), Some(Outcome::Delivered { hops: 2, .. }))));
    let sent = mesh.nodes.iter().flat_map(|node| &node.sent).filter(|frame| frame[4] == Kind::Data as u8);
    sent.map(Vec::len).sum::<usize>() / tokens.len() / 2
}

#[test]
fn readings_that_are_gathered_take_few_bytes_each() {
    let (alone, gathered) = (bytes_a_reading(None), bytes_a_reading(Some(seconds(5))));
    println!("bytes on the wire for each reading of 20 bytes and hop, with receipts: {alone}, gathered {gathered}");
    assert!(gathered <= 60 && alone > 4 * gathered, "{alone} alone, {gathered} gathered");
}

#[test]
fn an_alarm_is_not_gathered_nor_is_what_has_little_time() {
    let gathers = policy("balanced", |policy| policy.gather = Some(seconds(60)));
    let mut mesh = linked(|_| Settings { policies: vec![gathers.clone()], ..Settings::default() });
    let alarm = m2mesh::engine::api::Send { class: Class::Alarm, ..message("b", b"fire", Ack::End, 600) };
    let token = mesh.command(1, Command::Send(alarm));
    let hurried = mesh.send(1, "b", b"soon", Ack::End, 8);
    mesh.run(seconds(1));
    assert!(matches!(outcome(&mesh, 1, token), Outcome::Delivered { .. }));
    assert_eq!(mesh.reply(1, hurried), None);
    mesh.run(seconds(2));
    assert!(matches!(outcome(&mesh, 1, hurried), Outcome::Delivered { .. }));
}

/// A dear link, and a free one beside it that opens at 13:00 for half an hour. It is 08:00.
fn dear_and_free(policies: Vec<NamedPolicy>) -> Mesh {
    let class = Bearer::Satellite;
    let dear = Profile { name: "satellite".into(), class, price: 50_000_000, ..Profile::default() };
    let windows = Windows::new(Window::new(13 * 60, 13 * 60 + 30, EVERY_DAY));
    let free = Profile { name: "night".into(), rate: 1_000, windows, ..Profile::default() };
    let bearers = vec![dear, free];
    let mut mesh = linked(|_| Settings { bearers: bearers.clone(), policies: policies.clone(), ..Settings::default() });
    mesh.connect_beside(1, 2, 1);
    mesh.run(seconds(10));
    mesh.carried.clear();
    mesh.sent_beside.clear();
    mesh
}

fn waiting(wait: u64, lifetime: u64, payload: &[u8]) -> Command {
    let timing = Timing { wait: Some(seconds(wait)), ..Timing::default() };
    Command::Later { timing, command: Box::new(Command::Send(message("b", payload, Ack::End, lifetime))) }
}

const HOUR: u64 = 3_600;

fn price(mesh: &Mesh, token: Token) -> Option<u64> {
    match mesh.ended.get(&token) {
        Some(Outcome::Delivered { price, .. }) => Some(*price),
        _ => None,
    }
}

/// Invariant 1 of engine::messages::patience.
#[test]
fn a_message_waits_for_a_cheaper_way_that_will_be_there_and_for_no_other() {
    let mut mesh = dear_and_free(Vec::new());
    // The way opens in five hours.
    let waits = mesh.command(1, waiting(6 * HOUR, 6 * HOUR, b"cheap"));
    mesh.run(seconds(60));
    assert_eq!((price(&mesh, waits), mesh.carried.is_empty()), (None, true));
    let route = mesh.command(1, Command::Route { to: name("b"), policy: None });
    let Some(Reply::Route(view)) = mesh.reply(1, route) else { panic!("{:?}", mesh.reply(1, route)) };
    assert!(view.why.iter().any(|why| why.contains("T13:00:00.000Z for night")), "{:?}", view.why);
    // It is too far for who waits four hours, and for who has no more.
    for command in [waiting(4 * HOUR, 6 * HOUR, b"x"), waiting(6 * HOUR, 4 * HOUR, b"y")] {
        let token = mesh.command(1, command);
        mesh.run(seconds(1));
        assert!(price(&mesh, token).is_some_and(|price| price > 0));
    }
    mesh.carried.clear();
    mesh.run(seconds(5 * HOUR));
    assert_eq!((price(&mesh, waits), mesh.carried.get(&(1, 2))), (Some(0), None));
}

#[test]
fn a_message_behind_one_that_waits_is_not_held_up() {
    let waits = policy("balanced", |policy| policy.wait = Some(seconds(6 * HOUR)));
    let mut mesh = dear_and_free(vec![waits]);
    let patient = mesh.send(1, "b", b"patient", Ack::End, 7 * HOUR);
    mesh.run(seconds(1));
    let hurried = mesh.send(1, "b", b"hurried", Ack::End, 60);
    mesh.run(seconds(5));
    assert!(price(&mesh, hurried).is_some_and(|price| price > 0), "{:?}", mesh.reply(1, hurried));
    assert_eq!(price(&mesh, patient), None);
    mesh.run(seconds(5 * HOUR));
    assert_eq!(price(&mesh, patient), Some(0));
}

/// Invariant 1 of engine::messages::patience.
#[test]
fn a_budget_that_yields_spends_nothing_where_a_free_way_appears_and_pays_in_time_where_none_does() {
    let patient = policy("patient", |policy| {
        policy.minimise = Minimise::One(One::Cost);
        policy.budget = Some(0.0);
        policy.late = Late::Pay;
    });
    let mut mesh = dear_and_free(vec![patient]);
    let send = |lifetime| m2mesh::engine::api::Send {
        policy: Some("patient".into()),
        ..message("b", b"tolerant", Ack::End, lifetime)
    };
    let (six, four) = (mesh.command(1, Command::Send(send(6 * HOUR))), mesh.command(1, Command::Send(send(4 * HOUR))));
    mesh.run(seconds(4 * HOUR - 700));
    assert_eq!((price(&mesh, four), mesh.carried.get(&(1, 2))), (None, None));
    mesh.run(seconds(700));
    assert!(price(&mesh, four).is_some_and(|price| price > 0), "{:?}", mesh.reply(1, four));
    mesh.carried.clear();
    mesh.run(seconds(HOUR + 60));
    assert_eq!((price(&mesh, six), mesh.carried.get(&(1, 2))), (Some(0), None));
}

/// Invariant 1 of engine::neighbours::link_metrics.
#[test]
fn no_frame_leaves_that_would_not_be_sent_before_its_window_closes() {
    let windows = Windows::new(Window::new(8 * 60, 8 * 60 + 5, EVERY_DAY));
    let radio = Profile { name: "radio".into(), rate: 8, windows, ..Profile::default() };
    let bearers = vec![radio];
    let mut mesh = linked(|_| Settings { bearers: bearers.clone(), ..Settings::default() });
    let closes = Unix::from_seconds(1_800_000_000 + 300);
    let data = |mesh: &Mesh| mesh.nodes[1].sent.iter().filter(|frame| DATA.contains(&frame[4])).count();
    while mesh.now.unix < closes + seconds(60) {
        // 3,000 bytes take three seconds.
        mesh.send(1, "b", &[7; 3_000], Ack::End, 7_200);
        let before = data(&mesh);
        mesh.run(seconds(1));
        let left = data(&mesh) != before;
        assert!(
            !left || mesh.now.unix + seconds(2) <= closes,
            "a frame left {} s before",
            closes.since(mesh.now.unix).as_secs()
        );
    }
    assert!(data(&mesh) > 0);
    assert!(mesh.patience.iter().filter(|(kind, _)| DATA.contains(kind)).all(|(_, until)| until.is_some()));
}

#[test]
fn a_relay_sends_nothing_into_a_window_that_closes() {
    let windows = Windows::new(Window::new(8 * 60, 8 * 60 + 5, EVERY_DAY));
    let radio = Profile { name: "radio".into(), rate: 8, windows, ..Profile::default() };
    let bearers = vec![Profile::default(), radio];
    let mut mesh = Mesh::with(&["a", "r", "b"], |_| Settings { bearers: bearers.clone(), ..Settings::default() });
    mesh.connect(0, 1);
    mesh.connect_beside(1, 2, 1);
    mesh.run(seconds(10));
    let token = mesh.send(0, "b", b"short", Ack::End, 60);
    mesh.run(seconds(288));
    assert!(matches!(outcome(&mesh, 0, token), Outcome::Delivered { .. }));
    mesh.sent_beside.clear();
    mesh.send(0, "b", &[7; 3_000], Ack::None, 600);
    mesh.run(seconds(1));
    assert!(mesh.sent_beside.iter().all(|(_, kind)| !DATA.contains(kind)));
    assert_eq!(mesh.counted(1, Counter::FramesBeforeClosing), 1);
}

/// Invariant 1 of engine::neighbours::link_metrics.
#[test]
fn windows_that_are_told_for_the_days_ahead_are_kept() {
    let radio =
        Profile { name: "radio".into(), windows: Windows::default().with_spans(Vec::new()), ..Profile::default() };
    let bearers = vec![radio];
    let mut mesh = linked(|_| Settings { bearers: bearers.clone(), ..Settings::default() });
    mesh.send(1, "b", b"early", Ack::End, 7_200);
    mesh.run(seconds(100));
    assert!(mesh.inbox(2).is_empty(), "it is closed until its windows are told");
    let at = mesh.now.unix.seconds();
    for node in [1, 2] {
        let windows = Windows::default().with_spans(vec![(at + 60, at + 120), (at + 600, at + 660)]);
        mesh.handle(node, Input::Windows { bearer: 0, windows });
    }
    mesh.run(seconds(59));
    assert!(mesh.inbox(2).is_empty());
    mesh.run(seconds(10));
    assert_eq!(mesh.inbox(2).len(), 1);
    mesh.run(seconds(100));
    mesh.send(1, "b", b"late", Ack::End, 7_200);
    mesh.run(seconds(400));
    assert_eq!(mesh.inbox(2).len(), 1);
    mesh.run(seconds(100));
    assert_eq!(mesh.inbox(2).len(), 2);
}

#[test]
fn a_sender_whose_clock_is_ahead_is_named_in_the_log() {
    let mut mesh = Mesh::new(&["a", "r", "b"]);
    mesh.connect(0, 1);
    mesh.connect(1, 2);
    mesh.run(seconds(5));
    mesh.send(0, "b", b"right", Ack::End, 60);
    mesh.run(seconds(2));
    mesh.skew.insert(0, 310);
    mesh.send(0, "b", b"ahead", Ack::End, 60);
    mesh.run(seconds(2));
    let of_a = |event: &Event| matches!(event, Event::ClockDiffers { address, .. } if address == "a");
    assert_eq!(mesh.events(2).iter().filter(|event| of_a(event)).count(), 1);
}
