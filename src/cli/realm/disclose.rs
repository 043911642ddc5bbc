//! `realm disclose`: whose a captured credential was, by the auditor's key, and the log of every time that this was asked.

use crate::cli::failure::Failure;
use crate::cli::passphrase::Source;
use crate::cli::shell::{self, Shell};
use crate::cli::{Verdict, machine};
use crate::identity::disclosure::Opening;
use crate::keystore::auditor_dir::{AuditorDir, AuditorDirError, Disclosed};
use crate::keystore::auditor_log::{End, Hash, Record};
use crate::wire::credential::MAX_CREDENTIAL;
use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Tells which device a captured credential belongs to, by the auditor's key
///
/// A credential is a file with its bytes, its text in hexadecimal or base32, a file with one such text a line, or `-` for either on
/// standard input. The signature of its issuer is verified first; one that does not hold is not opened. Every opening is written to
/// DIR/realm/disclosures.log before it is told. DIR needs nothing of the realm but its bulletin; the auditor's key may lie elsewhere.
/// Exit code 2 when a credential tells nothing, or the log does not hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh peers --json | jq -r '.[].credential' > captured
  m2mesh realm disclose ./plant captured --reason 'case 17: pump 3 was stopped' --auditor-key /media/safe/auditor.key
  m2mesh realm disclose ./plant --list
  m2mesh realm disclose ./plant --verify --head 5f2c…")]
pub(super) struct Arguments {
    /// The realm's directory
    #[arg(value_name = "DIR")]
    place: PathBuf,
    /// Captured credentials
    #[arg(value_name = "CREDENTIAL", required_unless_present_any = ["list", "verify"], requires = "reason")]
    credentials: Vec<String>,
    /// Why they are opened: it stands in the log
    #[arg(long, value_name = "TEXT", requires = "credentials")]
    reason: Option<String>,
    /// File of the auditor's key, if it is not at DIR/realm/auditor.key
    #[arg(long, value_name = "FILE", requires = "credentials")]
    auditor_key: Option<PathBuf>,
    /// Lists what has been opened, when and why
    #[arg(long, conflicts_with_all = ["credentials", "verify"])]
    list: bool,
    /// Checks the log's chain of hashes; names the first bad record, if there is one
    #[arg(long, conflicts_with = "credentials")]
    verify: bool,
    /// With --verify: a hash that was noted at an opening; a log that does not hold it any more is broken
    #[arg(long, value_name = "HASH", value_parser = hash, requires = "verify")]
    head: Option<Hash>,
}

pub(super) fn run(arguments: Arguments, shell: &Shell, source: &Source) -> Result<Verdict, Failure> {
    let Arguments { place, credentials, reason, auditor_key, list: listed, verify: check, head } = arguments;
    let realm = AuditorDir::open(&place).map_err(failed)?;
    if listed {
        return list(shell, &realm);
    }
    if check {
        return verify(shell, &realm, head.as_ref());
    }
    let reason = reason.unwrap_or_default();
    let key = auditor_key.clone().unwrap_or_else(|| realm.key_path());
    let auditor = realm.auditor(auditor_key.as_deref(), &source.keyring_of(&key)?).map_err(failed)?;
    let mut captured = Vec::new();
    for credential in &credentials {
        captured.extend(read(credential)?);
    }
    let mut verdict = Verdict::Done;
    for (from, signed) in captured {
        match realm.disclose(&auditor, &signed, &reason, machine::now()) {
            Ok(disclosed) => tell(shell, &from, &disclosed)?,
            Err(error @ AuditorDirError::Credential(_)) => {
                verdict = Verdict::No;
                refuse(shell, &from, &error)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(verdict)
}

fn tell(shell: &Shell, from: &str, disclosed: &Disclosed) -> Result<(), Failure> {
    let Disclosed { opening: Opening { device, epoch, epoch_length }, name, credential, record } = disclosed;
    let (begins, ends) = (epoch_length.start(*epoch).to_string(), epoch_length.end(*epoch).to_string());
    let head = HEXLOWER.encode(&record.head);
    if shell.json {
        return shell.object(&serde_json::json!({
            "from": from, "credential": credential, "device": device.to_string(), "name": name,
            "epoch": epoch.0, "epoch_begins": begins, "epoch_ends": ends,
            "record": record.record, "mended": record.mended, "head": head,
        }));
    }
    let name = name.as_ref().map_or_else(|| "no name is known".to_owned(), ToString::to_string);
    shell.line(format_args!("{from}: device {device} ({name}), epoch {} from {begins} to {ends}", epoch.0))?;
    if let Some(mended) = record.mended {
        shell.note(format_args!(
            "record {mended} of the log says what a crash had left of one before, which was cut off"
        ));
    }
    shell.note(format_args!("record {} of the log; keep its hash elsewhere: {head}", record.record));
    Ok(())
}

fn refuse(shell: &Shell, from: &str, error: &AuditorDirError) -> Result<(), Failure> {
    if shell.json {
        return shell.object(&serde_json::json!({ "from": from, "refused": error.to_string() }));
    }
    shell.line(format_args!("{from}: {error}"))
}

fn list(shell: &Shell, realm: &AuditorDir) -> Result<Verdict, Failure> {
    let mut records = Vec::new();
    let each = |record: Record, hash: &Hash| records.push((record, HEXLOWER.encode(hash)));
    let checked = realm.log().verify(None, each).map_err(|error| failed(error.into()))?;
    let mut rows = Vec::new();
    for (record, hash) in records {
        if shell.json {
            let mut line = serde_json::json!(record);
            line["hash"] = hash.into();
            shell.object(&line)?;
            continue;
        }
        let Record { record, at, previous: _, opened, mended } = record;
        let (what, why) = match (opened, mended) {
            (Some(opened), _) => (opened.device, shell::visible(opened.reason.as_bytes())),
            (_, Some(mended)) => {
                ("-".to_owned(), format!("mended: {} bytes of a torn record were cut off", mended.bytes))
            }
            (None, None) => continue,
        };
        rows.push(vec![record.to_string(), at, what, why]);
    }
    if !shell.json {
        shell.table(&["RECORD", "AT", "DEVICE", "REASON"], rows)?;
    }
    match checked.end {
        End::Clean => Ok(Verdict::Done),
        End::Torn { .. } | End::Bad { .. } => {
            shell.note(format_args!("the log does not hold behind record {}; see --verify", checked.records));
            Ok(Verdict::No)
        }
    }
}

fn verify(shell: &Shell, realm: &AuditorDir, sought: Option<&Hash>) -> Result<Verdict, Failure> {
    let checked = realm.log().verify(sought, |_, _| {}).map_err(|error| failed(error.into()))?;
    let next = checked.records + 1;
    let (first_bad, reason) = match &checked.end {
        End::Bad { reason } => (Some(next), Some((*reason).to_owned())),
        End::Torn { bytes, whole: false } => {
            let what =
                format!("is torn: {} bytes of it are there; the next opening cuts them off and says so", bytes.len());
            (Some(next), Some(what))
        }
        // A whole record counts, with the end of its line or without.
        End::Torn { whole: true, .. } | End::Clean if sought.is_some() && !checked.found => (
            Some(next),
            Some("is missing: no record has the hash that was noted, so the log was cut off or made anew".into()),
        ),
        End::Torn { whole: true, .. } | End::Clean => (None, None),
    };
    let intact = first_bad.is_none();
    let head = HEXLOWER.encode(&checked.head);
    if shell.json {
        shell.object(&serde_json::json!({
            "intact": intact, "records": checked.records, "head": head, "first_bad": first_bad, "reason": reason,
        }))?;
    } else {
        shell.line(match (first_bad, reason) {
            (Some(bad), reason) => format!("broken: record {bad} {}", reason.unwrap_or_default()),
            (None, _) if checked.records == 0 => "intact: nothing was opened yet".to_owned(),
            (None, _) => format!("intact: {} records, head {head}", checked.records),
        })?;
    }
    Ok(Verdict::of(intact))
}

/// The credentials that an argument stands for, each with what to call it.
fn read(argument: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let path = Path::new(argument);
    let bytes = if argument == "-" {
        bounded(std::io::stdin().lock(), Path::new("standard input"))?
    } else if path.exists() {
        let file = std::fs::File::open(path).map_err(|error| Failure::file("read", path, &error))?;
        bounded(file, path)?
    } else {
        argument.as_bytes().to_vec()
    };
    let named = |from: &str, at: usize, many: bool| if many { format!("{from}:{}", at + 1) } else { from.to_owned() };
    let short = || {
        if argument.len() > 24 {
            format!("{}…", argument.chars().take(16).collect::<String>())
        } else {
            argument.to_owned()
        }
    };
    let from = if path.exists() || argument == "-" { argument.to_owned() } else { short() };
    let Some(text) = std::str::from_utf8(&bytes).ok().filter(|text| text.is_ascii()) else {
        return Ok(vec![(from, bytes)]);
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let decoded = |(at, line): (usize, &&str)| {
        let from = named(&from, at, lines.len() > 1);
        let hex = HEXLOWER_PERMISSIVE.decode(line.as_bytes());
        let base32 = |_| BASE32_NOPAD.decode(line.to_ascii_uppercase().as_bytes());
        let signed = hex.or_else(base32).map_err(|_| {
            Failure::new(
                format!("{from} is no credential: neither a file nor its text in hexadecimal or base32"),
                "`m2mesh peers --json` tells the credentials of a node's neighbours",
            )
        })?;
        Ok((from, signed))
    };
    if lines.is_empty() {
        return Err(Failure::new(
            format!("{from} is empty"),
            "give a credential in hexadecimal, or a file with its bytes",
        ));
    }
    lines.iter().enumerate().map(decoded).collect()
}

fn bounded(from: impl Read, path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX_INPUT).read_to_end(&mut bytes).map_err(|error| Failure::file("read", path, &error))?;
    if bytes.len() as u64 == MAX_INPUT {
        return Err(Failure::new(
            format!("{} has too many credentials for one time", path.display()),
            "give at most a thousand at once",
        ));
    }
    Ok(bytes)
}

fn hash(text: &str) -> Result<Hash, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| "a hash is 64 hexadecimal digits, as an opening tells it".to_owned())
}

fn failed(error: AuditorDirError) -> Failure {
    let definite = matches!(&error, AuditorDirError::Log(crate::keystore::auditor_log::AuditorLogError::Bad { .. }));
    let failure = Failure::split(error, "check the directory and the disk");
    if definite { failure.definite() } else { failure }
}

/// Most bytes that are read at once: a thousand credentials as text, with room to spare.
const MAX_INPUT: u64 = 3 * 1_024 * MAX_CREDENTIAL as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_as_bytes_as_text_and_many_to_a_file() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("captured");
        let bytes = |argument: &str| -> Vec<Vec<u8>> {
            read(argument).expect("credentials").into_iter().map(|(_, bytes)| bytes).collect()
        };
        let path_text = path.to_str().expect("a path");
        let raw = [0xa2, 0x00, 0x41, 0x01];
        std::fs::write(&path, raw).expect("written");
        assert_eq!(bytes(path_text), [raw]);
        std::fs::write(&path, "a2004101\n\nUIAECAI\n").expect("written");
        assert_eq!(bytes(path_text), [raw, raw]);
        assert_eq!(bytes("A2004101"), [raw]);
        assert_eq!(read("a2004101").expect("one")[0].0, "a2004101");
        assert!(read("no such file").expect_err("nothing").to_string().contains("no credential"));
        std::fs::write(&path, "\n").expect("written");
        assert!(read(path_text).expect_err("nothing").to_string().contains("empty"));
    }
}
