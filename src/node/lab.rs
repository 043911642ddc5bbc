//! A node of a lab: it keeps apart from the devices it is told to, and shapes its links.
//!
//! The orders ([`Lab`]) use names. The gate uses handles, so these are derived again whenever the epoch, the contacts
//! or the orders change. Existing links are checked then, and new ones as they come up. A change is in force at once,
//! and is confirmed when it has been written down.

use super::{Done, EventLoop, Gate, Host};
use crate::client::{LabRefused, Replies, Reply};
use crate::engine::Input;
use crate::gateway::dto;
use crate::id::{Handle, LinkId};
use crate::identity::contact::ContactBook;
use crate::net::emulation::Lab;
use crate::store::Store;
use crate::time::Unix;
use futures::FutureExt;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The handles of the devices to keep apart from.
#[derive(Debug, Default)]
pub(super) struct Barred {
    /// If set, all devices but these are barred.
    only: Option<BTreeSet<Handle>>,
    cut: BTreeSet<Handle>,
}

impl Barred {
    pub(super) fn bars(&self, handle: &Handle) -> bool {
        self.cut.contains(handle) || self.only.as_ref().is_some_and(|only| !only.contains(handle))
    }
}

impl Gate {
    /// Bars the devices that `lab` names, by the handles that they have around the time `at`.
    pub fn bar(&self, lab: &Lab, contacts: &mut ContactBook, at: Unix) {
        let mut handles = |names: &BTreeSet<_>| -> BTreeSet<Handle> {
            names.iter().flat_map(|name| contacts.handles_of(name, at).collect::<Vec<_>>()).collect()
        };
        let mut cut = handles(&lab.cut);
        cut.extend(handles(&lab.silent));
        let barred = Barred { only: lab.only.as_ref().map(&mut handles), cut };
        self.barred.store(Arc::new(barred));
    }
}

impl<S: Store, H: Host> EventLoop<S, H> {
    /// The present orders, as a reply.
    pub(super) fn lab(&self) -> Reply {
        self.lab.as_ref().map_or(Reply::LabRefused(LabRefused::NoLab), |lab| Reply::Lab(Box::new(lab.clone())))
    }

    /// Takes new orders.
    pub(super) fn handle_lab(&mut self, new: Box<Lab>, replies: Replies) {
        // A client that has gone meanwhile does not need the answer.
        let Some(old) = &self.lab else { return drop(replies.push(Reply::LabRefused(LabRefused::NoLab))) };
        let barred = |lab: &Lab, name: &_| lab.is_out_of_reach(name);
        let contacts = self.engine.membership().contact_book().iter();
        let healed = contacts.map(|card| &card.name).any(|name| barred(old, name) && !barred(&new, name));
        let kept = self.host.keep_lab(dto::Lab::from((*new).clone()));
        self.begin(kept.map(move |result| Done::LabKept { replies, result }).boxed());
        self.lab = Some(*new);
        self.enforce_lab(true);
        if healed {
            self.networks.forget_backoff();
        }
    }

    /// Answers the client, once the new orders have been written down or could not be.
    pub(super) fn handle_lab_kept(&mut self, replies: &Replies, result: Result<(), String>) {
        let reply = match result {
            Ok(()) => self.lab(),
            Err(reason) => {
                Reply::LabRefused(LabRefused::NotKept(format!("the orders hold until the node stops: {reason}")))
            }
        };
        let _ = replies.push(reply);
    }

    /// Makes gate and links comply with the orders. With `measure`, round trips of shaped links are measured again even
    /// where nothing has changed here, since the other end may have changed.
    pub(super) fn enforce_lab(&mut self, measure: bool) {
        let Some(lab) = &self.lab else { return };
        let at = self.now().unix;
        for (_, gate) in self.networks.gates() {
            gate.bar(lab, self.engine.membership().contacts(), at);
        }
        let links: Vec<LinkId> = self.neighbours.keys().copied().collect();
        for link in links {
            self.enforce_on_link(link, measure);
        }
    }

    /// Makes one link comply with the orders.
    pub(super) fn enforce_on_link(&mut self, link: LinkId, measure: bool) {
        let Some(lab) = &self.lab else { return };
        let name = self.engine.links().find(|(id, ..)| *id == link).and_then(|(_, name, _)| name);
        let barred = name.map_or(lab.only.is_some(), |name| lab.bars(name));
        if barred {
            if let Some(network) = self.networks.of_link(link) {
                network.close(link, "cut");
            }
            return;
        }
        let shape = name.and_then(|name| lab.shapes.get(name)).copied().filter(|shape| !shape.is_plain());
        let Some(neighbour) = self.neighbours.get_mut(&link) else { return };
        if neighbour.shape != shape || (measure && shape.is_some()) {
            neighbour.shape = shape;
            if let Some(network) = self.networks.of_link(link) {
                network.set_shape(link, shape);
            }
        }
        let mute = name.is_some_and(|name| lab.silent.contains(name));
        if neighbour.mute != mute {
            neighbour.mute = mute;
            if let Some(network) = self.networks.of_link(link) {
                network.set_mute(link, mute);
            }
        }
        let price = shape.map(|shape| shape.price).filter(|price| *price > 0);
        if neighbour.price != price {
            neighbour.price = price;
            self.handle(Input::Priced { link, price });
        }
    }
}
