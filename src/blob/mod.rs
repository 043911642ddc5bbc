//! Blob: large payloads, in chunks that are verified one by one and fetched from whoever has them.
//!
//! **Mechanism.** A blob is up to 1 GiB of bytes, named by a hash of its content ([`tree`]). A device that wants one asks
//! its holders for chunks of 32 KiB ([`fetch`]); each chunk comes with the proof that it belongs to the blob and is
//! verified before anything else is done with it. Holders answer in turn, one chunk at a time ([`serve`]). What a device
//! keeps is accounted for on its [`shelf`], with a quota. These cores hold numbers of chunks and not their bytes: a chunk
//! is loaded for the moment in which it leaves, and handed to the disk as it comes ([`disk`]).
//!
//! A chunk is marked as there once it is durable, so a transfer goes on at the first chunk that is missing, whatever
//! process was stopped and whichever path was cut. Names of devices are all that a transfer depends on: sessions, routes
//! and pseudonyms may change in the middle of it.
//!
//! | file | is |
//! |-|-|
//! | [`tree`] | the hash of a blob, the proofs of its chunks |
//! | [`bits`] | which chunks there are |
//! | [`fetch`] | which chunk is asked of whom, and when again |
//! | [`window`] | how many chunks may be on their way from one holder |
//! | [`serve`] | in which order chunks leave |
//! | [`shelf`] | what is kept, for whom and for how long |
//! | [`disk`] | what is asked of a disk |

pub mod bits;
pub mod disk;
pub mod fetch;
pub mod serve;
pub mod shelf;
pub mod tree;
pub mod window;
