//! Keys at rest under a passphrase, through the command line and with nodes that run.

#![allow(clippy::panic)] // a test that meets something else than it expects has failed

use crate::support::processes::{ANYWHERE, Place, end};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A private file with a passphrase, named by its path.
fn secret(place: &Place, name: &str, text: &str) -> String {
    let path = place.at(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("made private");
    path.to_str().expect("UTF-8").to_owned()
}

fn is_sealed(path: &Path) -> bool {
    fs::read(path).expect("it is there").starts_with(b"m2mesh sealed")
}

/// The secret files of a directory.
fn secrets(directory: &Path) -> Vec<PathBuf> {
    let all =
        ["identity/device.key", "identity/credentials", "identity/cards", "realm/issuer.key", "realm/operator.key"];
    let present: Vec<_> = all.iter().map(|file| directory.join(file)).filter(|path| path.exists()).collect();
    assert!(present.len() >= 3, "{present:?}");
    present
}

#[test]
fn a_sealed_realm_opens_with_its_passphrase_wherever_that_comes_from() {
    let place = Place::new();
    let right = secret(&place, "right", "correct horse\n");
    let wrong = secret(&place, "wrong", "battery staple\n");
    place.done(&["realm", "init", "plant", "--name", "gateway", "--passphrase-file", &right]);
    assert!(secrets(&place.at("plant")).iter().all(|path| is_sealed(path)));
    assert!(is_sealed(&place.at("plant/realm/auditor.key")));

    assert!(place.done(&["realm", "list", "plant", "--passphrase-file", &right]).contains("gateway"));
    let mut by_variable = place.command(&["realm", "list", "plant"]);
    by_variable.env("M2MESH_PASSPHRASE_FILE", &right);
    assert_eq!(end(by_variable).code, Some(0));
    // As systemd shows a credential to a service that is not root's: with an access list, whose mask is the group's mode.
    secret(&place, "passphrase", "correct horse");
    fs::set_permissions(place.at("passphrase"), fs::Permissions::from_mode(0o440)).expect("changed");
    let mut by_manager = place.command(&["realm", "list", "plant"]);
    by_manager.env("CREDENTIALS_DIRECTORY", place.path());
    assert_eq!(end(by_manager).code, Some(0));

    let ended = place.run(&["realm", "list", "plant"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.said.contains("no terminal") && ended.said.contains("--passphrase-file"), "{}", ended.said);
    for verb in
        [&["realm", "list", "plant"][..], &["run", "--dir", "plant"], &["passphrase", "remove", "--dir", "plant"]]
    {
        let ended = place.run(&[verb, &["--passphrase-file", &wrong]].concat());
        assert_eq!(ended.code, Some(1), "{verb:?}");
        assert!(ended.said.contains("the passphrase is wrong"), "{verb:?}: {}", ended.said);
        assert!(ended.said.contains("what to do: give it with --passphrase-file"), "{verb:?}: {}", ended.said);
        assert!(!ended.said.contains("battery"), "a passphrase is never repeated");
    }
}

#[test]
fn a_damaged_file_is_told_apart_from_a_wrong_passphrase() {
    let place = Place::new();
    let right = secret(&place, "right", "correct horse");
    place.done(&["realm", "init", "plant", "--name", "gateway", "--passphrase-file", &right]);
    let key = place.at("plant/realm/issuer.key");
    let sound = fs::read(&key).expect("there");
    let last = sound.len() - 1;
    // The version, the memory that is asked for, the content, the end.
    for (at, expected) in [(13, "format"), (14, "damaged"), (last - 20, "damaged"), (last, "damaged")] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0xff;
        fs::write(&key, &bytes).expect("written");
        let ended = place.run(&["realm", "list", "plant", "--passphrase-file", &right]);
        assert_eq!(ended.code, Some(1), "byte {at}");
        assert!(ended.said.contains(expected) && ended.said.contains("issuer.key"), "byte {at}: {}", ended.said);
        assert!(!ended.said.contains("wrong"), "byte {at}: {}", ended.said);
    }
    fs::write(&key, &sound[..last]).expect("written");
    let ended = place.run(&["realm", "list", "plant", "--passphrase-file", &right]);
    assert!(ended.said.contains("damaged"), "{}", ended.said);
}

#[test]
fn a_passphrase_that_others_can_read_is_refused() {
    let place = Place::new();
    let file = secret(&place, "file", "correct horse");
    for mode in [0o640, 0o604, 0o644] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("changed");
        let ended = place.run(&["realm", "init", "plant", "--name", "gateway", "--passphrase-file", &file]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.said.contains("can be read by others") && ended.said.contains("chmod go="), "{}", ended.said);
    }
    let empty = secret(&place, "empty", "\n");
    let ended = place.run(&["realm", "init", "plant", "--name", "gateway", "--passphrase-file", &empty]);
    assert!(ended.code == Some(1) && ended.said.contains("between 1 and"), "{}", ended.said);
    assert!(!place.at("plant/realm").exists(), "nothing was made");
}

/// Invariant 2 of keystore.
/// Invariant 1 of keystore::keyring.
#[test]
fn nodes_run_sealed_and_what_they_write_stays_sealed() {
    let place = Place::new();
    let (hub, device) = (secret(&place, "hub", "one"), secret(&place, "device", "two"));
    place.done(&["realm", "init", "plant", "--name", "gateway", "--passphrase-file", &hub]);
    let cards = || fs::metadata(place.at("plant/identity/cards")).expect("there").len();
    let before = cards();
    let run = ["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE, "--passphrase-file", &hub];
    let mut gateway = place.start(&run);
    let ticket = place.done(&["realm", "invite", "plant", "--name", "meter", "--passphrase-file", &hub]);
    place.done(&["join", &ticket, "--dir", "meter", "--passphrase-file", &device]);
    assert!(secrets(&place.at("meter")).iter().all(|path| is_sealed(path)));

    let meter = place.start(&["run", "--dir", "meter", "--no-mdns", "--passphrase-file", &device]);
    place.done(&["send", "gateway", "21.5 C", "--dir", "meter"]);
    place.done(&["send", "meter", "thanks", "--dir", "plant"]);
    drop(meter);
    assert_eq!(gateway.stop(), Some(0));
    assert!(cards() > before, "the gateway has saved the newcomer's card");
    assert!(secrets(&place.at("plant")).iter().all(|path| is_sealed(path)));

    let ended = place.run(&["run", "--dir", "meter", "--no-mdns"]);
    assert!(ended.code == Some(1) && ended.said.contains("no terminal"), "{}", ended.said);
    let _gateway = place.start(&run);
    assert!(place.done(&["contacts", "--dir", "plant"]).contains("meter"));
}

#[test]
fn a_passphrase_is_set_changed_and_removed() {
    let place = Place::new();
    let (one, two) = (secret(&place, "one", "one"), secret(&place, "two", "two"));
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let set = |arguments: &[&str]| place.done(&[&["passphrase", "set", "--dir", "plant"], arguments].concat());
    assert!(set(&["--passphrase-file", &one]).lines().count() >= 6);
    assert!(secrets(&place.at("plant")).iter().all(|path| is_sealed(path)));
    assert_eq!(place.run(&["realm", "list", "plant", "--passphrase-file", &two]).code, Some(1));

    set(&["--passphrase-file", &one, "--new-passphrase-file", &two]);
    assert_eq!(place.run(&["realm", "list", "plant", "--passphrase-file", &one]).code, Some(1));
    place.done(&["realm", "list", "plant", "--passphrase-file", &two]);

    // Not while the node runs: it would go on writing under the old one.
    let run = ["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE, "--passphrase-file", &two];
    let node = place.start(&run);
    let ended = place.run(&["passphrase", "remove", "--dir", "plant", "--passphrase-file", &two]);
    assert!(ended.code == Some(1) && ended.said.contains("another m2mesh"), "{}", ended.said);
    drop(node);

    place.done(&["passphrase", "remove", "--dir", "plant", "--passphrase-file", &two]);
    assert!(secrets(&place.at("plant")).iter().all(|path| !is_sealed(path)));
    place.done(&["realm", "list", "plant"]);
    let ended = place.run(&["passphrase", "set", "--dir", "nowhere", "--passphrase-file", &one]);
    assert!(ended.code == Some(1) && ended.said.contains("holds no device"), "{}", ended.said);
}

#[test]
fn an_interrupted_join_goes_on_under_its_passphrase() {
    let place = Place::new();
    let file = secret(&place, "file", "correct horse");
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let ticket = place.done(&["realm", "invite", "plant", "--name", "meter", "--address", "/ip4/127.0.0.1/tcp/9"]);
    let join = ["join", "--offline", &ticket, "--dir", "meter"];
    place.done(&[&join[..], &["--passphrase-file", &file]].concat());
    assert!(is_sealed(&place.at("meter/identity/pending")));
    place.done(&["realm", "issue", "plant", "meter/enrolment.request"]);
    assert_eq!(place.run(&join).code, Some(1), "the keys of the request are sealed");
    let mut by_variable = place.command(&join);
    by_variable.env("M2MESH_PASSPHRASE_FILE", &file);
    let ended = end(by_variable);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(secrets(&place.at("meter")).iter().all(|path| is_sealed(path)));
    assert!(!place.at("meter/identity/pending").exists());
}
