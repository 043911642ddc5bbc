//! Path: the paths of data frames as a hostile relay reads and changes them. Each relay writes them, and they are not
//! sealed.

use m2mesh::id::CredentialPrefix;
use m2mesh::wire::data::{DataFrame, MAX_HOPS, put_prefixed};
use m2mesh::wire::frame::{self, HEADER, Kind};

/// Returns the data frame in these bytes, if its path shows that another device sent it.
fn of_others(bytes: &[u8]) -> Option<DataFrame<'_>> {
    let body = bytes.get(HEADER..).filter(|_| bytes[4] == Kind::Data as u8)?;
    DataFrame::parse(body).ok().filter(|data| !data.path.visited.is_empty())
}

/// Returns whether a frame is data that another device has sent.
pub(super) fn is_of_others(frame: &[u8]) -> bool {
    of_others(frame).is_some()
}

/// Returns the relay from which the writer of a frame has received it; `None` if it was received from its sender, or is
/// the writer's own.
pub(super) fn came_from(frame: &[u8]) -> Option<CredentialPrefix> {
    let data = of_others(frame)?;
    let before = data.path.visited.len().checked_sub(2)?;
    data.path.visited.get(before).copied()
}

/// Returns the frame with a path over as many relays as it may have.
pub(super) fn stretched(frame: &[u8]) -> Option<Vec<u8>> {
    let DataFrame { header_bytes, mut path, sealed, .. } = of_others(frame)?;
    let made_up = (0u64..).map(|number| CredentialPrefix((u64::MAX - number).to_be_bytes()));
    let missing = MAX_HOPS.saturating_sub(path.visited.len());
    // The relay's own entry comes last, as it should.
    let own = path.visited.len() - 1;
    path.visited.splice(own..own, made_up.take(missing));
    let mut body = Vec::new();
    put_prefixed(&mut body, header_bytes);
    put_prefixed(&mut body, &m2mesh::wire::encode(&path));
    body.extend_from_slice(sealed);
    let mut stretched = frame::raw(Kind::Data, &body);
    // The flags stay those of the frame.
    stretched[5] = frame[5];
    Some(stretched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use m2mesh::id::{Handle, OuterId};
    use m2mesh::wire::data::{Class, Form, Header, Path, Policy};

    fn frame(visited: &[u8]) -> Vec<u8> {
        let header = Header {
            to: Handle([7; 16]),
            class: Class::Alarm,
            form: Form::Session,
            expiry: 1,
            policy: Policy::default(),
            segment: 0,
            mail: None,
        };
        let visited = visited.iter().map(|relay| CredentialPrefix([*relay; 8])).collect();
        let path = Path { outer: OuterId([3; 8]), visited, ..Path::default() };
        let mut body = Vec::new();
        put_prefixed(&mut body, &m2mesh::wire::encode(&header));
        put_prefixed(&mut body, &m2mesh::wire::encode(&path));
        body.extend_from_slice(&[9; 40]);
        frame::raw(Kind::Data, &body)
    }

    #[test]
    fn a_path_is_read_and_stretched_and_nothing_else_is_changed() {
        for (visited, is_of_others_too, before) in
            [(&[][..], false, None), (&[1], true, None), (&[1, 2], true, Some(1))]
        {
            let frame = frame(visited);
            assert_eq!(is_of_others(&frame), is_of_others_too);
            assert_eq!(came_from(&frame), before.map(|relay| CredentialPrefix([relay; 8])));
        }
        assert_eq!(stretched(&frame(&[])), None, "its own");
        let (before, after) = (frame(&[1, 2]), stretched(&frame(&[1, 2])).expect("it is of another"));
        let before = DataFrame::parse(&before[HEADER..]).expect("a frame");
        let after = DataFrame::parse(&after[HEADER..]).expect("a frame");
        assert_eq!((before.header_bytes, before.sealed), (after.header_bytes, after.sealed));
        assert_eq!(after.path.visited.len(), MAX_HOPS);
        assert_eq!(after.path.visited.last(), before.path.visited.last());
        let hops: std::collections::BTreeSet<_> = after.path.visited.iter().collect();
        assert_eq!(hops.len(), MAX_HOPS, "nobody twice");
    }
}
