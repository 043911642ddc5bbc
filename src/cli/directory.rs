//! Default directories: that of the node and that of the lab.

use super::failure::Failure;
use std::env;
use std::path::{Path, PathBuf};

/// The node's directory: as given, else `M2MESH_DIR`, else `./m2mesh` if that is a node's, else one in the state
/// folder.
pub(super) fn node(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if let Some(named) = env::var_os("M2MESH_DIR").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let here = Path::new("m2mesh");
    // Another directory of that name, such as a source tree, has none of these.
    if ["identity", "realm", "config.toml", crate::gateway::SOCKET].iter().any(|part| here.join(part).exists()) {
        return Ok(here.to_owned());
    }
    Ok(state()?.join("node"))
}

/// The lab's directory if none is given.
pub(super) fn lab() -> Result<PathBuf, Failure> {
    Ok(state()?.join("lab"))
}

/// The state folder: `$XDG_STATE_HOME/m2mesh`, or `~/.local/state/m2mesh`.
fn state() -> Result<PathBuf, Failure> {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("m2mesh")).ok_or_else(|| {
        Failure::new("there is no home directory to keep state in", "name a directory with --dir or M2MESH_DIR")
    })
}
