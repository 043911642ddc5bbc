//! Places: where the node can be reached, and where it met others. They outlast its process, as two files of lines:
//! `addresses`, which invitations name, and `met`, which the next start begins with.
//!
//! They are written whole whenever they change, the last state last; what cannot be read counts as nothing.

use crate::keystore::private_file::{self, FileError};
use crate::net::Multiaddr;
use std::path::Path;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Where the node can be reached, on every interface: addresses first that others can use.
    pub listening: Vec<Multiaddr>,
    /// Where members were met, the last first.
    pub met: Vec<Multiaddr>,
}

/// Reads what was kept in a node's directory.
pub(super) fn load(directory: &Path) -> Places {
    let lines = |name| {
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    Places { listening: lines(ADDRESSES), met: lines(MET) }
}

/// Writes what has changed, durably.
pub(super) fn save(directory: &Path, places: &Places) -> Result<(), FileError> {
    for (name, addresses) in [(ADDRESSES, &places.listening), (MET, &places.met)] {
        let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        private_file::write_changed(&directory.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Name of the file that says where the node is reachable.
const ADDRESSES: &str = "addresses";
/// Name of the file that says where members were met.
const MET: &str = "met";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_what_is_no_address_is_not() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(load(place.path()), Places::default());
        let address = |text: &str| text.parse::<Multiaddr>().expect("an address");
        let listening = vec![address("/ip4/192.0.2.7/tcp/7707"), address("/ip4/127.0.0.1/tcp/7707")];
        let places = Places { listening, met: vec![address("/dns4/gateway.example/tcp/7707")] };
        save(place.path(), &places).expect("saved");
        assert_eq!(load(place.path()), places);
        std::fs::write(place.path().join(MET), "/ip4/192.0.2.9/tcp/1\n\0\u{1}\n/ip4/192").expect("written");
        assert_eq!(load(place.path()).met, [address("/ip4/192.0.2.9/tcp/1")]);
    }
}
