//! `publish`: a message to everybody who subscribes to a topic.

use super::arguments;
use super::failure::Failure;
use super::shell::Shell;
use super::{Verdict, lines, send};
use crate::gateway::dto::{Outcome, Payload, PublishBody, PublishLinesQuery, Span};
use std::time::Duration;

/// Publishes a message to all who subscribe to a topic
///
/// It goes to the neighbours that subscribe, which pass it on. Confirmations come only where they are asked for: `--ack
/// group` waits until the deadline, or until the number of devices given by `--devices` have confirmed that they handed
/// it to a subscriber.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh publish plant/line-1/temperature 21.5
  vmstat 1 60 | m2mesh publish plant/vmstat --lines
  m2mesh publish plant/stop now --ack group --devices 9 --deadline 5s")]
pub(super) struct Arguments {
    /// The topic; its first level names the group
    topic: String,
    /// The message: a text, `-` for standard input, `@FILE` for a file
    #[arg(value_name = "PAYLOAD", required_unless_present = "lines")]
    payload: Option<String>,
    /// What the links that it leaves by should be good at: cheap, fast, sure, frugal, balanced, or one of `config.toml`
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// How long it is of use; after this long it expires
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = arguments::duration)]
    deadline: Duration,
    #[command(flatten)]
    timing: arguments::Timing,
    /// Each line of standard input is one message
    #[arg(long, conflicts_with_all = ["payload", "not_before", "spread"])]
    lines: bool,
    /// Who is to confirm it: nobody, or each device of the group that hands it to a subscriber and has this device
    /// among its contacts
    #[arg(long, value_enum, default_value_t = Confirmation::None)]
    ack: Confirmation,
    /// With `--ack group`: stop waiting when this many devices have confirmed it
    #[arg(long, value_name = "N", requires = "ack", value_parser = clap::value_parser!(u32).range(1..))]
    devices: Option<u32>,
    /// Take the place of those of the same topic that still wait: they end as `superseded`
    #[arg(long)]
    latest: bool,
}

/// Who confirms a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Confirmation {
    /// Nobody
    None,
    /// Devices that hand it to a subscriber
    Group,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { topic, payload, policy, deadline, timing, lines, ack, devices, latest } = arguments;
    let confirm = (ack == Confirmation::Group).then(|| devices.unwrap_or(u32::MAX));
    let deadline = Span(deadline);
    let client = shell.client()?;
    if lines {
        let query = |_| PublishLinesQuery { topic: topic.clone(), policy: policy.clone(), deadline, confirm, latest };
        return lines::run(&shell, &client, "/v1/publish-lines", query, None).await;
    }
    let Payload { payload, payload_base64 } = arguments::payload(&payload.unwrap_or_default())?;
    let body = PublishBody {
        topic: topic.clone(),
        payload,
        payload_base64,
        policy,
        deadline,
        confirm,
        not_before: timing.not_before,
        spread: timing.spread.map(Span),
        latest,
    };
    let outcome: Outcome = client.post("/v1/publish", &body).await?;
    send::tell(&shell, &outcome, &topic)
}
