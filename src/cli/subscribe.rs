//! `subscribe`: prints publications as they come.

use super::exec::{Question, Response, execute};
use super::failure::Failure;
use super::shell::Shell;
use super::{Verdict, arguments};
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{Done, Missed, Payload, PublicationAnswerBody, Published, Span, SubscribeQuery};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::time::Duration;

/// Prints the messages to the topics that a filter matches, until Ctrl-C
///
/// If the output is piped, each message is its payload and a line feed; on a terminal it follows its topic and sender,
/// and with `--json` it has all fields. Messages of these topics that were lost on the way are noted on standard error,
/// or with `--json` printed as objects with `lost`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh subscribe 'plant/+/temperature'
  m2mesh subscribe 'plant/#' --count 10 --json
  m2mesh subscribe 'plant/#' --since 10m
  m2mesh subscribe 'plant/+/alarm' --last 5
  m2mesh subscribe 'tank/+/level' --latest")]
pub(super) struct Arguments {
    /// The topics, as in MQTT: `+` matches one level, `#` all that follow; the first level names the group and cannot
    /// be a wildcard
    filter: String,
    /// Stop after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Also print what was published within this time and has not expired, from devices within reach that have kept it
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    since: Option<Duration>,
    /// Answer requests (`m2mesh request group:TOPIC`) by this program, which gets the request on its standard input; it and its arguments come last
    #[arg(long, value_names = ["PROGRAM", "ARGS"], num_args = 1.., allow_hyphen_values = true)]
    exec: Vec<OsString>,
    /// Print the latest of the earlier publications, this many at most, up to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    last: Option<u32>,
    /// While this output is not read, keep only the newest of each topic and publisher
    #[arg(long)]
    latest: bool,
}

/// An event of the subscription.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum News {
    Message(Published),
    Missed(Missed),
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { filter, count, exec, since, last, latest } = arguments;
    let query = SubscribeQuery { filter: filter.clone(), since: since.map(Span), last, latest };
    let client = shell.client()?;
    let mut events = client.events("/v1/subscribe", &query).await?;
    shell.note(format_args!("listens to {filter}"));
    let mut seen = 0;
    while count.is_none_or(|count| seen < count) {
        let Some(news) = events.next::<News>().await? else {
            return Err(Failure::new("the node stopped", "start it again with `m2mesh run`"));
        };
        seen += u64::from(matches!(news, News::Message(_)));
        if let News::Message(published) = &news
            && !exec.is_empty()
        {
            answer(&shell, &client, &exec, published).await?;
        }
        if shell.json {
            shell.object(&news)?;
            continue;
        }
        let (topic, from, lost, skipped, payload) = match news {
            News::Message(Published { topic, from, lost, skipped, payload, .. }) => {
                (topic, from, lost, skipped, Some(payload))
            }
            News::Missed(Missed { topic, from, lost, uncertain, skipped }) => {
                if uncertain {
                    let from = from.as_deref().unwrap_or("a device that is no contact");
                    shell.note(format_args!(
                        "more of {from} in {topic} may have been lost: nobody here knows how many there were"
                    ));
                }
                (topic, from, lost, skipped, None)
            }
        };
        let from = from.as_deref().unwrap_or("a device that is no contact");
        if skipped > 0 {
            shell.note(format_args!("{skipped} were dropped before this: this output is not read fast enough"));
        }
        if lost > 0 {
            shell.note(format_args!("{lost} of {from} to {topic} were lost on the way"));
        }
        if let Some(payload) = payload {
            shell.payload(&format!("{topic} {from}"), payload)?;
        }
    }
    Ok(Verdict::Done)
}

/// Answers a publication if it is a request of a contact.
async fn answer(shell: &Shell, client: &Client, exec: &[OsString], published: &Published) -> Result<(), Failure> {
    let (Some(to), Some(request)) = (&published.from, &published.request) else { return Ok(()) };
    let variables = [("M2MESH_FROM", to.as_str()), ("M2MESH_TOPIC", &published.topic), ("M2MESH_MESSAGE_ID", request)];
    let answer = match published.payload.clone().into_bytes() {
        Ok(question) => execute(exec, &variables, Question::Bytes(question), None).await,
        Err(reason) => Err(reason),
    };
    let answer = match answer {
        Ok(Response::Bytes(answer)) => Payload::new(answer),
        Ok(Response::Blob(_)) => return Ok(()),
        Err(reason) => {
            shell.note(format_args!("{to} is not answered: {}", super::shell::visible(reason.as_bytes())));
            return Ok(());
        }
    };
    let Payload { payload, payload_base64 } = answer;
    let body = PublicationAnswerBody { to: to.clone(), request: request.clone(), payload, payload_base64 };
    match client.post::<Done>("/v1/answers", &body).await {
        Ok(Done {}) => Ok(()),
        Err(ClientError::Api(error)) => {
            shell.note(format_args!("{to} is not answered: {}", error.error));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
