//! Bearers: what carries a node's links, and which of them carries a given connection.
//!
//! A [`Profile`] states what a bearer costs and can do, a [`Rule`] which connections it carries. [`Bearers`] holds a
//! node's bearers in order: the first rule that matches a connection decides. A connection that no rule matches is
//! carried by [`Profile::default`], which comes last unless one rule matches every connection. A bearer's *index* is
//! its place among the profiles.
//!
//! Invariants
//! 1. There is at least one profile, and there are at most [`MAX_BEARERS`], [`MAX_LINES`] and one more; every index fits a byte.
//! - The same connection and the same networks always give the same bearer.

use super::duty::Limit;
use super::serial::MAX_LINES;
use super::windows::Windows;
use crate::time::Unix;
use crate::wire::data::Class;
use crate::wire::frame::MAX_FRAME;
use crate::wire::lsa::Bearer;
use core::time::Duration;
use ipnet::IpNet;

/// The properties of a bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name, for people.
    pub name: String,
    /// The bearer class, which is what other nodes learn of the bearer.
    pub class: Bearer,
    /// The price in micro-units of money per MB (10⁶ bytes).
    pub price: u64,
    /// The energy in millijoules per MB.
    pub energy: u32,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The rate in kilobits per second; [`u32::MAX`] if there is no limit.
    pub rate: u32,
    /// The bytes that each packet costs besides what it carries: headers of all layers below the frames.
    pub overhead: u32,
    /// The most bits a second of each class, the most urgent first, if that is limited; at most the rate.
    pub shares: [Option<u64>; Class::ALL.len()],
    /// How much of the time it may be on air, if that is limited.
    pub duty: Option<Limit>,
    /// How much may be sent and received in a period, if that is limited.
    pub quota: Option<Quota>,
    /// The times at which the bearer may be used.
    pub windows: Windows,
    /// Whether bytes cost money or quota: traffic that can be avoided is not sent over the bearer.
    pub metered: bool,
    /// How long each half of a connection's set-up may take; `None` for the default of the class.
    pub setup: Option<Duration>,
    /// How long a link may be idle before it is pinged; `None` for the default, which depends on `metered` and the
    /// transport.
    pub keep_alive: Option<Duration>,
}

impl Profile {
    /// How long each half of a connection's set-up may take; `least` is the time on a wire. The first half, up to an
    /// encrypted connection, takes two round trips over TCP, the second half takes one.
    pub fn setup_time(&self, least: Duration) -> Duration {
        let usual = match self.class {
            Bearer::Ethernet | Bearer::Wifi => Duration::ZERO,
            Bearer::Cellular | Bearer::Serial => Duration::from_secs(20),
            Bearer::Satellite | Bearer::Lora => Duration::from_secs(120),
            // Enough for two round trips of a minute each way.
            Bearer::Sms => Duration::from_secs(300),
        };
        self.setup.unwrap_or_else(|| usual.max(least))
    }

    /// How long a link may be idle before it is pinged; `usual` is the time where pings cost nothing. An address
    /// translator keeps a mapping for datagrams for two minutes (RFC 4787), and one for a stream longer than the times
    /// used here.
    pub fn keep_alive(&self, usual: Duration, datagrams: bool) -> Duration {
        let rare = match (self.metered, datagrams) {
            (false, false) => usual,
            (false, true) => usual.min(DATAGRAM_KEPT),
            (true, false) => usual.max(METERED_KEPT),
            (true, true) => usual.max(METERED_DATAGRAM_KEPT),
        };
        self.keep_alive.unwrap_or(rare)
    }

    /// The most bytes that leave as one: what an urgent frame may have to wait for.
    pub fn piece(&self) -> usize {
        let carried = match self.rate {
            u32::MAX => usize::MAX,
            // Kilobits a second equal bits a millisecond.
            rate => usize::try_from(u64::from(rate) * PIECE_MS / 8).unwrap_or(usize::MAX),
        };
        carried.max(LEAST_PIECE).min(self.mtu as usize)
    }

    /// The most bytes that a stream over the bearer is given at once: a piece, or several packets of a bearer whose packets are
    /// smaller than [`LEAST_PIECE`], so that what is written together shares them.
    pub fn burst(&self) -> usize {
        match self.mtu as usize {
            mtu @ 1..LEAST_PIECE => LEAST_PIECE.next_multiple_of(mtu),
            _ => self.piece(),
        }
    }

    /// How long a frame of that many bytes is on air, with the overhead of its packets; `None` if the rate is unknown.
    pub fn air_time(&self, bytes: usize) -> Option<Duration> {
        let rate = u64::from(self.rate).checked_mul(1_000).filter(|_| self.rate != u32::MAX)?;
        let packets = u64::try_from(bytes.div_ceil(self.piece().min(PACKET)).max(1)).unwrap_or(u64::MAX);
        let bits = packets.saturating_mul(self.overhead.into()).saturating_add(bytes as u64).saturating_mul(8);
        let preamble = self.duty.map_or(Duration::ZERO, |duty| duty.preamble);
        let preambles = preamble.saturating_mul(u32::try_from(packets).unwrap_or(u32::MAX));
        Some(Duration::from_micros(bits.saturating_mul(1_000_000).div_ceil(rate)) + preambles)
    }

    /// Whether the times at which it may be on air are limited, so that each frame has to be asked for.
    pub fn is_limited(&self) -> bool {
        self.rate != u32::MAX && (self.duty.is_some() || !self.windows.is_empty())
    }

    /// The longest rest of an address on this bearer after it was dialled in vain; `usual` is the rest where dials cost
    /// nothing. Dials cost at most [`DIAL_BUDGET`] an hour.
    pub fn longest_rest(&self, usual: Duration) -> Duration {
        if !self.metered {
            return usual;
        }
        let cost = self.price.saturating_mul(DIAL_BYTES) / 1_000_000;
        let rest = Duration::from_secs(3_600).saturating_mul(u32::try_from(cost).unwrap_or(u32::MAX));
        (rest / DIAL_BUDGET).clamp(usual.max(METERED_REST.0), METERED_REST.1)
    }
}

/// The bytes that a packet of TCP over IPv4 (40), with a record of Noise (18) and a frame of Yamux (12), adds.
pub const OVERHEAD: u32 = 70;
/// The payload of a packet, which costs its overhead once.
pub const PACKET: usize = 1_500;
/// The most that may be stated as the overhead of a packet, in bytes.
pub const MAX_OVERHEAD: u32 = 10_000;
/// How many milliseconds a piece takes,
const PIECE_MS: u64 = 32;
/// but it has so many bytes at least: in shorter ones, too much would be headers.
const LEAST_PIECE: usize = 512;
/// The idle time of a free link over datagrams: shorter than address translators keep a mapping in practice.
const DATAGRAM_KEPT: Duration = Duration::from_secs(15);
/// The idle time of a metered link before it is pinged.
const METERED_KEPT: Duration = Duration::from_secs(600);
/// The idle time of a metered link over datagrams.
const METERED_DATAGRAM_KEPT: Duration = Duration::from_secs(100);
/// The bytes that a dial costs if it fails at its end.
const DIAL_BYTES: u64 = 4_000;
/// The micro-units of money that dials of one address may cost in an hour, once it has failed often.
const DIAL_BUDGET: u32 = 100_000;
/// The shortest and the longest bound of an address's rest on a metered bearer.
const METERED_REST: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(4 * 3_600));

/// A number of bytes per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The bytes of both directions together.
    pub bytes: u64,
    /// The length of a period, after which the bytes may be spent again.
    pub every: Duration,
}

/// The conditions under which a connection goes over a bearer: all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// One end of the connection lies in one of these networks; any if the list is empty.
    pub addresses: Vec<IpNet>,
    /// The connection uses one of these transports; any if the list is empty.
    pub transports: Vec<String>,
    /// The other end lies in a network of this interface, or the own end is an address of the interface.
    pub interface: Option<String>,
    /// The serial device that it goes over. Connections over IP do not match.
    pub serial: Option<String>,
}

/// One connection, as far as it is known. An address is given as a network of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<'a> {
    /// The address of the other end.
    pub remote: Option<IpNet>,
    /// The address of the own end.
    pub local: Option<IpNet>,
    /// The transport, such as `tcp` or `quic`.
    pub transport: &'a str,
}

/// All bearers of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearers {
    rules: Vec<Rule>,
    /// One profile for each rule, and the default if no rule is for all connections.
    profiles: Vec<Profile>,
}

impl Quota {
    /// The number of the period that contains a time. Periods are counted from 1970-01-01 UTC, so that a restart finds
    /// the same one.
    pub fn period(&self, at: Unix) -> u64 {
        at.0 / self.micros()
    }

    /// When a period ends.
    pub fn end(&self, period: u64) -> Unix {
        Unix(period.saturating_add(1).saturating_mul(self.micros()))
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.every.as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

impl Default for Profile {
    /// A wire that costs nothing and has no limits.
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            class: Bearer::Ethernet,
            price: 0,
            energy: 0,
            mtu: LARGEST,
            rate: u32::MAX,
            overhead: OVERHEAD,
            shares: [None; Class::ALL.len()],
            duty: None,
            quota: None,
            windows: Windows::default(),
            metered: false,
            setup: None,
            keep_alive: None,
        }
    }
}

impl Default for Bearers {
    /// Only the default profile.
    fn default() -> Self {
        Self::new([])
    }
}

impl Bearers {
    /// Takes the first [`MAX_BEARERS`] and [`MAX_LINES`] of these, in order, and adds the default unless one of them is for all
    /// connections.
    pub fn new(bearers: impl IntoIterator<Item = (Profile, Rule)>) -> Self {
        let (mut profiles, rules): (Vec<_>, Vec<_>) = bearers.into_iter().take(MAX_BEARERS + MAX_LINES).unzip();
        if !rules.contains(&Rule::default()) {
            profiles.push(Profile::default());
        }
        Self { rules, profiles }
    }

    /// All profiles, by index.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The profile with this index, or the last one if there is none with it.
    pub fn profile(&self, index: u8) -> &Profile {
        self.profiles.get(usize::from(index)).or(self.profiles.last()).expect("there is one at least")
    }

    /// Whether any rule asks for an interface.
    pub fn ask_for_interfaces(&self) -> bool {
        self.rules.iter().any(|rule| rule.interface.is_some())
    }

    /// The index of the bearer that carries the links over a serial device: the first that names it, or the last.
    pub fn of_serial(&self, device: &str) -> u8 {
        let found = self.rules.iter().position(|rule| rule.serial.as_deref() == Some(device));
        u8::try_from(found.unwrap_or(self.rules.len())).expect("there are no more than a byte counts")
    }

    /// The index of the bearer that carries a connection. `networks` returns an interface's addresses with the networks
    /// that they lie in.
    pub fn carrying(&self, ends: &Ends<'_>, networks: &dyn Fn(&str) -> Vec<IpNet>) -> u8 {
        let found = self.rules.iter().position(|rule| rule.matches(ends, networks)).unwrap_or(self.rules.len());
        u8::try_from(found).expect("there are no more than a byte counts")
    }
}

impl Rule {
    fn matches(&self, ends: &Ends<'_>, networks: &dyn Fn(&str) -> Vec<IpNet>) -> bool {
        let lies_in = |network: &IpNet| [ends.remote, ends.local].iter().flatten().any(|end| network.contains(end));
        let is_of = |network: &IpNet| {
            ends.remote.is_some_and(|remote| network.contains(&remote)) || ends.local == Some(network.addr().into())
        };
        self.serial.is_none()
            && (self.addresses.is_empty() || self.addresses.iter().any(lies_in))
            && (self.transports.is_empty() || self.transports.iter().any(|transport| transport == ends.transport))
            && self.interface.as_ref().is_none_or(|interface| networks(interface).iter().any(is_of))
    }
}

/// The most bearers that a node can be given.
pub const MAX_BEARERS: usize = 16;
/// The bytes of the largest frame with its length prefix, which a bearer without a limit carries whole.
const LARGEST: u32 = MAX_FRAME as u32 + 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, rule: Rule) -> (Profile, Rule) {
        (Profile { name: name.to_owned(), ..Profile::default() }, rule)
    }

    fn bearers() -> Bearers {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        Bearers::new([
            named(
                "both",
                Rule { addresses: networks(&["10.7.0.0/16"]), transports: vec!["quic".into()], ..Rule::default() },
            ),
            named("range", Rule { addresses: networks(&["10.7.0.0/16", "fd00::/8"]), ..Rule::default() }),
            named("modem", Rule { interface: Some("wwan0".into()), ..Rule::default() }),
        ])
    }

    fn carrying(remote: &str, local: Option<&str>, transport: &str) -> String {
        let networks = |interface: &str| match interface {
            "wwan0" => vec!["100.64.3.2/24".parse().expect("a network")],
            _ => Vec::new(),
        };
        let address = |text: &str| text.parse::<core::net::IpAddr>().expect("an address").into();
        let ends = Ends { remote: Some(address(remote)), local: local.map(address), transport };
        let bearers = bearers();
        bearers.profile(bearers.carrying(&ends, &networks)).name.clone()
    }

    #[test]
    fn the_first_rule_that_matches_wins_and_all_its_conditions_must_hold() {
        assert_eq!(carrying("10.7.1.1", None, "quic"), "both");
        assert_eq!(carrying("10.7.1.1", None, "tcp"), "range");
        assert_eq!(carrying("fd00::1", None, "quic"), "range");
        assert_eq!(carrying("10.8.1.1", None, "quic"), "default");
    }

    #[test]
    fn either_end_may_lie_in_a_network() {
        assert_eq!(carrying("192.0.2.1", Some("10.7.0.9"), "tcp"), "range");
    }

    #[test]
    fn an_interface_is_known_by_its_network_and_by_its_own_address() {
        assert_eq!(carrying("100.64.3.77", None, "tcp"), "modem");
        assert_eq!(carrying("192.0.2.1", Some("100.64.3.2"), "tcp"), "modem");
        assert_eq!(carrying("192.0.2.1", Some("100.64.3.3"), "tcp"), "default");
    }

    #[test]
    fn a_bearers_patience_follows_its_class_its_price_and_its_settings() {
        let second = Duration::from_secs(1);
        let wire = Profile::default();
        assert_eq!((wire.setup_time(10 * second), wire.keep_alive(30 * second, false)), (10 * second, 30 * second));
        assert_eq!(wire.keep_alive(30 * second, true), 15 * second);
        assert_eq!(wire.longest_rest(30 * second), 30 * second);
        let sky = Profile { class: Bearer::Satellite, price: 10_000_000, metered: true, ..Profile::default() };
        assert_eq!((sky.setup_time(10 * second), sky.keep_alive(30 * second, false)), (120 * second, 600 * second));
        // 4 kB at 10 units a MB cost 0.04 units: two and a half dials an hour cost a tenth of a unit.
        assert_eq!(sky.longest_rest(30 * second), 1_440 * second);
        let dear = Profile { price: u64::MAX, ..sky.clone() };
        assert_eq!(dear.longest_rest(30 * second), 4 * 3_600 * second);
        let said = Profile { setup: Some(second), keep_alive: Some(2 * second), ..sky };
        assert_eq!((said.setup_time(10 * second), said.keep_alive(30 * second, false)), (second, 2 * second));
    }

    #[test]
    fn a_piece_takes_a_moment_on_any_bearer() {
        let of = |rate, mtu| Profile { rate, mtu, ..Profile::default() }.piece();
        assert_eq!([of(10, LARGEST), of(256, LARGEST), of(5_000, LARGEST), of(256, 100)], [512, 1_024, 20_000, 100]);
        assert_eq!([of(u32::MAX, LARGEST), of(1_000_000, LARGEST)], [LARGEST as usize; 2]);
        let burst = |rate, mtu| Profile { rate, mtu, ..Profile::default() }.burst();
        assert_eq!([burst(10, LARGEST), burst(256, LARGEST), burst(1, 140), burst(256, 100)], [512, 1_024, 560, 600]);
    }

    #[test]
    fn time_on_air_has_all_packets_with_what_they_cost() {
        let limit = Limit { budget: Duration::ZERO, over: Duration::ZERO, preamble: Duration::from_millis(5) };
        let radio = Profile { rate: 10, overhead: 88, duty: Some(limit), ..Profile::default() };
        assert_eq!(radio.air_time(512), Some(Duration::from_millis(480 + 5)));
        assert_eq!(radio.air_time(513), Some(Duration::from_micros(551_200 + 10_000)));
        assert_eq!((Profile::default().air_time(1), radio.is_limited()), (None, true));
    }

    /// Invariant 1.
    #[test]
    fn without_rules_all_is_one_bearer() {
        let none = Bearers::default();
        let ends = Ends { remote: None, local: None, transport: "memory" };
        assert_eq!((none.carrying(&ends, &|_| Vec::new()), none.profiles().len()), (0, 1));
        let all = Bearers::new([named("all", Rule::default())]);
        assert_eq!((all.carrying(&ends, &|_| Vec::new()), all.profiles().len()), (0, 1));
        assert!(!none.ask_for_interfaces() && bearers().ask_for_interfaces());
        let many =
            Bearers::new((0..100).map(|_| named("no", Rule { interface: Some("none".into()), ..Rule::default() })));
        assert_eq!(usize::from(many.carrying(&ends, &|_| Vec::new())), MAX_BEARERS + MAX_LINES);
    }
}
