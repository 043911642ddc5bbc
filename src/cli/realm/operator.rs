//! What the verbs that change the bulletin have in common: the operator's key, and what is said of the new bulletin.

use crate::cli::failure::Failure;
use crate::cli::passphrase::Source;
use crate::cli::shell::Shell;
use crate::identity::realm::Operator;
use crate::keystore::realm_dir::RealmDir;
use crate::keystore::realm_dir::amending::AmendError;
use std::path::{Path, PathBuf};

/// Where the operator's key is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct OperatorKey {
    /// File of the operator's key, if it is not at DIR/realm/operator.key
    #[arg(long, value_name = "FILE", global = true)]
    operator_key: Option<PathBuf>,
}

impl OperatorKey {
    pub(super) fn read(&self, realm: &RealmDir, source: &Source) -> Result<Operator, Failure> {
        let path = self.operator_key.clone().unwrap_or_else(|| realm.operator_path());
        realm.operator(self.operator_key.as_deref(), &source.keyring_of(&path)?).map_err(failed)
    }
}

/// The realm in a directory, as its operator uses it.
pub(super) fn open(place: &Path, source: &Source) -> Result<RealmDir, Failure> {
    let hint = "name the directory given to `m2mesh realm init`";
    RealmDir::open_with(place, &source.keyring(place)?).map_err(|error| Failure::split(error, hint))
}

/// Says how the new bulletin gets about.
pub(super) fn note(shell: &Shell, realm: &RealmDir, place: &Path) {
    let place = crate::cli::shell::quoted(&place.to_string_lossy());
    shell.note(format_args!(
        "bulletin {}: the node in {place} takes it when it is started again, and gives it to the others",
        realm.bulletin().version()
    ));
}

pub(super) fn failed(error: AmendError) -> Failure {
    Failure::split(error, "check the directory and the disk; `m2mesh realm list` shows what is there")
}
