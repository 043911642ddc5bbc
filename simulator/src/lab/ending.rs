//! Ending: the last questions to the nodes of a lab, and the answer to the scenario's question.

use super::Played;
use super::driver::Driver;
use super::life::bytes;
use super::measured::verdict;
use super::watch::look;
use crate::record::{Summary, Verdict};
use crate::scenario::Problem;
use crate::world::asking::Totals;
use crate::world::checks::Promise;
use crate::world::clock::{NANOS, now};
use crate::world::ledger::{Book, message_of};
use crate::world::results::{check_messages, check_publications, of_publications, seconds};
use crate::world::selections::{asked_of_nodes, of_messages};
use crate::world::workload::Site;
use m2mesh::counter::Counter;
use m2mesh::gateway::client::{Client, ClientError};
use m2mesh::gateway::dto::{InboxPage, InboxQuery, LogVerdict, Status};
use m2mesh::metrics::Gauges;
use std::collections::{BTreeMap, BTreeSet};

/// The state of a node at the end of the run.
#[derive(Default)]
struct Said {
    counters: BTreeMap<String, u64>,
    gauges: Gauges,
    /// The messages in its inbox that have not been taken.
    lying: BTreeSet<u64>,
    /// The defect of its event log, if it has one.
    log: Option<String>,
}

impl Driver {
    /// Asks the nodes for their last state, and answers the scenario's question.
    pub(super) async fn finish(mut self) -> Result<Played, Problem> {
        let end = now();
        let seen = look(self.nodes()).await;
        let missing = self.missing(&seen);
        let mut said = BTreeMap::new();
        for (device, client) in self.nodes() {
            match ask(&client).await {
                Ok(answer) => drop(said.insert(device, answer)),
                Err(error) => self.broken.push(format!("{}: {error}", self.names[device])),
            }
        }
        if let Err(error) = self.events.finish() {
            return Err(Problem::new(format!("the events could not all be written: {error}"), "check the disk"));
        }
        let ledger = self.ledger.clone();
        let mut book = ledger.lock();
        let book = &mut *book;
        self.check(book, &said, &missing, end);
        Ok(self.answer(book, said, end))
    }

    fn check(&self, book: &mut Book, said: &BTreeMap<usize, Said>, missing: &[usize], end: u64) {
        for broken in &self.broken {
            book.checks.look(Promise::NothingLost, false, || broken.clone());
        }
        for (device, name) in self.names.iter().enumerate().filter(|(device, _)| !self.lives.is_on(*device)) {
            book.checks.look(Promise::Converged, false, || format!("{name} does not run again ({device})"));
        }
        let lying: Vec<BTreeSet<u64>> = (0..self.names.len())
            .map(|device| said.get(&device).map(|said| said.lying.clone()).unwrap_or_default())
            .collect();
        check_messages(book, &lying, |device| self.lives.is_on(device), end);
        check_publications(book, &self.plan, &BTreeMap::new(), end);
        for (device, said) in said {
            let what = || format!("{}: {}", self.names[*device], said.log.as_deref().unwrap_or_default());
            book.checks.look(Promise::LogsVerify, said.log.is_none(), what);
        }
        for (number, edge) in self.plan.edges.iter().enumerate() {
            let what = || format!("{} and {} have no link", self.names[edge.a], self.names[edge.b]);
            book.checks.look(Promise::Converged, !missing.contains(&number), what);
        }
        for (done, label) in self.struck.values() {
            let what = || format!("the fault {label:?} has struck nothing; see what it names");
            book.checks.look(Promise::FaultsStrike, *done > 0, what);
        }
    }

    fn answer(&self, book: &Book, said: BTreeMap<usize, Said>, end: u64) -> Played {
        let plan = &self.plan;
        let mut totals = Totals::default();
        // Connections that the lab's topology prevents do not concern the scenario.
        let kept_apart = Counter::ConnectionsCut.name();
        for Said { mut counters, gauges, .. } in said.into_values() {
            counters.remove(kept_apart);
            totals.add(counters, &gauges);
        }
        let mut metrics = BTreeMap::new();
        of_messages(plan, book, &mut metrics);
        let mut put = |name: &str, value: f64| {
            metrics.insert(name.to_owned(), value);
        };
        of_publications(&book.findings, &mut put);
        for (name, what) in asked_of_nodes(plan) {
            put(name, totals.of(what) as f64);
        }
        let over = plan.faults.iter().map(|fault| fault.until.unwrap_or(plan.duration).min(plan.duration)).max();
        let over = over.map(|over| (plan.warmup + over).as_secs_f64());
        match (over, self.watch.missing) {
            (None, _) => put("converged", 0.0),
            (Some(over), 0) => {
                let whole = self.watch.whole_at.map_or(0.0, |at| (seconds(at) - over).max(0.0));
                put("converged", whole);
            }
            // The time was not reached by the end, so there is nothing to measure.
            (Some(_), _) => {}
        }
        put("queue.max", self.watch.queued as f64);
        put("dropped", totals.counters.values().sum::<u64>() as f64);
        put("violations", book.checks.violated() as f64);
        let (mut expectations, mut unmeasured) = (Vec::<Verdict>::new(), Vec::new());
        for expected in &plan.expectations {
            match verdict(expected, &metrics) {
                Some(verdict) => expectations.push(verdict),
                None => unmeasured.push(expected.whole()),
            }
        }
        let passed = book.checks.violated() == 0 && expectations.iter().all(|verdict| verdict.held);
        let summary = Summary {
            scenario: plan.name.clone(),
            question: plan.question.clone(),
            seed: plan.seed,
            nodes: plan.devices.len(),
            virtual_s: end.saturating_sub(NANOS) as f64 / NANOS as f64,
            passed,
            expectations,
            checks: book.checks.clone().into_record(),
            metrics,
            counters: totals.counters,
            gauges: totals.gauges,
            ..Summary::default()
        };
        Played { summary, unmeasured }
    }
}

async fn ask(client: &Client) -> Result<Said, ClientError> {
    let status: Status = client.get("/v1/status", &()).await?;
    let verdict: LogVerdict = client.get_patiently("/v1/log/verify", &()).await?;
    let mut said = Said { counters: status.counters, gauges: status.gauges, lying: BTreeSet::new(), log: None };
    if !verdict.intact {
        said.log = Some(verdict.reason.unwrap_or_else(|| "its event log is not intact".to_owned()));
    }
    let mut query = InboxQuery { limit: Some(PAGE), ..InboxQuery::default() };
    loop {
        let page: InboxPage = client.get_patiently("/v1/inbox", &query).await?;
        said.lying.extend(page.messages.into_iter().filter_map(|message| message_of(&bytes(message.payload))));
        if !page.more {
            return Ok(said);
        }
        query.from_number = Some(page.next);
    }
}

/// The number of messages that are asked for at a time.
const PAGE: usize = 1_000;
