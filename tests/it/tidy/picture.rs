//! The picture of the modules and of their imports in ARCHITECTURE.md, drawn from the sources.
//!
//! An arrow goes from who imports to what is imported. One that follows from others is left out: where `cli` imports `node`, and
//! `node` imports `engine`, no arrow goes from `cli` to `engine`. So the picture is as small as what it says.

use super::rules::{module_of, wing_of};
use super::source::{paths, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// Who imports what.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// What modules at the top of `src` import of each other, and what wings of the engine do, tests left out.
pub fn imports(sources: &[(String, String)]) -> [Imports; 2] {
    let (mut modules, mut wings) = (Imports::new(), Imports::new());
    for (path, text) in sources {
        let module = module_of(path);
        let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
        let Some(top) = module.get(1).filter(|top| !["lib", "main"].contains(&top.as_str())) else { continue };
        let from = wing_of(&module);
        for named in paths(&tokens(text), &module, is_test).iter().filter(|named| !named.test) {
            let [krate, target, ..] = named.path.as_slice() else { continue };
            if krate != "crate" || target == "lib" {
                continue;
            }
            if target != top {
                modules.entry(top.clone()).or_default().insert(target.clone());
            } else if let Some((from, to)) = from.zip(wing_of(&named.path)).filter(|(from, to)| from != to) {
                wings.entry(from.to_owned()).or_default().insert(to.to_owned());
            }
        }
    }
    [modules, wings]
}

/// The imports as Mermaid draws them. `Err`: the modules on a way that comes back to its beginning.
pub fn draw(imports: &Imports) -> Result<String, Vec<String>> {
    let mut beyond = BTreeMap::new();
    for from in imports.keys() {
        reach(imports, from, &mut Vec::new(), &mut beyond)?;
    }
    let mut lines = vec!["flowchart TD".to_owned()];
    for (from, targets) in imports {
        let follows = |to: &String| targets.iter().any(|other| beyond.get(other).is_some_and(|all| all.contains(to)));
        let drawn: Vec<&str> = targets.iter().filter(|to| !follows(to)).map(String::as_str).collect();
        lines.push(format!("    {from} --> {}", drawn.join(" & ")));
    }
    Ok(lines.join("\n") + "\n")
}

/// Finds all that `from` imports, at first or second hand.
fn reach(
    imports: &Imports,
    from: &str,
    way: &mut Vec<String>,
    beyond: &mut BTreeMap<String, BTreeSet<String>>,
) -> Result<(), Vec<String>> {
    if let Some(at) = way.iter().position(|before| before == from) {
        return Err(way[at..].to_vec());
    }
    if beyond.contains_key(from) {
        return Ok(());
    }
    way.push(from.to_owned());
    let mut all = BTreeSet::new();
    for to in imports.get(from).into_iter().flatten() {
        reach(imports, to, way, beyond)?;
        all.extend(beyond.get(to).into_iter().flatten().cloned());
        all.insert(to.clone());
    }
    way.pop();
    beyond.insert(from.to_owned(), all);
    Ok(())
}

/// A document with its pictures, which stand in this order in blocks of `mermaid`, in place of those that it has.
pub fn redrawn(document: &str, pictures: &[String]) -> String {
    let mut parts = document.split("```mermaid\n");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for (part, picture) in parts.zip(pictures) {
        let rest = part.split_once("```").map_or("", |(_, rest)| rest);
        whole += &format!("```mermaid\n{picture}```{rest}");
    }
    whole
}
