//! `realm group`: groups with a key of their own, who reads them, and another key for them.

use super::operator::{self, OperatorKey};
use crate::cli::failure::Failure;
use crate::cli::machine;
use crate::cli::passphrase::Source;
use crate::cli::shell::{self, Shell};
use crate::id::Name;
use crate::identity::bulletin::VerifiedBulletin;
use crate::keystore::realm_dir::groups::{GroupEntry, Made, Readers, Rekey};
use crate::keystore::realm_dir::publishers::Change;
use std::path::PathBuf;
use std::time::Duration;

mod publishers;

/// Gives groups keys of their own, and says who reads them
///
/// A group is the first level of a topic. Without a key of its own every member reads it. Of those who have its key all can publish to it, or
/// those alone that are named.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  m2mesh realm group ./plant add alarms --readers hub pump-3
  m2mesh realm group ./plant rekey alarms --readers hub
  m2mesh realm group ./plant rekey --root
  m2mesh realm group ./plant add orders --publish hub
  m2mesh realm group ./plant publishers orders --add pump-3
  m2mesh realm group ./plant list")]
pub(super) struct Arguments {
    /// The realm's directory
    #[arg(value_name = "DIR")]
    place: PathBuf,
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    key: OperatorKey,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists the groups that have a key of their own, its versions, and who reads them and publishes to them
    #[command(after_help = "Example:\n  m2mesh realm group ./plant list --json")]
    List,
    /// Gives a group a key of its own
    #[command(after_help = "Examples:
  m2mesh realm group ./plant add alarms
  m2mesh realm group ./plant add alarms --readers hub pump-3
  m2mesh realm group ./plant add orders --publish hub")]
    Add {
        /// The group: the first level of its topics
        #[arg(value_name = "NAME")]
        name: String,
        /// The devices that may read it; all members, also later ones, if nothing is said
        #[arg(long, alias = "read", value_name = "DEVICE", num_args = 1.., value_parser = super::name)]
        readers: Vec<Name>,
        /// Those of them that may publish to it; all, if nothing is said. With this the key is sealed with at once
        #[arg(long, value_name = "DEVICE", num_args = 1.., value_parser = super::name, conflicts_with = "after")]
        publish: Vec<Name>,
        #[command(flatten)]
        when: When,
    },
    /// Gives a group another key, which who may not read it any more does not get
    #[command(after_help = "Examples:
  m2mesh realm group ./plant rekey alarms --readers hub
  m2mesh realm group ./plant rekey --root --after 1h")]
    Rekey {
        /// The group
        #[arg(value_name = "NAME", required_unless_present = "root")]
        name: Option<String>,
        /// The devices that may read it from then on; those of before if nothing is said
        #[arg(long, value_name = "DEVICE", num_args = 1.., value_parser = super::name, conflicts_with_all = ["root", "all"])]
        readers: Vec<Name>,
        /// All members that are not revoked may read it from then on
        #[arg(long, conflicts_with = "root")]
        all: bool,
        /// The realm's root key instead, from which the keys of all other groups derive
        #[arg(long, conflicts_with = "name")]
        root: bool,
        #[command(flatten)]
        when: When,
    },
    /// Says who may publish to a group, of those who read it; without an option, who may now
    ///
    /// Relays and readers drop what others publish. A right that is taken ends for every device as soon as the bulletin comes to it; those that
    /// keep theirs get new permits meanwhile, and what they publish waits for that.
    #[command(after_help = "Examples:
  m2mesh realm group ./plant publishers orders
  m2mesh realm group ./plant publishers orders --add hub pump-3
  m2mesh realm group ./plant publishers orders --remove pump-3
  m2mesh realm group ./plant publishers orders --all")]
    Publishers {
        /// The group
        #[arg(value_name = "NAME")]
        name: String,
        /// Devices that may from now on; if all could before, these alone
        #[arg(long, value_name = "DEVICE", num_args = 1.., value_parser = super::name)]
        add: Vec<Name>,
        /// Devices that may no more
        #[arg(long, value_name = "DEVICE", num_args = 1.., value_parser = super::name)]
        remove: Vec<Name>,
        /// All that read it may
        #[arg(long, conflicts_with_all = ["add", "remove"])]
        all: bool,
    },
    /// Takes its own key from a group: every member can read it then
    #[command(after_help = "Example:\n  m2mesh realm group ./plant remove alarms")]
    Remove {
        /// The group
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// When a key is first sealed with.
#[derive(Clone, Copy, Debug, clap::Args)]
struct When {
    /// In how long the key is first sealed with: time for the bulletin and the key to get about
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    after: Duration,
}

impl Arguments {
    /// The realm's directory, and the node that is to tell the mesh.
    pub(super) fn places(&self) -> (PathBuf, Option<PathBuf>) {
        (self.place.clone(), self.key.via())
    }
}

/// Does what was asked. Returns the bulletin if that is another one now.
pub(super) fn run(arguments: Arguments, shell: &Shell, source: &Source) -> Result<Option<VerifiedBulletin>, Failure> {
    let Arguments { place, action, key } = arguments;
    let mut realm = operator::open(&place, source)?;
    if let Action::Publishers { name, add, remove, all: false } = &action
        && add.is_empty()
        && remove.is_empty()
    {
        let groups = realm.group_list().map_err(|error| operator::failed(error.into()))?;
        publishers::show(shell, name, &groups)?;
        return Ok(None);
    }
    if let Action::List = action {
        list(shell, realm.group_list().map_err(|error| operator::failed(error.into()))?)?;
        return Ok(None);
    }
    let operator = key.read(&realm, source)?;
    let (now, mut rng) = (machine::now(), machine::randomness()?);
    let some = |readers: Vec<Name>| if readers.is_empty() { None } else { Some(Readers::Some(readers)) };
    let (name, made) = match action {
        Action::List => return Ok(None),
        Action::Add { name, readers, publish, when } => {
            let all = |names| some(names).unwrap_or(Readers::All);
            let wanted = (name.as_str(), all(readers), all(publish));
            (Some(name.clone()), realm.add_group_for(&operator, wanted, (now, when.after), &mut rng))
        }
        Action::Publishers { name, add, remove, all } => {
            let change = if all { Change::All } else { Change::Some(add, remove) };
            let changed = realm.set_publishers(&operator, (&name, change), now, &mut rng).map_err(operator::failed)?;
            publishers::tell(shell, &name, &changed, realm.bulletin().version())?;
            return Ok(changed.new.then(|| realm.bulletin().clone()));
        }
        Action::Rekey { name, readers, all, root: _, when } => {
            let readers = if all { Some(Readers::All) } else { some(readers) };
            let wanted = name.clone().map_or(Rekey::Root, |name| Rekey::Group(name, readers));
            (name, realm.rekey(&operator, wanted, (now, when.after), &mut rng))
        }
        Action::Remove { name } => {
            realm.remove_group(&operator, &name, now).map_err(operator::failed)?;
            removed(shell, &name, realm.bulletin().version())?;
            return Ok(Some(realm.bulletin().clone()));
        }
    };
    let made = made.map_err(operator::failed)?;
    tell(shell, name.as_deref(), &made, realm.bulletin().version())?;
    Ok(Some(realm.bulletin().clone()))
}

fn tell(shell: &Shell, name: Option<&str>, made: &Made, bulletin: u64) -> Result<(), Failure> {
    let Made { version, from, seals, bytes, numbered_anew_until } = made;
    if shell.json {
        shell.object(&serde_json::json!({
            "group": name, "version": version, "from": from.to_string(), "seals": seals, "bytes": bytes,
            "bulletin": bulletin, "numbered_anew_until": numbered_anew_until.map(|until| until.to_string()),
        }))?;
    } else {
        let what = name.map_or_else(|| "the realm's root".to_owned(), |name| shell::visible(name.as_bytes()));
        shell.line(format_args!(
            "{what}: key version {version}, sealed with from {from} on; {bytes} bytes, {seals} seals"
        ))?;
    }
    operator::tell_numbered(shell, *numbered_anew_until);
    Ok(())
}

fn removed(shell: &Shell, name: &str, bulletin: u64) -> Result<(), Failure> {
    if shell.json {
        // No document is made, so no leaf is numbered anew.
        let none = serde_json::Value::Null;
        shell.object(&serde_json::json!({
            "group": name, "removed": true, "bulletin": bulletin, "numbered_anew_until": none,
        }))?;
    } else {
        let name = shell::visible(name.as_bytes());
        shell.line(format_args!("{name} has no key of its own any more: every member can read it"))?;
    }
    Ok(())
}

fn list(shell: &Shell, groups: Vec<GroupEntry>) -> Result<(), Failure> {
    if shell.json {
        let group = |entry: GroupEntry| {
            let versions = entry.versions.iter().map(|(version, from, bytes)| {
                serde_json::json!({ "version": version, "from": from.to_string(), "bytes": bytes })
            });
            let (all, readers) = match &entry.readers {
                None => (None, None),
                Some(Readers::All) => (Some(true), None),
                Some(Readers::Some(names)) => (Some(false), Some(names.clone())),
            };
            serde_json::json!({
                "group": entry.name, "tag": entry.tag.map(|tag| tag.to_string()), "root": entry.tag.is_none(),
                "versions": versions.collect::<Vec<_>>(), "all": all, "readers": readers,
                "restricted": entry.publishers.as_ref().map(|publishers| *publishers != Readers::All),
                "publishers": publishers::named(entry.publishers.as_ref()),
            })
        };
        shell.object(&groups.into_iter().map(group).collect::<Vec<_>>())?;
        return Ok(());
    }
    let row = |entry: GroupEntry| {
        let name = match (entry.name, entry.tag) {
            (Some(name), _) => shell::visible(name.as_bytes()),
            (None, Some(tag)) => format!("(tag {tag})"),
            (None, None) => "(root)".to_owned(),
        };
        let (version, from, bytes) = entry.versions.first().map_or_else(
            || ("-".to_owned(), "-".to_owned(), "-".to_owned()),
            |(version, from, bytes)| {
                let bytes = bytes.map_or_else(|| "missing".to_owned(), |bytes| bytes.to_string());
                (version.to_string(), from.to_string(), bytes)
            },
        );
        let (readers, publish) =
            (publishers::words(entry.readers.as_ref()), publishers::words(entry.publishers.as_ref()));
        vec![name, version, from, bytes, readers, publish]
    };
    shell.table(
        &["GROUP", "VERSION", "FROM", "BYTES", "READERS", "PUBLISHERS"],
        groups.into_iter().map(row).collect(),
    )?;
    Ok(())
}
