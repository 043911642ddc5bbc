//! The shipped scenarios, within the program, so that it finds them anywhere.

/// Name and text of each, in the order in which they are listed.
pub const SHIPPED: &[(&str, &str)] = &[
    ("baseline-50", include_str!("../../../scenarios/baseline-50.toml")),
    ("cold-boot-200", include_str!("../../../scenarios/cold-boot-200.toml")),
    ("partition-heal", include_str!("../../../scenarios/partition-heal.toml")),
    ("lossy-asymmetric", include_str!("../../../scenarios/lossy-asymmetric.toml")),
    ("site-power-cut", include_str!("../../../scenarios/site-power-cut.toml")),
    ("flapping-link", include_str!("../../../scenarios/flapping-link.toml")),
    ("crash-storm", include_str!("../../../scenarios/crash-storm.toml")),
    ("verdict-storm", include_str!("../../../scenarios/verdict-storm.toml")),
    ("narrowband", include_str!("../../../scenarios/narrowband.toml")),
    ("overload-10x", include_str!("../../../scenarios/overload-10x.toml")),
    ("scale-ladder", include_str!("../../../scenarios/scale-ladder.toml")),
    ("soak-7d", include_str!("../../../scenarios/soak-7d.toml")),
    ("multi-hop-line", include_str!("../../../scenarios/multi-hop-line.toml")),
    ("grid-49", include_str!("../../../scenarios/grid-49.toml")),
    ("router-ladder", include_str!("../../../scenarios/router-ladder.toml")),
    ("router-areas", include_str!("../../../scenarios/router-areas.toml")),
    ("mesh-300", include_str!("../../../scenarios/mesh-300.toml")),
    ("full-mesh-40", include_str!("../../../scenarios/full-mesh-40.toml")),
    ("repair-ring", include_str!("../../../scenarios/repair-ring.toml")),
    ("policy-contrast", include_str!("../../../scenarios/policy-contrast.toml")),
    ("cheap-link-appears", include_str!("../../../scenarios/cheap-link-appears.toml")),
    ("quota-ends", include_str!("../../../scenarios/quota-ends.toml")),
    ("blackhole-relay", include_str!("../../../scenarios/blackhole-relay.toml")),
    ("replaying-relays", include_str!("../../../scenarios/replaying-relays.toml")),
    ("lying-router", include_str!("../../../scenarios/lying-router.toml")),
    ("multicast-grid", include_str!("../../../scenarios/multicast-grid.toml")),
    ("multicast-star", include_str!("../../../scenarios/multicast-star.toml")),
    ("multicast-flood", include_str!("../../../scenarios/multicast-flood.toml")),
    ("multicast-churn", include_str!("../../../scenarios/multicast-churn.toml")),
    ("groups-1000", include_str!("../../../scenarios/groups-1000.toml")),
    ("slow-links", include_str!("../../../scenarios/slow-links.toml")),
    ("leaves-1000", include_str!("../../../scenarios/leaves-1000.toml")),
    ("mobile-fleet", include_str!("../../../scenarios/mobile-fleet.toml")),
    ("far-links", include_str!("../../../scenarios/far-links.toml")),
    ("wellheads", include_str!("../../../scenarios/wellheads.toml")),
];

/// A scenario to begin with, which is one itself.
pub const TEMPLATE: &str = include_str!("template.toml");
