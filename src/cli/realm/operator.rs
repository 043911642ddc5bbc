//! What the verbs that change the bulletin have in common: the operator's key, and what is said of the new bulletin.

use crate::cli::Verdict;
use crate::cli::failure::Failure;
use crate::cli::passphrase::Source;
use crate::cli::shell::{Shell, quoted};
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{BulletinBody, BulletinTaken};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::realm::Operator;
use crate::keystore::realm_dir::RealmDir;
use crate::keystore::realm_dir::amending::AmendError;
use crate::time::Unix;
use std::path::{Path, PathBuf};

/// Where the operator's key is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct OperatorKey {
    /// File of the operator's key, if it is not at DIR/realm/operator.key
    #[arg(long, value_name = "FILE", global = true)]
    operator_key: Option<PathBuf>,
    /// Directory of a running node that is to tell the mesh; the one in DIR if nothing is said and it runs
    #[arg(long, value_name = "NODE_DIR", global = true)]
    via: Option<PathBuf>,
}

impl OperatorKey {
    /// The node that is to tell the mesh, if one is named.
    pub(super) fn via(&self) -> Option<PathBuf> {
        self.via.clone()
    }

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

/// Has a running node tell the mesh a bulletin, if there is a new one: the node named, or that in the realm's directory.
pub(super) async fn publish(
    shell: &Shell,
    (place, via): (PathBuf, Option<PathBuf>),
    bulletin: Option<VerifiedBulletin>,
) -> Result<Verdict, Failure> {
    let Some(bulletin) = bulletin else { return Ok(Verdict::Done) };
    let told = tell(&place, via, &bulletin).await?;
    if !shell.json {
        announce(shell, &place, told.as_deref(), bulletin.version())?;
    }
    Ok(Verdict::Done)
}

fn announce(shell: &Shell, place: &Path, told: Option<&Path>, version: u64) -> Result<(), Failure> {
    match told {
        Some(told) => shell.line(format_args!("the node in {} tells the mesh bulletin {version}", told.display())),
        None => {
            let place = quoted(&place.to_string_lossy());
            shell.note(format_args!(
                "no node has been told bulletin {version}: the one in {place} tells the mesh when it starts, others are told with --via NODE_DIR"
            ));
            Ok(())
        }
    }
}

/// Hands the bulletin to a node; which that was, if any.
pub(super) async fn tell(
    place: &Path,
    via: Option<PathBuf>,
    bulletin: &VerifiedBulletin,
) -> Result<Option<PathBuf>, Failure> {
    let asked = via.is_some();
    let node = via.unwrap_or_else(|| place.into());
    let (version, at) = (bulletin.version(), node.display());
    let again = format!(
        "the realm has it as bulletin {version}: `m2mesh realm bulletin {} | m2mesh bulletin - --dir {}` tells it again",
        quoted(&place.to_string_lossy()),
        quoted(&node.to_string_lossy()),
    );
    match Client::new(&node).post::<BulletinTaken>("/v1/bulletin", &BulletinBody::new(bulletin)).await {
        Ok(taken) if taken.version > version => Err(Failure::new(
            format!("the node in {at} holds bulletin {}, which is newer than {version}", taken.version),
            format!("{} is not the newest copy of the realm; change that one", place.display()),
        )),
        Ok(_) => Ok(Some(node)),
        Err(ClientError::NotRunning(_)) if !asked => Ok(None),
        Err(error) => Err(Failure::new(format!("the node in {at} was not told: {error}"), again)),
    }
}

/// Tells people that leaves were numbered anew, if they were, and until when devices hold two.
pub(super) fn tell_numbered(shell: &Shell, until: Option<Unix>) {
    if let Some(until) = until {
        shell.note(format_args!(
            "the document of a key is long, and every device fetches it, since readers and excluded devices lie scattered over the key tree. All \
             devices get leaves beside each other with their next credentials; documents that are made after {until} are short again"
        ));
    }
}

pub(super) fn failed(error: AmendError) -> Failure {
    Failure::split(error, "check the directory and the disk; `m2mesh realm list` shows what is there")
}
