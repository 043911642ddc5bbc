//! `realm group publishers`: what is said of who may publish to a group.

use crate::cli::failure::Failure;
use crate::cli::realm::operator;
use crate::cli::shell::{self, Shell};
use crate::id::Name;
use crate::keystore::realm_dir::groups::{GroupEntry, Readers};
use crate::keystore::realm_dir::publishers::Changed;

/// Who may, in words.
pub(super) fn words(who: Option<&Readers>) -> String {
    match who {
        None => "not known here".to_owned(),
        Some(Readers::All) => "all".to_owned(),
        Some(Readers::Some(names)) if names.is_empty() => "nobody".to_owned(),
        Some(Readers::Some(names)) => names.iter().map(Name::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// Who may, by name; `None` if that is everybody, or not known.
pub(super) fn named(who: Option<&Readers>) -> Option<Vec<Name>> {
    match who {
        Some(Readers::Some(names)) => Some(names.clone()),
        Some(Readers::All) | None => None,
    }
}

/// Tells who may publish to a group now.
pub(super) fn show(shell: &Shell, name: &str, groups: &[GroupEntry]) -> Result<(), Failure> {
    let entry = groups.iter().find(|entry| entry.name.as_deref() == Some(name));
    // A group without a key of its own is everybody's.
    let publishers = entry.map_or(Some(&Readers::All), |entry| entry.publishers.as_ref());
    say(shell, name, publishers, serde_json::Map::new())
}

/// Tells what has been changed.
pub(super) fn tell(shell: &Shell, name: &str, changed: &Changed, bulletin: u64) -> Result<(), Failure> {
    let Changed { publishers, new, made } = changed;
    let mut more = serde_json::Map::new();
    more.insert("new".to_owned(), (*new).into());
    more.insert("version".to_owned(), made.as_ref().map(|made| made.version).into());
    more.insert("bulletin".to_owned(), bulletin.into());
    let numbered = made.as_ref().and_then(|made| made.numbered_anew_until);
    more.insert("numbered_anew_until".to_owned(), numbered.map(|until| until.to_string()).into());
    say(shell, name, Some(publishers), more)?;
    if !new {
        shell.note(format_args!("as before: nothing was changed"));
    } else if let Some(made) = made {
        shell.note(format_args!(
            "key version {}; a right that was taken ends for each device as soon as bulletin {bulletin} comes to it",
            made.version
        ));
    }
    operator::tell_numbered(shell, numbered);
    Ok(())
}

fn say(
    shell: &Shell,
    name: &str,
    publishers: Option<&Readers>,
    mut more: serde_json::Map<String, serde_json::Value>,
) -> Result<(), Failure> {
    if shell.json {
        more.insert("group".to_owned(), name.into());
        more.insert("restricted".to_owned(), publishers.map(|who| *who != Readers::All).into());
        more.insert("publishers".to_owned(), serde_json::json!(named(publishers)));
        shell.object(&serde_json::Value::Object(more))?;
    } else {
        let name = shell::visible(name.as_bytes());
        shell.line(format_args!("{name}: published to by {}", words(publishers)))?;
    }
    Ok(())
}
