//! Held: commands that are not to be carried out at once, and publications, which may be spread by their policy.

use crate::engine::Engine;
use crate::engine::api::{Broadcast, Command, GroupRequest, Refused, Reply, Send, Timing, Token};
use crate::engine::groups::answers::Wanted;
use crate::engine::groups::broadcast::{self, Way};
use crate::engine::messages::held::{Parked, Waiting};
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use crate::wire::topic;
use core::time::Duration;
use std::sync::Arc;

impl Engine {
    /// Carries out a command with a timing. A timing means nothing for commands that send nothing.
    pub(super) fn handle_later(&mut self, token: Token, timing: &Timing, command: Command) {
        let Self { core, neighbours, routing, messages, .. } = self;
        match command {
            Command::Send(send) => messages.send(core, neighbours, routing, token, send, timing),
            Command::SendLoad(load) => messages.send_load(core, neighbours, routing, token, load, timing),
            Command::Request { send, service } => {
                messages.request(core, neighbours, routing, token, send, service, timing);
            }
            Command::Anycast(anycast) => messages.anycast(core, token, anycast, timing),
            Command::Broadcast(broadcast) => self.broadcast(token, broadcast, timing),
            Command::GroupRequest(request) => self.request_of_group(token, request, timing),
            Command::Publish { topic, .. } if topic::group(&topic) == broadcast::GROUP => {
                let reason = format!("topics of {} are for broadcasts: send to `all`", broadcast::GROUP);
                self.core.finish(token, Reply::Refused(Refused::Topic(reason)));
            }
            Command::Publish { topic, payload, policy, lifetime, confirm, latest } => {
                self.publish(token, (topic, payload), policy.as_deref(), lifetime, (confirm, latest), timing);
            }
            Command::Later { timing, command } => self.handle_later(token, &timing, *command),
            other => self.handle_command(token, other),
        }
    }

    /// Publishes a request.
    fn request_of_group(&mut self, token: Token, request: GroupRequest, timing: &Timing) {
        let Self { core, neighbours, routing, groups, .. } = self;
        let GroupRequest { topic, payload, policy, lifetime, most, id } = request;
        if groups.answers.ask_again(core, token, id) {
            return;
        }
        if timing.holds() || timing.wait.is_some() {
            return core.finish(token, Reply::Refused(Refused::AtOnce(format!("group:{topic}"))));
        }
        if topic::group(&topic) == broadcast::GROUP {
            let reason = format!("topics of {} are for broadcasts: send to `all`", broadcast::GROUP);
            return core.finish(token, Reply::Refused(Refused::Topic(reason)));
        }
        let checked = groups.check_publication(core, token, (&topic, &payload), policy.as_deref(), lifetime);
        let Some((send_policy, lifetime)) = checked else { return };
        let how = (token, None, false);
        let wanted = Some(Wanted { most, id });
        groups.publish(core, neighbours, routing, how, wanted, (topic, payload), send_policy, lifetime);
    }

    /// Sends a message to all devices: to the only one, or along the tree of all.
    fn broadcast(&mut self, token: Token, broadcast: Broadcast, timing: &Timing) {
        let Self { core, neighbours, routing, messages, groups, .. } = self;
        if timing.holds() || timing.wait.is_some() {
            return core.finish(token, Reply::Refused(Refused::AtOnce("all".to_owned())));
        }
        match groups.narrow(core, neighbours, routing, token) {
            None => {}
            Some(Way::One(to)) => {
                let Broadcast { payload, ack, policy, lifetime } = broadcast;
                let (class, id, latest) = (Class::Telemetry, None, None);
                let send = Send { to, payload, ack, class, policy, lifetime, id, latest };
                messages.send(core, neighbours, routing, token, send, timing);
            }
            Some(Way::All(devices)) => {
                let confirm = (broadcast.ack == Ack::End).then_some(devices);
                groups.broadcast(core, neighbours, routing, (token, confirm), broadcast);
            }
        }
    }

    /// Publishes a message, or holds it until it may leave.
    pub(super) fn publish(
        &mut self,
        token: Token,
        (topic, payload): (String, Vec<u8>),
        policy: Option<&str>,
        lifetime: Duration,
        (confirm, latest): (Option<u32>, bool),
        timing: &Timing,
    ) {
        let Some((send_policy, lifetime)) =
            self.groups.check_publication(&mut self.core, token, (&topic, &payload), policy, lifetime)
        else {
            return;
        };
        let spread = timing.spread.or_else(|| self.core.spread_of_topic(&topic, policy));
        let timing = Timing { spread, ..timing.clone() };
        let latest = latest || self.core.keeps_latest(&topic, policy);
        if latest {
            let Self { core, neighbours, routing, messages, .. } = self;
            messages.supersede_held_publications(core, neighbours, routing, &topic);
        }
        let policy = (*send_policy).clone();
        let parked = Parked::Publication { topic, payload, policy, confirm, latest };
        if let Some(Parked::Publication { topic, payload, .. }) =
            self.messages.hold(&mut self.core, token, parked, &timing, lifetime)
        {
            let Self { core, neighbours, routing, groups, .. } = self;
            groups.publish(
                core,
                neighbours,
                routing,
                (token, confirm, latest),
                None,
                (topic, payload),
                send_policy,
                lifetime,
            );
        }
    }

    /// Lets go what is due.
    pub(in crate::engine) fn timeout_held(&mut self) {
        for (number, item) in self.messages.held.take_due(self.core.now) {
            let left = item.left(self.core.now);
            let Self { core, neighbours, routing, messages, groups, .. } = self;
            if left.is_zero() || !matches!(item.what.parked, Parked::Publication { .. }) {
                messages.let_go(core, neighbours, routing, number, item);
                continue;
            }
            if !groups.publishing.has_room() {
                messages.keep_held(core, number, item);
                continue;
            }
            let Waiting { token, parked } = item.what;
            if let Parked::Publication { topic, payload, policy, confirm, latest } = parked {
                messages.forget_held(core, number);
                let token = token.unwrap_or(Token(0));
                let publication = (topic, payload);
                groups.publish(
                    core,
                    neighbours,
                    routing,
                    (token, confirm, latest),
                    None,
                    publication,
                    Arc::new(policy),
                    left,
                );
            }
        }
    }
}
