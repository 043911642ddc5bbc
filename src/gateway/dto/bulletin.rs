//! A bulletin of the operator's, as it is handed to a node, and as a file that somebody carries.

use crate::identity::bulletin::VerifiedBulletin;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A bulletin, with documents that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulletinBody {
    /// The signed bulletin in RFC 4648 base64.
    pub bulletin_base64: String,
    /// Documents that it names, in the same form: what is left out a node asks of others.
    #[serde(default)]
    pub documents_base64: Vec<String>,
}

impl BulletinBody {
    /// A bulletin and those of its documents that are at hand, as far as a request has room for them.
    pub fn new(bulletin: &VerifiedBulletin) -> Self {
        let mut room = MAX_DOCUMENTS;
        let mut documents = Vec::new();
        for document in bulletin.documents() {
            if let Some(left) = room.checked_sub(document.len()) {
                room = left;
                documents.push(BASE64.encode(document));
            }
        }
        Self { bulletin_base64: BASE64.encode(bulletin.signed()), documents_base64: documents }
    }

    /// Bulletin and documents as bytes.
    ///
    /// # Errors
    /// One of them is not base64.
    pub fn into_parts(self) -> Result<(Vec<u8>, Vec<Vec<u8>>), String> {
        let bytes = |field: &str, text: &str| {
            BASE64.decode(text.as_bytes()).map_err(|error| format!("{field} is not base64: {error}"))
        };
        let documents = self.documents_base64.iter().map(|text| bytes("documents_base64", text));
        Ok((bytes("bulletin_base64", &self.bulletin_base64)?, documents.collect::<Result<_, _>>()?))
    }
}

/// Most bytes of documents in a request: with base64 and a bulletin within the 2 MiB that the local API takes.
const MAX_DOCUMENTS: usize = 1_400_000;

/// What has become of a bulletin that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulletinTaken {
    /// Version of the bulletin that the node holds now.
    pub version: u64,
    /// Whether that is the one handed over, and was not there.
    pub newer: bool,
}
