//! Told: the result of `linkage`, for people or as one JSON object.

use super::Outcome;
use crate::cli::tell::{right, say, table};
use crate::linkage::{Assessment, Finding, OTHER_ADDRESS, SHIPPED};
use comfy_table::Cell;
use console::style;
use serde_json::{Value, json};

/// Returns whether leaves that are seen from elsewhere are hardly followed, by any observer.
pub(super) fn holds(outcome: &Outcome) -> bool {
    judged(outcome).all(|(_, finding)| is_hidden(finding))
}

/// Returns what decides.
fn judged(outcome: &Outcome) -> impl Iterator<Item = (&Assessment, &Finding)> {
    let all = outcome.assessments.iter().flat_map(|one| one.findings.iter().map(move |finding| (one, finding)));
    all.filter(|(_, found)| (found.condition, found.role, found.seen_from) == (SHIPPED, "leaf", "elsewhere"))
}

fn is_hidden(finding: &Finding) -> bool {
    finding.top1 <= TIMES_CHANCE * finding.chance && finding.followed < FOLLOWED
}

/// Returns the word of studies of vehicles' pseudonyms for a share of devices that are followed all the time.
fn grade(followed: f64) -> &'static str {
    match followed {
        share if share < FOLLOWED => "strong",
        share if share < REASONABLE => "reasonable",
        share if share < WEAK => "weak",
        _ => "none",
    }
}

pub(super) fn json(outcome: &Outcome) -> Value {
    let violated = outcome.run.violated.iter().map(|(check, times)| json!({ "check": check, "times": times }));
    json!({
        "scenario": outcome.scenario,
        "seed": outcome.seed,
        "epoch_s": outcome.epoch_s,
        "epochs": outcome.epochs,
        "trace": outcome.run.trace,
        "devices": outcome.devices,
        "leaves": outcome.leaves,
        "contacts": { "pairs": outcome.contacts.1, "followed": outcome.contacts.0 },
        "violated": violated.collect::<Vec<_>>(),
        "observers": outcome.assessments,
        "holds": holds(outcome),
    })
}

pub(super) fn people(outcome: &Outcome) {
    say!("{}\n", style("How often can an observer follow a device from one pseudonym to the next?").bold());
    let mut found = table(&[
        "OBSERVER",
        "ADDRESS",
        "DEVICES",
        "",
        "SEEN",
        "TOP-1",
        "CHANCE",
        "BITS",
        "OF",
        "FOLLOWED",
        "PROTECTION",
    ]);
    for one in &outcome.assessments {
        for finding in one.findings.iter().filter(|finding| [SHIPPED, OTHER_ADDRESS].contains(&finding.condition)) {
            let address = if finding.condition == SHIPPED { "stays" } else { "changes" };
            found.add_row([
                Cell::new(&one.observer),
                Cell::new(address),
                Cell::new(kind(finding)),
                right(finding.devices.to_string()),
                right(percent(finding.seen)),
                right(percent(finding.top1)),
                right(percent(finding.chance)),
                right(format!("{:.2}", finding.bits)),
                right(format!("{:.2}", finding.bits_most)),
                right(percent(finding.followed)),
                Cell::new(coloured(finding.followed)),
            ]);
        }
    }
    say!("{found}\n");
    for one in &outcome.assessments {
        if !one.findings.is_empty() {
            measures(one);
        }
        if one.contacts > 0 {
            say!(
                "{} has {} contacts, and follows each of them through all epochs by its card\n",
                one.observer,
                one.contacts
            );
        }
    }
    let (followed, pairs) = outcome.contacts;
    say!("contacts  {followed} of {pairs} pairs of a device and a contact are followed by cards through all epochs");
    for (check, times) in &outcome.run.violated {
        say!("{} {check}: {times} times", style("violated").red().bold());
    }
    let length = humantime::format_duration(std::time::Duration::from_secs_f64(outcome.epoch_s));
    let (devices, leaves, epochs) = (outcome.devices, outcome.leaves, outcome.epochs);
    say!("run       {devices} devices, {leaves} of them leaves, {epochs} epochs of {length}, seed {}", outcome.seed);
    let answer = match (judged(outcome).next(), holds(outcome)) {
        (None, _) => style("nothing to judge: no leaf is seen from elsewhere").yellow(),
        (Some(_), true) => style("holds").green(),
        (Some(_), false) => style("does not hold").red(),
    };
    say!("goal      leaves seen from elsewhere: top-1 at most twice chance, fewer than 1 % followed");
    say!("answer    {}", answer.bold());
}

/// Prints what counter-measures buy against an observer.
fn measures(one: &Assessment) {
    let kinds: Vec<String> = of(one, SHIPPED).map(kind).collect();
    let heads: Vec<String> = kinds.iter().map(|kind| kind.to_uppercase()).collect();
    let name = format!("{}, TOP-1 AND FOLLOWED", one.observer.to_uppercase());
    let head: Vec<&str> = std::iter::once(name.as_str()).chain(heads.iter().map(String::as_str)).collect();
    let mut shown = table(&head);
    let mut before = "";
    for finding in &one.findings {
        if finding.condition != std::mem::replace(&mut before, finding.condition) {
            let cells = of(one, finding.condition)
                .map(|found| right(format!("{} {:>8}", percent(found.top1), percent(found.followed))));
            shown.add_row(std::iter::once(Cell::new(finding.condition)).chain(cells));
        }
    }
    say!("{shown}\n");
}

/// Returns what is found under a condition.
fn of<'a>(one: &'a Assessment, condition: &'a str) -> impl Iterator<Item = &'a Finding> {
    one.findings.iter().filter(move |finding| finding.condition == condition)
}

fn kind(finding: &Finding) -> String {
    match (finding.role, finding.seen_from) {
        (role, "elsewhere") => format!("{role} elsewhere"),
        (role, from) => format!("{role} by {from}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn coloured(followed: f64) -> String {
    let word = style(grade(followed));
    let word = match followed {
        share if share < REASONABLE => word.green(),
        share if share < WEAK => word.yellow(),
        _ => word.red(),
    };
    word.to_string()
}

/// The multiple of chance up to which a leaf that is seen from elsewhere may be found.
const TIMES_CHANCE: f64 = 2.0;
/// The share of devices below which the goal is reached, and in the next constants those below which protection is called
/// reasonable, and weak.
const FOLLOWED: f64 = 0.01;
const REASONABLE: f64 = 0.1;
const WEAK: f64 = 0.5;
