//! `mailbox`: what this node keeps for devices that are away.

use super::Verdict;
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::dto::MailboxView;

/// Shows what this node keeps for devices that are away
///
/// A node keeps mail if the operator has made its device a mailbox (`realm invite --role mailbox`). Mail is sealed: who sent it, and
/// what is in it, is not known here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  m2mesh mailbox\n  m2mesh mailbox --json | jq '.[] | select(.mails > 0)'")]
pub(super) struct Arguments {}

pub(super) async fn run(Arguments {}: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let boxes: Vec<MailboxView> = shell.client()?.get("/v1/mailbox", &()).await?;
    if shell.json {
        shell.object(&boxes)?;
        return Ok(Verdict::Done);
    }
    if boxes.is_empty() {
        shell.note("nothing is kept for anybody");
        return Ok(Verdict::Done);
    }
    let rows = boxes.into_iter().map(|kept| {
        let MailboxView { to, parent, mails, bytes, under_way, oldest, expires } = kept;
        let time = |time: Option<String>| time.unwrap_or_else(|| "-".to_owned());
        vec![
            to.unwrap_or_else(|| "(others)".to_owned()),
            if parent { "yes" } else { "no" }.to_owned(),
            mails.to_string(),
            shell::bytes(bytes as u64),
            under_way.to_string(),
            time(oldest),
            time(expires),
        ]
    });
    shell.table(&["FOR", "PARENT", "MAILS", "BYTES", "ON THE WAY", "OLDEST", "FIRST EXPIRES"], rows.collect())?;
    Ok(Verdict::Done)
}
