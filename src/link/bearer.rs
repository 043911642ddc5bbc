//! Bearers: what carries a node's links, and which of them carries a given connection.
//!
//! A [`Profile`] says what a bearer costs and can do, a [`Rule`] which connections go over it. [`Bearers`] holds a node's
//! in order: of the rules that match a connection the first wins, and a connection that none matches goes over
//! [`Profile::default`], which comes last where there is no rule for all. A bearer's *index* is its place among the profiles.
//!
//! Invariants
//! 1. There is at least one profile and there are at most [`MAX_BEARERS`] and one; every index fits a byte.
//! 2. The same connection and the same networks give the same bearer.

use super::windows::Windows;
use crate::time::Unix;
use crate::wire::frame::MAX_FRAME;
use crate::wire::lsa::Bearer;
use core::time::Duration;
use ipnet::IpNet;

/// What a bearer is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// For people.
    pub name: String,
    /// Its class, which is what others hear of it.
    pub class: Bearer,
    /// Micro-units of money per MB (10⁶ bytes).
    pub price: u64,
    /// Millijoules per MB.
    pub energy: u32,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Kilobits a second; [`u32::MAX`] where there is no limit.
    pub rate: u32,
    /// What may be spent.
    pub quota: Option<Quota>,
    /// When it may be used.
    pub windows: Windows,
    /// Whether bytes on it count: nothing is said over it that can be left unsaid.
    pub metered: bool,
    /// How long each half of a connection's set-up may take; by its class if that is not said.
    pub setup: Option<Duration>,
    /// How long a link may rest before it is pinged; by its class, and whether it is metered, if that is not said.
    pub keep_alive: Option<Duration>,
}

impl Profile {
    /// How long each half of a connection's set-up may take, where it is `least` on a wire: the first half, up to a
    /// connection that is encrypted, is two round trips over TCP, the second is one.
    pub fn setup_time(&self, least: Duration) -> Duration {
        let usual = match self.class {
            Bearer::Ethernet | Bearer::Wifi => Duration::ZERO,
            Bearer::Cellular | Bearer::Serial => Duration::from_secs(20),
            Bearer::Satellite | Bearer::Lora => Duration::from_secs(120),
            // Two round trips of a minute each way.
            Bearer::Sms => Duration::from_secs(300),
        };
        self.setup.unwrap_or_else(|| usual.max(least))
    }

    /// How long a link may rest before it is pinged, where it is `usual` if that costs nothing. A datagram's way back
    /// through a translator of addresses is kept for two minutes (RFC 4787), that of a stream for longer than this asks.
    pub fn keep_alive(&self, usual: Duration, datagrams: bool) -> Duration {
        let rare = match (self.metered, datagrams) {
            (false, false) => usual,
            (false, true) => usual.min(DATAGRAM_KEPT),
            (true, false) => usual.max(METERED_KEPT),
            (true, true) => usual.max(METERED_DATAGRAM_KEPT),
        };
        self.keep_alive.unwrap_or(rare)
    }

    /// How long an address on this bearer rests at most after it was dialled in vain, where it is `usual` if that costs
    /// nothing: dials cost [`DIAL_BUDGET`] an hour at most.
    pub fn longest_rest(&self, usual: Duration) -> Duration {
        if !self.metered {
            return usual;
        }
        let cost = self.price.saturating_mul(DIAL_BYTES) / 1_000_000;
        let rest = Duration::from_secs(3_600).saturating_mul(u32::try_from(cost).unwrap_or(u32::MAX));
        (rest / DIAL_BUDGET).clamp(usual.max(METERED_REST.0), METERED_REST.1)
    }
}

/// Rest of a free link that goes over datagrams: shorter than what translators of addresses keep in practice.
const DATAGRAM_KEPT: Duration = Duration::from_secs(15);
/// Rest of a metered link before it is pinged.
const METERED_KEPT: Duration = Duration::from_secs(600);
/// The same over datagrams.
const METERED_DATAGRAM_KEPT: Duration = Duration::from_secs(100);
/// Bytes that a dial costs which fails at its end.
const DIAL_BYTES: u64 = 4_000;
/// Micro-units of money that dials of one address may cost in an hour, once it has failed often.
const DIAL_BUDGET: u32 = 100_000;
/// Shortest and longest bound of an address's rest on a metered bearer.
const METERED_REST: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(4 * 3_600));

/// So many bytes in so long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes, of both directions.
    pub bytes: u64,
    /// The time after which they may be spent again.
    pub every: Duration,
}

/// What a connection has to be like to go over a bearer: all that is given here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// One of its ends lies in one of these networks; any if there are none.
    pub addresses: Vec<IpNet>,
    /// It uses one of these transports; any if there are none.
    pub transports: Vec<String>,
    /// The other end lies in a network of this interface, or the own end is an address of the interface.
    pub interface: Option<String>,
}

/// One connection, as far as it is known. An address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<'a> {
    /// The other end.
    pub remote: Option<IpNet>,
    /// The own end.
    pub local: Option<IpNet>,
    /// `tcp`, `quic` and such.
    pub transport: &'a str,
}

/// All bearers of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearers {
    rules: Vec<Rule>,
    /// One for each rule, and perhaps the default.
    profiles: Vec<Profile>,
}

impl Quota {
    /// The number of the period of a time: periods are counted from 1970-01-01 UTC, so that a restart finds its own.
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
    /// A wire that costs nothing and knows no limit.
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            class: Bearer::Ethernet,
            price: 0,
            energy: 0,
            mtu: LARGEST,
            rate: u32::MAX,
            quota: None,
            windows: Windows::default(),
            metered: false,
            setup: None,
            keep_alive: None,
        }
    }
}

impl Default for Bearers {
    /// The default alone.
    fn default() -> Self {
        Self::new([])
    }
}

impl Bearers {
    /// The first [`MAX_BEARERS`] of these, in order, and the default unless one of them is for all connections.
    pub fn new(bearers: impl IntoIterator<Item = (Profile, Rule)>) -> Self {
        let (mut profiles, rules): (Vec<_>, Vec<_>) = bearers.into_iter().take(MAX_BEARERS).unzip();
        if !rules.contains(&Rule::default()) {
            profiles.push(Profile::default());
        }
        Self { rules, profiles }
    }

    /// All of them by index.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The one with this index; the last for one that there is not.
    pub fn profile(&self, index: u8) -> &Profile {
        self.profiles.get(usize::from(index)).or(self.profiles.last()).expect("there is one at least")
    }

    /// Whether any rule asks for an interface.
    pub fn ask_for_interfaces(&self) -> bool {
        self.rules.iter().any(|rule| rule.interface.is_some())
    }

    /// The index of the bearer that carries a connection. `networks` knows an interface's addresses with the networks
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
        (self.addresses.is_empty() || self.addresses.iter().any(lies_in))
            && (self.transports.is_empty() || self.transports.iter().any(|transport| transport == ends.transport))
            && self.interface.as_ref().is_none_or(|interface| networks(interface).iter().any(is_of))
    }
}

/// Bearers that a node can be given: more than it has modems.
pub const MAX_BEARERS: usize = 16;
/// Bytes of the largest frame with its length, which a bearer without a limit carries whole.
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
        // 4 kB at 10 units a MB are 0.04 units: two and a half an hour cost a tenth of a unit.
        assert_eq!(sky.longest_rest(30 * second), 1_440 * second);
        let dear = Profile { price: u64::MAX, ..sky.clone() };
        assert_eq!(dear.longest_rest(30 * second), 4 * 3_600 * second);
        let said = Profile { setup: Some(second), keep_alive: Some(2 * second), ..sky };
        assert_eq!((said.setup_time(10 * second), said.keep_alive(30 * second, false)), (second, 2 * second));
    }

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
        assert_eq!(usize::from(many.carrying(&ends, &|_| Vec::new())), MAX_BEARERS);
    }
}
