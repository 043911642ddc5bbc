//! `realm segment`: parts of a realm that are cut off from each other, and what may cross.

use super::operator::{self, OperatorKey};
use crate::cli::failure::Failure;
use crate::cli::machine;
use crate::cli::passphrase::Source;
use crate::cli::shell::Shell;
use crate::id::Name;
use crate::identity::bulletin::VerifiedBulletin;
use crate::time::Unix;
use std::path::{Path, PathBuf};

/// Cuts the realm into segments, and says which may reach which
///
/// Devices exchange frames within the segments that they are in, and with those that one of the two reaches; every node that hands
/// something on keeps to it. Devices that were put into no segment are in `default`.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  m2mesh realm segment ./plant add ot
  m2mesh realm segment ./plant assign pump-3 ot
  m2mesh realm segment ./plant reach default ot
  m2mesh realm segment ./plant list")]
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
    /// Lists the segments, what each reaches, and the devices in it
    #[command(after_help = "Example:\n  m2mesh realm segment ./plant list --json")]
    List,
    /// Adds a segment; it reaches no other, and is never removed
    #[command(after_help = "Example:\n  m2mesh realm segment ./plant add ot")]
    Add {
        /// Its name
        #[arg(value_name = "NAME", value_parser = super::name)]
        name: Name,
    },
    /// Lets devices of one segment exchange messages with those of another, and hear what is published there
    ///
    /// What the devices of A publish is not heard in B: publications stay in the segment of who publishes.
    #[command(after_help = "Example:\n  m2mesh realm segment ./plant reach default ot")]
    Reach {
        /// Whose devices may
        #[arg(value_name = "A")]
        from: String,
        /// Which segment
        #[arg(value_name = "B")]
        to: String,
    },
    /// Takes that back
    #[command(after_help = "Example:\n  m2mesh realm segment ./plant unreach default ot")]
    Unreach {
        /// Whose devices may no more
        #[arg(value_name = "A")]
        from: String,
        /// Which segment
        #[arg(value_name = "B")]
        to: String,
    },
    /// Puts a device into these segments and no others, from its next credentials on
    ///
    /// The credentials that it has keep the segments of before until they end; the time is told.
    #[command(after_help = "Example:\n  m2mesh realm segment ./plant assign gateway-1 default ot")]
    Assign {
        /// The device
        #[arg(value_name = "DEVICE", value_parser = super::name)]
        device: Name,
        /// The segments
        #[arg(value_name = "SEGMENT", required = true)]
        segments: Vec<String>,
    },
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
    match action {
        Action::List => list(shell, source, &place),
        Action::Add { name } => add(shell, source, &place, &key, &name),
        Action::Reach { from, to } => reach(shell, source, (&place, &key), (&from, &to), true),
        Action::Unreach { from, to } => reach(shell, source, (&place, &key), (&from, &to), false),
        Action::Assign { device, segments } => assign(shell, source, &place, &device, &segments),
    }
}

fn list(shell: &Shell, source: &Source, place: &Path) -> Result<Option<VerifiedBulletin>, Failure> {
    let segments = operator::open(place, source)?.segment_list().map_err(|error| operator::failed(error.into()))?;
    if shell.json {
        let segment = |entry: crate::keystore::realm_dir::segments::SegmentEntry| {
            serde_json::json!({
                "name": entry.name, "bit": entry.bit, "reaches": entry.reaches, "devices": entry.devices,
            })
        };
        shell.object(&segments.into_iter().map(segment).collect::<Vec<_>>())?;
        return Ok(None);
    }
    let or_none = |names: Vec<String>| if names.is_empty() { "-".to_owned() } else { names.join(" ") };
    let row = |entry: crate::keystore::realm_dir::segments::SegmentEntry| {
        let devices = entry.devices.iter().map(Name::to_string).collect();
        vec![entry.name, entry.bit.to_string(), or_none(entry.reaches), or_none(devices)]
    };
    shell.table(&["SEGMENT", "BIT", "REACHES", "DEVICES"], segments.into_iter().map(row).collect())?;
    Ok(None)
}

fn add(
    shell: &Shell,
    source: &Source,
    place: &Path,
    key: &OperatorKey,
    name: &Name,
) -> Result<Option<VerifiedBulletin>, Failure> {
    let mut realm = operator::open(place, source)?;
    let operator = key.read(&realm, source)?;
    let bit = realm.add_segment(&operator, name, machine::now()).map_err(operator::failed)?;
    if shell.json {
        shell.object(&serde_json::json!({ "name": name, "bit": bit, "bulletin": realm.bulletin().version() }))?;
    } else {
        shell.line(format_args!("segment {name}, bit {bit}: it reaches no other, and no device is in it"))?;
    }
    Ok(Some(realm.bulletin().clone()))
}

fn reach(
    shell: &Shell,
    source: &Source,
    (place, key): (&Path, &OperatorKey),
    (from, to): (&str, &str),
    reaches: bool,
) -> Result<Option<VerifiedBulletin>, Failure> {
    let mut realm = operator::open(place, source)?;
    let operator = key.read(&realm, source)?;
    let new = realm.set_reach(&operator, (from, to), reaches, machine::now()).map_err(operator::failed)?;
    if shell.json {
        shell.object(&serde_json::json!({
            "from": from, "to": to, "reaches": reaches, "new": new, "bulletin": realm.bulletin().version(),
        }))?;
        return Ok(new.then(|| realm.bulletin().clone()));
    }
    let verb = if reaches { "reaches" } else { "does not reach" };
    if new {
        shell.line(format_args!("{from} {verb} {to} from now on"))?;
    } else {
        shell.line(format_args!("{from} {verb} {to}, as before"))?;
    }
    Ok(new.then(|| realm.bulletin().clone()))
}

fn assign(
    shell: &Shell,
    source: &Source,
    place: &Path,
    device: &Name,
    segments: &[String],
) -> Result<Option<VerifiedBulletin>, Failure> {
    let mut realm = operator::open(place, source)?;
    let assigned = realm.assign_segments(device, segments).map_err(|error| operator::failed(error.into()))?;
    let until = Unix::from_seconds(assigned.until).to_string();
    if shell.json {
        shell.object(&serde_json::json!({
            "device": device, "segments": segments, "new": assigned.changed, "credentials_until": until,
        }))?;
    } else if assigned.changed {
        shell.line(format_args!("{device} is in {} from its next credentials on", segments.join(", ")))?;
        shell.note(format_args!("the credentials that it has, up to {until}, keep the segments of before"));
    } else {
        shell.line(format_args!("{device} is in {} already", segments.join(", ")))?;
    }
    Ok(None)
}
