//! What a message costs in the engine and its cores: codec, seals, dedupe, event log. Each is compared with a baseline
//! of the same run, since only ratios are meaningful:
//!
//! ```sh
//! cargo bench
//! ```

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use m2mesh::delivery::dedupe::Dedupe;
use m2mesh::event_log::{Config, Event, EventLog};
use m2mesh::id::{Handle, InnerId, Name, SessionId, StreamId};
use m2mesh::identity::invitation::MemoryRealm;
use m2mesh::identity::session::{End, Session, Suite};
use m2mesh::time::{EpochLength, Now, Time, Unix};
use m2mesh::wire;
use m2mesh::wire::batch::{Ack, Batch, Message, Purpose};
use m2mesh::wire::data::{Class, Form, Header, Policy, split_record};
use m2mesh::wire::parcel::{Head, Parcel, Records, put_record};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const NOW: Unix = Unix(1_800_000_100_000_000);
/// Number of messages of 200 B that fill a seal.
const MESSAGES: usize = 310;

fn main() {
    divan::main();
}

fn records() -> Vec<u8> {
    let mut records = Vec::new();
    for _ in 0..MESSAGES {
        put_record(&mut records, 0, &[7; 200]);
    }
    records
}

fn parcel() -> Vec<u8> {
    let mut plain = Vec::new();
    let head = Head {
        stream: StreamId([1; 16]),
        floor: 7,
        base: 7,
        sent: NOW.0,
        ack: Ack::End,
        reply: vec![Handle([3; 16])],
        lifetime: 30_000_000,
        error: None,
        push_only: false,
    };
    Parcel::put(&head, &records(), &mut plain);
    plain
}

mod codec {
    use super::*;

    #[divan::bench]
    fn baseline_copy_of_the_same_bytes(bencher: Bencher<'_, '_>) {
        let plain = parcel();
        bencher.counter(ItemsCount::new(MESSAGES)).bench(|| black_box(&plain).to_vec());
    }

    #[divan::bench]
    fn pack_a_parcel(bencher: Bencher<'_, '_>) {
        bencher.counter(ItemsCount::new(MESSAGES)).bench(parcel);
    }

    #[divan::bench]
    fn unpack_a_parcel(bencher: Bencher<'_, '_>) {
        let plain = parcel();
        bencher.counter(ItemsCount::new(MESSAGES)).bench(|| {
            let parcel = Parcel::parse(&black_box(&plain)[1..]).expect("our own parcel");
            Records(parcel.records).map(|record| record.payload.len()).sum::<usize>()
        });
    }

    #[divan::bench]
    fn encode_and_decode_a_batch_of_calls(bencher: Bencher<'_, '_>) {
        let message = Message {
            offset: 0,
            purpose: Purpose::Request,
            payload: &[7; 200],
            service: Some("valve"),
            replies_to: Some(InnerId { stream: StreamId([1; 16]), sequence: 9 }),
            lifetime: Some(30_000_000),
        };
        let batch = Batch {
            stream: StreamId([1; 16]),
            floor: 7,
            base: 7,
            sent: NOW.0,
            ack: Ack::End,
            reply: vec![Handle([3; 16])],
            messages: vec![message; 100],
        };
        bencher.counter(ItemsCount::new(100usize)).bench(|| {
            let bytes = wire::encode(black_box(&batch));
            wire::decode::<Batch<'_>>(&bytes).expect("our own batch").messages.len()
        });
    }
}

mod seal {
    use super::*;

    const CHACHA: u8 = Suite::ChaCha20Poly1305.bit();
    const AES: u8 = CHACHA | Suite::Aes256Gcm.bit();

    /// Both ends of a confirmed session.
    fn pair(suites: u8) -> (Session, Session) {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
        let names = ["one", "two"].map(|name| Name::new(name).expect("a name"));
        let mut members = realm.enrol(names, 2, NOW, &mut rng).expect("two members");
        let (two, one) = (members.pop().expect("two members"), members.pop().expect("two members"));
        let own = two.credential(NOW).expect("a credential");
        let peer = one.bulletin().verify_credential(&own.signed, NOW).expect("it holds");
        let (contact, back) = (two.contact_secret().public(), one.contact_secret().public());
        let mine = one.credential(NOW).expect("a credential");
        let here = End { id: SessionId([1; 8]), suites, own: mine, contact: one.contact_secret() };
        let there = End { id: SessionId([2; 8]), suites, own, contact: two.contact_secret() };
        let mut session = Session::open(&mut rng, here, &peer, &contact).expect("sound keys");
        let mut frame = Vec::new();
        session.seal_into(&[], &[], &mut frame);
        let (opener, _) = split_record(Form::Opener, &frame).expect("an opener");
        let opener = wire::decode(opener).expect("it decodes");
        let accepted = Session::accept(&mut rng, there, &opener, two.bulletin(), NOW, &mut |_| Some(back));
        let (mut accepted, _) = accepted.expect("it opens");
        accepted.open_record(&[], Form::Opener, &frame, &mut Vec::new()).expect("it opens");
        for form in [Form::Answer, Form::Session] {
            let (from, to) =
                if form == Form::Answer { (&mut accepted, &mut session) } else { (&mut session, &mut accepted) };
            frame.clear();
            from.seal_into(&[], &[], &mut frame);
            to.open_record(&[], form, &frame, &mut Vec::new()).expect("it opens");
        }
        (session, accepted)
    }

    #[divan::bench(args = [200, 1_024, 65_000])]
    fn baseline_copy(bencher: Bencher<'_, '_>, size: usize) {
        let plain = vec![7u8; size];
        bencher.counter(BytesCount::new(size)).bench(|| black_box(&plain).to_vec());
    }

    #[divan::bench(args = [200, 1_024, 65_000], consts = [CHACHA, AES])]
    fn seal<const SUITES: u8>(bencher: Bencher<'_, '_>, size: usize) {
        let (plain, header) = (vec![7u8; size], header());
        let (mut session, _) = pair(SUITES);
        bencher.counter(BytesCount::new(size)).bench_local(|| {
            let mut out = Vec::with_capacity(size + 64);
            session.seal_into(&header, black_box(&plain), &mut out);
            out
        });
    }

    #[divan::bench(args = [200, 1_024, 65_000], consts = [CHACHA, AES])]
    fn seal_and_open<const SUITES: u8>(bencher: Bencher<'_, '_>, size: usize) {
        let (plain, header) = (vec![7u8; size], header());
        let (mut one, mut two) = pair(SUITES);
        bencher.counter(BytesCount::new(size)).bench_local(|| {
            let (mut record, mut out) = (Vec::with_capacity(size + 64), Vec::with_capacity(size + 64));
            one.seal_into(&header, black_box(&plain), &mut record);
            two.open_record(&header, Form::Session, &record, &mut out).expect("it opens");
            out
        });
    }

    fn header() -> Vec<u8> {
        wire::encode(&Header {
            to: Handle([2; 16]),
            class: Class::Telemetry,
            form: Form::Session,
            expiry: NOW.0,
            policy: Policy::default(),
            segment: 0,
            mail: None,
        })
    }
}

mod dedupe {
    use super::*;

    #[divan::bench]
    fn in_order_one_by_one(bencher: Bencher<'_, '_>) {
        let mut dedupe = Dedupe::default();
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            for _ in 0..MESSAGES {
                let next = dedupe.watermark();
                black_box(dedupe.accept(next));
            }
        });
    }

    #[divan::bench]
    fn in_order_a_parcel_at_a_time(bencher: Bencher<'_, '_>) {
        let mut dedupe = Dedupe::default();
        bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
            let next = dedupe.watermark();
            black_box(dedupe.accept_next(next, MESSAGES as u64))
        });
    }

    #[divan::bench]
    fn every_second_first(bencher: Bencher<'_, '_>) {
        bencher.counter(ItemsCount::new(200usize)).bench(|| {
            let mut dedupe = Dedupe::default();
            for number in (2..=200).step_by(2).chain((1..=200).step_by(2)) {
                black_box(dedupe.accept(number));
            }
        });
    }
}

mod log {
    use super::*;

    #[divan::bench]
    fn append_and_chain(bencher: Bencher<'_, '_>) {
        let mut log = EventLog::new(Config::default());
        let mut second = 0;
        bencher.counter(ItemsCount::new(100usize)).bench_local(|| {
            for _ in 0..100 {
                second += 1;
                let now = Now { time: Time(second * 1_000_000), unix: Unix(NOW.0 + second * 1_000_000) };
                log.append(Event::EpochChanged { epoch: second }, now);
            }
            log.poll_changes().map(|changes| changes.records.len())
        });
    }
}

/// A group of a thousand devices gets another key: what that takes of the issuer, and of each member. The bytes are those of
/// the one document.
mod rekeying {
    use super::*;
    use m2mesh::identity::group_tree::{GroupTree, open_version};
    use m2mesh::wire::bulletin::GroupVersion;
    use std::collections::BTreeSet;

    const MEMBERS: u32 = 1_000;

    /// The tree, a key, and these many members spread over all.
    fn group(revoked: u32) -> (GroupTree, [u8; 32], BTreeSet<u32>) {
        (GroupTree::new([7; 32].into()), [9; 32], (0..revoked).map(|one| one * MEMBERS / revoked + one % 7).collect())
    }

    fn document(revoked: u32) -> GroupVersion {
        let (tree, key, excluded) = group(revoked);
        tree.seal_version(&mut ChaCha20Rng::from_seed([1; 32]), (None, 2), &key.into(), MEMBERS, &excluded)
    }

    #[divan::bench(args = [10, 100])]
    fn at_the_issuer(bencher: Bencher<'_, '_>, revoked: u32) {
        let (tree, key, excluded) = group(revoked);
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        bencher
            .counter(BytesCount::new(wire::encode(&document(revoked)).len()))
            .bench_local(|| tree.seal_version(&mut rng, (None, 2), &key.into(), MEMBERS, black_box(&excluded)));
    }

    #[divan::bench(args = [10, 100])]
    fn at_a_member(bencher: Bencher<'_, '_>, revoked: u32) {
        let (tree, ..) = group(revoked);
        let encoded = wire::encode(&document(revoked));
        let path = tree.path(999).expect("a leaf");
        bencher.counter(BytesCount::new(encoded.len())).bench(|| {
            let version: GroupVersion = wire::decode(black_box(&encoded)).expect("a document");
            open_version(&path, &version).expect("the last member reads on")
        });
    }
}
