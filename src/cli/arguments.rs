//! Arguments that several verbs share.

use super::blob::Source;
use super::failure::Failure;
use crate::gateway::dto;
use crate::id::Name;
use crate::identity::anonymity::Anonymity;
use crate::time::EpochLength;
use crate::wire::batch::MAX_PAYLOAD;
use crate::wire::credential::Role;
use clap::ValueEnum;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

/// The confirmation that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Ack {
    /// None: the message is sent and forgotten
    None,
    /// The next hop has received the message
    Hop,
    /// The message is durable in the receiver's inbox
    End,
}

impl From<Ack> for dto::Ack {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::None => Self::None,
            Ack::Hop => Self::Hop,
            Ack::End => Self::End,
        }
    }
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Class {
    /// Most urgent
    Alarm,
    /// Keeps the mesh and its applications running
    Control,
    /// The default
    Telemetry,
    /// Least urgent: sent when nothing else waits
    Bulk,
}

impl From<Class> for dto::Class {
    fn from(class: Class) -> Self {
        match class {
            Class::Alarm => Self::Alarm,
            Class::Control => Self::Control,
            Class::Telemetry => Self::Telemetry,
            Class::Bulk => Self::Bulk,
        }
    }
}

/// Parses a duration, written as `250ms`, `30s` or `1h 30m`; it must not be zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("a duration is longer than nothing".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it as 250ms, 30s, 10m or 6h")),
    }
}

/// Parses a role that an invitation gives.
pub(super) fn role(text: &str) -> Result<Role, String> {
    let given = Role::ALL.into_iter().filter(|(role, _)| *role != Role::Issuer);
    let names: Vec<&str> = given.clone().map(|(_, name)| name).collect();
    given
        .into_iter()
        .find(|(_, name)| *name == text)
        .map(|(role, _)| role)
        .ok_or_else(|| format!("{text:?} is no role; the roles are {}", names.join(", ")))
}

/// Parses the length of an epoch.
pub(super) fn epoch(text: &str) -> Result<EpochLength, String> {
    u32::try_from(duration(text)?.as_secs())
        .ok()
        .and_then(EpochLength::new)
        .ok_or_else(|| "an epoch is at least 4s and divides a day, as 10s, 1m or 1h".to_owned())
}

/// Parses a time, written as RFC 3339 or as a duration before now.
pub(super) fn moment(text: &str) -> Result<dto::Moment, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.saturating_sub(ago).as_micros()).unwrap_or(u64::MAX);
        return Ok(dto::Moment(crate::time::Unix(micros)));
    }
    dto::Moment::parse(text).map_err(|error| format!("{error}; or write how long ago, as 10m"))
}

/// Parses a time from which on a message may leave, written as RFC 3339 or as a duration from now.
pub(super) fn start(text: &str) -> Result<dto::Start, String> {
    dto::Start::parse(text)
}

/// When a message may leave.
#[derive(Debug, clap::Args)]
pub(super) struct Timing {
    /// Do not send it before this time, or this long from now. It is durable meanwhile; its deadline counts from now
    #[arg(long, value_name = "TIME", value_parser = start)]
    pub(super) not_before: Option<dto::Start>,
    /// Send it at a random moment within this time, so that many devices do not send at once
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) spread: Option<Duration>,
}

/// Parses the name of a destination device. For other kinds of destination, the error names the verb to use.
pub(super) fn destination(text: &str) -> Result<Name, Failure> {
    if let Some(topic) = text.strip_prefix("group:") {
        return Err(Failure::new(
            format!("{text} is a group, and `send` reaches one device"),
            format!("publish to it: m2mesh publish {topic} PAYLOAD"),
        ));
    }
    if let Some(service) = text.strip_prefix("any:") {
        return Err(Failure::new(
            format!("{text} is a service, and this is for one device"),
            format!("name the device that offers it; `send` and `request` take any:{service}"),
        ));
    }
    if text == "all" {
        return Err(Failure::new(
            "`all` is no device, and this is for one device",
            "only `send` takes `all`; or publish to a topic that all subscribe to: m2mesh publish TOPIC PAYLOAD",
        ));
    }
    Name::new(text).map_err(|error| {
        Failure::new(
            format!("{text:?} is no device's name: {error}"),
            "`m2mesh contacts` lists the names this device can address",
        )
    })
}

/// What a destination begins with that is any device that offers a service.
pub(super) const ANY: &str = "any:";

/// The destination that is all devices.
pub(super) const ALL: &str = "all";

/// Checks a destination that is a device, any device that offers a service, or all devices.
pub(super) fn receiver(text: &str) -> Result<String, Failure> {
    match text.strip_prefix(ANY) {
        None if text == ALL => Ok(text.to_owned()),
        None => destination(text).map(|name| name.to_string()),
        Some(service) => match Name::new(service) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(Failure::new(
                format!("{service:?} is no name of a service: {error}"),
                "write it as any:SERVICE, as in any:clock",
            )),
        },
    }
}

/// A payload does not fit a message.
pub(super) fn too_large() -> Failure {
    Failure::new(
        format!("a message has at most {MAX_PAYLOAD} bytes, this one has more"),
        "`m2mesh blob send` sends up to 1 GiB; or send it in pieces, as one message a line with --lines",
    )
}

/// Reads a payload argument: the text itself, `-` for standard input, `@FILE` for a file.
pub(super) fn payload(argument: &str) -> Result<dto::Payload, Failure> {
    let bytes = bytes(argument)?;
    if bytes.len() > MAX_PAYLOAD {
        return Err(too_large());
    }
    Ok(dto::Payload::new(bytes))
}

/// What a payload argument gives.
pub(super) enum Given {
    /// What fits one message.
    Payload(dto::Payload),
    /// More, which is read as it is sent.
    More(Source),
}

/// Reads a payload argument as [`payload`] does, or says where a larger one is read from.
pub(super) fn payload_or_more(argument: &str) -> Result<Given, Failure> {
    if let Some(file) = argument.strip_prefix('@') {
        let source = Source::file(Path::new(file))?;
        if source.length().is_some_and(|length| length > MAX_PAYLOAD as u64) {
            return Ok(Given::More(source));
        }
    }
    let bytes = bytes(argument)?;
    match (bytes.len() > MAX_PAYLOAD, argument) {
        (false, _) => Ok(Given::Payload(dto::Payload::new(bytes))),
        (true, "-") => Ok(Given::More(Source::begun(bytes))),
        (true, _) => payload(argument).map(Given::Payload),
    }
}

/// Reads a text argument in the same three forms.
pub(super) fn text(argument: &str) -> Result<String, Failure> {
    String::from_utf8(bytes(argument)?).map_err(|_| Failure::new("this is no text", "check what was given"))
}

fn bytes(argument: &str) -> Result<Vec<u8>, Failure> {
    match (argument, argument.strip_prefix('@')) {
        ("-", _) => read(std::io::stdin().lock(), Path::new("standard input")),
        (_, Some(file)) => read_file(Path::new(file)),
        (text, None) => Ok(text.as_bytes().to_vec()),
    }
}

/// Creates a directory that only its owner can enter, and its missing parents. An existing directory is left as it is.
pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::file("make", path, &error))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    read(file, path)
}

/// Reads one byte more than a payload may have, so that a payload that is too large is noticed without filling memory.
fn read(from: impl Read, path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX_PAYLOAD as u64 + 1).read_to_end(&mut bytes).map_err(|error| Failure::file("read", path, &error))?;
    Ok(bytes)
}

/// Parses a mode of anonymity.
pub(super) fn anonymity(text: &str) -> Result<Anonymity, String> {
    Anonymity::of_name(text).ok_or_else(|| "write stable, rotating or strict".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_without_a_verb_yet_say_which_to_use() {
        assert!(destination("meter-17").is_ok());
        for (text, verb) in [("group:plant/a", "publish plant/a"), ("any:adder", "any:adder"), ("all", "publish")] {
            let failure = destination(text).expect_err("no device").to_string();
            assert!(failure.contains(verb), "{failure}");
        }
        assert!(destination("a/b").is_err());
    }

    #[test]
    fn durations_and_times_are_checked() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("0s").is_err());
        assert!(duration("fast").is_err_and(|error| error.contains("250ms")));
        assert!(moment("2026-01-31T12:00:00Z").is_ok());
        assert!(moment("10m").is_ok());
        assert!(moment("noon").is_err());
    }
}
