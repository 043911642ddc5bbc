//! `identity`: under which pseudonym the device takes part, and until when.

use super::Verdict;
use super::arguments;
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::dto::{Identity, RotateBody};
use crate::identity::anonymity::Anonymity;

/// Shows the pseudonym that others see, and when it changes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh identity show
  m2mesh identity rotate
  m2mesh identity rotate --anonymity strict")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows the pseudonym, the epoch, the mode and the next change
    #[command(after_help = "Examples:\n  m2mesh identity show\n  m2mesh identity show --json | jq -r .peer_id")]
    Show,
    /// Takes the next pseudonym now if its epoch has begun, or sets the mode
    ///
    /// An issuer certifies one pseudonym for each epoch, so there is no other before the next epoch: exit code 2, with the time. A node changes by
    /// itself a while after the turn of the epoch; this does it at once.
    #[command(after_help = "Examples:\n  m2mesh identity rotate\n  m2mesh identity rotate --anonymity strict --json")]
    Rotate {
        /// For how long the device is to be known by one pseudonym from now on: stable (its life), rotating or strict (an epoch). It holds after
        /// restarts, until another mode stands in config.toml
        #[arg(long, value_name = "MODE", value_parser = arguments::anonymity)]
        anonymity: Option<Anonymity>,
    },
}

pub(super) async fn run(Arguments { action }: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let client = shell.client()?;
    let (identity, asked): (Identity, bool) = match action {
        Action::Show => (client.get("/v1/identity", &()).await?, false),
        Action::Rotate { anonymity } => {
            let body = RotateBody { anonymity: anonymity.map(|mode| mode.name().to_owned()) };
            (client.post("/v1/identity/rotate", &body).await?, anonymity.is_none())
        }
    };
    let refused = asked && !identity.changing;
    if shell.json {
        shell.object(&identity)?;
        return Ok(Verdict::of(!refused));
    }
    if refused {
        shell.note(&match &identity.next_change {
            Some(next) => format!("no other pseudonym can be taken yet: the next is certified from {next} on"),
            None => "this device is stable: it has one pseudonym; `--anonymity rotating` changes that".to_owned(),
        });
    }
    show(identity, &shell)?;
    Ok(Verdict::of(!refused))
}

fn show(identity: Identity, shell: &Shell) -> Result<(), Failure> {
    let Identity { peer_id, former, anonymity, in_force_from, epoch, epoch_ends, next_change, changing } = identity;
    let mut rows = vec![("pseudonym", peer_id)];
    rows.extend(former.map(|former| ("before", former)));
    rows.push(("mode", format!("{anonymity}, in force from {in_force_from}")));
    rows.push(("epoch", format!("{epoch}, until {epoch_ends}")));
    let next = match (changing, next_change) {
        (true, _) => "under way".to_owned(),
        (false, Some(next)) => format!("soon after {next}"),
        (false, None) => "none: it is stable".to_owned(),
    };
    rows.push(("next change", next));
    for (title, value) in rows {
        shell.line(format_args!("{:<12} {}", title, shell::visible(value.as_bytes())))?;
    }
    Ok(())
}
