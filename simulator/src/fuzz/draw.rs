//! Draw: the case of a seed, drawn at random.

use super::{Case, Part, Table};
use crate::virtual_os::splitmix;

/// Returns the case of a seed.
pub fn case(seed: u64) -> Case {
    let mut draw = Draw { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xf0_55ed, parts: Vec::new() };
    let routers = draw.between(3, 12);
    let trouble = 20 * draw.between(3, 8);
    draw.needed(Table::Expect, "confirmed[flow=after] == 1");
    draw.realm();
    draw.bearer();
    draw.routers();
    draw.topology(routers);
    let others = draw.others();
    let flows = draw.traffic(&others);
    draw.faults(trouble, &flows);
    draw.needed(Table::Whole, AFTER);
    if !draw.is_dear() {
        draw.needed(Table::Expect, "converged <= 5m");
    }
    if flows.iter().any(|flow| flow.starts_with("news")) && draw.chance(2) {
        draw.part(Table::Whole, HEARD.to_owned());
        draw.part(Table::Expect, "delivered[flow=heard] == 1".to_owned());
    }
    if draw.chance(5) {
        let work = draw.one(&["20ms", "300ms"]);
        draw.part(Table::Routers, format!("work = \"{work}\""));
    }
    Case { seed, routers, trouble, dear: draw.is_dear(), parts: draw.parts }
}

struct Draw {
    state: u64,
    parts: Vec<Part>,
}

impl Draw {
    fn next(&mut self) -> u64 {
        splitmix(&mut self.state)
    }

    /// Draws a number from `least` to `most`, both included.
    fn between(&mut self, least: u32, most: u32) -> u32 {
        least + (self.next() % u64::from(most - least + 1)) as u32
    }

    /// Returns whether bytes cost money on a bearer.
    fn is_dear(&self) -> bool {
        self.parts.iter().any(|part| part.text.contains("price = "))
    }

    /// Returns true once in `one_in` times, on average.
    fn chance(&mut self, one_in: u64) -> bool {
        self.next().is_multiple_of(one_in)
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[(self.next() % of.len() as u64) as usize]
    }

    fn part(&mut self, table: Table, text: String) {
        self.parts.push(Part { table, text, needed: false });
    }

    fn needed(&mut self, table: Table, text: &str) {
        self.parts.push(Part { table, text: text.to_owned(), needed: true });
    }

    fn realm(&mut self) {
        if self.chance(3) {
            // An epoch ends while faults are active.
            let second = self.between(0, 59);
            self.part(Table::Realm, format!("start = \"2026-01-05T00:57:{second:02}Z\""));
        }
    }

    fn bearer(&mut self) {
        let delay = self.one(&["0ms..2ms", "1ms..20ms", "20ms..80ms", "300ms"]);
        self.part(Table::Bearer, format!("delay = \"{delay}\""));
        if self.chance(2) {
            let loss = self.one(&["0.5%", "2%", "5%", "10%"]);
            self.part(Table::Bearer, format!("loss = \"{loss}\""));
        }
        if self.chance(3) {
            let rate = self.one(&["256kbit", "1Mbit", "10Mbit"]);
            self.part(Table::Bearer, format!("rate = \"{rate}\""));
        }
        if self.chance(4) {
            let mtu = self.one(&["240", "576"]);
            self.part(Table::Bearer, format!("mtu = {mtu}"));
        }
        if self.chance(4) {
            let price = self.one(&["0.5", "4"]);
            self.part(Table::Bearer, format!("price = {price}"));
        }
    }

    fn routers(&mut self) {
        self.needed(Table::Routers, "bearers = [\"main\"]");
        let flush = self.one(&["0ms", "4ms", "30ms", "100ms"]);
        self.part(Table::Routers, format!("flush = \"{flush}\""));
        if self.chance(4) {
            let links = self.between(2, 5);
            self.part(Table::Routers, format!("looks_for = {links}"));
        }
    }

    fn topology(&mut self, routers: u32) {
        let kinds: &[&str] = match routers {
            3..=4 => &["line", "ring", "full", "tree"],
            _ => &["line", "ring", "grid", "tree", "random", "random", "full"],
        };
        let kind = self.one(kinds);
        let more = match kind {
            "random" => format!("\ndegree = {}", 2 * self.between(1, 2)),
            "tree" => format!("\nfanout = {}", self.between(2, 3)),
            _ => String::new(),
        };
        self.needed(
            Table::Whole,
            &format!("[[links]]\nname = \"net\"\nkind = \"{kind}\"\nbetween = [\"node\"]\nbearer = \"main\"{more}"),
        );
    }

    /// Draws groups and bearers beside the first. Returns the groups that send besides the routers.
    fn others(&mut self) -> Vec<&'static str> {
        let mut others = Vec::new();
        if self.chance(3) {
            let count = self.between(2, 5);
            let sleep = if self.chance(4) { "\nsleep = { every = \"20s\", awake = \"12s\" }" } else { "" };
            self.part(
                Table::Whole,
                format!(
                    "[devices.leaf]\ncount = {count}\nforwarding = false\nbearers = [\"main\"]{sleep}\n\n\
                     [[links]]\nkind = \"hub\"\nhub = \"node\"\ndegree = {}\nbetween = [\"leaf\", \"node\"]\nbearer = \"main\"",
                    self.state % 2 + 1
                ),
            );
            others.push("leaf");
        }
        if self.chance(3) {
            let price = self.one(&["0.2", "3", "40"]);
            let quota = self.one(&[
                "",
                "",
                "\nquota = { bytes = \"60kB\", every = \"1d\" }",
                "\nquota = { bytes = \"8kB\", every = \"1m\" }",
            ]);
            let windows = self.one(&["", "", "", "\nwindows = [\"00:01-00:02\", \"00:58-01:00\"]"]);
            let class = self.one(&["cellular", "satellite", "lora"]);
            let (delay, kind) = (self.one(&["30ms", "150ms..600ms"]), self.one(&["full", "ring", "line"]));
            self.part(
                Table::Whole,
                format!(
                    "[bearers.dear]\nclass = \"{class}\"\ndelay = \"{delay}\"\nprice = {price}{quota}{windows}\n\n\
                     [devices.modem]\ncount = 3\nbearers = [\"main\", \"dear\"]\n\n\
                     [[links]]\nkind = \"{kind}\"\nbetween = [\"modem\"]\nbearer = \"dear\"\n\n\
                     [[links]]\nkind = \"hub\"\nhub = \"node\"\ndegree = 1\nbetween = [\"modem\", \"node\"]\nbearer = \"main\""
                ),
            );
            others.push("modem");
        }
        if self.chance(3) {
            let limit = self.one(&[
                "budget = 0.00001",
                "copies = 2",
                "success = 0.9",
                "budget = 0.0\nlate = \"pay\"",
                "avoid = [\"cellular\"]",
            ]);
            self.part(Table::Whole, format!("[[policy]]\nname = \"drawn\"\nminimise = \"delay\"\n{limit}"));
        }
        others
    }

    fn traffic(&mut self, others: &[&'static str]) -> Vec<String> {
        let policies: &[&str] = match self.parts.iter().any(|part| part.text.starts_with("[[policy]]")) {
            true => &["cheap", "fast", "sure", "balanced", "drawn", "drawn"],
            false => &["cheap", "fast", "sure", "frugal", "balanced"],
        };
        let groups: Vec<&str> = ["node", "node", "all"].into_iter().chain(others.iter().copied()).collect();
        let mut flows = Vec::new();
        for number in 0..self.between(1, 4) {
            let (kind, name) = match self.between(0, 5) {
                0..=2 => ("send", format!("mail-{number}")),
                3 => ("request", format!("call-{number}")),
                _ => ("publish", format!("news-{number}")),
            };
            let (from, to) = (self.one(&groups), self.one(&groups));
            let size = self.one(&["16", "16", "100", "1000", "9000"]);
            let deadline = self.one(&["2s", "8s", "20s", "25s"]);
            let pattern = self.one(&[
                "every = \"2s\"",
                "every = \"500ms\"",
                "rate = \"1/s\"",
                "rate = \"4/s\"",
                "burst = { count = 30, every = \"15s\" }",
                "total = 60",
            ]);
            let mut more = String::new();
            match kind {
                "publish" => {
                    let topic = self.one(&["plant/heat", "zone-{1..3}/news", "zone-{1..20}/news"]);
                    more.push_str(&format!("\ntopic = \"{topic}\""));
                }
                _ => {
                    let class = self.one(&["alarm", "control", "telemetry", "telemetry", "bulk"]);
                    more.push_str(&format!("\nclass = \"{class}\""));
                    if self.chance(2) {
                        more.push_str(&format!("\npolicy = \"{}\"", self.one(policies)));
                    }
                    if kind == "send" {
                        more.push_str(&format!("\nack = \"{}\"", self.one(&["end", "end", "end", "hop", "none"])));
                    }
                }
            }
            self.part(
                Table::Whole,
                format!(
                    "[[traffic]]\nname = \"{name}\"\nkind = \"{kind}\"\nfrom = \"{from}\"\nto = \"{to}\"\n{pattern}\nsize = {size}\ndeadline = \"{deadline}\"{more}\n@TROUBLE@"
                ),
            );
            // A flow with a fixed total of messages cannot be overloaded.
            if !pattern.starts_with("total") {
                flows.push(name);
            }
        }
        flows
    }

    fn faults(&mut self, trouble: u32, flows: &[String]) {
        // Some of the kinds, each of which may occur several times.
        let last = if flows.is_empty() { KINDS - 1 } else { KINDS };
        let kinds: Vec<u32> = (0..last).filter(|_| self.chance(3)).collect();
        if kinds.is_empty() {
            return;
        }
        for _ in 0..self.between(1, 7) {
            let kind = kinds[(self.next() % kinds.len() as u64) as usize];
            let at = self.between(1, trouble * 3 / 4);
            let lasts = self.between(1, (trouble - at).max(1));
            let any = self.one(&["{ any = 1 }", "{ any = 1 }", "{ any = 2 }", "{ share = 0.3 }"]);
            let silent = self.chance(2);
            let what = match kind {
                0 => format!("kind = \"crash\"\ndevices = {any}"),
                1 => format!("kind = \"power-cut\"\ndevices = {any}"),
                2 => format!("kind = \"pause\"\ndevices = {any}"),
                3 => format!("kind = \"cut\"\nlinks = {any}\nsilent = {silent}"),
                4 => format!(
                    "kind = \"flap\"\nlinks = {any}\ndown = \"{}s\"\nup = \"{}s\"",
                    self.between(1, 6),
                    self.between(1, 9)
                ),
                5 => format!("kind = \"degrade\"\nlinks = {any}\nshape = {{ loss = \"{}%\" }}", self.between(5, 40)),
                6 => format!("kind = \"partition\"\nsides = [\"50%\"]\nsilent = {silent}"),
                7 => format!(
                    "kind = \"clock-step\"\ndevices = {any}\nby = \"{}s\"",
                    self.one(&["-90", "-20", "-4", "4", "20", "90"])
                ),
                8 => format!("kind = \"clock-drift\"\ndevices = {any}\nppm = {}", self.one(&["-500", "100", "2000"])),
                9 => format!("kind = \"disk-full\"\ndevices = {any}"),
                10 => format!("kind = \"hostile\"\ndevices = {any}\n{}", self.one(HOSTILE)),
                11 => format!("kind = \"{}\"\ndevices = {any}", self.one(&["stranger", "impostor"])),
                12 => format!(
                    "kind = \"asymmetric\"\nlinks = {any}\nshape = {{ delay = \"{}ms\" }}",
                    self.between(100, 900)
                ),
                _ => {
                    let flow = (self.next() % flows.len() as u64) as usize;
                    let factor = self.between(2, 8);
                    format!("kind = \"overload\"\nflow = \"{}\"\nfactor = {factor}", flows[flow])
                }
            };
            self.part(Table::Whole, format!("[[faults]]\nat = \"{at}s\"\nfor = \"{lasts}s\"\n{what}"));
        }
    }
}

/// The number of kinds of faults.
const KINDS: u32 = 14;
const HOSTILE: &[&str] = &[
    "how = \"drop\"\nshare = 0.5",
    "how = \"delay\"\nafter = \"700ms\"",
    "how = \"replay\"\nafter = \"9s\"",
    "how = \"flood\"\ntimes = 4",
    "how = \"pester\"\ntimes = 30",
    "how = \"blackhole\"",
    "how = \"lie\"",
    "how = \"return\"",
    "how = \"stretch\"",
];
/// The flow that has to arrive after everything has healed.
const AFTER: &str = "[[traffic]]\nname = \"after\"\nkind = \"send\"\nfrom = \"node\"\nto = \"node\"\nevery = \"7s\"\nsize = 50\n@AFTER@";
const HEARD: &str = "[[traffic]]\nname = \"heard\"\nkind = \"publish\"\ntopic = \"after/news\"\nfrom = \"node-1\"\nto = \"node\"\nevery = \"5s\"\nsize = 50\n@AFTER@";
