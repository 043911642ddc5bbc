//! `request`: sends one request to a service, and prints its response.

use super::arguments::{self, Class, Given};
use super::failure::Failure;
use super::shell::Shell;
use super::{Verdict, blob, send};
use crate::gateway::dto::{GroupAnswer, GroupAnswers, GroupRequestBody, Outcome, Payload, RequestBody, Span};
use std::time::Duration;

/// Sends a request to a service of a device and prints its response
///
/// The response goes to standard output unchanged. If there is none, the reason goes to standard error, and the exit
/// code is 2.
///
/// A request to one device, and a response, of more than 60 KiB travel as blobs, up to 1 GiB; --timeout should give them enough time.
///
/// If the node goes away meanwhile, it is asked again when it is back: the request is not made twice.
///
/// `group:TOPIC` are all who listen to a topic: each line is a device and its answer, until as many have come as --answers says, or the time is over.
///
/// `any:SERVICE` is one of the devices that offer the service: the one with the best path, and of several that are nearly as
/// good the one that is least busy. The next one is tried if a device is silent or full. No request is executed twice: once a device
/// has been given the request, no other is, unless that one says that it did not take it. Where it does no harm to execute it twice, --repeat
/// lets it go on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh request meter-17/clock now
  m2mesh request any:clock now
  m2mesh request group:plant/health status --timeout 5s
  m2mesh request meter-17 @question.json --timeout 5s
  m2mesh request hub/classify @picture.jpg --timeout 2m")]
pub(super) struct Arguments {
    /// The device, and the service, which may be left out if the device offers exactly one
    #[arg(value_name = "NAME[/SERVICE]|any:SERVICE|group:TOPIC")]
    to: String,
    /// The request: a text, `-` for standard input, `@FILE` for a file
    payload: String,
    /// With group:TOPIC: end when so many have answered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    answers: Option<u32>,
    /// With any:SERVICE: let another device execute it although one before may have, if that is silent or was interrupted
    #[arg(long)]
    repeat: bool,
    /// How urgent it is
    #[arg(long, value_enum, default_value = "telemetry")]
    class: Class,
    /// How long to wait for the response
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = arguments::duration)]
    timeout: Duration,
    #[command(flatten)]
    timing: arguments::Timing,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { to, payload, answers, repeat, class, timeout, timing } = arguments;
    if let Some(topic) = to.strip_prefix("group:") {
        if repeat || timing.not_before.is_some() || timing.spread.is_some() {
            return Err(Failure::new(
                format!("a request to {to} leaves at once and is made once"),
                "leave out --repeat, --not-before and --spread",
            ));
        }
        return ask_group(&shell, topic, &payload, answers, timeout).await;
    }
    let (device, service) = match to.split_once('/') {
        Some((device, service)) => (device, Some(service.to_owned())),
        None => (to.as_str(), None),
    };
    let device = match device.starts_with(arguments::ANY) {
        true => arguments::receiver(device)?,
        false => arguments::destination(device)?.to_string(),
    };
    let client = shell.client()?;
    let (Payload { payload, payload_base64 }, hash) = match arguments::payload_or_more(&payload)? {
        Given::Payload(payload) => (payload, None),
        Given::More(_) if device.starts_with(arguments::ANY) => return Err(arguments::too_large()),
        Given::More(_) if timing.not_before.is_some() || timing.spread.is_some() => {
            return Err(Failure::new(
                "a request of more than 60 KiB leaves at once",
                "leave out --not-before and --spread",
            ));
        }
        Given::More(source) => (Payload::default(), Some(blob::put(&shell, &client, source, false, false).await?.hash)),
    };
    // A request that is a blob does not outlive its node, so it is asked once.
    let named = hash.is_none();
    let body = RequestBody {
        blob: hash,
        to: device,
        service,
        payload,
        payload_base64,
        class: class.into(),
        policy: None,
        timeout: Span(timeout),
        repeat,
        id: if named { Some(send::new_id()?) } else { None },
        not_before: timing.not_before,
        spread: timing.spread.map(Span),
        wait: None,
    };
    let outcome: Outcome = match named {
        false => client.post("/v1/request", &body).await?,
        true => {
            let (asked, patience) = (("/v1/request", &body), timeout + send::GRACE);
            send::insist(&shell, &client, asked, Some(patience), Some(&to), |away| away).await?
        }
    };
    match outcome {
        Outcome::Replied { blob: Some(response), .. } if !shell.json => {
            blob::write_out(&client, &response.hash).await?;
            Ok(Verdict::Done)
        }
        Outcome::Replied { payload, .. } if !shell.json => {
            shell.raw(payload)?;
            Ok(Verdict::Done)
        }
        Outcome::Expired { reason }
        | Outcome::Refused { reason }
        | Outcome::Unreachable { reason }
        | Outcome::Superseded { reason }
            if !shell.json =>
        {
            shell.note(format_args!("no response from {to}: {}", super::shell::visible(reason.as_bytes())));
            Ok(Verdict::No)
        }
        outcome => send::tell(&shell, &outcome, &to),
    }
}

/// Asks all who listen to a topic, and prints their answers.
async fn ask_group(
    shell: &Shell,
    topic: &str,
    payload: &str,
    most: Option<u32>,
    timeout: Duration,
) -> Result<Verdict, Failure> {
    let Payload { payload, payload_base64 } = arguments::payload(payload)?;
    let (topic, timeout, policy) = (topic.to_owned(), Span(timeout), None);
    let (id, patience) = (Some(send::new_id()?), timeout.0 + send::GRACE);
    let body = GroupRequestBody { topic, payload, payload_base64, policy, timeout, most, id };
    let client = shell.client()?;
    let away = |outcome| GroupAnswers { answers: Vec::new(), outcome };
    let asked = ("/v1/group-requests", &body);
    let GroupAnswers { answers, outcome } = send::insist(shell, &client, asked, Some(patience), None, away).await?;
    let verdict = Verdict::of(outcome.is_success());
    if shell.json {
        shell.object(&GroupAnswers { answers, outcome })?;
        return Ok(verdict);
    }
    let count = answers.len();
    for GroupAnswer { from, payload, .. } in answers {
        shell.payload(&from, payload)?;
    }
    shell.note(format_args!("{count} have answered"));
    Ok(verdict)
}
