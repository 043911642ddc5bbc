//! A tree in which every fault lies dormant.
//!
//! **Mutant schemata.** All faults are woven into one copy of the sources, each behind a question, so that one build
//! serves them all (Untch, Offutt and Harrold, 1993): a piece `FIND` becomes
//!
//! ```text
//! (if crate::mutant::on(7) { REPLACE } else { FIND })
//! ```
//!
//! and the module `mutant` answers from the environment, once. The copy is brought up to date rather than made anew, so that
//! only what has changed is compiled again.
//!
//! The copy shares the project's build directory. It is told apart by its version, which cargo makes part of every
//! name, and its program is called [`PROGRAM`].

use crate::faults::{self, Fault};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program of the woven tree is called.
pub const PROGRAM: &str = "m2mesh-sim-mutants";

/// What that program says of a fault that it does not have.
pub const UNKNOWN: &str = "M2MESH_MUTANT names a fault that is woven in";

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The project.
    pub root: PathBuf,
    /// Its build directory.
    pub target: PathBuf,
}

impl Places {
    /// Of the project that this program was built from.
    pub fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().unwrap_or(root);
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Self { root, target }
    }

    /// The woven copy.
    pub fn tree(&self) -> PathBuf {
        self.target.join("mutants/tree")
    }

    /// What may be thrown away after a run.
    pub fn scratch(&self) -> PathBuf {
        self.target.join("mutants/scratch")
    }

    /// Where the faults are.
    pub fn faults(&self) -> PathBuf {
        self.root.join("tests/mutants/faults")
    }

    /// The program of the woven copy.
    pub fn program(&self, debug: bool) -> PathBuf {
        self.target.join(if debug { "debug" } else { "release" }).join(PROGRAM)
    }
}

/// Files of the project, tracked or new, as paths below its root, in order.
pub fn files(root: &Path) -> Result<Vec<String>, String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git does not run: {error}; install it, the project's files are listed by it"))?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        return Err(format!("git lists no files in {}: {}", root.display(), said.trim()));
    }
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let there = |file: &&str| !file.is_empty() && root.join(file).is_file();
    let mut files: Vec<String> = listed.split('\0').filter(there).map(str::to_owned).collect();
    files.sort();
    Ok(files)
}

/// Brings the woven tree up to date.
pub fn weave(places: &Places, faults: &[Fault]) -> Result<(), String> {
    let mut problems = faults::problems(faults, &places.root);
    let mut numbers = BTreeMap::new();
    for fault in faults {
        if let Some(other) = numbers.insert(number(&fault.name), &fault.name) {
            problems.push(format!("{} and {other} have one number by chance; rename one", fault.name));
        }
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let tree = places.tree();
    let listed = files(&places.root)?;
    let mut edits: BTreeMap<&str, Vec<(u32, &faults::Piece)>> = BTreeMap::new();
    for fault in faults {
        for piece in &fault.pieces {
            edits.entry(&piece.file).or_default().push((number(&fault.name), piece));
        }
    }
    for file in &listed {
        let (from, to) = (places.root.join(file), tree.join(file));
        let text = match (edits.get(file.as_str()), file.as_str()) {
            (Some(pieces), _) => Some(woven(&read(&from)?, pieces)?),
            // Faults leave things unused behind them, of which nobody needs to be warned.
            (None, "src/lib.rs") => Some(format!("#![allow(warnings)]\n{}\nmod mutant;\n", read(&from)?)),
            (None, "Cargo.toml") => Some(versioned(&read(&from)?)),
            (None, "simulator/Cargo.toml") => Some(
                versioned(&read(&from)?).replace("name = \"m2mesh-sim\"\npath", &format!("name = \"{PROGRAM}\"\npath")),
            ),
            // It has the versions of this tree; cargo writes that of the copy once.
            (None, "Cargo.lock") if to.exists() => continue,
            _ => None,
        };
        match text {
            Some(text) => write(&to, &text)?,
            None => copy(&from, &to)?,
        }
    }
    write(&tree.join("src/mutant.rs"), &switch(faults))?;
    let kept: BTreeSet<PathBuf> =
        listed.iter().map(|file| tree.join(file)).chain([tree.join("src/mutant.rs")]).collect();
    remove_others(&tree, &kept)
}

/// Builds the simulator of the woven tree.
pub fn build(places: &Places, debug: bool) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--offline", "-p", "m2mesh-sim", "--bin", PROGRAM, "--manifest-path"]);
    cargo.arg(places.tree().join("Cargo.toml")).arg("--target-dir").arg(&places.target);
    if !debug {
        cargo.arg("--release");
    }
    let status = cargo.status().map_err(|error| format!("cargo does not run: {error}"))?;
    if !status.success() {
        return Err(
            "the tree with the faults does not compile; a fault that the errors above name is no Rust".to_owned()
        );
    }
    Ok(places.program(debug))
}

/// One file with its faults.
fn woven(text: &str, pieces: &[(u32, &faults::Piece)]) -> Result<String, String> {
    let mut placed = Vec::new();
    for (number, piece) in pieces {
        placed.push((faults::place(piece, text)?, *number, piece.replace.as_str()));
    }
    placed.sort_by_key(|(range, ..)| range.start);
    let (mut out, mut at) = (String::with_capacity(text.len() * 2), 0);
    for (range, number, replace) in placed {
        let (before, find) = (&text[at..range.start], &text[range.clone()]);
        let choice = format!("if crate::mutant::on({number}) {{ {replace} }} else {{ {find} }}");
        // Statements and blocks stand for themselves, an expression may stand within another.
        let stands = find.trim_end().ends_with([';', '}']);
        out.extend([before, &if stands { choice } else { format!("({choice})") }]);
        at = range.end;
    }
    out.push_str(&text[at..]);
    Ok(out)
}

/// Of a fault: by its name, so that another fault does not change the files of this one.
fn number(name: &str) -> u32 {
    let [a, b, c, d] = *Sha256::digest(name).first_chunk().expect("a hash is longer");
    // The largest stands for none.
    u32::from_be_bytes([a, b, c, d]) >> 1
}

/// The module that says which fault is on.
fn switch(faults: &[Fault]) -> String {
    let mut faults: Vec<(u32, &str)> = faults.iter().map(|fault| (number(&fault.name), fault.name.as_str())).collect();
    faults.sort_unstable();
    let names: Vec<String> = faults.iter().map(|(number, name)| format!("({name:?}, {number})")).collect();
    format!(
        r#"//! Which fault is on: woven in by the mutation score.
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{{AtomicBool, Ordering::Relaxed}};

/// By number.
const FAULTS: &[(&str, u32)] = &[{}];
static REACHED: [AtomicBool; FAULTS.len()] = [const {{ AtomicBool::new(false) }}; FAULTS.len()];

/// Whether that fault is on. The first time that it is, or that it would be where none is, it is entered in the file that
/// `M2MESH_MUTANT_REACHED` names.
#[inline]
pub fn on(number: u32) -> bool {{
    static ON: OnceLock<u32> = OnceLock::new();
    let on = *ON.get_or_init(chosen);
    if on == number || on == u32::MAX {{
        reached(number);
    }}
    on == number
}}

fn reached(number: u32) {{
    let Ok(at) = FAULTS.binary_search_by_key(&number, |(_, number)| *number) else {{ return }};
    if !REACHED[at].load(Relaxed) && !REACHED[at].swap(true, Relaxed) {{
        if let Some(file) = std::env::var_os("M2MESH_MUTANT_REACHED") {{
            let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
            let _ = file.and_then(|mut file| file.write_all(format!("{{}}\n", FAULTS[at].0).as_bytes()));
        }}
    }}
}}

fn chosen() -> u32 {{
    let Some(wanted) = std::env::var_os("M2MESH_MUTANT").filter(|wanted| !wanted.is_empty()) else {{ return u32::MAX }};
    let found = FAULTS.iter().find(|(name, _)| wanted == *name);
    found.map(|(_, number)| *number).expect("{UNKNOWN}")
}}
"#,
        names.join(", ")
    )
}

/// A manifest with a version of its own, so that what is built of it is not taken for the project's.
fn versioned(manifest: &str) -> String {
    let mut done = false;
    let line = |line: &str| match line.strip_suffix('"').filter(|line| line.starts_with("version = \"") && !done) {
        Some(line) => {
            done = true;
            format!("{line}+mutants\"\n")
        }
        None => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes what is not there already: cargo goes by times.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let place = |error: std::io::Error| format!("{}: {error}", path.display());
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(place)?;
    fs::write(path, text).map_err(place)
}

/// Copies a file with its time.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let place = |error: std::io::Error| format!("{}: {error}", from.display());
    let time = from.metadata().and_then(|metadata| metadata.modified()).map_err(place)?;
    if to.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|known| known == time) {
        return Ok(());
    }
    to.parent().map_or(Ok(()), fs::create_dir_all).map_err(place)?;
    fs::copy(from, to).map_err(place)?;
    let made = fs::File::options().write(true).open(to).and_then(|file| file.set_modified(time));
    made.map_err(|error| format!("{}: {error}", to.display()))
}

/// Removes files of the tree that are no files of the project any more.
fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), String> {
    let place = |error: std::io::Error| format!("{}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(place)? {
        let path = entry.map_err(place)?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path).map_err(place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::Piece;

    fn piece(find: &str, replace: &str) -> Piece {
        Piece { file: "a.rs".to_owned(), find: find.to_owned(), replace: replace.to_owned() }
    }

    #[test]
    fn expressions_stand_within_others_and_statements_for_themselves() {
        let text = "fn f(a: u8) -> bool {\n    log(a);\n    1 + a < 7\n}\n";
        let (one, other) = (piece("1 + ⟦a⟧ < 7", "0"), piece("log(a);", ""));
        let woven = woven(text, &[(4, &one), (5, &other)]).expect("both are there");
        let wanted = "fn f(a: u8) -> bool {\n    if crate::mutant::on(5) {  } else { log(a); }\n    \
                      1 + (if crate::mutant::on(4) { 0 } else { a }) < 7\n}\n";
        assert_eq!(woven, wanted);
    }

    #[test]
    fn a_tree_is_brought_up_to_date_and_touches_nothing_that_stays() {
        let project = tempfile::tempdir().expect("a directory");
        let git = |arguments: &[&str]| {
            let done = Command::new("git").args(arguments).current_dir(project.path()).output().expect("git runs");
            assert!(done.status.success(), "{done:?}");
        };
        let put = |file: &str, text: &str| write(&project.path().join(file), text).expect("it is written");
        git(&["init", "-q"]);
        put("Cargo.toml", "[package]\nversion = \"1.2.3\"\n[dependencies]\nversion = \"1\"\n");
        put("src/lib.rs", "//! A.\n");
        put("src/a.rs", "fn f() -> u8 { 1 }\n");
        put("src/b.rs", "fn g() {}\n");
        let places = Places { root: project.path().to_owned(), target: project.path().join("target") };
        put(".gitignore", "target/\n");
        let fault = Fault {
            name: "one".to_owned(),
            core: "c".to_owned(),
            about: "It is two.".to_owned(),
            reason: None,
            pieces: vec![Piece { file: "src/a.rs".to_owned(), find: "⟦1⟧ }".to_owned(), replace: "2".to_owned() }],
        };
        weave(&places, std::slice::from_ref(&fault)).expect("it is woven");
        let text = |file: &str| read(&places.tree().join(file)).expect("it is in the tree");
        let number = number("one");
        let wanted = format!("fn f() -> u8 {{ (if crate::mutant::on({number}) {{ 2 }} else {{ 1 }}) }}\n");
        assert_eq!(text("src/a.rs"), wanted);
        assert_eq!(text("Cargo.toml"), "[package]\nversion = \"1.2.3+mutants\"\n[dependencies]\nversion = \"1\"\n");
        assert!(text("src/lib.rs").ends_with("mod mutant;\n"));
        assert!(text("src/mutant.rs").contains("\"one\""));
        let time = |file: &str| places.tree().join(file).metadata().and_then(|m| m.modified()).expect("it has a time");
        let before = ["src/a.rs", "src/b.rs", "src/mutant.rs"].map(time);
        assert_eq!(before[1], project.path().join("src/b.rs").metadata().and_then(|m| m.modified()).expect("a time"));
        fs::remove_file(project.path().join("src/b.rs")).expect("it was there");
        put("src/c.rs", "fn h() {}\n");
        weave(&places, &[fault]).expect("it is woven again");
        assert!(!places.tree().join("src/b.rs").exists(), "what is gone goes");
        assert_eq!(text("src/c.rs"), "fn h() {}\n");
        assert_eq!(["src/a.rs", "src/mutant.rs"].map(time), [before[0], before[2]], "what stays is not written again");
    }
}
