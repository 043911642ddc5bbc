//! `join`: enrols this device with a ticket.
//!
//! Steps
//! 1. Read the ticket from the argument, standard input or a file. It is a secret, and is never printed or logged.
//! 2. Generate the device's keys and save them, so that an interrupted join continues with the same ones.
//! 3. Ask the members named in the ticket, one after the other, until one brings the issuer's answer.
//! 4. Save what was granted, and the members' addresses as settings if there are none yet.
//!
//! With `--offline`, step 3 is done with two files that somebody carries: the request to where the realm is, and the
//! answer back. Both are sealed, so it does not matter who carries them.

use super::failure::Failure;
use super::shell::Shell;
use super::{Verdict, arguments, machine, passphrase};
use crate::config::{self, Config};
use crate::identity::anonymity::Anonymity;
use crate::identity::enrolment::PendingEnrolment;
use crate::identity::ticket;
use crate::keystore::device_dir::DeviceDir;
use crate::keystore::{Keyring, keyring};
use crate::net::{Multiaddr, Unhelpful, Why};
use crate::node::system;
use crate::store::DirectoryLock;
use crate::wire;
use crate::wire::hello::EnrolReply;
use rand_chacha::ChaCha20Rng;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// Enrols this device in a realm with a ticket
///
/// A ticket serves one device, once. Given as `-` or `@FILE`, it does not appear in the list of processes or in the
/// shell's history. The exit code is 2 if the ticket is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh join @ticket --dir ./meter-17 && m2mesh run --dir ./meter-17
  ssh hub m2mesh realm invite plant --name meter-17 | m2mesh join -
  m2mesh join --offline @ticket --dir ./meter-17
  m2mesh join --passphrase @ticket --dir ./meter-17")]
pub(super) struct Arguments {
    /// The ticket: its text, `-` for standard input, `@FILE` for a file
    ticket: String,
    /// Write the request to a file, for `m2mesh realm issue`, instead of sending it; run again with the answer
    #[arg(long)]
    offline: bool,
    /// Seal the device's keys under a passphrase
    #[arg(long)]
    passphrase: bool,
    /// For how long the device is to be known by one pseudonym: stable (its life), rotating or strict (an epoch) [default: that of config.toml, else rotating]
    #[arg(long, value_name = "MODE", value_parser = arguments::anonymity)]
    anonymity: Option<Anonymity>,
    #[command(flatten)]
    source: passphrase::Source,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let text = Zeroizing::new(arguments::text(&arguments.ticket)?);
    let hint = "ask for another ticket with `m2mesh realm invite`";
    let ticket =
        ticket::from_text(text.trim(), machine::now()).map_err(|error| Failure::split(error, hint).definite())?;
    let directory = shell.node_directory()?;
    arguments::make_directory(&directory)?;
    let _lock = DirectoryLock::take(&directory).map_err(|error| Failure::split(error, "use another --dir"))?;
    let device = DeviceDir::with_keys(&directory, keys(&arguments, &directory)?);
    let mut rng = machine::randomness()?;
    let anonymity = arguments.anonymity.map_or_else(|| of_settings(&directory), Ok)?;
    let pending = device.begin_join(&ticket, anonymity, &mut rng).map_err(|error| Failure::split(error, hint))?;
    let sealed = if arguments.offline {
        match carried(&shell, &directory, &pending, &mut rng)? {
            Some(sealed) => sealed,
            None => return Ok(Verdict::Done),
        }
    } else {
        ask(&shell, &ticket.addresses, &pending, &mut rng).await?
    };
    let member = device.finish_join(&pending, &sealed).map_err(|error| Failure::split(error, hint).definite())?;
    config::begin(&directory, anonymity, &ticket.addresses)
        .map_err(|error| Failure::split(error, "free some space, then run this again"))?;
    for file in [REQUEST, ANSWER] {
        // They exist only after an offline enrolment, and are of no further use.
        let _ = std::fs::remove_file(directory.join(file));
    }
    if shell.json {
        shell.object(&serde_json::json!({
            "name": member.name(),
            "realm": member.realm().to_string(),
            "directory": directory,
            "credentials_until": member.valid_until().to_string(),
        }))?;
    } else {
        shell.line(format_args!("joined realm {} as {}", member.realm(), member.name()))?;
        shell.line(format_args!("run it:  m2mesh run --dir {}", super::shell::quoted(&directory.to_string_lossy())))?;
    }
    Ok(Verdict::Done)
}

/// The keyring that seals the device's keys: that of the enrolment which continues, else a new one if a passphrase is
/// wanted.
fn keys(arguments: &Arguments, directory: &Path) -> Result<Keyring, Failure> {
    let Arguments { passphrase, source, .. } = arguments;
    if DeviceDir::new(directory).is_enrolled() {
        return Ok(Keyring::default());
    }
    if !keyring::is_sealed(directory) && (*passphrase || source.is_named()) {
        return source.sealing();
    }
    source.keyring(directory)
}

/// Returns the issuer's answer if somebody has brought it here; otherwise writes the request to be carried, and returns
/// `None`.
fn carried(
    shell: &Shell,
    directory: &Path,
    pending: &PendingEnrolment,
    rng: &mut ChaCha20Rng,
) -> Result<Option<Vec<u8>>, Failure> {
    let (request, answer) = (directory.join(REQUEST), directory.join(ANSWER));
    if answer.exists() {
        let hint = "make it anew with `m2mesh realm issue`";
        let bytes = std::fs::read(&answer).map_err(|error| Failure::file("read", &answer, &error))?;
        let reply: EnrolReply = wire::decode(&bytes)
            .map_err(|error| Failure::new(format!("{} is no answer: {error}", answer.display()), hint))?;
        return match reply {
            EnrolReply { sealed: Some(sealed), .. } => Ok(Some(sealed)),
            EnrolReply { refused: Some(refusal), .. } => {
                Err(Failure::split(refusal, "ask the operator of the realm for another ticket").definite())
            }
            _ => Err(Failure::new(format!("{} is empty", answer.display()), hint)),
        };
    }
    let hint = "ask the operator of the realm for another ticket";
    let hello = pending.hello(rng).map_err(|error| Failure::split(error, hint))?;
    std::fs::write(&request, wire::encode(&hello)).map_err(|error| Failure::file("write", &request, &error))?;
    if shell.json {
        shell.object(&serde_json::json!({ "request": request, "answer": answer }))?;
    } else {
        shell.line(format_args!("request written to {}", request.display()))?;
        shell.line(format_args!("where the realm is:  m2mesh realm issue REALM_DIR {REQUEST}"))?;
        shell.line(format_args!("then bring {ANSWER} into {} and run this again", directory.display()))?;
    }
    Ok(None)
}

/// Returns the issuer's answer from whichever member brings it.
async fn ask(
    shell: &Shell,
    addresses: &[String],
    pending: &PendingEnrolment,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<u8>, Failure> {
    let hint = "ask the operator of the realm for another ticket";
    let hello = pending.hello(rng).map_err(|error| Failure::split(error, hint))?;
    let unreachable = |address: &dyn std::fmt::Display, error: &str| {
        Failure::new(
            format!("no member answers at {address}: {error}"),
            "check that the realm's node runs and can be reached from here, then try again with the same ticket",
        )
    };
    let mut failure = Failure::new("the ticket names no member", "make one with --address, or while the node runs");
    let mut members = Vec::new();
    for address in addresses {
        match address.parse::<Multiaddr>() {
            Ok(member) => members.push(member),
            Err(error) => failure = unreachable(address, &error.to_string()),
        }
    }
    let note = |failed: &Unhelpful, more: bool| {
        if more {
            shell.note(format_args!("{} did not help; trying the next", failed.at));
        }
    };
    let judge = pending.judge();
    let answer = system::enrol(&pending.connection_seed(), members, &hello, &judge, PATIENCE, note).await;
    let failures = match answer {
        Ok(reply) => return Ok(reply.sealed.unwrap_or_default()),
        Err(failures) => failures,
    };
    // The last member asked tells most. A name without an address is reported only if no member was asked.
    let asked = failures.iter().rfind(|failed| !matches!(failed.why, Why::NoAddress(_))).or(failures.last());
    if let Some(Unhelpful { at, why }) = asked {
        failure = match why {
            Why::NoAddress(error) | Why::Silent(error) => unreachable(at, error),
            // The issuer has not sealed this answer, so it may be wrong or a lie.
            Why::NotTheIssuer(hint) => Failure::new(
                format!("the member at {at} brings no answer of the issuer's: {hint}"),
                "try again later with the same ticket, or ask the operator for another",
            ),
        };
    }
    Err(failure)
}

/// The mode that the settings in the directory say, or the default.
fn of_settings(directory: &Path) -> Result<Anonymity, Failure> {
    let config = Config::load(directory, None).map_err(|error| Failure::split(error, "correct it, or remove it"))?;
    Ok(config.anonymity)
}

/// Name of the file with the request of an offline enrolment.
const REQUEST: &str = "enrolment.request";
/// Name of the file with the answer to it.
const ANSWER: &str = "enrolment.answer";
/// How long one member may take to bring the issuer's answer.
const PATIENCE: Duration = Duration::from_secs(60);
