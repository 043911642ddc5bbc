//! Driver: the actions of a lab at their times. It does to real nodes what the [world](crate::world) does in a
//! simulation.

use super::layout::Layout;
use super::life::Life;
use super::links::Links;
use super::process::{Place, Process};
use super::watch::{Seen, Watch, look};
use super::worker::{self, News, Order, work};
use crate::plan::{FaultKind, Plan};
use crate::scenario::Problem;
use crate::world::agenda::{Agenda, Item};
use crate::world::clock::{NANOS, now};
use crate::world::events::{Events, What};
use crate::world::ledger::Ledger;
use crate::world::workload::{Site, Workload};
use crate::world::{Progress, faults, nanos};
use futures::future::join_all;
use m2mesh::client::Command;
use m2mesh::gateway::client::Client;
use m2mesh::time::Unix;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// A driver: see the module's documentation.
pub(super) struct Driver {
    pub(super) plan: Plan,
    pub(super) names: Vec<String>,
    pub(super) place: Place,
    pub(super) ledger: Ledger,
    pub(super) events: Events,
    pub(super) lives: Lives,
    pub(super) links: Links,
    pub(super) watch: Watch,
    /// Errors that are not faults of the scenario.
    pub(super) broken: Vec<String>,
    /// By entry of the scenario: how often its faults have had an effect, and its label.
    pub(super) struck: BTreeMap<usize, (u64, String)>,
    /// The end of the run, in nanoseconds.
    pub(super) end: u64,
    agenda: Agenda,
    workload: Workload,
    workers: Vec<mpsc::Sender<Order>>,
    news: mpsc::Receiver<News>,
    teller: mpsc::Sender<News>,
    /// The number of faults that keep each device down, and in the next field paused.
    down: Vec<u32>,
    still: Vec<u32>,
    looking: bool,
}

/// The applications by device; `None` if the device's node is down.
pub(super) struct Lives(pub(super) Vec<Option<Life>>);

impl Site for Lives {
    fn is_on(&self, device: usize) -> bool {
        self.0[device].is_some()
    }

    fn send(&self, device: usize, id: u64, command: Command) {
        if let Some(life) = &self.0[device] {
            life.send(id, command);
        }
    }
}

impl Driver {
    /// Returns the driver of a running lab.
    pub(super) fn new(layout: Layout, place: Place, events: Events) -> Self {
        let Layout { mut plan, names, .. } = layout;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        plan.start = Unix(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
        let called: Vec<String> = plan.devices.iter().map(|device| device.name.to_string()).collect();
        let ledger = Ledger::of_lab(&called, events.clone());
        ledger.lock().excused = faults::excused(&plan);
        let (teller, news) = mpsc::channel(MOST_NEWS);
        let worker = |device: usize| {
            let (orders, taken) = mpsc::channel(MOST_ORDERS);
            tokio::spawn(work(device, place.clone(), taken, teller.clone()));
            orders
        };
        let count = plan.devices.len();
        Self {
            links: Links::new(&plan),
            workload: Workload::new(&plan),
            lives: Lives((0..count).map(|_| None).collect()),
            workers: (0..count).map(worker).collect(),
            down: vec![0; count],
            still: vec![0; count],
            watch: Watch::default(),
            broken: Vec::new(),
            struck: BTreeMap::new(),
            end: 0,
            agenda: Agenda::default(),
            looking: false,
            plan,
            names,
            place,
            ledger,
            events,
            news,
            teller,
        }
    }

    /// Tells the nodes of their links, starts an application on each, and enters into the agenda what is known in
    /// advance.
    pub(super) async fn prepare(&mut self) -> Result<(), Problem> {
        // Twice, since the first nodes to be told have measured their round trips before the others were told.
        for _ in 0..2 {
            let told = self.links.all().map(|(device, links)| {
                let client = self.place.client(device);
                async move { worker::put(&client, &links).await }
            });
            let failed = |error| Problem::new(format!("a link of the lab could not be shaped: {error}"), "try again");
            join_all(told).await.into_iter().collect::<Result<(), _>>().map_err(failed)?;
        }
        let mut waiting: BTreeSet<usize> = (0..self.names.len()).collect();
        waiting.iter().for_each(|device| self.begin_life(*device));
        let all_listen = async {
            while !waiting.is_empty() {
                match self.news.recv().await {
                    Some(News::Listens(device)) => drop(waiting.remove(&device)),
                    Some(News::Broken { device, what }) => return Err(format!("{}: {what}", self.names[device])),
                    _ => {}
                }
            }
            Ok(())
        };
        let all_listen = tokio::time::timeout(TO_LISTEN, all_listen).await;
        let all_listen = all_listen.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        all_listen.map_err(|what| Problem::new(format!("the applications do not start: {what}"), "try again"))?;
        // The time that this took does not count as warm-up.
        self.plan.warmup += Duration::from_nanos(now().saturating_sub(NANOS));
        self.end = NANOS + nanos(self.plan.warmup + self.plan.duration + self.plan.settle);
        faults::begin(&self.plan, &self.agenda);
        self.workload.begin(&self.plan, &self.agenda);
        self.agenda.enter(Duration::ZERO, Item::Sample);
        Ok(())
    }

    /// Drives the lab until the end of the run.
    pub(super) async fn run(&mut self, process: &mut Process, told: &mut dyn FnMut(Progress)) -> Result<(), Problem> {
        while now() < self.end {
            while let Some((due, item)) = self.agenda.pop_due() {
                if item == Item::Sample {
                    told(self.progress());
                    if !process.is_running() {
                        return Err(Problem::new("the lab ended before its time", "see what it said above"));
                    }
                }
                self.handle(due, item);
            }
            let next = self.agenda.next().unwrap_or(self.end).min(self.end);
            let due = tokio::time::sleep(Duration::from_nanos(next.saturating_sub(now())));
            tokio::select! {
                biased;
                Some(news) = self.news.recv() => self.handle_news(news),
                () = due => {}
            }
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        let seconds = |at: u64| at.saturating_sub(NANOS) as f64 / NANOS as f64;
        let book = self.ledger.lock();
        Progress {
            virtual_s: seconds(now()),
            total_s: seconds(self.end),
            events: book.messages.len() as u64,
            delivered: book.delivered,
        }
    }

    fn handle(&mut self, due: u64, item: Item) {
        match item {
            Item::Send(sender) => {
                self.workload.send(&self.plan, (sender, due), &self.lives, &self.ledger, &self.agenda);
            }
            Item::Sample => self.sample(),
            Item::Fault { fault, begins } => self.handle_fault(fault, begins),
            Item::Flap { fault, down } => self.handle_flap(fault, down),
            Item::Calm => self.handle_calm(),
            // A lab has none of these: see the layout.
            Item::Ask | Item::Move | Item::Window { .. } | Item::Shut(_) | Item::Sleep { .. } | Item::Meter => {}
        }
    }

    fn handle_news(&mut self, news: News) {
        match news {
            News::Up(device) if self.down[device] == 0 => {
                self.events.note(device, &What::Up);
                self.begin_life(device);
            }
            // The node is to go down again.
            News::Up(_) | News::Listens(_) => {}
            News::Broken { device, what } => {
                // If the node was killed on purpose, this was intended.
                if self.lives.0[device].take().is_some() {
                    self.ledger.handle_down(device);
                    self.broken.push(format!("{} is not as it should be: {what}", self.names[device]));
                }
            }
            News::Failed(what) => self.broken.push(what),
            News::Seen(seen) => {
                self.looking = false;
                let missing = self.missing(&seen).len();
                self.watch.handle(&seen, missing);
            }
        }
    }

    fn begin_life(&mut self, device: usize) {
        let listening = self.workload.listening(&self.plan, device);
        let (client, ledger) = (self.place.client(device), self.ledger.clone());
        self.lives.0[device] = Some(Life::begin(device, client, ledger, listening, self.teller.clone()));
    }

    /// Looks at the state of the lab, unless the previous look is not finished.
    fn sample(&mut self) {
        let after = Duration::from_nanos(now().saturating_sub(NANOS));
        self.agenda.enter(after + BETWEEN_LOOKS, Item::Sample);
        if !std::mem::replace(&mut self.looking, true) {
            let (nodes, teller) = (self.nodes(), self.teller.clone());
            tokio::spawn(async move {
                // At the end of the run there may be no receiver.
                let _ = teller.send(News::Seen(look(nodes).await)).await;
            });
        }
    }

    /// Returns the nodes that are up and not paused.
    pub(super) fn nodes(&self) -> Vec<(usize, Client)> {
        let answers = |device: &usize| self.lives.is_on(*device) && self.still[*device] == 0;
        (0..self.names.len()).filter(answers).map(|device| (device, self.place.client(device))).collect()
    }

    /// Returns the links that could be up and are not: those that are not cut, between devices that are up.
    pub(super) fn missing(&self, seen: &Seen) -> Vec<usize> {
        let missing = |link: &usize| {
            let edge = &self.plan.edges[*link];
            let up = self.lives.is_on(edge.a) && self.lives.is_on(edge.b);
            up && self.links.is_open(*link) && !seen.links.contains(&(edge.a.min(edge.b), edge.a.max(edge.b)))
        };
        (0..self.plan.edges.len()).filter(missing).collect()
    }

    fn handle_fault(&mut self, fault: usize, begins: bool) {
        let Some(planned) = self.plan.faults.get(fault).cloned() else { return };
        let label = planned.label.as_str();
        self.events.note(usize::MAX, &if begins { What::Fault { label } } else { What::Healed { label } });
        let done = match planned.what {
            FaultKind::Crash(devices) | FaultKind::PowerCut(devices) => {
                devices.into_iter().filter(|device| self.set_down(*device, begins)).count()
            }
            FaultKind::Pause(devices) => devices.into_iter().filter(|device| self.set_still(*device, begins)).count(),
            FaultKind::Cut { edges, silent } => {
                edges.iter().for_each(|edge| self.cut(*edge, silent, begins));
                edges.len()
            }
            FaultKind::Flap { edges, .. } => {
                if begins {
                    self.handle_flap(fault, true);
                }
                edges.len()
            }
            FaultKind::Degrade { edges, shapes } => {
                let shapes = if begins { shapes } else { [None; 2] };
                for edge in &edges {
                    let ends = self.links.degrade(*edge, shapes);
                    self.tell(ends);
                }
                edges.len()
            }
            FaultKind::Overload { flow, factor } => {
                self.workload.set_factor(flow, if begins { factor } else { 1.0 });
                1
            }
            // A lab has none of these: see the layout.
            FaultKind::BatteryEmpty(_)
            | FaultKind::ClockStep { .. }
            | FaultKind::ClockDrift { .. }
            | FaultKind::DiskFull(_)
            | FaultKind::Hostile { .. }
            | FaultKind::Stranger(_)
            | FaultKind::Impostor(_)
            | FaultKind::Revoke { .. } => 0,
        };
        if begins {
            self.struck.entry(planned.entry).or_insert_with(|| (0, planned.label)).0 += done as u64;
        }
    }

    /// Takes a flapping link down or up, and enters the next change.
    fn handle_flap(&mut self, fault: usize, goes: bool) {
        let Some(planned) = self.plan.faults.get(fault).cloned() else { return };
        let FaultKind::Flap { edges, down, up } = planned.what else { return };
        edges.iter().for_each(|edge| self.cut(*edge, false, goes));
        let after = Duration::from_nanos(now().saturating_sub(NANOS));
        let next = after + if goes { down } else { up };
        let over = self.plan.warmup + planned.until.unwrap_or(self.plan.duration).min(self.plan.duration);
        if goes || next < over {
            // A link that is down comes up at the end of the fault at the latest.
            self.agenda.enter(if goes { next.min(over) } else { next }, Item::Flap { fault, down: !goes });
        }
    }

    /// Heals everything.
    fn handle_calm(&mut self) {
        let open = |fault: &crate::plan::Fault| fault.until.is_none_or(|until| until >= self.plan.duration);
        let faults: Vec<usize> = (0..self.plan.faults.len()).filter(|fault| open(&self.plan.faults[*fault])).collect();
        faults.into_iter().for_each(|fault| self.handle_fault(fault, false));
    }

    fn cut(&mut self, edge: usize, silent: bool, begins: bool) {
        let ends = self.links.cut(edge, silent, begins);
        self.tell(ends);
    }

    fn tell(&mut self, devices: [usize; 2]) {
        devices.into_iter().for_each(|device| self.order(device, Order::Links(self.links.of(device))));
    }

    /// Kills a device's process, or starts it again. Returns whether it was killed.
    fn set_down(&mut self, device: usize, down: bool) -> bool {
        let reasons = &mut self.down[device];
        *reasons = if down { *reasons + 1 } else { reasons.saturating_sub(1) };
        match (down, *reasons) {
            (true, 1) => {
                self.events.note(device, &What::Down);
                self.lives.0[device] = None;
                self.ledger.handle_down(device);
                self.order(device, Order::Kill);
                return true;
            }
            (false, 0) => self.order(device, Order::Start),
            _ => {}
        }
        false
    }

    /// Pauses a device's process, or resumes it. Returns whether it was paused.
    fn set_still(&mut self, device: usize, still: bool) -> bool {
        let reasons = &mut self.still[device];
        *reasons = if still { *reasons + 1 } else { reasons.saturating_sub(1) };
        match (still, *reasons) {
            (true, 1) if self.lives.is_on(device) => {
                self.order(device, Order::Pause);
                return true;
            }
            (false, 0) => self.order(device, Order::GoOn),
            _ => {}
        }
        false
    }

    fn order(&mut self, device: usize, order: Order) {
        if self.workers[device].try_send(order).is_err() {
            self.broken.push(format!("{} has more orders than can be carried out", self.names[device]));
        }
    }
}

/// The interval of looks at the lab.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// The number of orders that may wait for a device's worker; an order beyond it is an error.
const MOST_ORDERS: usize = 1_024;
/// The number of news items that may wait; senders of more wait.
const MOST_NEWS: usize = 1_024;
/// The time within which applications have to listen to all that they are to hear.
const TO_LISTEN: Duration = Duration::from_secs(60);
