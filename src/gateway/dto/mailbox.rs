//! Mail that is kept for others.

use crate::engine::view;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The mail that is kept for one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailboxView {
    /// The receiver; null for all that are no contacts.
    pub to: Option<String>,
    /// Whether the receiver names this node as its parent.
    pub parent: bool,
    /// How many mails are kept.
    pub mails: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How many of them are on their way.
    pub under_way: usize,
    /// Since when the oldest is kept, as RFC 3339; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// When the first is of no use any more, as RFC 3339; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl From<view::MailboxView> for MailboxView {
    fn from(view: view::MailboxView) -> Self {
        let view::MailboxView { to, parent, mails, bytes, under_way, oldest, expires } = view;
        Self {
            to: to.map(|name| name.to_string()),
            parent,
            mails,
            bytes,
            under_way,
            oldest: oldest.map(|at| at.to_string()),
            expires: expires.map(|at| at.to_string()),
        }
    }
}
