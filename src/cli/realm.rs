//! `realm`: founding a realm, inviting devices, the inventory; segments, groups and disclosure have files of their own.

mod disclose;
mod group;
mod operator;
mod segment;

use super::failure::Failure;
use super::passphrase::Source;
use super::shell::Shell;
use super::{Verdict, arguments, machine};
use crate::config;
use crate::id::Name;
use crate::identity::anonymity::Anonymity;
use crate::keystore::Keyring;
use crate::keystore::realm_dir::{Invite, InviteContacts, RealmDir, RealmDirError};
use crate::net::{Multiaddr, reach};
use crate::node::system::last_addresses;
use crate::time::{EpochLength, Unix};
use crate::wire;
use crate::wire::credential::Role;
use crate::wire::enrolment::MAX_REQUEST;
use crate::wire::hello::EnrolHello;
use crate::wire::ticket::MAX_ADDRESSES;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod revoke;

/// Founds a realm, invites devices to it, lists them
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  m2mesh realm init ./plant --name hub
  m2mesh realm invite ./plant --name meter-17
  m2mesh realm allow ./plant pump-3 meter-17
  m2mesh realm revoke ./plant meter-17 --reason stolen
  m2mesh realm list ./plant")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates a realm: the keys of its operator, issuer and auditor, and its first device
    ///
    /// The device runs in the same directory (`m2mesh run --dir DIR`) and enrols the others.
    #[command(after_help = "Examples:\n  m2mesh realm init ./plant --name hub && m2mesh run --dir ./plant
  m2mesh realm init ./plant --name hub --passphrase")]
    Init {
        /// The directory to create it in
        #[arg(value_name = "DIR")]
        place: PathBuf,
        /// Name of the first device
        #[arg(long, value_parser = name)]
        name: Name,
        /// Length of an epoch: at least 4s, and a divisor of a day
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = arguments::epoch)]
        epoch: EpochLength,
        /// Seal the keys under a passphrase
        #[arg(long)]
        passphrase: bool,
    },
    /// Prints a ticket with which one device can join, once
    ///
    /// Whoever has the ticket can use it: hand it over as you would a password.
    #[command(after_help = "Examples:
  m2mesh realm invite ./plant --name meter-17 > ticket
  m2mesh realm invite ./plant --name meter-18 --contact all --segment ot --expires 1h")]
    Invite {
        /// The realm's directory
        #[arg(value_name = "DIR")]
        place: PathBuf,
        /// Name of the new device
        #[arg(long, value_parser = name)]
        name: Name,
        /// Its contacts, mutually: names, or `all`; if absent, the realm's first device
        #[arg(long, value_name = "NAME|all", num_args = 1..)]
        contact: Vec<String>,
        /// Segments that it is in; the default one if nothing is said
        #[arg(long, value_name = "SEGMENT", num_args = 1..)]
        segment: Vec<String>,
        /// Roles that it has: broadcast (`send all`), observer, mailbox, border
        #[arg(long, value_name = "ROLE", num_args = 1.., value_parser = arguments::role)]
        role: Vec<Role>,
        /// How long the ticket is good
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = arguments::duration)]
        expires: Duration,
        /// Multiaddress of a member that the device can reach; if absent, those of the node in DIR
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<String>,
    },
    /// Makes two devices contacts of each other
    ///
    /// Each gets the other's contact card when it first needs it, or at its next renewal.
    #[command(after_help = "Example:\n  m2mesh realm allow ./plant pump-3 meter-17")]
    Allow {
        /// The realm's directory
        #[arg(value_name = "DIR")]
        place: PathBuf,
        /// One device
        #[arg(value_name = "A", value_parser = name)]
        one: Name,
        /// The other
        #[arg(value_name = "B", value_parser = name)]
        other: Name,
    },
    /// Answers enrolment requests that came as files
    ///
    /// It writes the answer beside each request, with the extension `answer`. The exit code is 2 if a request is
    /// refused.
    #[command(after_help = "Example:\n  m2mesh realm issue ./plant /media/usb/enrolment.request")]
    Issue {
        /// The realm's directory
        #[arg(value_name = "DIR")]
        place: PathBuf,
        /// Files written by `m2mesh join --offline`
        #[arg(value_name = "REQUEST", required = true)]
        requests: Vec<PathBuf>,
    },
    /// Cuts devices off from the realm, and withdraws tickets
    ///
    /// Every node that hears of it closes its links to them at once and refuses them from then on, and group keys are new. A
    /// device that is found again comes back with a new ticket, as another device. Needs the operator's key in DIR/realm.
    #[command(after_help = "Examples:
  m2mesh realm revoke ./plant meter-17 --reason stolen
  m2mesh realm revoke ./plant meter-17 pump-3 --via ./gateway")]
    Revoke(revoke::Arguments),
    /// Prints the realm's bulletin, for `m2mesh bulletin` at a node elsewhere
    #[command(after_help = "Example:\n  m2mesh realm bulletin ./plant > bulletin.json")]
    Bulletin {
        /// The realm's directory
        #[arg(value_name = "DIR")]
        place: PathBuf,
    },
    Segment(segment::Arguments),
    Group(group::Arguments),
    Disclose(disclose::Arguments),
    /// Lists the realm's devices, and the tickets not used yet
    #[command(after_help = "Example:\n  m2mesh realm list ./plant --json")]
    List {
        /// The realm's directory
        #[arg(value_name = "DIR")]
        place: PathBuf,
    },
}

pub(super) async fn run(Arguments { action, source }: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    match action {
        Action::Init { place, name, epoch, passphrase } => {
            // If there is a realm already, that is reported before a passphrase is asked for.
            let sealed = (passphrase || source.is_named()) && !RealmDir::is_there(&place);
            let keys = if sealed { source.sealing()? } else { Keyring::default() };
            init(&shell, &place, &keys, &name, epoch)
        }
        Action::Invite { place, name, contact, segment, role, expires, address } => {
            let addresses = addresses(&shell, &place, address)?;
            invite(
                &shell,
                &place,
                &source,
                Invite {
                    name,
                    segments: segment,
                    roles: role,
                    contacts: contacts(contact)?,
                    lifetime: expires,
                    addresses,
                },
            )
        }
        Action::Allow { place, one, other } => allow(&shell, &place, &source, &one, &other),
        Action::Issue { place, requests } => issue(&shell, &place, &source, &requests),
        Action::Revoke(arguments) => revoke::run(&shell, &source, arguments).await,
        Action::Bulletin { place } => revoke::bulletin(&shell, &place, &source),
        Action::Segment(arguments) => {
            let places = arguments.places();
            operator::publish(&shell, places, segment::run(arguments, &shell, &source)?).await
        }
        Action::Group(arguments) => {
            let places = arguments.places();
            operator::publish(&shell, places, group::run(arguments, &shell, &source)?).await
        }
        Action::Disclose(arguments) => disclose::run(arguments, &shell, &source),
        Action::List { place } => list(&shell, &place, &source),
    }
}

fn allow(shell: &Shell, place: &Path, source: &Source, one: &Name, other: &Name) -> Result<Verdict, Failure> {
    let hint = "check the directory; `m2mesh realm list` shows what is there";
    let mut realm = RealmDir::open_with(place, &source.keyring(place)?).map_err(|error| Failure::split(error, hint))?;
    let new = realm.allow(one, other).map_err(|error| Failure::split(error, hint))?;
    if shell.json {
        shell.object(&serde_json::json!({ "one": one, "other": other, "new": new }))?;
    } else if new {
        shell.line(format_args!("{one} and {other} are contacts now"))?;
    } else {
        shell.line(format_args!("{one} and {other} are contacts already"))?;
    }
    Ok(Verdict::Done)
}

fn issue(shell: &Shell, place: &Path, source: &Source, requests: &[PathBuf]) -> Result<Verdict, Failure> {
    let hint = "check the directory; `m2mesh realm list` shows what is there";
    let mut realm = RealmDir::open_with(place, &source.keyring(place)?).map_err(|error| Failure::split(error, hint))?;
    let mut verdict = Verdict::Done;
    for request in requests {
        let bytes = std::fs::read(request).map_err(|error| Failure::file("read", request, &error))?;
        let hello: EnrolHello = wire::codec::decode_within(&bytes, 2 * MAX_REQUEST).map_err(|error| {
            let what = format!("{} is no enrolment request: {error}", request.display());
            Failure::new(what, "make it with `m2mesh join --offline TICKET`")
        })?;
        let answered = realm.answer(&hello, machine::now(), &mut machine::randomness()?);
        let answer = request.with_extension("answer");
        std::fs::write(&answer, wire::encode(&answered.reply))
            .map_err(|error| Failure::file("write", &answer, &error))?;
        let (name, refused) = match &answered.outcome {
            Ok(served) => (Some(served.name.to_string()), None),
            Err(refusal) => (None, Some(refusal.to_string())),
        };
        if refused.is_some() {
            verdict = Verdict::No;
        }
        if shell.json {
            let (request, answer) = (request.display().to_string(), answer.display().to_string());
            shell.object(&serde_json::json!({
                "request": request, "answer": answer, "name": name, "refused": refused,
            }))?;
        } else if let Some(name) = name {
            shell.line(format_args!("{name}: answer in {}", answer.display()))?;
        } else if let Some(refused) = refused {
            shell.line(format_args!("{}: refused, {refused}", request.display()))?;
        }
    }
    Ok(verdict)
}

fn init(shell: &Shell, place: &Path, keys: &Keyring, name: &Name, epoch: EpochLength) -> Result<Verdict, Failure> {
    arguments::make_directory(place)?;
    let (_, member) = RealmDir::init_with(place, keys, name, epoch, machine::now(), &mut machine::randomness()?)
        .map_err(|error| Failure::split(error, "choose another directory"))?;
    // Others are told its address, and begin there.
    config::begin(place, Anonymity::Stable, &[]).map_err(|error| Failure::split(error, "choose another directory"))?;
    if shell.json {
        shell.object(&serde_json::json!({ "realm": member.realm().to_string(), "name": name }))?;
    } else {
        let place = super::shell::quoted(&place.to_string_lossy());
        shell.line(format_args!("realm {} with its first device {name}", member.realm()))?;
        shell.line(format_args!("run it:         m2mesh run --dir {place}"))?;
        shell.line(format_args!("invite others:  m2mesh realm invite {place} --name NAME"))?;
        shell.line(format_args!("keep {place}/realm/operator.key and auditor.key safe; they can be moved away"))?;
    }
    Ok(Verdict::Done)
}

fn invite(shell: &Shell, place: &Path, source: &Source, invite: Invite) -> Result<Verdict, Failure> {
    let now = machine::now();
    let (name, addresses, expires) = (invite.name.clone(), invite.addresses.clone(), now + invite.lifetime);
    let mut rng = machine::randomness()?;
    let ticket = RealmDir::open_with(place, &source.keyring(place)?)
        .and_then(|mut realm| realm.invite(invite, now, &mut rng))
        .map_err(|error| Failure::split(error, "`m2mesh realm list DIR` shows the realm's devices"))?;
    if shell.json {
        shell.object(&serde_json::json!({
            "ticket": ticket, "name": name, "expires": expires.to_string(), "addresses": addresses,
        }))?;
    } else {
        shell.line(&ticket)?;
        shell.note(format_args!("on the device, before {expires}: m2mesh join - --dir DIR, then the ticket"));
    }
    Ok(Verdict::Done)
}

fn list(shell: &Shell, place: &Path, source: &Source) -> Result<Verdict, Failure> {
    let listing = RealmDir::open_with(place, &source.keyring(place)?)
        .and_then(|mut realm| realm.list(machine::now()))
        .map_err(|error| Failure::split(error, "name the directory given to `m2mesh realm init`"))?;
    let time = |seconds| Unix::from_seconds(seconds).to_string();
    if shell.json {
        let devices = listing.devices.iter().map(|device| {
            serde_json::json!({
                "name": device.name, "device": device.device.to_string(), "joined": time(device.joined),
                "credentials_until": time(device.until), "revoked": device.revoked,
                "revocation": device.revocation.as_ref().map(|_| revoke::object(device)),
            })
        });
        let tickets = listing.tickets.iter().map(|ticket| {
            serde_json::json!({
                "name": ticket.name, "issued": time(ticket.issued), "expires": time(ticket.expires),
            })
        });
        let (devices, tickets): (Vec<_>, Vec<_>) = (devices.collect(), tickets.collect());
        shell.object(&serde_json::json!({ "devices": devices, "tickets": tickets }))?;
        return Ok(Verdict::Done);
    }
    let devices = listing.devices.iter().map(|device| {
        let state = if device.revoked { "revoked" } else { "device" };
        let note = if device.revoked { revoke::since(device) } else { String::new() };
        vec![device.name.to_string(), state.to_owned(), time(device.joined), time(device.until), note]
    });
    let tickets = listing.tickets.iter().map(|ticket| {
        let times = [ticket.issued, ticket.expires].map(time);
        [ticket.name.to_string(), "invited".to_owned()].into_iter().chain(times).chain([String::new()]).collect()
    });
    shell.table(&["NAME", "STATE", "SINCE", "UNTIL", ""], devices.chain(tickets).collect())?;
    Ok(Verdict::Done)
}

fn contacts(names: Vec<String>) -> Result<InviteContacts, Failure> {
    if names.iter().any(|name| name == "all") {
        return match names.len() {
            1 => Ok(InviteContacts::All),
            _ => Err(Failure::new("--contact takes either `all` or names", "leave out one of them")),
        };
    }
    if names.is_empty() {
        return Ok(InviteContacts::Operator);
    }
    let names = names.iter().map(|text| {
        name(text).map_err(|error| Failure::new(format!("--contact {text}: {error}"), "give names of devices"))
    });
    names.collect::<Result<_, _>>().map(InviteContacts::Names)
}

/// The addresses at which the invited device finds a member: as given, else where the node of this directory was last
/// reachable.
fn addresses(shell: &Shell, place: &Path, told: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut addresses = told;
    if addresses.is_empty() {
        let last = reach::for_others(&last_addresses(place));
        if !last.is_empty() && last.iter().all(reach::is_loopback) {
            shell.note("the node listens on loopback only: the ticket serves devices on this machine, and no others");
        }
        addresses = last.iter().map(Multiaddr::to_string).collect();
    }
    if addresses.is_empty() {
        if !RealmDir::is_there(place) {
            let error = RealmDirError::NoRealm { directory: place.into() };
            return Err(Failure::split(error, "name the directory given to `m2mesh realm init`"));
        }
        let place = place.display();
        return Err(Failure::new(
            format!("the node in {place} has not run yet, so the ticket would lead nowhere"),
            format!("start it with `m2mesh run --dir {place}`, or say where members are with --address"),
        ));
    }
    for address in &addresses {
        address.parse::<Multiaddr>().map_err(|error| {
            Failure::new(
                format!("{address} is no multiaddress: {error}"),
                "write it as /ip4/192.0.2.1/tcp/7707, /ip4/192.0.2.1/udp/7707/quic-v1 or /dns4/hub.example/tcp/7707",
            )
        })?;
    }
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}
