//! Places: where the node can be reached, and where it met others. They outlast its process in two files, one address a
//! line: `addresses`, which invitations name, and `met`, which the next start begins with.
//!
//! A file is written as a whole whenever its content changes. Lines that cannot be read are ignored.

use crate::keystore::private_file::{self, FileError};
use crate::net::Multiaddr;
use crate::time::Epoch;
use std::path::Path;

/// The addresses that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Where the node can be reached, on every interface; addresses that other machines can use come first.
    pub listening: Vec<Multiaddr>,
    /// Where members were met, the most recent first.
    pub met: Vec<Multiaddr>,
    /// In which epoch it listens there, if it takes another port for each.
    pub epoch: Option<Epoch>,
}

/// Reads the places kept in a node's directory; those of a file that cannot be read are empty.
pub(super) fn load(directory: &Path) -> Places {
    let lines = |name| {
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let text = std::fs::read_to_string(directory.join(ADDRESSES)).unwrap_or_default();
    let epoch = text.lines().find_map(|line| line.strip_prefix(EPOCH)?.parse().ok()).map(Epoch);
    Places { listening: lines(ADDRESSES), met: lines(MET), epoch }
}

/// Writes the files whose content has changed, durably.
pub(super) fn save(directory: &Path, places: &Places) -> Result<(), FileError> {
    for (name, addresses, epoch) in [(ADDRESSES, &places.listening, places.epoch), (MET, &places.met, None)] {
        let epoch = epoch.map(|epoch| format!("{EPOCH}{}\n", epoch.0));
        let text: String = epoch.into_iter().chain(addresses.iter().map(|address| format!("{address}\n"))).collect();
        private_file::write_changed(&directory.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Name of the file with the addresses at which the node can be reached.
const ADDRESSES: &str = "addresses";
/// Name of the file with the addresses at which members were met.
const MET: &str = "met";

/// Before the number of the epoch, in the first line of the file with the addresses.
const EPOCH: &str = "# epoch ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_what_is_no_address_is_not() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(load(place.path()), Places::default());
        let address = |text: &str| text.parse::<Multiaddr>().expect("an address");
        let listening = vec![address("/ip4/192.0.2.7/tcp/7707"), address("/ip4/127.0.0.1/tcp/7707")];
        let epoch = Some(Epoch(491_130));
        let places = Places { listening, met: vec![address("/dns4/gateway.example/tcp/7707")], epoch };
        save(place.path(), &places).expect("saved");
        assert_eq!(load(place.path()), places);
        std::fs::write(place.path().join(MET), "/ip4/192.0.2.9/tcp/1\n\0\u{1}\n/ip4/192").expect("written");
        assert_eq!(load(place.path()).met, [address("/ip4/192.0.2.9/tcp/1")]);
    }
}
