//! Well-formed: the rules of an advertisement that its encoding does not enforce.

use crate::id::CredentialHash;
use crate::wire::lsa::{Lsa, LsaAccess, MAX_ACCESSES, MAX_BORDERS, MAX_LEAVES, MAX_LINKS, MAX_LSA, MAX_TAGS};

/// Why an advertisement is not well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It names another credential as its origin than the one that it came under.
    #[error("it names another credential as its origin")]
    Origin,
    /// Its sequence number is 0; numbers begin at 1.
    #[error("its sequence number is 0")]
    Sequence,
    /// It is longer than [`MAX_LSA`].
    #[error("it is longer than {MAX_LSA} bytes")]
    TooLong,
    /// It has more links than [`MAX_LINKS`].
    #[error("it has more than {MAX_LINKS} links")]
    TooManyLinks,
    /// It has more leaves than [`MAX_LEAVES`].
    #[error("it has more than {MAX_LEAVES} leaves")]
    TooManyLeaves,
    /// It has more groups or services than [`MAX_TAGS`], or more borders than [`MAX_BORDERS`].
    #[error("it has more than {MAX_TAGS} groups or services, or {MAX_BORDERS} borders")]
    TooManyTags,
    /// It tells of more kinds of links to leaves than [`MAX_ACCESSES`], or of other places than those of its leaves, or of one leaf
    /// twice.
    #[error("it has more than {MAX_ACCESSES} kinds of links to leaves, or they are not those of its leaves")]
    Accesses,
    /// It has a link to its own router.
    #[error("it has a link to itself")]
    LinkToItself,
    /// The list with this name is out of order or has duplicates.
    #[error("its {0} do not ascend")]
    Order(&'static str),
}

/// Checks the body of an advertisement under this credential; `length` is the size of its wire form in bytes.
pub(super) fn check(lsa: &Lsa, origin: CredentialHash, length: usize) -> Result<(), Flaw> {
    let Lsa { origin: named, sequence, area: _, leaving: _, links, leaves, groups, services, borders, accesses } = lsa;
    let rules = [
        (*named == origin, Flaw::Origin),
        (*sequence > 0, Flaw::Sequence),
        (length <= MAX_LSA, Flaw::TooLong),
        (links.len() <= MAX_LINKS, Flaw::TooManyLinks),
        (leaves.len() <= MAX_LEAVES, Flaw::TooManyLeaves),
        (links.iter().all(|link| link.to != origin), Flaw::LinkToItself),
        (links.is_sorted_by(|a, b| (a.to, a.bearer) < (b.to, b.bearer)), Flaw::Order("links")),
        (leaves.is_sorted_by(|a, b| a < b), Flaw::Order("leaves")),
        (groups.is_sorted_by(|a, b| a < b), Flaw::Order("groups")),
        (services.is_sorted_by(|a, b| a < b), Flaw::Order("services")),
        (borders.is_sorted_by(|a, b| a < b), Flaw::Order("borders")),
        (accesses.is_sorted_by(|a, b| a.kind() < b.kind()), Flaw::Order("kinds of links to leaves")),
        (accesses.len() <= MAX_ACCESSES && are_of(accesses, leaves.len()), Flaw::Accesses),
        (groups.len().max(services.len()) <= MAX_TAGS && borders.len() <= MAX_BORDERS, Flaw::TooManyTags),
    ];
    rules.into_iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, flaw)| Err(flaw))
}

/// Whether each of these kinds of links has some of so many leaves, and no leaf is at two of them.
fn are_of(accesses: &[LsaAccess], leaves: usize) -> bool {
    let mut seen = vec![0; leaves.div_ceil(8)];
    let beyond = seen.len() * 8 - leaves;
    accesses.iter().all(|LsaAccess { leaves, .. }| {
        let fits =
            leaves.len() == seen.len() && leaves.last().is_some_and(|last| last.leading_zeros() as usize >= beyond);
        let apart = seen.iter().zip(leaves).all(|(seen, octet)| seen & octet == 0);
        seen.iter_mut().zip(leaves).for_each(|(seen, octet)| *seen |= octet);
        fits && apart && leaves.iter().any(|octet| *octet != 0)
    })
}
