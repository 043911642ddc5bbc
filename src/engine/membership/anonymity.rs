//! Anonymity: the mode that the application has asked for, which outlasts the process.
//!
//! The settings say a mode, and the application may say another at run time. Who spoke last is heeded: what the application says is kept
//! together with what the settings said then, and holds until the settings say something else.
//!
//! Invariants
//! 1. A mode that was set at run time holds after a restart, until another one stands in the settings.

use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::event_log::Event;
use crate::identity::anonymity::Anonymity;
use crate::wire;
use serde::{Deserialize, Serialize};

/// Key in [`Table::Meta`].
const KEY: &[u8] = b"anonymity";

#[derive(Serialize, Deserialize)]
struct Kept {
    /// What was asked for.
    anonymity: Anonymity,
    /// What the settings said at that time.
    instead_of: Anonymity,
}

/// The mode that holds, where the settings say this.
pub(in crate::engine) fn load(store: &dyn Read, settings: Anonymity) -> Result<Anonymity, ReadError> {
    let kept = store.get(Table::Meta, KEY)?.and_then(|kept| wire::decode::<Kept>(&kept).ok());
    Ok(kept.filter(|kept| kept.instead_of == settings).map_or(settings, |kept| kept.anonymity))
}

impl Member {
    /// Sets the mode from now on.
    pub(in crate::engine) fn keep_anonymity(&mut self, core: &mut Core, anonymity: Anonymity) {
        core.membership.set_anonymity(anonymity);
        let value = wire::encode(&Kept { anonymity, instead_of: core.settings.anonymity });
        core.journal.write(Write::Put { table: Table::Meta, key: KEY.to_vec(), value });
        core.record(Event::AnonymitySet { anonymity: anonymity.name().to_owned() });
        self.plan_renewal(core);
    }
}
