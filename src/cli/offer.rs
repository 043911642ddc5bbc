//! `offer`: answers the calls of a service, with an echo or with a program.
//!
//! The program runs once per call, with the request on its standard input; its standard output is the response. Exit
//! code 0 means a response, any other a failure whose reason is the first line of standard error. Requests are never
//! put into arguments or the environment, where other users of the machine could read them.

use super::Verdict;
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::client::{Client, ClientError, escape};
use crate::gateway::dto::{AnswerBody, Done, OfferQuery, Payload, ServiceCall};
use crate::wire::batch::MAX_PAYLOAD;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Offers a service and answers its requests, until Ctrl-C
///
/// A program run by --exec finds the caller in M2MESH_FROM, the service in M2MESH_SERVICE, and the message's lasting
/// id, which is the same if a call is repeated, in M2MESH_MESSAGE_ID.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("how").required(true))]
#[command(after_help = "Examples:
  m2mesh offer echo --echo
  m2mesh offer sum --jobs 2 --exec awk '{ print $1 + $2 }'
  m2mesh offer clock --exec date --iso-8601=seconds")]
pub(super) struct Arguments {
    /// Name of the service
    service: String,
    /// Answer each request with its own payload
    #[arg(long, group = "how")]
    echo: bool,
    /// Run this program for each request; it and its arguments come last
    #[arg(long, group = "how", value_names = ["PROGRAM", "ARGS"], num_args = 1.., allow_hyphen_values = true)]
    exec: Vec<OsString>,
    /// Requests answered at the same time; a request to any:SERVICE goes to another device while so many wait here
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { service, echo: _, exec, jobs } = arguments;
    let client = shell.client()?;
    let query = OfferQuery { capacity: Some(jobs.into()) };
    let mut calls = client.events(&format!("/v1/offers/{}", escape(&service)), &query).await?;
    shell.note(format_args!("offers {service}"));
    let mut answers = FuturesUnordered::new();
    loop {
        let room = answers.len() < usize::from(jobs);
        tokio::select! {
            Some(told) = answers.next(), if !answers.is_empty() => told?,
            call = calls.next::<ServiceCall>(), if room => match call? {
                Some(call) => answers.push(answer(&shell, &client, &exec, call)),
                None => return Err(Failure::new("the node stopped", "start it again with `m2mesh run`")),
            },
        }
    }
}

/// Answers one call and reports it.
async fn answer(shell: &Shell, client: &Client, exec: &[OsString], mut call: ServiceCall) -> Result<(), Failure> {
    let payload = std::mem::take(&mut call.payload);
    let answer = match exec.split_first() {
        None => Ok(payload),
        Some(_) => {
            let variables =
                [("M2MESH_FROM", &*call.from), ("M2MESH_SERVICE", &call.service), ("M2MESH_MESSAGE_ID", &call.id)];
            execute(exec, &variables, payload).await.map(Payload::new)
        }
    };
    let failure = answer.as_ref().err().cloned();
    let Payload { payload, payload_base64 } = answer.unwrap_or_default();
    let body = AnswerBody { failure: failure.clone(), payload, payload_base64 };
    let late = match client.post::<Done>(&format!("/v1/calls/{}", call.call), &body).await {
        Ok(Done {}) => None,
        // The caller has given up, which is no reason to stop offering.
        Err(ClientError::Api(error)) => Some(error.error),
        Err(error) => return Err(error.into()),
    };
    let ServiceCall { call: _, service, from, id, payload: _ } = call;
    if shell.json {
        return shell.object(&serde_json::json!({
            "service": service, "from": from, "id": id, "failure": failure, "late": late,
        }));
    }
    match failure.or(late) {
        Some(reason) => shell.line(format_args!("{from}: {}", shell::visible(reason.as_bytes()))),
        None => shell.line(format_args!("{from}: answered")),
    }
}

/// Runs a program for a request. Returns its standard output, or why there is no response.
pub(super) async fn execute(
    exec: &[OsString],
    variables: &[(&str, &str)],
    payload: Payload,
) -> Result<Vec<u8>, String> {
    let (program, arguments) = exec.split_first().ok_or("there is no program")?;
    let request = payload.into_bytes()?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the service's program cannot be started: {error}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input may still answer.
            let _ = stdin.write_all(&request).await;
        }
    };
    let ((), response, complaint) = tokio::join!(write, bounded(stdout, MAX_PAYLOAD), bounded(stderr, MAX_COMPLAINT));
    let broken = |error: io::Error| format!("the service's program broke off: {error}");
    let (response, complaint) = (response.map_err(broken)?, complaint.map_err(broken)?);
    let status = child.wait().await.map_err(broken)?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint.bytes).into_owned();
        let reason = complaint.lines().next().unwrap_or_default().trim();
        return Err(if reason.is_empty() {
            format!("the service's program ended with {status}")
        } else {
            reason.into()
        });
    }
    if response.more {
        return Err(format!("the response is larger than {MAX_PAYLOAD} bytes"));
    }
    Ok(response.bytes)
}

/// What a program has written, as far as it is kept.
struct Written {
    bytes: Vec<u8>,
    more: bool,
}

/// Reads to the end but keeps at most `limit` bytes, so that a program that writes more is not blocked.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Written> {
    let mut written = Written { bytes: Vec::new(), more: false };
    let Some(pipe) = pipe else { return Ok(written) };
    let mut kept = pipe.take(limit as u64);
    kept.read_to_end(&mut written.bytes).await?;
    written.more = tokio::io::copy(&mut kept.into_inner(), &mut tokio::io::sink()).await? > 0;
    Ok(written)
}

/// Most bytes kept of a program's standard error.
const MAX_COMPLAINT: usize = 4 * 1024;
