//! Topic: topics and filters, as in MQTT 5 (§4.7), with one difference: the first level names the group, which has a
//! key of its own, and so is never a wildcard.

use super::group::MAX_TOPIC;

/// Why a text is no topic or filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The text is empty or too long.
    #[error("a topic has 1 to {MAX_TOPIC} bytes, this one has {0}")]
    Length(usize),
    /// A topic that is published to has a wildcard.
    #[error("{0:?} is a filter; publish to a topic without + and #")]
    Wildcard(String),
    /// `+` or `#` is beside other characters, or `#` is before the end.
    #[error("in {0:?}, + must stand alone in its level and # alone in the last one")]
    Placement(String),
    /// The group is a wildcard.
    #[error(
        "the first level of {0:?} names the group and cannot be a wildcard; subscribe to each group, as in plant/#"
    )]
    Group(String),
    /// The first level is empty.
    #[error("the first level of {0:?} names the group and cannot be empty; write plant/… rather than /plant/…")]
    EmptyGroup(String),
    /// The text has a control character.
    #[error("{0:?} has a control character")]
    Control(String),
}

/// Returns the group of a topic or filter: its first level.
pub fn group(topic: &str) -> &str {
    topic.split('/').next().unwrap_or(topic)
}

/// Checks a topic that is published to.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    common(topic)?;
    if topic.contains(['+', '#']) {
        return Err(TopicError::Wildcard(topic.to_owned()));
    }
    Ok(())
}

/// Checks a filter of a subscription.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    common(filter)?;
    if group(filter).contains(['+', '#']) {
        return Err(TopicError::Group(filter.to_owned()));
    }
    let levels = filter.split('/').count();
    for (at, level) in filter.split('/').enumerate() {
        let lonely = level.len() == 1 || !level.contains(['+', '#']);
        if !lonely || (level == "#" && at + 1 != levels) {
            return Err(TopicError::Placement(filter.to_owned()));
        }
    }
    Ok(())
}

/// Whether a checked filter matches a topic. `a/#` matches `a` too.
pub fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn common(text: &str) -> Result<(), TopicError> {
    if text.is_empty() || text.len() > MAX_TOPIC {
        return Err(TopicError::Length(text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(TopicError::Control(text.to_owned()));
    }
    if group(text).is_empty() {
        return Err(TopicError::EmptyGroup(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_in_mqtt() {
        for (filter, topic, expected) in [
            ("plant/+", "plant/vmstat", true),
            ("plant/+", "plant", false),
            ("plant/+", "plant/a/b", false),
            ("plant/#", "plant/a/b", true),
            ("plant/#", "plant", true),
            ("plant/+/b", "plant/a/b", true),
            ("other/#", "plant/vmstat", false),
            ("plant/a", "plant/a", true),
            ("plant/+", "plant/", true),
        ] {
            assert_eq!(check_filter(filter), Ok(()));
            assert_eq!(matches(filter, topic), expected, "{filter} against {topic}");
        }
    }

    #[test]
    fn what_is_no_topic_is_said() {
        assert!(matches!(check_filter("#"), Err(TopicError::Group(_))));
        assert!(matches!(check_filter("+/a"), Err(TopicError::Group(_))));
        assert!(matches!(check_filter("a/b+"), Err(TopicError::Placement(_))));
        assert!(matches!(check_filter("a/#/b"), Err(TopicError::Placement(_))));
        assert!(matches!(check_topic("a/+"), Err(TopicError::Wildcard(_))));
        assert!(matches!(check_topic(""), Err(TopicError::Length(0))));
        assert!(matches!(check_topic("/a"), Err(TopicError::EmptyGroup(_))));
        assert!(matches!(check_topic("a/\n"), Err(TopicError::Control(_))));
    }
}
