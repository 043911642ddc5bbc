//! Identity: who belongs to a realm, how members know each other, and how nobody else does.
//!
//! # The keys, and who holds them
//!
//! | key | kind | held by | does |
//! |-|-|-|-|
//! | operator | Ed25519 | the operator, offline | *is* the realm (its hash is the realm id); signs the bulletin |
//! | issuer | Ed25519 | a few nodes, or the command line | signs credentials |
//! | issuer's seal key | X25519 | the issuer | opens enrolment requests |
//! | auditor | X25519 | the auditor, offline | opens the sealed id in a credential |
//! | K_resolve | 32 bytes | operator, issuers | all resolution keys derive from it |
//! | tree secret | 32 bytes | operator, issuers | all keys of the group key tree derive from it |
//! | contact key | X25519 | the device | mixed into every seal between contacts |
//! | renewal key | Ed25519 | the device | signs its requests for further credentials |
//! | pseudonym | Ed25519 | the device | its identity towards libp2p and under everything it signs |
//! | agreement key | X25519, one an epoch | the device, until its epoch is over | sessions of that epoch |
//! | resolution key RK(day) | 32 bytes | the device and its contacts, from a day on | computes the device's handles |
//! | path keys | 21 × 32 bytes | the device | open group keys in the bulletin |
//! | publishing key | 32 bytes, one a generation | operator, issuers, readers of a restricted group | the group's tags derive from it |
//!
//! A device generates all of its private keys itself; no issuer ever sees one.
//!
//! # How it hangs together
//!
//! A realm is founded ([`realm`]) with operator, issuer and auditor keys and a first [`bulletin`]. The issuer invites a
//! device ([`invitation`]) and hands over a [`ticket`]. The device generates its keys and sends a request
//! ([`enrolment`]); the [`issuer`] consults its [`ledger`], signs, and answers. Then the device has a [`membership`],
//! with a [`batch`] of credentials for a week. It asks for the next batch when half of that time is over.
//!
//! On every connection each end shows a [`credential`] and judges the other's ([`admission`]). A credential names a
//! pseudonym and a [`handle`]; only contacts, who hold the device's card ([`contact`]), can tell which device a handle
//! belongs to. Messages to a contact are sealed in a [`session`], those to a [`group`] under a key that the
//! [`group_tree`] brings to all members. [`seal`], [`sign`] and [`kdf`] are the primitives that the rest is built from.
//! Keys at rest may be sealed under a [`passphrase`].
//!
//! # The key schedule
//!
//! There are two functions, see [`kdf`]: `derive(key; parts)` is HKDF-SHA256 to 32 bytes, `tag(key; parts)` is
//! HMAC-SHA256 cut to length. Each use has a label; all labels begin with `m2mesh/1 ` and are constants of
//! [`kdf::label`].
//!
//! ```text
//! K_resolve ── resolution (device, generation) ─► RK(0) ── day ─► RK(1) ── day ─► … RK(d)
//!                                                                          RK(d) ── handle (epoch) ─► handle
//! tree secret ── publishing key (name's tag, generation) ─► publishing key ── publishing tag (epoch) ─► tag on frames of a restricted group
//! tree secret ── tree node (n) ─► node key ── group cover (group, version, n) ─► seals the group key in the bulletin
//! root group key ── group key (name) ─► K_group ── group tag (epoch) ─► tag on frames
//!                │                              ├─ group sender (pseudonym, salt) ─► key of one sender's frames
//!                 │                              └─ publishing seal (version, generation) ─► seals the publishing key, see [`permit`]
//!                ├─ group topic (tag, segment) ─► gossip topic
//!                └─ service (epoch, name) ─► tag of a service
//! DH(contact keys) ── session psk (both) ─► pre-shared key of the handshake, see [`session`]
//! Noise KKpsk0 ─┬─ session early (handshake's hash) ─► the initiator's records before the answer
//!               └─ its two keys ─► records of each direction
//! Noise XX ──── its two keys ─► line frames of each direction, see [`noise::xx`]
//! DH(ephemeral, receiver) ─┬─ session credential (e, r) ─► the initiator's credential in the opener
//!                          ├─ enrolment request (e, r) ─► request to the issuer
//!                          ├─ enrolment answer (e, r) ─► answer to the device
//!                          └─ sealed id (e, r) ─► (device id, epoch) to the auditor
//! Argon2id (passphrase, salt) ─┬─ file key (fresh salt, purpose) ─► seals one file at rest
//!                              └─ file check (its head) ─► tells a wrong passphrase
//! chain of a device ─┬─ epoch secret ─► agreement key of one epoch
//!                    └─ epoch chain, epoch block ─► the chain at a later epoch
//! realm id ── group name (name) ─► tag of a listed group          device id ── renewal jitter (epoch) ─► when to renew
//! ```
//!
//! Signatures are Ed25519 (RFC 8032) over `context ‖ 0x00 ‖ body`; each kind of document has a context of its own, see
//! [`crate::wire::signed`]. Every AEAD is ChaCha20-Poly1305, or AES-256-GCM for records where both ends support it,
//! with a nonce of 32 zero bits and a 64-bit counter. A key that seals once uses counter zero; the others count in
//! memory, and their counters are never written to disk. A simulation checks that no key is used twice with the same
//! nonce ([`audit`]).
//!
//! # What is left out
//!
//! This module has no clock, no disk and no source of randomness: the time is passed in, randomness comes from a seeded
//! generator that is passed in, and files are the business of `store`. A device's handles and agreement keys
//! change with every epoch, and its pseudonym where it is told to rotate it.
//!
//! Invariants
//! 1. What is signed neither by the operator nor by an issuer that the operator's bulletin lists has no effect.
//! 2. An issuer that lies can make false members. It can neither read nor forge what passes between contacts.
//! - A party that holds no card of a device cannot tell two of its handles from two random ones.
//! - No private key, card or path key appears in `Debug` output, in an error or in a log line.

pub mod admission;
pub mod anonymity;
pub mod audit;
pub mod batch;
pub mod bulletin;
pub mod certified;
pub mod clock;
pub mod contact;
pub mod credential;
pub mod disclosure;
pub mod enrolment;
mod epoch_chain;
pub mod group;
pub mod group_tree;
mod group_versions;
pub mod handle;
pub mod invitation;
pub mod issuer;
pub mod kdf;
pub mod ledger;
pub mod mail;
pub mod membership;
pub mod noise;
pub mod passphrase;
pub mod permit;
pub mod realm;
mod record;
pub mod replay_window;
mod revoked;
pub mod seal;
pub mod session;
pub mod sign;
pub mod successor;
pub mod ticket;
