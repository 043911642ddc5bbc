//! `status`: the state of the node.

use super::failure::Failure;
use super::shell::Shell;
use super::{Verdict, peers, shell};
use crate::counter::Counter;
use crate::gateway::dto::{SerialLine, Status};
use crate::metrics::Gauges;
use std::time::Duration;

/// Shows the node's name, epoch and addresses, and counters of everything dropped or refused
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  m2mesh status\n  m2mesh status --dir /var/lib/m2mesh --json")]
pub(super) struct Arguments {}

pub(super) async fn run(Arguments {}: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let status: Status = shell.client()?.get("/v1/status", &()).await?;
    if shell.json {
        shell.object(&status)?;
        return Ok(Verdict::Done);
    }
    let Status {
        name,
        realm,
        version,
        pid,
        peer_id,
        anonymity,
        next_change,
        epoch_ends,
        credentials_until,
        credentials_failure,
        clock,
        clock_difference,
        bulletin_overdue,
        listen,
        gauges,
        store_failure,
        serial,
        twins,
        quarantined,
        waiting,
        held_messages,
        counters,
    } = status;
    let Gauges { epoch, bulletin, links, routers, contacts, inbox, outgoing, held, log_records, uptime_s, .. } = gauges;
    let mut rows = vec![
        ("name", name),
        ("realm", realm),
        ("version", version),
        ("process", pid.to_string()),
        ("peer id", peer_id),
        (
            "anonymity",
            next_change.map_or_else(|| anonymity.clone(), |next| format!("{anonymity}, next change soon after {next}")),
        ),
        ("epoch", format!("{epoch}, until {epoch_ends}")),
        ("credentials", format!("until {credentials_until}")),
        ("bulletin", format!("version {bulletin}")),
    ];
    let overdue =
        |since: String| ("bulletin", format!("a newer one was to be there by {since}: ask the realm's operator"));
    rows.extend(bulletin_overdue.map(overdue));
    rows.extend(listen.into_iter().map(|address| ("listens on", address)));
    rows.extend(serial.iter().map(|line| ("serial line", line_of(line))));
    rows.extend([
        ("links", links.to_string()),
        ("routers", format!("{routers} others in reach")),
        ("contacts", contacts.to_string()),
        ("inbox", format!("{inbox} waiting")),
        (
            "outgoing",
            match held {
                0 => format!("{outgoing} under way"),
                held => format!("{outgoing} under way, {held} not to leave yet"),
            },
        ),
        ("event log", format!("{log_records} records")),
        ("up", humantime::format_duration(Duration::from_secs(uptime_s)).to_string()),
    ]);
    rows.extend(whose_time(&clock).map(|text| ("clock", text.to_owned())));
    rows.extend(credentials_failure.into_iter().chain(clock_difference).map(|failure| ("clock", failure)));
    rows.extend(twins.into_iter().map(|twin| ("two copies", format!("{twin}: stop one of them"))));
    rows.extend(quarantined.iter().map(|held| ("quarantine", peers::sentence(held))));
    rows.extend(
        held_messages
            .iter()
            .take(5)
            .map(|held| ("not yet", format!("{} bytes to {} leave from {} on", held.bytes, held.to, held.leaves))),
    );
    rows.extend(waiting.into_iter().map(|on| ("waiting", format!("{} to {}: {}", on.messages, on.to, on.reason))));
    rows.extend(store_failure.map(|failure| ("disk", format!("takes no writes, nothing is acknowledged: {failure}"))));
    for (title, value) in rows {
        shell.line(format_args!("{:<12} {}", title, shell::visible(value.as_bytes())))?;
    }
    for (counter, count) in counters {
        let unit = Counter::named(&counter).map_or_else(String::new, |counter| format!(" {}", counter.unit()));
        shell.line(format_args!("{:<12} {counter} {count}{unit}", "dropped"))?;
    }
    Ok(Verdict::Done)
}

/// What is to be said of a serial line.
fn line_of(line: &SerialLine) -> String {
    let SerialLine { device, baud, links, failure } = line;
    match failure {
        Some(failure) => format!("not open: {failure}"),
        None => format!("{device} at {baud} baud, {links} {}", if *links == 1 { "link" } else { "links" }),
    }
}

/// What is to be said of the node's clock, unless it is the machine's.
fn whose_time(clock: &str) -> Option<&'static str> {
    match clock {
        "unset" => {
            Some("this machine's is not set, and nobody has told the time yet: the node needs a member, or the issuer")
        }
        "learnt" => Some("learnt from others, this machine's is not set"),
        _ => None,
    }
}
