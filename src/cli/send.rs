//! `send`: sends a message to a device's inbox.

use super::Verdict;
use super::arguments::{self, Ack, Class, Given};
use super::blob;
use super::failure::Failure;
use super::lines;
use super::shell::{self, Shell};
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{self, Outcome, Payload, SendBody, SendLinesQuery, Span, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Sends a message to a device and prints its outcome
///
/// The outcome is `delivered` once the message is durable in the receiver's inbox. With `expired` and `unreachable`
/// that is not known, and `refused` says why the message was not accepted. The exit code is 2 unless the message was
/// delivered (or, with less than `--ack end`, sent).
///
/// `any:SERVICE` is one of the devices that offer a service: the one with the best path by the message's policy, and of
/// several that are nearly as good the one that is least busy. The message leaves for one device only, which was there the
/// moment before.
///
/// `all` are all devices of the area, by their inboxes; that takes the role `broadcast` (`realm invite --role broadcast`). The message goes along a
/// tree, or to the only other device, and the event log says what that saves. With `--ack end` it is `heard` by how many.
///
/// A payload of more than 60 KiB travels as a blob, up to 1 GiB: least urgent, confirmed by its receiver, and resumed after an
/// interruption; `--ack`, `--class` and `--policy` do not apply to it, and --deadline should give it enough time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh send meter-17 'open valve'
  m2mesh send any:archive @report.json
  m2mesh send all 'maintenance at noon'
  m2mesh send meter-17 @settings.json --class control --deadline 10s
  m2mesh send meter-17 @tariff.json --not-before 2026-02-01T00:00:00Z --deadline 36h
  m2mesh send head-office @month.csv --wait 6h --deadline 12h
  seq 1000 | m2mesh send meter-17 --lines")]
pub(super) struct Arguments {
    /// The receiver's name, `any:SERVICE`, or `all`
    #[arg(value_name = "DEST")]
    to: String,
    /// The message: a text, `-` for standard input, `@FILE` for a file
    #[arg(value_name = "PAYLOAD", required_unless_present = "lines")]
    payload: Option<String>,
    /// The confirmation to wait for: `end` unless it is to `all`, then `none`
    #[arg(long, value_enum)]
    ack: Option<Ack>,
    /// How urgent it is
    #[arg(long, value_enum, default_value = "telemetry")]
    class: Class,
    /// What its path should be good at: cheap, fast, sure, frugal, balanced, or one of `config.toml`
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = arguments::duration)]
    deadline: Duration,
    #[command(flatten)]
    timing: arguments::Timing,
    /// Wait up to this long for a cheaper way, if one will be there in time
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    wait: Option<Duration>,
    /// Each line of standard input is one message
    #[arg(long, conflicts_with_all = ["payload", "not_before", "spread", "wait"])]
    lines: bool,
    /// Take the place of the message under the same key that still waits, if there is one: it ends as `superseded`
    #[arg(long, value_name = "KEY")]
    latest: Option<String>,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { to, payload, ack, class, policy, deadline, timing, wait, lines, latest } = arguments;
    let to = arguments::receiver(&to)?;
    let all = to == arguments::ALL;
    let any = all || to.starts_with(arguments::ANY);
    let ack = ack.unwrap_or(if all { Ack::None } else { Ack::End });
    if any && (lines || latest.is_some()) {
        return Err(Failure::new(
            format!("--lines and --latest are for messages to one device, which {to} is not"),
            "send them one by one, or name the device",
        ));
    }
    let (ack, class, deadline) = (ack.into(), class.into(), Span(deadline));
    let client = shell.client()?;
    let confirmed = ack != dto::Ack::None && !all;
    let (id, patience) = (new_id()?, deadline.0 + GRACE);
    if lines {
        let id = confirmed.then_some(id);
        let query = |first| SendLinesQuery {
            to: to.clone(),
            ack,
            class,
            policy: policy.clone(),
            deadline,
            id: id.clone(),
            latest: latest.clone(),
            first,
        };
        return lines::run(&shell, &client, "/v1/send-lines", query, confirmed.then_some(patience)).await;
    }
    let Payload { payload, payload_base64 } = match arguments::payload_or_more(&payload.unwrap_or_default())? {
        Given::Payload(payload) => payload,
        Given::More(_) if any => return Err(arguments::too_large()),
        Given::More(source) => {
            let name = source.name().to_owned();
            return blob::send_source(&shell, &client, &to, source, name, deadline.0).await;
        }
    };
    let body = SendBody {
        to: to.clone(),
        payload,
        payload_base64,
        ack,
        class,
        policy,
        deadline,
        id: (!all).then_some(id),
        not_before: timing.not_before,
        spread: timing.spread.map(Span),
        wait: wait.map(Span),
        latest,
    };
    let (asked, patience) = (("/v1/send", &body), confirmed.then_some(patience));
    let outcome = insist(&shell, &client, asked, patience, Some(&to), |away| away).await?;
    tell(&shell, &outcome, &to)
}

/// Asks the node what becomes of something. What has a name is not done twice under it, so the node can be asked again when it has gone and
/// is back within `patience`; `away` is the answer if it is not. Standard error is told why messages to `to` wait.
pub(super) async fn insist<Body: Serialize, Answer: DeserializeOwned>(
    shell: &Shell,
    client: &Client,
    (path, body): (&str, &Body),
    patience: Option<Duration>,
    to: Option<&str>,
    away: impl FnOnce(Outcome) -> Answer,
) -> Result<Answer, Failure> {
    let mut gone: Option<Instant> = None;
    loop {
        match patiently(shell, client, to, client.post(path, body)).await {
            Ok(answer) => return Ok(answer),
            Err(ClientError::Broken(_)) if patience.is_some() && gone.is_none() => {
                shell.note("the node has gone; it is asked again when it is back");
                gone = Some(Instant::now());
            }
            Err(ClientError::Broken(_) | ClientError::NotRunning(_) | ClientError::Connect { .. })
                if gone.zip(patience).is_some_and(|(since, patience)| since.elapsed() < patience) => {}
            Err(_) if gone.is_some() => {
                let seconds = patience.unwrap_or_default().as_secs();
                return Ok(away(Outcome::Unreachable {
                    reason: format!("the node went away and was not back within {seconds} s"),
                }));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Waits for an answer of the node. If it is long in coming, standard error is told why messages wait: those to this device,
/// or to any.
pub(super) async fn patiently<T>(
    shell: &Shell,
    client: &Client,
    to: Option<&str>,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let mut answer = pin!(answer);
    let mut told = String::new();
    for seconds in 1u64.. {
        if let Ok(answer) = tokio::time::timeout(LOOK, &mut answer).await {
            return answer;
        }
        // After the first look less and less often.
        if !seconds.is_power_of_two() && seconds % 30 != 0 {
            continue;
        }
        let Ok(status) = client.get::<Status>("/v1/status", &()).await else { continue };
        for waiting in status.waiting.iter().filter(|waiting| to.is_none_or(|to| waiting.to == to)) {
            let why = format!("waiting: {}", shell::visible(waiting.reason.as_bytes()));
            if why != told {
                shell.note(&why);
                told = why;
            }
        }
    }
    answer.await
}

/// A random name for a message, which nobody else uses.
pub(super) fn new_id() -> Result<String, Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| {
        Failure::new(format!("the operating system gives no randomness: {error}"), "check its random device")
    })?;
    Ok(data_encoding::HEXLOWER.encode(&id))
}

/// How long after a message's deadline its node may still come back and report the outcome.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// How long an answer may take before the node is asked why.
const LOOK: Duration = Duration::from_secs(1);
/// Pause between two attempts to reach the node.
const RETRY: Duration = Duration::from_millis(200);

/// Prints the outcome of a message. The verdict is that of the message: if it cannot be printed, that is reported on
/// standard error and does not change the verdict, so that no script sends a delivered message again.
pub(super) fn tell(shell: &Shell, outcome: &Outcome, to: &str) -> Result<Verdict, Failure> {
    if let Err(failure) = print(shell, outcome, to) {
        failure.mention(shell.json);
    }
    Ok(Verdict::of(outcome.is_success()))
}

fn print(shell: &Shell, outcome: &Outcome, to: &str) -> Result<(), Failure> {
    if shell.json {
        return shell.object(outcome);
    }
    let word = match outcome.is_success() {
        true => console::style(outcome.word()).green(),
        false => console::style(outcome.word()).red(),
    };
    shell.line(match outcome {
        Outcome::Delivered { latency_us, hops, price } => {
            let price = if *price > 0.0 { format!(", price {price}") } else { String::new() };
            let plural = if *hops == 1 { "" } else { "s" };
            format!("{word} to {to} in {}, {hops} hop{plural}{price}", shell::micros(*latency_us))
        }
        Outcome::Sent { latency_us, neighbours } => {
            let plural = if *neighbours == 1 { "" } else { "s" };
            format!("{word} to {to} in {}, by {neighbours} neighbour{plural}", shell::micros(*latency_us))
        }
        Outcome::Heard { latency_us, subscribers, .. } => {
            let plural = if *subscribers == 1 { "" } else { "s" };
            format!("{word} on {to} by {subscribers} device{plural}, the last after {}", shell::micros(*latency_us))
        }
        Outcome::Replied { latency_us, .. } => format!("{word} in {}", shell::micros(*latency_us)),
        Outcome::Expired { reason }
        | Outcome::Refused { reason }
        | Outcome::Unreachable { reason }
        | Outcome::Superseded { reason } => {
            format!("{word}: {}", shell::visible(reason.as_bytes()))
        }
    })
}
