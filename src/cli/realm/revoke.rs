//! `realm revoke`: cutting devices off, and telling the mesh; `realm bulletin`: what to tell it by hand.

use super::{Source, operator};
use crate::cli::failure::Failure;
use crate::cli::shell::{Shell, quoted};
use crate::cli::{Verdict, machine};
use crate::gateway::dto::BulletinBody;
use crate::identity::ledger::DeviceRecord;
use crate::keystore::realm_dir::{RealmDir, Revoke, Revoked};
use crate::time::Unix;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The realm's directory
    #[arg(value_name = "DIR")]
    place: PathBuf,
    /// Names of devices or of tickets not used yet, or ids of devices
    #[arg(value_name = "DEVICE", required = true)]
    devices: Vec<String>,
    /// Why: is kept in the realm's ledger, and goes nowhere else
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Directory of a running node that is to tell the mesh; the one in DIR if nothing is said and it runs
    #[arg(long, value_name = "NODE_DIR")]
    via: Option<PathBuf>,
}

pub(super) async fn run(shell: &Shell, source: &Source, arguments: Arguments) -> Result<Verdict, Failure> {
    let Arguments { place, devices, reason, via } = arguments;
    if reason.len() > MAX_REASON {
        let what = format!("--reason has {} bytes, and {MAX_REASON} at most", reason.len());
        return Err(Failure::new(what, "say it in fewer words"));
    }
    let revoke = Revoke { devices, reason, by: user() };
    let keys = source.keyring(&place)?;
    let revoked = RealmDir::revoke(&place, &keys, &revoke, machine::now(), &mut machine::randomness()?)
        .map_err(|error| Failure::split(error, "`m2mesh realm list DIR` shows the realm's devices and tickets"))?;
    let told = match revoked.devices.is_empty() {
        true => None,
        false => operator::tell(&place, via, &revoked.bulletin).await?,
    };
    say(shell, &place, &revoked, told.as_deref())?;
    Ok(Verdict::Done)
}

fn say(shell: &Shell, place: &Path, revoked: &Revoked, told: Option<&Path>) -> Result<(), Failure> {
    let Revoked { devices, tickets, bulletin, new, numbered_anew_until } = revoked;
    let version = bulletin.version();
    if shell.json {
        let devices: Vec<_> = devices.iter().map(object).collect();
        let (via, bulletin) = (told.map(|told| told.display().to_string()), version);
        return shell.object(&serde_json::json!({
            "revoked": devices, "withdrawn": tickets, "bulletin": bulletin, "new": new, "via": via,
            "numbered_anew_until": numbered_anew_until.map(|until| until.to_string()),
        }));
    }
    for ticket in tickets {
        shell.line(format_args!("the ticket of {ticket} is void"))?;
    }
    for device in devices {
        shell.line(format_args!("{} is revoked {}", device.name, since(device)))?;
    }
    operator::tell_numbered(shell, *numbered_anew_until);
    if let Some(told) = told {
        shell.line(format_args!("the node in {} tells the mesh bulletin {version}", told.display()))?;
    } else if !devices.is_empty() {
        let place = quoted(&place.to_string_lossy());
        shell.note(format_args!(
            "no node has been told: the one in {place} tells the mesh when it starts, others are told with --via NODE_DIR"
        ));
    }
    Ok(())
}

/// Since when, by what and why a device is revoked, for people.
pub(super) fn since(device: &DeviceRecord) -> String {
    let Some(revocation) = &device.revocation else { return String::new() };
    let at = Unix::from_seconds(revocation.at);
    let bulletin = match revocation.bulletin {
        Some(version) => format!("by bulletin {version}"),
        None => "and in no bulletin yet: revoke it again".to_owned(),
    };
    let reason = if revocation.reason.is_empty() { String::new() } else { format!(": {}", revocation.reason) };
    format!("since {at} {bulletin}{reason}")
}

/// The same for machines.
pub(super) fn object(device: &DeviceRecord) -> serde_json::Value {
    let revocation = device.revocation.as_ref();
    serde_json::json!({
        "name": device.name, "device": device.device.to_string(),
        "at": revocation.map(|revocation| Unix::from_seconds(revocation.at).to_string()),
        "by": revocation.map(|revocation| &revocation.by), "reason": revocation.map(|revocation| &revocation.reason),
        "bulletin": revocation.and_then(|revocation| revocation.bulletin),
    })
}

pub(super) fn bulletin(shell: &Shell, place: &Path, source: &Source) -> Result<Verdict, Failure> {
    let realm = RealmDir::open_with(place, &source.keyring(place)?)
        .map_err(|error| Failure::split(error, "name the directory given to `m2mesh realm init`"))?;
    shell.object(&BulletinBody::new(realm.bulletin()))?;
    Ok(Verdict::Done)
}

/// As whom the machine knows the user.
fn user() -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| match std::fs::metadata("/proc/self") {
        Ok(process) => format!("uid {}", process.uid()),
        Err(_) => "unknown".to_owned(),
    })
}

/// Longest reason, in bytes.
const MAX_REASON: usize = 512;
