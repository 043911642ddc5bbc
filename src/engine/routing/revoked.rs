//! Devices that the operator has revoked: what is known of where they are, and of what they have told, goes.

use crate::engine::core::Core;
use crate::engine::routing::Routing;
use crate::identity::credential::PeerCredential;

impl Routing {
    /// Forgets routers and places of devices whose credentials are these, which are accepted no more.
    pub(in crate::engine) fn cut_off(&mut self, core: &Core, gone: &[PeerCredential]) {
        let (bulletin, unix) = (core.membership.bulletin().clone(), core.now.unix);
        self.locating.heed(|credential| bulletin.recheck(credential, unix).is_ok());
        for credential in gone {
            self.link_state.forget_router(&credential.body.key);
        }
    }
}
