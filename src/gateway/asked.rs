//! Checks that the sender or kind named in a query exists: a misspelled one would otherwise silently yield no results.

use super::api::name;
use super::dto::LogQuery;
use super::error::ApiError;
use crate::client::{Caller, Command, Reply};
use crate::engine::api::Refused;
use crate::event_log::Event;
use crate::id::Name;

/// Parses the sender asked for, and checks that it is a contact, since only contacts can send.
pub(super) async fn sender<R: Clone>(caller: &Caller<R>, from: Option<&str>) -> Result<Option<Name>, ApiError> {
    let Some(from) = from else { return Ok(None) };
    let sender = name(from)?;
    let Reply::Contacts(contacts) = caller.ask(Command::Contacts).await? else {
        return Err(ApiError::Unexpected);
    };
    let names = || contacts.iter().map(|contact| contact.name.as_str());
    if names().any(|known| known == sender.as_str()) {
        return Ok(Some(sender));
    }
    Err(ApiError::Refused(Refused::UnknownContact {
        name: sender.to_string(),
        nearest: nearest(sender.as_str(), names()),
    }))
}

/// Checks the kind of event asked for. `unknown` stands for the kinds of later versions.
pub(super) fn kind(query: &LogQuery) -> Result<(), ApiError> {
    let Some(kind) = &query.kind else { return Ok(()) };
    if kind == "unknown" || Event::NAMES.contains(&kind.as_str()) {
        return Ok(());
    }
    let near = nearest(kind, Event::NAMES.into_iter());
    let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    Err(ApiError::Request(format!(
        "no kind of event is called {kind:?}{near}, the kinds are: {}",
        Event::NAMES.join(", ")
    )))
}

/// Returns the known name that is spelled most like `name`, if it is similar enough.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    near.filter(|(distance, known)| *distance <= known.len() / 3 + 1).map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_does_not_exist_is_answered_with_those_that_do() {
        let query =
            |kind: &str| LogQuery { kind: Some(kind.to_owned()), since: None, until: None, after: None, limit: None };
        for known in Event::NAMES.into_iter().chain(["unknown"]) {
            assert!(kind(&query(known)).is_ok());
        }
        let refused = kind(&query("linkup")).expect_err("there is none").to_string();
        assert!(refused.contains("did you mean link-up?") && refused.contains("route-lost"), "{refused}");
        let refused = kind(&query("nonsense")).expect_err("there is none").to_string();
        assert!(!refused.contains("did you mean"), "{refused}");
    }
}
