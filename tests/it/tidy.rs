//! Keeps the architecture: floors, what cores must not touch, sizes, and what lies at the top level.
//!
//! The rules are those of the code map in `src/lib.rs`. The checker reads sources as tokens (`tidy/source.rs`), so
//! comments and strings do not count, and paths are followed through `use` and `super`. Code under `#[cfg(test)]` is held
//! to the floors, not to the bans. Each rule has a test here that shows it can fail.

mod evidence;
#[path = "../mutants/src/faults.rs"]
mod faults;
mod invariants;
mod picture;
mod rules;
mod source;
pub mod tables;

use m2mesh::counter::Counter;
use std::path::{Path, PathBuf};

/// What may lie at the top level, besides dotfiles and licences.
const TOP_LEVEL: [&str; 16] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "simulator",
    "scenarios",
    "tests",
    "benches",
    "examples",
    "docs",
    "deploy",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "justfile",
    "rust-toolchain.toml",
];
/// Built, not kept.
const BUILT: [&str; 1] = ["target"];

/// Documents that name tests.
const EVIDENCE: [&str; 2] = ["docs/faults.md", "docs/security.md"];
/// Counters that no test looks at. The list only becomes shorter: who makes one of them counted in a test takes it out.
const UNTESTED_COUNTERS: &[&str] = &[
    "addresses_refused",
    "admissions_unclaimed",
    "batches_refused",
    "credentials_forgotten",
    "dedupe_streams_forgotten",
    "group_frames_not_opened",
    "group_publishers_forgotten",
    "links_forgotten",
    "links_stalled",
    "locate_dropped",
    "locate_forgotten",
    "lsas_beyond_area",
    "lsas_expired",
    "lsas_not_asked",
    "lsas_not_given",
    "lsas_not_held",
    "lsas_second_of_handle",
    "messages_beyond_window",
    "nacks_withheld",
    "outcomes_forgotten",
    "publications_dropped",
    "pulls_failed",
    "receipts_without_way",
    "sessions_of_strangers",
    "trees_refused",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir`, without build output and hidden directories, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("a directory that lists").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == ".git" {
            continue;
        }
        if path.is_dir() {
            let skipped = ["target", "corpus", "artifacts", "node_modules"].contains(&name.as_str());
            if !skipped {
                found.extend(files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn rust_files(dirs: &[&str]) -> Vec<(String, String)> {
    let all = dirs.iter().flat_map(|dir| files(&root().join(dir)));
    all.filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| (relative(&path), std::fs::read_to_string(&path).expect("a source is UTF-8")))
        .collect()
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Invariants 1, 2, 3 and 4 of lib.
/// Invariant 3 of node.
#[test]
fn sources_keep_floors_and_bans() {
    let sources = rust_files(&["src"]);
    assert!(sources.len() > 20, "the checker sees the sources");
    report(&sources.iter().flat_map(|(path, text)| rules::architecture(path, text)).collect::<Vec<_>>());
}

#[test]
fn sources_are_documented_finished_and_of_readable_size() {
    let sources = rust_files(&["src", "simulator", "tests", "benches", "examples"]);
    report(&sources.iter().flat_map(|(path, text)| rules::manner(path, text)).collect::<Vec<_>>());
}

/// `M2MESH_BLESS=1 cargo test --test it tidy::` draws them anew.
#[test]
fn the_pictures_of_the_architecture_are_those_of_the_sources() {
    let drawn = picture::imports(&rust_files(&["src"])).map(|imports| {
        picture::draw(&imports).unwrap_or_else(|way| unreachable!("a way of imports comes back: {}", way.join(" → ")))
    });
    let path = root().join("ARCHITECTURE.md");
    let document = std::fs::read_to_string(&path).expect("the architecture");
    assert_eq!(document.matches("```mermaid").count(), drawn.len());
    let redrawn = picture::redrawn(&document, &drawn);
    if std::env::var_os("M2MESH_BLESS").is_some() {
        return std::fs::write(&path, &redrawn).expect("the architecture is written");
    }
    let (kept, found) = (document.lines(), redrawn.lines());
    let differs: Vec<String> = kept
        .zip(found)
        .filter(|(kept, found)| kept != found)
        .map(|(kept, found)| format!("- {kept}\n+ {found}"))
        .collect();
    assert!(document == redrawn, "the pictures are not those of the sources:\n{}", differs.join("\n"));
}

#[test]
fn no_file_names_a_machine() {
    let mut problems = Vec::new();
    for path in files(root()) {
        if let Ok(text) = std::fs::read_to_string(&path) {
            problems.extend(rules::machine_paths(&relative(&path), &text));
        }
    }
    report(&problems);
}

#[test]
fn the_top_level_holds_what_it_should() {
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(root()).expect("the project's directory lists") {
        let name = entry.expect("and its entries too").file_name().to_string_lossy().into_owned();
        let known = TOP_LEVEL.contains(&name.as_str()) || BUILT.contains(&name.as_str());
        if !(known || name.starts_with('.') || name.starts_with("LICENSE-")) {
            problems.push(format!("{name}: top level: move it below src, tests, docs or deploy, or make it a dotfile"));
        }
    }
    report(&problems);
}

#[test]
fn tests_that_documents_name_are_there() {
    let tests: Vec<String> =
        rust_files(&["src", "simulator", "tests"]).iter().flat_map(|(_, text)| evidence::tests_of(text)).collect();
    let exists = |path: &str| root().join(path).exists();
    let mut problems = Vec::new();
    for path in EVIDENCE {
        let text = std::fs::read_to_string(root().join(path)).expect("the document is there");
        problems.extend(evidence::document(path, &text, &tests, exists));
    }
    report(&problems);
}

#[test]
fn what_is_counted_is_counted_in_some_test() {
    let names: Vec<(String, String)> =
        Counter::ALL.iter().map(|counter| (format!("{counter:?}"), counter.name().to_owned())).collect();
    let sources = rust_files(&["src", "simulator", "tests"]);
    let others = sources.iter().filter(|(path, _)| path != "src/counter.rs" && path != "tests/it/tidy.rs");
    let code: Vec<&str> = others.map(|(path, text)| evidence::test_code(path, text)).collect();
    report(&evidence::counters(&names, &code, UNTESTED_COUNTERS));
}

#[test]
fn tables_of_documents_are_those_of_the_code() {
    let all = tables::all();
    report(&all.iter().flat_map(|(path, tables)| tables::check(root(), path, tables)).collect::<Vec<_>>());
}

#[test]
fn each_numbered_invariant_is_named_by_a_test_that_holds_it() {
    let sources = rust_files(&["src", "simulator", "tests"]);
    let numbers = |(_, text): &(String, String)| invariants::numbered(text).len();
    assert!(sources.iter().map(numbers).sum::<usize>() > 100, "modules number their invariants");
    report(&invariants::problems(&sources));
}

#[test]
fn planted_faults_are_where_they_say() {
    let planted = faults::load(&root().join("tests/mutants/faults")).expect("the planted faults can be read");
    assert!(planted.len() >= 60, "there are faults");
    report(&faults::problems(&planted, root()));
}

mod can_fail {
    use super::evidence::{counters, document, test_code, tests_of};
    use super::picture;
    use super::rules::{architecture, machine_paths, manner};

    /// The one complaint about `text` as the source `path`, which contains `part`.
    #[track_caller]
    fn complains(path: &str, text: &str, part: &str) {
        let problems = architecture(path, text);
        assert!(problems.iter().any(|p| p.contains(part)), "{path}: {part:?} is not in {problems:?}");
        assert!(problems.iter().all(|p| p.starts_with(path)), "every complaint names file and line");
    }

    #[track_caller]
    fn fine(path: &str, text: &str) {
        assert_eq!(architecture(path, text), Vec::<String>::new());
    }

    #[test]
    fn a_core_with_a_clock_a_runtime_or_a_disk() {
        complains("src/delivery/a.rs", "use std::time::SystemTime;", "src/delivery/a.rs:1: clock");
        complains("src/delivery/a.rs", "\nuse std::time::{Duration, Instant};", "src/delivery/a.rs:2: clock");
        complains("src/delivery/a.rs", "use std::time;\nfn f() { time::Instant::now(); }", "a.rs:2: clock");
        complains("src/engine/mod.rs", "fn f() { std::thread::sleep(d) }", "engine/mod.rs:1: thread");
        complains("src/wire/a.rs", "use tokio::sync::mpsc;", "runtime");
        complains("src/wire/a.rs", "use futures_timer::Delay;", "runtime");
        complains("src/identity/a.rs", "use std::{fs, io};", "disk");
        complains("src/identity/a.rs", "use std::net::IpAddr;", "socket");
        complains("src/identity/a.rs", "fn f() { std::env::var(\"HOME\"); }", "environment");
        complains("src/identity/a.rs", "use rand_core::OsRng;", "randomness");
        complains("src/identity/a.rs", "fn f() { getrandom::fill(&mut b) }", "randomness");
        complains("src/engine/a.rs", "use std::collections::HashMap;", "order");
        fine("src/engine/a.rs", "// SystemTime\nconst TEXT: &str = \"use tokio::time\"; /* HashMap */");
        fine("src/net/a.rs", "use std::time::Instant; use std::collections::HashMap;");
    }

    #[test]
    fn a_picture_with_an_arrow_too_many_or_a_circle() {
        let imports = |pairs: &[(&str, &[&str])]| -> picture::Imports {
            let set = |of: &[&str]| of.iter().map(|one| (*one).to_owned()).collect();
            pairs.iter().map(|(from, to)| ((*from).to_owned(), set(to))).collect()
        };
        let drawn = picture::draw(&imports(&[("a", &["b", "c", "d"]), ("b", &["c"])]));
        assert_eq!(drawn.as_deref(), Ok("flowchart TD\n    a --> b & d\n    b --> c\n"));
        let circle = picture::draw(&imports(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]));
        assert_eq!(circle, Err(vec!["b".to_owned(), "c".to_owned()]));
        let sources = [
            (
                "src/engine/groups/a.rs".to_owned(),
                "use crate::engine::routing::b::C;\nuse crate::engine::core::Core;".to_owned(),
            ),
            (
                "src/net/a.rs".to_owned(),
                "use crate::wire::B;\n#[cfg(test)] mod tests { use crate::identity::X; }".to_owned(),
            ),
        ];
        let found = picture::imports(&sources);
        assert_eq!(found, [imports(&[("net", &["wire"])]), imports(&[("groups", &["core", "routing"])])]);
        assert_eq!(
            picture::redrawn("x\n```mermaid\nold\n```\ny\n", &["new\n".to_owned()]),
            "x\n```mermaid\nnew\n```\ny\n"
        );
    }

    #[test]
    fn an_import_that_goes_up_or_sideways() {
        complains("src/delivery/a.rs", "use crate::event_log::Event;", "a.rs:1: floor");
        complains("src/identity/a.rs", "use crate::engine::api::Send;", "a.rs:1: floor");
        complains("src/wire/a.rs", "use super::super::identity::X;", "a.rs:1: floor");
        complains("src/delivery/a.rs", "use crate::{id::Handle, mailbox};", "a.rs:1: floor");
        complains("src/net/a.rs", "fn f() { crate::store::open() }", "a.rs:1: floor");
        complains("src/store/a.rs", "use crate::keystore::Keyring;", "a.rs:1: floor");
        complains("src/client/a.rs", "use crate::gateway::dto;", "a.rs:1: floor");
        complains("src/net/a.rs", "use crate::client::Caller;", "a.rs:1: floor");
        complains("src/store/mod.rs", "mod x { use super::super::net::Y; }", "mod.rs:1: floor");
        complains("src/wire/a.rs", "#[cfg(test)] mod tests { use crate::identity::X; }", "a.rs:1: floor");
        complains("src/wire/a.rs", "use crate::*;", "a.rs:1: floor");
        complains("src/wire/a.rs", "use crate::oddity::X;", "oddity");
        complains("src/oddity.rs", "", "floor table");
        fine("src/engine/a.rs", "use crate::{delivery::Message, event_log, identity::Name, id, time::Now};");
        fine("src/wire/a.rs", "use super::codec; use crate::wire::signed; fn f() { self::g(); super::codec::h() }");
        fine("src/main.rs", "use m2mesh::cli;");
        fine("src/cli/a.rs", "#[cfg(test)] mod tests { use super::*; use crate::node::Node; }");
    }

    #[test]
    fn a_wing_of_the_engine_that_reaches_up_or_sideways() {
        complains("src/engine/neighbours/a.rs", "use crate::engine::routing::routes::Route;", "a.rs:1: wing");
        complains("src/engine/routing/a.rs", "use super::super::messages::inbox::Inbox;", "a.rs:1: wing");
        complains("src/engine/groups/a.rs", "use crate::engine::messages::seals::seal;", "a.rs:1: wing");
        complains("src/engine/routing/a.rs", "use crate::engine::Engine;", "a.rs:1: wing");
        complains("src/engine/journal.rs", "use super::Engine;", "journal.rs:1: wing");
        complains("src/engine/core.rs", "use super::neighbours::links::Links;", "core.rs:1: wing");
        complains("src/engine/messages/a.rs", "fn f() { crate::engine::turn::g() }", "a.rs:1: wing");
        fine("src/engine/messages/a.rs", "use crate::engine::routing::routes::Route; use super::inbox::Inbox;");
        fine("src/engine/dispatch.rs", "use super::{Engine, Output}; use super::groups::multicast;");
        fine("src/engine/mod.rs", "mod groups; use groups::Groups;");
    }

    #[test]
    fn what_virtual_time_could_not_drive() {
        complains("src/net/links.rs", "use tokio::time::sleep;", "links.rs:1: virtual time");
        complains("src/node.rs", "async fn f() { tokio::select! {} }", "node.rs:1: virtual time");
        complains("src/node.rs", "use tokio::select;", "virtual time");
        complains("src/net/a.rs", "use std::thread; fn f() { thread::spawn(g); }", "virtual time");
        complains("src/net/a.rs", "fn f() { tokio::spawn(g); }", "virtual time");
        fine("src/net/transport.rs", "use tokio::time::sleep;");
        fine("src/gateway/a.rs", "use tokio::time::sleep;");
        fine("src/net/a.rs", "#[cfg(test)] mod tests { fn f() { tokio::spawn(g); std::thread::spawn(h); } }");
    }

    #[test]
    fn a_socket_for_clients_that_is_opened_elsewhere() {
        complains("src/gateway/a.rs", "fn f() { tokio::net::TcpListener::bind(a); }", "a.rs:1: listen");
        complains("src/gateway/a.rs", "use tokio::net as n; fn f() { n::UnixListener::bind(a); }", "a.rs:1: listen");
        fine("src/gateway/listen.rs", "use tokio::net::UnixListener; fn f() { UnixListener::bind(a); }");
        fine("src/gateway/a.rs", "use tokio::net::UnixStream;");
        fine("src/gateway/a.rs", "#[cfg(test)] mod tests { use std::os::unix::net::UnixListener; }");
    }

    #[test]
    fn a_queue_without_a_bound() {
        complains("src/gateway/a.rs", "use tokio::sync::mpsc::unbounded_channel;", "a.rs:1: bound");
        complains("src/node.rs", "use futures::channel::mpsc; fn f() { mpsc::unbounded(); }", "node.rs:1: bound");
        complains("src/store/a.rs", "use std::sync::mpsc; fn f() { mpsc::channel(); }", "a.rs:1: bound");
        fine("src/store/a.rs", "use std::sync::mpsc; fn f() { mpsc::sync_channel(4); }");
        fine("src/gateway/a.rs", "use tokio::sync::mpsc; fn f() { mpsc::channel(4); }");
    }

    #[test]
    fn a_document_without_its_test_and_a_counter_without_one() {
        let tests = tests_of("#[test]\nfn it_is_told_at_once() {}\nfn no_test_of_any_kind() {}");
        assert_eq!(tests, ["it_is_told_at_once"]);
        let said = |text: &str| document("docs/a.md", text, &tests, |path| path == "src/a.rs");
        assert!(said("`it_is_told_at`, `engine: it_is_told_at_once`, `in_box`, `src/a.rs`, `src/{b,c}.rs`").is_empty());
        assert!(said("`no_test_of_any_kind`")[0].starts_with("docs/a.md:1: evidence: no test"));
        assert!(said("\n`src/b.rs`")[0].starts_with("docs/a.md:2: evidence: src/b.rs"));
        assert_eq!(test_code("src/a.rs", "count()\n#[cfg(test)]\nmod tests { x }"), "#[cfg(test)]\nmod tests { x }");
        assert_eq!((test_code("src/a.rs", "count()"), test_code("tests/a.rs", "count()")), ("", "count()"));
        let names = [("InboxFull".to_owned(), "inbox_full".to_owned())];
        assert!(counters(&names, &["counted(Counter::InboxFull)"], &[]).is_empty());
        assert!(counters(&names, &["my_inbox_full"], &[])[0].contains("no test counts inbox_full"));
        assert!(counters(&names, &["\"inbox_full\""], &["inbox_full"])[0].contains("excuse it no more"));
        assert!(counters(&names, &[], &["inbox_full", "gone"])[0].contains("nothing is counted as gone"));
    }

    #[test]
    fn a_table_that_has_fallen_behind() {
        use super::tables::{MARK, document};
        let kept = format!("# A\n\n{MARK}\n| a |\n|-|\n| b |\n");
        assert_eq!(document("docs/a.md", &kept, "| a |\n|-|\n| b |\n"), Vec::<String>::new());
        for (tables, part) in [
            ("| a |\n|-|\n| c |\n", "docs/a.md:7: table: is not as the code"),
            ("| a |\n|-|\n", "docs/a.md:7: table: ends early or late"),
            ("| a |\n|-|\n| b |\n| c |\n", "ends early or late"),
        ] {
            let problems = document("docs/a.md", &kept, tables);
            assert!(problems.iter().any(|problem| problem.contains(part)), "{part:?} is not in {problems:?}");
        }
        assert!(document("docs/a.md", "# A\n", "| a |\n")[0].contains("no mark"));
    }

    #[test]
    fn an_invariant_that_is_named_and_not_there_or_there_and_not_named() {
        let module = "//! A.\n//!\n//! Invariants\n//! 1. It is one.\n//! 2. Or two, of\n//!    3 that there are.\n//! - Or none.\n";
        assert_eq!(super::invariants::numbered(module), [1, 2]);
        let said = |test: &str| {
            let of = |path: &str, text: &str| (path.to_owned(), text.to_owned());
            super::invariants::problems(&[of("src/a/mod.rs", module), of("src/a/b/tests.rs", test), of("src/c.rs", "")])
        };
        assert_eq!(said("/// Invariants 1 and 2: or two.\nfn g() {}"), Vec::<String>::new());
        assert_eq!(said("/// Invariant 1 of a.\n/// Invariant 2 of a.\nlet invariant = 3;"), Vec::<String>::new());
        assert!(
            said("\n/// Invariants 1, 2 and 3.\nfn g() {}")[0]
                .starts_with("src/a/b/tests.rs:2: evidence: there is no invariant 3")
        );
        assert!(said("/// Invariants 1, 2.\n/// Invariant 1 of c.")[0].contains("there is no invariant 1 in c"));
        assert!(said("/// Invariant 1.")[0].starts_with("src/a/mod.rs:1: evidence: no test names invariant 2"));
    }

    #[test]
    fn a_planted_fault_that_has_come_loose() {
        use super::faults::{Piece, place};
        let found = |find: &str| {
            let piece = Piece { file: String::new(), find: find.to_owned(), replace: String::new() };
            place(&piece, "if a < b { a } else { b }")
        };
        assert_eq!(found("a < b"), Ok(3..8));
        assert_eq!(found("{ ⟦a⟧ }"), Ok(11..12));
        assert!(found("a").expect_err("it is there twice").contains("more than once"));
        assert!(found("c").expect_err("it is nowhere").contains("not in the file"));
        assert!(found("if ⟦⟧a").expect_err("it is nothing").contains("names nothing"));
    }

    #[test]
    fn a_struct_of_the_engine_that_is_too_broad() {
        let fields =
            |count: usize| (0..count).map(|n| format!("f{n}: BTreeMap<(u8, u8), [u8; 2]>, ")).collect::<String>();
        let text = |count| format!("//! A.\nstruct A<T: B> {{ {} }}\n", fields(count));
        assert_eq!(manner("src/engine/a.rs", &text(15)), Vec::<String>::new());
        assert!(manner("src/engine/a.rs", &text(16))[0].starts_with("src/engine/a.rs:2: size: `A` has 16 fields"));
        assert_eq!(manner("src/net/a.rs", &text(16)), Vec::<String>::new());
    }

    #[test]
    fn manner_and_machines() {
        let long = format!("//! Long.\n{}", "\n".repeat(500));
        for (text, part) in [
            ("use a;", "a.rs:1: doc"),
            ("//! A.\n#[ignore] fn f() {}", "a.rs:2: finished"),
            ("//! A.\nfn f() { todo!() }", "a.rs:2: finished"),
            ("//! A.\nfn f() { unimplemented!() }", "a.rs:2: finished"),
            (&long, "a.rs:501: size"),
        ] {
            let problems = manner("src/wire/a.rs", text);
            assert!(problems.iter().any(|p| p.contains(part)), "{part:?} is not in {problems:?}");
        }
        assert_eq!(manner("src/wire/a.rs", "//! A.\n// todo!() is a macro\n"), Vec::<String>::new());
        assert_eq!(machine_paths("docs/a.md", concat!("one\n/ho", "me/someone/x")).len(), 1);
        assert_eq!(machine_paths("docs/a.md", "the homes/work/rooted").len(), 0);
    }
}
