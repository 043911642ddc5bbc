//! `offer`: answers the calls of a service, with an echo or with a program.
//!
//! The program runs once per call, with the request on its standard input; its standard output is the response. Exit
//! code 0 means a response, any other a failure whose reason is the first line of standard error.

use super::Verdict;
use super::exec::{Question, Response, execute};
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::client::{Client, ClientError, escape};
use crate::gateway::dto::{AnswerBody, Done, OfferQuery, Payload, ServiceCall};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::ffi::OsString;

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
    let answer = respond(client, exec, &mut call).await;
    let failure = answer.as_ref().err().cloned();
    let body = match answer {
        Ok(Response::Bytes(bytes)) => {
            let Payload { payload, payload_base64 } = Payload::new(bytes);
            AnswerBody { payload, payload_base64, ..AnswerBody::default() }
        }
        Ok(Response::Blob(hash)) => AnswerBody { blob: Some(hash), ..AnswerBody::default() },
        Err(reason) => AnswerBody { failure: Some(reason), ..AnswerBody::default() },
    };
    let late = match client.post::<Done>(&format!("/v1/calls/{}", call.call), &body).await {
        Ok(Done {}) => None,
        // The caller has given up, which is no reason to stop offering.
        Err(ClientError::Api(error)) => Some(error.error),
        Err(error) => return Err(error.into()),
    };
    let ServiceCall { call: _, service, from, id, payload: _, blob: _ } = call;
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

/// What is answered to a call: its own question, or what the program writes.
async fn respond(client: &Client, exec: &[OsString], call: &mut ServiceCall) -> Result<Response, String> {
    let (payload, blob) = (std::mem::take(&mut call.payload), call.blob.take());
    if exec.is_empty() {
        return match blob {
            Some(blob) => Ok(Response::Blob(blob.hash)),
            None => payload.into_bytes().map(Response::Bytes),
        };
    }
    let variables = [("M2MESH_FROM", &*call.from), ("M2MESH_SERVICE", &call.service), ("M2MESH_MESSAGE_ID", &call.id)];
    let question = match blob {
        Some(blob) => {
            let read = client.download(&format!("/v1/blobs/{}", blob.hash)).await;
            Question::Blob(read.map_err(|error| format!("the question cannot be read: {error}"))?)
        }
        None => Question::Bytes(payload.into_bytes()?),
    };
    execute(exec, &variables, question, Some(client)).await
}
