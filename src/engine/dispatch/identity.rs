//! Identity: what an operator is told of the device's pseudonym, and may change of it.

use crate::engine::Engine;
use crate::engine::api::{Reply, Token};
use crate::engine::membership::rotation::Phase;
use crate::engine::view::IdentityView;
use crate::identity::anonymity::Anonymity;

impl Engine {
    pub(super) fn report_identity(&mut self, token: Token) {
        let view = Box::new(self.identity());
        self.core.finish(token, Reply::Identity(view));
    }

    /// Under which pseudonym this device takes part, and until when.
    pub fn identity(&self) -> IdentityView {
        let (core, membership) = (&self.core, &self.core.membership);
        let (length, now) = (membership.epoch_length(), core.now.unix);
        let epoch = length.epoch_at(now);
        IdentityView {
            pseudonym: core.own,
            former: core.former,
            anonymity: membership.anonymity(),
            in_force_from: length.start(membership.rotates_from(now)),
            epoch: epoch.0,
            epoch_ends: length.end(epoch),
            next_change: membership.next_change(now),
            changing: self.member.rotation.phase() != Phase::Settled,
        }
    }

    /// Sets the mode, or takes a pseudonym that is due without waiting any longer. None is due before the next epoch: an issuer certifies one for
    /// each epoch, and neighbours believe none before its time.
    pub(super) fn rotate(&mut self, token: Token, anonymity: Option<Anonymity>) {
        if let Some(anonymity) = anonymity {
            self.member.keep_anonymity(&mut self.core, anonymity);
            return self.report_identity(token);
        }
        self.member.rotation.hurry(self.core.now.time);
        self.timeout_rotation();
        self.report_identity(token);
    }
}
