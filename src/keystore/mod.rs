//! Keystore: the secrets and credentials of a device and of a realm, as files of one directory.
//!
//! Messages and the event log are in the [store](crate::store), which a node can lose and go on without. It cannot go
//! on without the keystore: whoever has these files is the device, or the realm. So they are few, small, private to
//! their owner, written whole or not at all, and sealed under a passphrase if the owner wants one.
//!
//! | file | is |
//! |-|-|
//! | [`private_file`] | one file: mode 0600, replaced whole, refused if others could have read it |
//! | [`keyring`] | the same, sealed; how a directory's files are sealed anew, all or none |
//! | [`device_dir`] | `DIR/identity`: keys, credentials, cards of a device |
//! | [`saver`] | the one saver of a device's identity in a process, so that the newest state stays |
//! | [`realm_dir`] | `DIR/realm`: keys of operator, auditor and issuer |
//! | [`auditor_dir`] | what the auditor needs of a realm's directory |
//! | [`auditor_log`] | `DIR/realm/disclosures.log`: every identity that was opened |
//! | [`ledger_dir`] | `DIR/realm/ledger`: tickets and devices |
//! | `documents` | what a bulletin names, by hash |
//!
//! Invariants
//! 1. No secret is in a file that anybody but its owner can read.
//! 2. What was sealed is never written unsealed except by [`keyring::reseal`].
//! - A file is private from the moment of its creation, not only once it is written.
//! - After a crash each file has its old bytes or its new ones, and the directory opens whichever of its files are new.

pub mod auditor_dir;
pub mod auditor_log;
pub mod device_dir;
mod documents;
pub mod keyring;
pub mod ledger_dir;
pub mod private_file;
pub mod realm_dir;
pub mod saver;

pub use keyring::Keyring;
