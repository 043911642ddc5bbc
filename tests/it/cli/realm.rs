//! The operator's and the auditor's verbs: segments, groups, disclosure.

use super::{fed, m2mesh, text};
use m2mesh::keystore::device_dir::DeviceDir;
use m2mesh::time::Unix;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// A realm that the command has made, with one device.
struct Plant {
    _place: TempDir,
    directory: PathBuf,
}

fn plant() -> Plant {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("plant");
    let output = m2mesh(&["realm", "init", directory.to_str().expect("a path"), "--name", "hub"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    Plant { _place: place, directory }
}

impl Plant {
    fn path(&self) -> &str {
        self.directory.to_str().expect("a path")
    }

    /// Runs `realm VERB DIR ARGUMENTS`.
    fn realm(&self, verb: &str, arguments: &[&str]) -> Output {
        m2mesh(&[&["realm", verb, self.path()], arguments].concat())
    }

    /// The same, of which it is known how it ends.
    fn ends(&self, code: i32, verb: &str, arguments: &[&str]) -> String {
        let output = self.realm(verb, arguments);
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{verb} {arguments:?}: {said}{complained}");
        format!("{said}{complained}")
    }

    fn json(&self, verb: &str, arguments: &[&str]) -> Value {
        let output = self.realm(verb, &[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    }

    /// The credential of the device, as a neighbour would have captured it.
    fn captured(&self) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let member = DeviceDir::new(&self.directory).load().expect("a device");
        member.credential(Unix::from_seconds(now)).expect("a credential").signed.to_vec()
    }

    fn log(&self) -> PathBuf {
        self.directory.join("realm").join("disclosures.log")
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[test]
fn segments_are_added_reached_assigned_and_listed() {
    let plant = plant();
    let said = plant.ends(0, "segment", &["add", "ot"]);
    assert!(said.contains("segment ot, bit 1") && said.contains("bulletin 2"), "{said}");
    let said = plant.ends(0, "segment", &["reach", "default", "ot"]);
    assert!(said.contains("default reaches ot from now on"), "{said}");
    assert!(plant.ends(0, "segment", &["reach", "default", "ot"]).contains("as before"));
    let said = plant.ends(0, "segment", &["assign", "hub", "default", "ot"]);
    assert!(said.contains("hub is in default, ot") && said.contains("keep the segments of before"), "{said}");
    let list = plant.json("segment", &["list"]);
    assert_eq!(list[0]["reaches"], serde_json::json!(["ot"]));
    assert_eq!((&list[1]["name"], &list[1]["bit"], &list[1]["devices"][0]), (&"ot".into(), &1.into(), &"hub".into()));
    assert!(plant.ends(0, "segment", &["list"]).contains("SEGMENT"));
    let unreached = plant.json("segment", &["unreach", "default", "ot"]);
    assert_eq!((&unreached["new"], &unreached["bulletin"]), (&true.into(), &4.into()));
    let address = ["--address", "/ip4/127.0.0.1/tcp/7300"];
    let invite =
        |segment: &str| plant.realm("invite", &[&["--name", "pump", "--segment", segment], &address[..]].concat());
    assert_eq!(invite("ot").status.code(), Some(0));
    let refused = invite("nowhere");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("realm segment DIR list"), "{}", text(&refused.stderr));
}

#[test]
fn groups_get_keys_and_readers_and_lose_them() {
    let plant = plant();
    let said = plant.ends(0, "group", &["add", "alarms", "--readers", "hub"]);
    assert!(said.contains("alarms: key version 1") && said.contains("1 seals"), "{said}");
    let made = plant.json("group", &["rekey", "alarms", "--all", "--after", "0s"]);
    assert_eq!((&made["version"], &made["bulletin"]), (&2.into(), &3.into()));
    assert_eq!(made.get("numbered_anew_until"), Some(&Value::Null), "its document is short");
    assert!(plant.ends(0, "group", &["rekey", "--root"]).contains("the realm's root: key version 2"));
    let list = plant.json("group", &["list"]);
    assert_eq!((&list[0]["root"], &list[0]["versions"][0]["version"]), (&true.into(), &2.into()));
    assert_eq!((&list[1]["group"], &list[1]["all"]), (&"alarms".into(), &true.into()));
    assert!(plant.ends(0, "group", &["list"]).contains("(root)"));
    assert!(plant.ends(0, "group", &["remove", "alarms"]).contains("every member can read it"));
    assert_eq!(plant.json("group", &["list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn rights_to_publish_are_given_and_taken() {
    let plant = plant();
    let refused = plant.realm("group", &["add", "orders", "--publish", "nobody"]);
    assert!(text(&refused.stderr).contains("realm list"), "{}", text(&refused.stderr));
    let said = plant.ends(0, "group", &["add", "orders", "--publish", "hub"]);
    assert!(said.contains("orders: key version 1"), "{said}");
    assert!(plant.ends(0, "group", &["publishers", "orders"]).contains("orders: published to by hub"));
    let list = plant.json("group", &["list"]);
    assert_eq!((&list[1]["restricted"], &list[1]["publishers"][0]), (&true.into(), &"hub".into()));
    assert_eq!((&list[0]["restricted"], &list[0]["publishers"]), (&false.into(), &serde_json::Value::Null));
    let taken = plant.json("group", &["publishers", "orders", "--remove", "hub"]);
    assert_eq!(
        (&taken["version"], &taken["publishers"], &taken["new"]),
        (&2.into(), &serde_json::json!([]), &true.into())
    );
    assert_eq!(taken.get("numbered_anew_until"), Some(&Value::Null), "its document is short");
    assert!(plant.ends(0, "group", &["list"]).contains("nobody"));
    let given = plant.json("group", &["publishers", "orders", "--add", "hub"]);
    assert_eq!((&given["version"], &given["new"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!(plant.json("group", &["publishers", "orders", "--add", "hub"])["new"], false);
    let all = plant.json("group", &["publishers", "orders", "--all"]);
    assert_eq!((&all["restricted"], &all["version"]), (&false.into(), &3.into()));
    let none = plant.realm("group", &["publishers", "yard", "--add", "hub"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("no key of its own"), "{}", text(&none.stderr));
}

#[test]
fn an_auditor_opens_captured_credentials_and_each_opening_is_in_the_log() {
    let plant = plant();
    let captured = plant.captured();
    let file = plant.directory.join("captured");
    std::fs::write(&file, &captured).expect("written");
    let first = plant.json("disclose", &[file.to_str().expect("a path"), "--reason", "case 17"]);
    assert_eq!((&first["name"], &first["record"]), (&"hub".into(), &1.into()));
    let said = plant.ends(0, "disclose", &[&hex(&captured), "--reason", "case 18"]);
    assert!(said.contains("(hub)") && said.contains("record 2 of the log"), "{said}");
    let lines = format!("{0}\n{0}\n", hex(&captured));
    let output = fed(&["realm", "disclose", plant.path(), "-", "--reason", "case 19"], lines.as_bytes());
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 2));
    let log = plant.ends(0, "disclose", &["--list"]);
    assert!(log.contains("case 17") && log.lines().count() == 5, "{log}");
    assert!(plant.ends(0, "disclose", &["--verify"]).starts_with("intact: 4 records"));
    let head = first["head"].as_str().expect("a hash");
    assert_eq!(plant.json("disclose", &["--verify", "--head", head])["intact"], true);

    // The key may lie elsewhere, and nothing else of the realm's secrets is needed.
    let away = plant.directory.join("auditor.key");
    std::fs::rename(plant.directory.join("realm/auditor.key"), &away).expect("moved");
    std::fs::remove_file(plant.directory.join("realm/issuer.key")).expect("removed");
    std::fs::remove_file(plant.directory.join("realm/operator.key")).expect("removed");
    let said = plant.ends(1, "disclose", &[&hex(&captured), "--reason", "case 20"]);
    assert!(said.contains("--auditor-key"), "{said}");
    plant.ends(
        0,
        "disclose",
        &[&hex(&captured), "--reason", "case 20", "--auditor-key", away.to_str().expect("a path")],
    );
}

#[test]
fn what_is_no_credential_of_the_realm_is_not_opened_and_a_log_that_was_changed_is_named() {
    let plant = plant();
    let mut captured = plant.captured();
    let last = captured.len() - 1;
    captured[last] ^= 1;
    let said = plant.ends(2, "disclose", &[&hex(&captured), "--reason", "a forgery"]);
    assert!(said.contains("its issuer has not signed it"), "{said}");
    assert!(!plant.log().exists(), "nothing was opened");
    assert!(plant.json("disclose", &[&hex(&captured), "--reason", "x"])["refused"].is_string());

    plant.ends(0, "disclose", &[&hex(&plant.captured()), "--reason", "case 17"]);
    plant.ends(0, "disclose", &[&hex(&plant.captured()), "--reason", "case 18"]);
    let whole = std::fs::read(plant.log()).expect("read");
    let text_of = String::from_utf8(whole.clone()).expect("text");
    std::fs::write(plant.log(), text_of.replace("case 17", "case 71")).expect("changed");
    let said = plant.ends(2, "disclose", &["--verify"]);
    assert!(said.starts_with("broken: record 1 was changed"), "{said}");
    let said = plant.ends(2, "disclose", &[&hex(&plant.captured()), "--reason", "case 19"]);
    assert!(said.contains("as evidence") && !said.contains("(hub)"), "{said}");
    std::fs::write(plant.log(), &whole[..whole.len() - 20]).expect("torn");
    let verdict = plant.json("disclose", &["--verify"]);
    assert_eq!((&verdict["intact"], &verdict["first_bad"]), (&false.into(), &2.into()));
    let said = plant.ends(0, "disclose", &[&hex(&plant.captured()), "--reason", "case 19"]);
    assert!(said.contains("record 2 of the log says"), "{said}");
    assert!(plant.ends(0, "disclose", &["--list"]).contains("mended"));
    let nowhere = plant.json("disclose", &["--verify", "--head", &"00".repeat(32)]);
    assert_eq!((&nowhere["intact"], &nowhere["first_bad"]), (&false.into(), &4.into()));
}

#[test]
fn mistakes_of_the_operator_and_the_auditor_are_errors_with_a_way_out() {
    let plant = plant();
    let nowhere = tempfile::tempdir().expect("a temporary directory");
    let nowhere = nowhere.path().to_str().expect("a path");
    for (arguments, expected) in [
        (&["segment", plant.path(), "add", "default"][..], "choose another name"),
        (&["segment", plant.path(), "add", "a b"], "NAME"),
        (&["segment", plant.path(), "reach", "default", "ot"], "no segment ot"),
        (&["segment", plant.path(), "unreach", "default", "default"], "two segments"),
        (&["segment", plant.path(), "assign", "hub", "ot"], "no segment ot"),
        (&["segment", plant.path(), "assign", "pump", "default"], "realm list"),
        (&["segment", nowhere, "list"], "realm init"),
        (&["group", plant.path(), "add", "plant/a"], "first level, plant"),
        (&["group", plant.path(), "add", "alarms", "--readers", "pump"], "realm list"),
        (&["group", plant.path(), "rekey", "alarms"], "group DIR add alarms"),
        (&["group", plant.path(), "rekey"], "NAME"),
        (&["group", plant.path(), "remove", "alarms"], "no key of its own"),
        (&["group", plant.path(), "add", "alarms", "--operator-key", "/nonexistent"], "--operator-key"),
        (&["group", nowhere, "list"], "realm init"),
        (&["disclose", plant.path()], "CREDENTIAL"),
        (&["disclose", plant.path(), "a200"], "--reason"),
        (&["disclose", plant.path(), "a200", "--reason", " "], "say why"),
        (&["disclose", plant.path(), "no credential", "--reason", "x"], "hexadecimal"),
        (&["disclose", plant.path(), "--verify", "--head", "5f"], "64 hexadecimal digits"),
        (&["disclose", nowhere, "--list"], "realm init"),
    ] {
        let output = m2mesh(&[&["realm"], arguments].concat());
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert!(!Path::new(plant.path()).join("realm/disclosures.log").exists());
}
