//! The rules. Every complaint reads `file:line: rule: what is wrong; what to do`.

use super::source::{Named, Token, paths, tokens};

/// Every top-level module of `src` with its floor. Imports go down only.
const FLOORS: [(&str, u8); 29] = [
    ("main", 10),
    ("cli", 10),
    ("node", 9),
    ("config", 8),
    ("gateway", 7),
    ("client", 6),
    ("net", 5),
    ("store", 5),
    ("keystore", 5),
    ("engine", 4),
    ("link", 3),
    ("routing", 3),
    ("delivery", 3),
    ("blob", 3),
    ("schedule", 3),
    ("mailbox", 3),
    ("event_log", 3),
    ("manage", 3),
    ("trigger", 3),
    ("identity", 2),
    ("wire", 1),
    ("metrics", 1),
    ("share", 1),
    ("id", 0),
    ("time", 0),
    ("counter", 0),
    ("advice", 0),
    ("lib", 11),
    ("bin", 11),
];
/// The wings of the engine, with how far up each is; what is not listed is core, below all of them. Imports go down only, and never
/// from one wing to another beside it: the engine as a whole is for those alone that take inputs apart, end turns and report.
const WINGS: [(&str, u8); 10] = [
    ("dispatch", 5),
    ("turn", 5),
    ("report", 5),
    ("tables", 5),
    ("Engine", 4),
    ("messages", 3),
    ("groups", 3),
    ("membership", 3),
    ("routing", 2),
    ("neighbours", 1),
];
/// Below this floor nothing touches the outside world.
const FIRST_IO_FLOOR: u8 = 5;
/// Lines of the longest file.
const MAX_LINES: usize = 500;
/// Fields of the broadest struct of the engine.
const MAX_FIELDS: usize = 15;

/// Files of `net` and `node` that may use tokio's timers and tasks: they build what the simulator replaces.
const REAL_TIME_ALLOWED: [(&str, &str); 4] = [
    ("src/node/system.rs", "is the real machine under the node, in whose place the simulator puts its own"),
    ("src/node/system/opener.rs", "opens the machine's sockets, in whose place the simulator puts its own"),
    ("src/net/transport.rs", "builds the TCP and QUIC transports, in whose place the simulator puts its own"),
    ("src/net/mdns.rs", "builds the mDNS behaviour, which the simulator leaves off"),
];

/// What a path may not name below the first IO floor: a prefix, the rule, what to do.
const CORE_PATHS: [(&str, &str, &str); 17] = [
    ("std::time::SystemTime", "clock", "take `now: Now` as an argument"),
    ("std::time::Instant", "clock", "take `now: Now` as an argument"),
    ("std::time::UNIX_EPOCH", "clock", "take `now: Now` as an argument"),
    ("std::net", "socket", "leave addresses and sockets to net; pass bytes"),
    ("std::os", "socket", "leave the operating system to floor 5"),
    ("std::fs", "disk", "say what to write through engine::store"),
    ("std::thread", "thread", "return an output; the node decides who does it"),
    ("std::process", "thread", "return an output; the node starts programs"),
    ("std::env", "environment", "take the value as an argument; config reads it"),
    ("tokio", "runtime", "a core waits for nothing: answer with the next wake-up time"),
    ("futures_timer", "runtime", "a core waits for nothing: answer with the next wake-up time"),
    ("libp2p", "socket", "leave libp2p to net; identifiers are in crate::id"),
    ("sled", "disk", "say what to write through engine::store"),
    ("getrandom", "randomness", "take `&mut ChaCha20Rng` as an argument"),
    ("std::collections::hash_map", "order", "use BTreeMap: its order is the same in every run"),
    ("std::collections::hash_set", "order", "use BTreeSet: its order is the same in every run"),
    ("rand::rng", "randomness", "take `&mut ChaCha20Rng` as an argument"),
];

/// Words that a core may not use, whatever path they come by.
const CORE_WORDS: [(&str, &str, &str); 8] = [
    ("SystemTime", "clock", "take `now: Now` as an argument"),
    ("Instant", "clock", "take `now: Now` as an argument"),
    ("OsRng", "randomness", "take `&mut ChaCha20Rng` as an argument"),
    ("SysRng", "randomness", "take `&mut ChaCha20Rng` as an argument"),
    ("thread_rng", "randomness", "take `&mut ChaCha20Rng` as an argument"),
    ("from_entropy", "randomness", "take `&mut ChaCha20Rng` as an argument"),
    ("HashMap", "order", "use BTreeMap: its order is the same in every run"),
    ("HashSet", "order", "use BTreeSet: its order is the same in every run"),
];

/// What `net`, `client` and `node` may not name, since the simulator runs them in virtual time.
const VIRTUAL_TIME: [(&str, &str); 7] = [
    ("tokio::time", "use futures_timer::Delay"),
    ("tokio::select", "poll in a fixed order, local work first"),
    ("tokio::spawn", "use the executor passed in"),
    ("tokio::task", "use the executor passed in"),
    ("tokio::runtime", "use the executor passed in"),
    ("std::thread", "use the executor passed in"),
    ("futures::select", "use select_biased!: a random order is not the same in every run"),
];

/// The one file of the gateway that opens sockets for clients.
const LISTENS: &str = "src/gateway/listen.rs";
/// What its other files may not name: a listener that has not passed the rule of who may come in.
const LISTENERS: [&str; 6] = ["UnixListener", "TcpListener", "TcpSocket", "UnixSocket", "UnixDatagram", "UdpSocket"];

/// Queues without a bound, banned everywhere.
const UNBOUNDED: [&str; 6] = [
    "unbounded",
    "unbounded_channel",
    "UnboundedSender",
    "UnboundedReceiver",
    "std::sync::mpsc::channel",
    "std::sync::mpsc::Sender",
];

/// Words of unfinished code, in two halves so that this file does not name them.
const UNFINISHED: [(&str, &str, &str); 3] = [
    ("#", "ignore", "make the test pass or remove it"),
    ("to", "do", "write it, or leave the item out"),
    ("unimple", "mented", "write it, or leave the item out"),
];

/// Starts of paths that exist on somebody's machine only.
const MACHINE: [(&str, &str); 5] =
    [("/ho", "me/"), ("/Us", "ers/"), ("/ro", "ot/"), ("/wo", "rk/"), ("C:\\Us", "ers\\")];

/// Floors and bans of one file of `src`.
pub fn architecture(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let module = module_of(path);
    let top = module.get(1).map_or("lib", String::as_str);
    let Some(floor) = floor_of(top) else {
        return vec![format!(
            "{path}:1: floor: module `{top}` is not in the floor table; give it a floor in tests/it/tidy/rules.rs"
        )];
    };
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    for named in paths(&tokens(text), &module, is_test) {
        let mut say = |rule: &str, what: &str, remedy: &str| {
            problems.push(format!("{path}:{}: {rule}: {what}; {remedy}", named.line));
        };
        let full = named.path.join("::");
        if let Some(what) = breaks_floor(top, floor, &named) {
            say("floor", &what, "carry the value through the floor above, or move the item down");
        }
        if let Some(what) = breaks_wing(&module, &named) {
            say("wing", &what, "move the item to where both may have it, or call it from dispatch or the turn");
        }
        if named.test {
            continue;
        }
        if let Some(queue) = UNBOUNDED.iter().find(|queue| names(&full, queue)) {
            say("bound", &format!("`{queue}` has no bound"), "use a bounded channel and name its drop policy");
        }
        if floor < FIRST_IO_FLOOR {
            let std_path = full.replacen("core::", "std::", 1);
            if let Some((_, rule, remedy)) = CORE_PATHS.iter().find(|(prefix, ..)| begins(&std_path, prefix)) {
                say(rule, &format!("`{full}` in a core"), remedy);
            } else if let Some((_, rule, remedy)) =
                CORE_WORDS.iter().find(|(word, ..)| named.path.iter().any(|p| p == word))
            {
                say(rule, &format!("`{full}` in a core"), remedy);
            }
        }
        if top == "gateway" && path != LISTENS && named.path.iter().any(|word| LISTENERS.contains(&word.as_str())) {
            say(
                "listen",
                &format!("`{full}` outside {LISTENS}"),
                "open the socket there, where clients are let in by a rule",
            );
        }
        let virtual_time =
            matches!(top, "net" | "client" | "node") && !REAL_TIME_ALLOWED.iter().any(|(file, _)| *file == path);
        if virtual_time && let Some((_, remedy)) = VIRTUAL_TIME.iter().find(|(prefix, _)| begins(&full, prefix)) {
            say("virtual time", &format!("`{full}` where the simulator runs"), remedy);
        }
    }
    problems.dedup();
    problems
}

/// What is asked of any Rust file: a doc at its head, nothing unfinished, a readable size.
pub fn manner(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems
            .push(format!("{path}:1: doc: no module documentation; open the file with `//!` and say what it is for"));
    }
    let all = tokens(text);
    for (at, token) in all.iter().enumerate() {
        let next = |ahead: usize| all.get(at + ahead).map_or("", |token| token.text.as_str());
        for (head, tail, remedy) in UNFINISHED {
            let found = if head == "#" {
                token.text == head && next(1) == "[" && next(2) == tail
            } else {
                token.text == [head, tail].concat() && next(1) == "!"
            };
            if found {
                problems.push(format!("{path}:{}: finished: `{}`; {remedy}", token.line, next(2)));
            }
        }
    }
    if path.starts_with("src/engine/") {
        problems.extend(broad(path, &all));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        problems.push(format!(
            "{path}:{lines}: size: {lines} lines, at most {MAX_LINES}; look for the second thing in the file"
        ));
    }
    problems
}

/// Structs of the engine with more fields than a reader keeps in mind.
fn broad(path: &str, all: &[Token]) -> Vec<String> {
    let text = |at: usize| all.get(at).map_or("", |token| token.text.as_str());
    let mut problems = Vec::new();
    for at in (0..all.len()).filter(|at| text(*at) == "struct" && !text(at + 1).is_empty()) {
        let opens = (at + 2..all.len()).find(|at| ["{", ";", "("].contains(&text(*at))).unwrap_or(all.len());
        let (mut depth, mut fields, mut here) = (0, 0, opens);
        while text(opens) == "{" && here < all.len() {
            match text(here) {
                "{" | "(" | "[" | "<" => depth += 1,
                "}" | ")" | "]" | ">" => depth -= 1,
                ":" if depth == 1 => fields += 1,
                _ => {}
            }
            here += 1;
            if depth == 0 {
                break;
            }
        }
        if fields > MAX_FIELDS {
            let (line, name) = (all[at].line, text(at + 1));
            problems.push(format!("{path}:{line}: size: `{name}` has {fields} fields, at most {MAX_FIELDS}; look for what belongs together"));
        }
    }
    problems
}

/// Paths of somebody's machine in any file.
pub fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (head, tail) in MACHINE {
            let prefix = [head, tail].concat();
            // Not after a letter: `…/tests/work/` is no such path.
            let found = line.match_indices(&prefix).any(|(at, _)| {
                line[..at].chars().next_back().is_none_or(|c| !(c.is_alphanumeric() || "._-/$}~".contains(c)))
            });
            if found {
                let line = number + 1;
                problems.push(format!("{path}:{line}: machine: a path below {prefix}; take it as an argument"));
            }
        }
    }
    problems
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// `src/wire/codec.rs` is `crate::wire::codec`.
pub fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let mut module = vec!["crate".to_owned()];
    module.extend(inner.split('/').filter(|part| *part != "lib").map(str::to_owned));
    module
}

fn breaks_floor(top: &str, floor: u8, named: &Named) -> Option<String> {
    if named.path[0] != "crate" || top == "lib" {
        return None;
    }
    let target = named.path.get(1)?;
    if target == "*" {
        return Some("`crate::*` hides what is imported".to_owned());
    }
    if target == top || (top == "main" && target == "cli") {
        return None;
    }
    match floor_of(target) {
        None => Some(format!("`crate::{target}` is not in the floor table of tests/it/tidy/rules.rs")),
        Some(below) if below < floor => None,
        Some(same) if same == floor => Some(format!("`{top}` imports its sibling `{target}`, both on floor {floor}")),
        Some(above) => Some(format!("`{top}` on floor {floor} imports `{target}` on floor {above}")),
    }
}

/// The wing of the engine that a path leads to: `core` for what all of them stand on.
pub fn wing_of(path: &[String]) -> Option<&str> {
    let [krate, engine, wing, ..] = path else { return None };
    let known = WINGS.iter().find(|(name, _)| name == wing).map_or("core", |(name, _)| *name);
    (krate == "crate" && engine == "engine" && known != "Engine").then_some(known)
}

/// What of the engine a file of the engine may not import.
fn breaks_wing(module: &[String], named: &Named) -> Option<String> {
    let of = |path: &[String]| match path {
        [krate, engine, wing, ..] if krate == "crate" && engine == "engine" => Some(wing.clone()),
        _ => None,
    };
    let height = |wing: &str| WINGS.iter().find(|(name, _)| *name == wing).map_or(0, |(_, height)| *height);
    let (own, target) = (of(module)?, of(&named.path)?);
    let (here, there) = (height(&own), height(&target));
    if own == target || there < here || there == 0 {
        return None;
    }
    let where_ = if there == here { "beside it" } else { "above it" };
    Some(format!("the engine's `{own}` imports `{target}`, {where_}"))
}

/// Whether `path` is `prefix` or below it.
fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// As [`begins`] for whole paths; a single word counts wherever it stands.
fn names(path: &str, what: &str) -> bool {
    if what.contains("::") { begins(path, what) } else { path.split("::").any(|word| word == what) }
}
