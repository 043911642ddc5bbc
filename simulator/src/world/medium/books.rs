//! Books: bytes, packets, money and energy, by bearer, device and class of message.
//!
//! A bearer has a price for its bytes, and may have one for each packet of at most its largest size; a partly filled
//! packet counts as one. Bytes are those that are handed to a line, with the overhead of a real link. Repetitions by a
//! line or a radio cost energy and no money.

use super::Medium;
use crate::plan;
use m2mesh::net::emulation::MTU;
use m2mesh::wire::data::Class;

/// The prices of a bearer, in money and energy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tariff {
    /// The price of a megabyte.
    price: f64,
    /// The price of a packet.
    price_packet: f64,
    /// The size of the largest packet in bytes.
    packet: u64,
    /// The joules for a byte, of the sender and of the receiver.
    pub(super) energy: [f64; 2],
}

/// An amount of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) bytes: u64,
    pub(super) packets: u64,
}

/// An amount of traffic with its cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bill {
    /// The bytes.
    pub bytes: f64,
    /// The cost in units of money.
    pub cost: f64,
}

/// All traffic so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The bills by bearer.
    pub bearers: Vec<Bill>,
    /// The bills of what each device sent.
    pub devices: Vec<Bill>,
    /// The bills by class, of frames of data.
    pub classes: [Bill; Class::ALL.len()],
    /// By bearer: the frames lost to collisions, and to bursts.
    pub radio: Vec<[u64; 2]>,
}

impl Tariff {
    pub(super) fn new(bearer: &plan::Bearer) -> Self {
        Self {
            price: bearer.price,
            price_packet: bearer.price_packet,
            packet: bearer.mtu.map_or(MTU as u64, u64::from).max(1),
            energy: [bearer.transmit, bearer.receive],
        }
    }

    /// Returns the amount of traffic of bytes that are sent at once.
    pub(super) fn amount(&self, bytes: u64) -> Amount {
        Amount { bytes, packets: bytes.div_ceil(self.packet) }
    }

    /// Returns the cost of an amount.
    pub(super) fn cost(&self, amount: Amount) -> f64 {
        amount.bytes as f64 / 1e6 * self.price + amount.packets as f64 * self.price_packet
    }

    fn bill(&self, amount: Amount) -> Bill {
        Bill { bytes: amount.bytes as f64, cost: self.cost(amount) }
    }
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.packets += other.packets;
    }
}

impl std::ops::Add for Bill {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, cost: self.cost + other.cost }
    }
}

impl std::ops::Sub for Bill {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { bytes: self.bytes - other.bytes, cost: self.cost - other.cost }
    }
}

impl Tally {
    /// Returns the traffic since an earlier tally; all of it if the earlier one is empty.
    pub fn since(&self, before: &Self) -> Self {
        let bills = |now: &[Bill], before: &[Bill]| -> Vec<Bill> {
            let before = before.iter().copied().chain(std::iter::repeat(Bill::default()));
            now.iter().zip(before).map(|(now, before)| *now - before).collect()
        };
        let mut classes = self.classes;
        classes.iter_mut().zip(before.classes).for_each(|(now, before)| *now = *now - before);
        let earlier = before.radio.iter().copied().chain(std::iter::repeat([0; 2]));
        Self {
            bearers: bills(&self.bearers, &before.bearers),
            devices: bills(&self.devices, &before.devices),
            classes,
            radio: self
                .radio
                .iter()
                .zip(earlier)
                .map(|(now, before)| [now[0] - before[0], now[1] - before[1]])
                .collect(),
        }
    }
}

impl Medium {
    /// Returns the bytes and the money so far.
    pub fn tally(&self) -> Tally {
        let state = self.lock();
        Tally {
            bearers: state.bearers.iter().map(|bearer| bearer.tariff.bill(bearer.all)).collect(),
            devices: state
                .devices
                .iter()
                .map(|device| Bill { bytes: device.bytes as f64, cost: device.cost })
                .collect(),
            classes: state.classes,
            radio: state.bearers.iter().map(|bearer| [bearer.air.collided, bearer.air.faded]).collect(),
        }
    }

    /// Returns the joules that a device's radios have taken so far, for what they sent and what they received.
    pub fn joules(&self, device: usize) -> [f64; 2] {
        self.lock().devices[device].joules
    }

    /// Books, of bytes that go onto an edge at once, those in frames of data, by class.
    pub(super) fn book_classes(&self, edge: usize, bytes: u64, classes: [u64; Class::ALL.len()]) {
        let mut state = self.lock();
        let state = &mut *state;
        let tariff = &state.bearers[state.edges[edge].bearer].tariff;
        let cost = tariff.cost(tariff.amount(bytes)) / bytes.max(1) as f64;
        for (bill, part) in state.classes.iter_mut().zip(classes) {
            *bill = *bill + Bill { bytes: part as f64, cost: cost * part as f64 };
        }
    }

    /// Books the energy of bytes that the sender of an edge has sent again.
    pub(super) fn spend_again(&self, edge: usize, direction: usize, bytes: u64) {
        let mut state = self.lock();
        let state = &mut *state;
        let known = &state.edges[edge];
        let from = if direction == 0 { known.a } else { known.b };
        state.devices[from].joules[0] += bytes as f64 * state.bearers[known.bearer].tariff.energy[0];
    }
}

/// Returns the bytes on a real link for bytes of a stream.
pub(super) fn on_the_wire(bytes: usize) -> usize {
    bytes + bytes.div_ceil(MTU).max(1) * OVERHEAD
}

/// The bytes that a packet of TCP over IPv4 (40), with a record of Noise (18) and a frame of Yamux (12), adds to its
/// payload.
const OVERHEAD: usize = 70;
