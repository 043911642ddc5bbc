//! `contacts`: the devices that this device can address.

use super::Verdict;
use super::failure::Failure;
use super::shell::Shell;
use crate::gateway::dto::Contact;

/// Lists the devices that this device can address by name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  m2mesh contacts\n  m2mesh contacts --json | jq -r '.[].name'")]
pub(super) struct Arguments {}

pub(super) async fn run(Arguments {}: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let contacts: Vec<Contact> = shell.client()?.get("/v1/contacts", &()).await?;
    if shell.json {
        shell.object(&contacts)?;
        return Ok(Verdict::Done);
    }
    if contacts.is_empty() {
        shell.note("no contacts; they are granted when a device is invited: m2mesh realm invite --contact NAME");
        return Ok(Verdict::Done);
    }
    let near = |contact: &Contact| if contact.neighbour { "neighbour" } else { "-" }.to_owned();
    let changed = |contact: &Contact| contact.changed.clone().unwrap_or_default();
    let any = contacts.iter().any(|contact| contact.changed.is_some());
    let row = |contact: Contact| vec![contact.name.clone(), near(&contact), changed(&contact)];
    let rows: Vec<_> = contacts.into_iter().map(row).collect();
    if any {
        shell.table(&["NAME", "LINK", "CHANGED"], rows)?;
    } else {
        let short = |mut row: Vec<String>| {
            row.truncate(2);
            row
        };
        shell.table(&["NAME", "LINK"], rows.into_iter().map(short).collect())?;
    }
    Ok(Verdict::Done)
}
