//! The right to publish, computed a second time.

use super::*;
use m2mesh::identity::permit::{self, Allowed, Found};
use m2mesh::time::Unix;

/// A group to which only some publish: what its version carries, its tag, and a permit.
pub(super) fn restricted_group() -> Entry {
    let name: [u8; 8] = head(tag(&realm().0, "m2mesh/1 group name", &[b"plant"]));
    let key = opaque_array::<32>("group key");
    let publishing = derive(None, &[TREE; 32], "m2mesh/1 publishing key", &[&name, &GENERATION.to_be_bytes()]);
    let parts: [&[u8]; 4] = [&name, &3u32.to_be_bytes(), &GENERATION.to_be_bytes(), &SALT];
    let sealed = aead(&derive(None, &key, "m2mesh/1 publishing seal", &parts), 0, &[], &publishing);
    let mut epoch_tag: [u8; 8] = head(tag(&publishing, "m2mesh/1 publishing tag", &[&EPOCH.0.to_be_bytes()]));
    epoch_tag[0] |= 0x80;
    let publisher = signing_key(PSEUDONYM);
    let body = [&realm().0[..], &EPOCH.0.to_be_bytes(), &publisher.0, &epoch_tag].concat();
    let permit = [&issuer().0[..], &sign(ISSUER, "m2mesh/1 permit", &body).0].concat();

    let tree = GroupTree::new(Secret::new([TREE; 32]));
    let mut version = sealed_version((Some(Tag(name)), 3), SALT, 1, &[1], &key);
    tree.restrict(&mut version, &Secret::new(key), GENERATION);
    let restriction = version.restriction.as_ref().expect("restricted");
    assert_eq!((restriction.generation, &restriction.sealed[..]), (GENERATION, &sealed[..]));
    let documents = [encode(&sealed_version((None, 1), SALT, 1, &[1], &[ROOT; 32])), encode(&version)];
    let versions = [(None, 1), (Some(Tag(name)), 3)];
    let named = versions.iter().zip(&documents).map(|((group, version), document)| GroupReference {
        group: *group,
        version: *version,
        from: NOW,
        hash: Sha256::digest(document).into(),
    });
    let signed = signed(OPERATOR, bulletin::CONTEXT, &realm_bulletin(named.collect()));
    let mut bulletin = VerifiedBulletin::verify(realm(), &signed).expect("a sound bulletin");
    for document in &documents {
        assert_eq!(bulletin.attach(document), Ok(true));
    }
    let library = GroupKeys::new(&tree.path(5).expect("a leaf"), &[], &bulletin, None).expect("keys");
    assert_eq!(library.tag("plant", EPOCH).0, epoch_tag);
    let allowed = Allowed { epoch: EPOCH, publisher: &publisher, group: Tag(epoch_tag) };
    let found = permit::judge(
        &bulletin,
        &Permit(permit.clone().try_into().expect("its length")),
        &allowed,
        Unix::from_seconds(NOW),
    );
    assert_eq!(found, Found::Holds);
    Entry::new("restricted-group")
        .with("realm", &realm().0)
        .with("tree_secret", &[TREE; 32])
        .with_text("group", "plant")
        .with_number("generation", GENERATION.into())
        .with_number("version", 3)
        .with("K_group", &key)
        .with("salt", &SALT)
        .with_number("epoch", EPOCH.0)
        .with("publisher", &publisher.0)
        .gives("name_tag", &name)
        .gives("publishing_key", &publishing)
        .gives("sealed", &sealed)
        .gives("tag", &epoch_tag)
        .gives("permit", &permit)
        .gives("group_version", &encode(&version))
}
