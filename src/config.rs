//! The settings of a node: one TOML document, made of the settings of every module.
//!
//! The document is `DIR/config.toml`, or the file named by `--config`. If the file is missing, the defaults apply. An
//! unknown key is an error that names the most similar known one, so that a mistyped setting is always noticed.

pub mod bearer;
pub mod cron;
pub mod duty;
pub mod lab;
pub mod mail;
pub mod quantity;
pub mod serial;
pub mod share;

use crate::engine::Settings;
use crate::event_log;
use crate::identity::anonymity::Anonymity;
use crate::net::NetConfig;
use crate::routing::policies::{MAX_POLICIES, NamedPolicy};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All settings of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `clock`: whose time it goes by.
    pub clock: ClockSource,
    /// `clock_error`: by how much the machine's clock is wrong at most, as whoever sets it says: `20ms`.
    #[serde(with = "bearer::optional_span", skip_serializing_if = "Option::is_none")]
    pub clock_error: Option<Duration>,
    /// `push_only`: whether the device only sends, and takes nothing: it has no inbox, offers nothing, listens to nothing, and forwards for nobody.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub push_only: bool,
    /// For how long the device is known by one pseudonym: `stable` (its life), or `rotating`, the default, or `strict` (an epoch). It is in force from
    /// the first epoch on for which the device has asked for no credential yet.
    pub anonymity: Anonymity,
    /// `[net]`: addresses, limits, times.
    pub net: NetConfig,
    /// `[log]`: bounds of the event log.
    pub log: event_log::Config,
    /// `[routing]`: whether this node forwards for others, and its area.
    pub routing: RoutingConfig,
    /// `[blobs]`: large payloads that are kept.
    pub blobs: BlobConfig,
    /// `[mail]`: mail that is taken, and kept for others.
    pub mail: mail::MailConfig,
    /// `[sleep]`: when the device is awake, and who keeps its mail meanwhile.
    #[serde(skip_serializing_if = "mail::SleepConfig::is_none")]
    pub sleep: mail::SleepConfig,
    /// `[[policy]]`: policies that messages can be sent under.
    #[serde(rename = "policy")]
    pub policies: Vec<NamedPolicy>,
    /// `[[bearer]]`: what carries links, in order of their rules. Without any, all links use one free bearer.
    #[serde(rename = "bearer", deserialize_with = "bearer::bounded", skip_serializing_if = "Vec::is_empty")]
    pub bearers: Vec<bearer::Bearer>,
    /// `[[serial]]`: serial lines to neighbours without IP.
    #[serde(deserialize_with = "serial::bounded", skip_serializing_if = "Vec::is_empty")]
    pub serial: Vec<serial::Serial>,
}

/// Whose time a node goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSource {
    /// The machine's, unless that says less than must have passed.
    #[default]
    Machine,
    /// The machine has no clock that anybody sets: what members and the issuer tell.
    None,
}

/// `[routing]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingConfig {
    /// Whether this node forwards for others, and so is a router. A leaf has one of its neighbours find the route.
    pub forwarding: bool,
    /// Number of its area. An area has about 1,000 routers at most.
    pub area: u32,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self { forwarding: true, area: 0 }
    }
}

/// `[blobs]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlobConfig {
    /// Most bytes of blobs that are kept, as `2GB`.
    pub quota: quantity::Bytes,
}

impl Default for BlobConfig {
    fn default() -> Self {
        Self { quota: quantity::Bytes(2_000_000_000) }
    }
}

/// Name of the settings' file in a node's directory.
pub const FILE: &str = "config.toml";

/// The settings that a new device begins with.
#[derive(Serialize)]
struct First<'a> {
    anonymity: Anonymity,
    #[serde(skip_serializing_if = "Option::is_none")]
    net: Option<FirstNet<'a>>,
}

#[derive(Serialize)]
struct FirstNet<'a> {
    bootstrap: &'a [String],
}

/// Writes the settings that a new device begins with, unless there are settings in its directory already.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn begin(directory: &Path, anonymity: Anonymity, bootstrap: &[String]) -> Result<(), ConfigError> {
    let path = directory.join(FILE);
    if path.exists() {
        return Ok(());
    }
    let net = (!bootstrap.is_empty()).then_some(FirstNet { bootstrap });
    let text = toml::to_string(&First { anonymity, net }).expect("a word and a list of texts are TOML");
    std::fs::write(&path, text).map_err(|error| ConfigError::Write { path, error })
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the settings {} cannot be read: {error}; check the path, and who owns it", .path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// The file cannot be written.
    #[error("the settings {} cannot be written: {error}; check the path, and who owns it", .path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// The file is not TOML, or has settings that are wrong.
    #[error("in {}: {message}", .path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Line, key and what is wrong.
        message: String,
    },
}

impl Config {
    /// Reads the settings of a node: from the file named, else from the file in its directory if there is one.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if its settings are wrong.
    pub fn load(directory: &Path, named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.map_or_else(|| directory.join(FILE), Path::to_path_buf);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|message| ConfigError::Parse { path, message }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(Self::default()),
            Err(error) => Err(ConfigError::Read { path, error }),
        }
    }

    /// Parses settings.
    ///
    /// # Errors
    /// A text with the line, the key, and the most similar known key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| explain(text, &error))?;
        if config.policies.len() > MAX_POLICIES {
            return Err(format!("{} policies; a node has at most {MAX_POLICIES}: remove some", config.policies.len()));
        }
        if config.push_only && (config.mail.receive || !config.sleep.parents.is_empty()) {
            return Err(
                "`push_only`: such a device takes no mail; remove `receive` under [mail] and `parents` under [sleep]"
                    .into(),
            );
        }
        match config.policies.iter().find_map(NamedPolicy::problem) {
            Some(problem) => Err(problem),
            None => Ok(config),
        }
    }

    /// The settings of the engine.
    pub fn settings(&self) -> Settings {
        Settings {
            log: self.log.clone(),
            forwarding: self.routing.forwarding && !self.push_only,
            push_only: self.push_only,
            area: self.routing.area,
            aes: false,
            bearers: bearer::bearers(&self.bearers, &self.serial).profiles().to_vec(),
            anonymity: self.anonymity,
            policies: self.policies.clone(),
            blob_quota: self.blobs.quota.0,
            mail: (self.mail.receive || !self.sleep.is_none()) && !self.push_only,
            mail_quota: self.mail.quota.0,
            sleep: self.sleep.settings(),
            clock: self.clock == ClockSource::Machine,
            clock_error: self.clock_error,
            ..Settings::default()
        }
    }
}

/// Explains an error in a document: what is wrong, on which line, and the most similar known key.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let nearest = nearest_key(error.message()).map(|key| format!("; did you mean `{key}`?"));
    let hint = nearest.unwrap_or_else(|| "; correct that line, or remove it to have the default".into());
    format!("{place}{}{hint}", error.message())
}

/// Of the keys that serde lists in "unknown field `x`, expected one of `a`, `b`", returns the one most similar to `x`.
/// Does the same for an unknown variant.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted
        .next()
        .filter(|_| ["unknown field", "unknown variant"].iter().any(|start| message.starts_with(start)))?;
    quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(2))
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_default_and_parse() {
        assert_eq!(Config::parse(""), Ok(Config::default()));
        let config = Config::parse("[net]\nlisten = ['/ip4/127.0.0.1/tcp/7000']\nmdns = false").expect("valid");
        assert_eq!(config.net.listen.len(), 1);
    }

    #[test]
    fn a_device_that_sleeps_takes_mail_and_is_awake_at_times() {
        let text = "[sleep]\nparents = [\"gateway\"]\nawake = [{ cron = \"*/15 * * * *\", for = \"1m\" }]";
        let settings = Config::parse(text).expect("valid").settings();
        let sleep = settings.sleep.expect("it sleeps");
        assert!(settings.mail && sleep.parents.len() == 1 && !sleep.awake.is_empty());
        let plain = Config::parse("[mail]\nquota = \"1MB\"").expect("valid").settings();
        assert!(!plain.mail && plain.sleep.is_none() && plain.mail_quota == 1_000_000);
        let error = Config::parse("[sleep]\nawake = [{ from = \"01:00\" }]").expect_err("it has no end");
        assert!(error.contains("until"), "{error}");
    }

    #[test]
    fn a_device_that_only_pushes_is_a_leaf_and_takes_no_mail() {
        let text = "push_only = true\n[sleep]\nawake = [{ cron = \"*/15 * * * *\", for = \"1m\" }]";
        let settings = Config::parse(text).expect("valid").settings();
        assert!(settings.push_only && !settings.forwarding && !settings.mail && settings.sleep.is_some());
        assert!(!Config::default().settings().push_only);
        for more in ["[mail]\nreceive = true", "[sleep]\nparents = [\"gateway\"]"] {
            let error = Config::parse(&format!("push_only = true\n{more}")).expect_err("it takes nothing");
            assert!(error.contains("takes no mail"), "{error}");
        }
    }

    #[test]
    fn a_machine_without_a_clock_is_one_by_its_settings() {
        let clock = |text: &str| Config::parse(text).map(|config| config.settings().clock);
        assert_eq!(
            [clock(""), clock("clock = \"machine\""), clock("clock = \"none\"")],
            [Ok(true), Ok(true), Ok(false)]
        );
        let error = clock("clock = \"non\"").expect_err("a variant that there is not");
        assert!(error.starts_with("line 1:") && error.contains("did you mean `none`?"), "{error}");
    }

    #[test]
    fn a_mistyped_key_is_named_with_its_line_and_the_nearest() {
        let error = Config::parse("[net]\nmdns = true\nbootstrp = []").expect_err("unknown key");
        assert!(error.starts_with("line 3:") && error.contains("`bootstrp`"), "{error}");
        assert!(error.ends_with("did you mean `bootstrap`?"), "{error}");
    }
}
