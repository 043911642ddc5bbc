//! `passphrase`: sealing the keys at rest, and the source of the passphrase for every verb.
//!
//! A passphrase never comes from an argument, which other users of the machine could read. It comes from the first of:
//! the file named by `--passphrase-file`; the file named by M2MESH_PASSPHRASE_FILE; the credential `passphrase` that
//! systemd gives to a service; a person at the terminal, who types it unseen, and twice where it is set.

use super::Verdict;
use super::failure::Failure;
use super::shell::Shell;
use crate::identity::passphrase::{MAX_PASSPHRASE, Passphrase};
use crate::keystore::device_dir::{DeviceDir, DeviceDirError};
use crate::keystore::realm_dir::RealmDir;
use crate::keystore::{Keyring, keyring};
use crate::store::DirectoryLock;
use std::env;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Seals this device's keys, and its realm's, under a passphrase
///
/// A copy of a sealed directory is useless without the passphrase. `m2mesh run` and `m2mesh realm` then need it: they
/// take it from --passphrase-file, from the file named by M2MESH_PASSPHRASE_FILE, from systemd's credential
/// `passphrase`, or ask for it on the terminal. The node must not run meanwhile.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  m2mesh passphrase set --dir ./meter-17
  m2mesh run --dir ./meter-17 --passphrase-file /run/secrets/meter-17")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Sets the passphrase, or changes it
    ///
    /// Either all files change, or none does. If nothing is sealed yet, --passphrase-file may also name the new
    /// passphrase.
    #[command(after_help = "Examples:
  m2mesh passphrase set --dir ./meter-17
  m2mesh passphrase set --passphrase-file old --new-passphrase-file new")]
    Set {
        /// File with the new passphrase; if absent, it is asked for on the terminal
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Stores the keys unsealed again: whoever can read the directory can read them
    #[command(after_help = "Example:\n  m2mesh passphrase remove --dir ./meter-17")]
    Remove,
}

/// The source of the passphrase of sealed keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Source {
    /// File with the passphrase of sealed keys [env: M2MESH_PASSPHRASE_FILE; else systemd's credential `passphrase`,
    /// else the terminal]
    #[arg(long, value_name = "FILE", global = true)]
    passphrase_file: Option<PathBuf>,
}

pub(super) async fn run(Arguments { action, source }: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let directory = shell.node_directory()?;
    if !DeviceDir::new(&directory).is_enrolled() && !RealmDir::is_there(&directory) {
        let hint = "name the device's directory with --dir";
        return Err(Failure::split(DeviceDirError::NoDevice { directory }, hint));
    }
    let _lock = DirectoryLock::take(&directory).map_err(|error| Failure::split(error, "stop the node first"))?;
    let failed = |error| Failure::split(error, "check the disk and try again; nothing has changed");
    let sealed = keyring::is_sealed(&directory);
    let present = source.keyring(&directory)?;
    // The present passphrase is checked before a new one is asked for.
    keyring::check(&directory, &present).map_err(failed)?;
    let wanted = match &action {
        Action::Remove => Keyring::default(),
        Action::Set { new_passphrase_file: None } if sealed => sealing(ask_twice()?)?,
        Action::Set { new_passphrase_file: None } => source.sealing()?,
        Action::Set { new_passphrase_file: Some(file) } => sealing(read(file, Guard::Mode)?)?,
    };
    let files = keyring::reseal(&directory, &present, &wanted).map_err(failed)?;
    let set = matches!(action, Action::Set { .. });
    if shell.json {
        shell.object(&serde_json::json!({ "sealed": set, "files": files }))?;
    } else {
        let what = if set { "sealed" } else { "not sealed any more" };
        files.iter().try_for_each(|file| shell.line(format_args!("{what}: {}", file.display())))?;
    }
    for away in ["operator.key", "auditor.key"] {
        if RealmDir::is_there(&directory) && !directory.join("realm").join(away).exists() {
            shell.note(format_args!("{away} is not here: it stays as it is"));
        }
    }
    Ok(Verdict::Done)
}

impl Source {
    /// The keyring that opens the keys of a directory. A passphrase is looked for only if they are sealed.
    pub(super) fn keyring(&self, directory: &Path) -> Result<Keyring, Failure> {
        if !keyring::is_sealed(directory) {
            return Ok(Keyring::default());
        }
        match self.silent()? {
            Some(passphrase) => Ok(Keyring::new(passphrase)),
            None => ask(&format!("passphrase of {}", directory.display())).map(Keyring::new),
        }
    }

    /// What opens one key's file, wherever it lies.
    pub(super) fn keyring_of(&self, file: &Path) -> Result<Keyring, Failure> {
        if !keyring::is_sealed_file(file) {
            return Ok(Keyring::default());
        }
        match self.silent()? {
            Some(passphrase) => Ok(Keyring::new(passphrase)),
            None => ask(&format!("passphrase of {}", file.display())).map(Keyring::new),
        }
    }

    /// What seals new keys.
    pub(super) fn sealing(&self) -> Result<Keyring, Failure> {
        sealing(match self.silent()? {
            Some(passphrase) => passphrase,
            None => ask_twice()?,
        })
    }

    /// Whether an argument names a file: a user who does so for new keys wants them sealed.
    pub(super) fn is_named(&self) -> bool {
        self.passphrase_file.is_some()
    }

    /// The passphrase, if it is available without asking anybody.
    fn silent(&self) -> Result<Option<Passphrase>, Failure> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = self.passphrase_file.clone().or_else(|| variable("M2MESH_PASSPHRASE_FILE")) {
            return read(&file, Guard::Mode).map(Some);
        }
        let credential = variable("CREDENTIALS_DIRECTORY").map(|directory| directory.join("passphrase"));
        credential.filter(|file| file.exists()).map(|file| read(&file, Guard::Manager)).transpose()
    }
}

/// What keeps other users from reading a passphrase file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// The file's mode.
    Mode,
    /// The service manager, by access control lists, which appear in the mode as if the group could read.
    Manager,
}

fn read(path: &Path, guard: Guard) -> Result<Passphrase, Failure> {
    let failed = |error| Failure::file("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    let place = path.display();
    if guard == Guard::Mode && mode & 0o077 != 0 {
        return Err(Failure::new(
            format!("the passphrase's file {place} can be read by others (mode {mode:04o})"),
            format!("make it private with `chmod go= {place}`; if others may have read it, choose another passphrase"),
        ));
    }
    // Reads a little more than a passphrase may have. The room is allocated at once, since growing would leave copies
    // behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE + 64));
    file.take(MAX_PASSPHRASE as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
    for end in [b'\n', b'\r'] {
        bytes.pop_if(|last| *last == end);
    }
    Passphrase::new(bytes)
        .map_err(|error| Failure::new(format!("{place}: {error}"), "name a file that holds the passphrase alone"))
}

fn sealing(passphrase: Passphrase) -> Result<Keyring, Failure> {
    Keyring::sealing(passphrase).map_err(|error| Failure::split(error, "choose another passphrase"))
}

fn ask_twice() -> Result<Passphrase, Failure> {
    let first = ask("new passphrase")?;
    if ask("the same again")? != first {
        return Err(Failure::new("these were two different passphrases", "try again; nothing has changed"));
    }
    Ok(first)
}

/// Asks a person to type it unseen.
fn ask(what: &str) -> Result<Passphrase, Failure> {
    let terminal = console::Term::stderr();
    if !std::io::stdin().is_terminal() || !terminal.is_term() {
        return Err(Failure::new(
            format!("the {what} is needed, and there is no terminal to ask on"),
            "give it with --passphrase-file FILE, or name the file in M2MESH_PASSPHRASE_FILE",
        ));
    }
    let failed = |error| Failure::new(format!("cannot ask on the terminal: {error}"), "use --passphrase-file FILE");
    terminal.write_str(&format!("{what}: ")).map_err(failed)?;
    let typed = Zeroizing::new(terminal.read_secure_line().map_err(failed)?.into_bytes());
    Passphrase::new(typed).map_err(|error| Failure::new(error.to_string(), "type it, and end with the enter key"))
}
