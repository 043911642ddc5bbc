//! `lab cut`, `lab heal`, `lab shape`: change how two nodes of a running lab are linked.
//!
//! Both ends get orders: a node that runs, over its local API; one that is down, by its `lab.toml`, which it reads when
//! it starts. A lock keeps two commands from undoing each other's changes.

use super::record::{self, Entry};
use crate::cli::Verdict;
use crate::cli::failure::Failure;
use crate::cli::shape as written;
use crate::cli::shell::Shell;
use crate::config;
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{Lab, Shape, Span};
use crate::net::emulation as lab;
use serde_json::json;
use std::fs::File;
use std::path::Path;

/// Two nodes of a lab.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Pair {
    /// A node, such as node-1
    #[arg(value_name = "A", value_parser = written::name)]
    a: String,
    /// Another node
    #[arg(value_name = "B", value_parser = written::name)]
    b: String,
}

/// Changes to the shape of a link, in both directions; options that are absent change nothing.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Change {
    /// Delay from one end to the other
    #[arg(long, value_name = "DURATION", value_parser = written::span)]
    delay: Option<Span>,
    /// Largest deviation from the delay, in either direction
    #[arg(long, value_name = "DURATION", value_parser = written::span)]
    jitter: Option<Span>,
    /// Fraction that is lost, and so arrives later: 0.01, or 1%
    #[arg(long, value_name = "PART", value_parser = written::loss)]
    loss: Option<f64>,
    /// Bits per second: 64kbit, 10Mbit; 0 for an unlimited rate
    #[arg(long, value_name = "RATE", value_parser = written::rate)]
    rate: Option<u64>,
    /// Price per megabyte, in units of money
    #[arg(long, value_name = "PRICE", value_parser = written::price)]
    price: Option<f64>,
    /// Remove the shape
    #[arg(long, conflicts_with_all = ["delay", "jitter", "loss", "rate", "price"])]
    off: bool,
}

/// Cuts two nodes off from each other. With `silent`, their connections stay open but carry nothing.
pub(super) async fn cut(shell: &Shell, directory: &Path, pair: &Pair, silent: bool) -> Result<Verdict, Failure> {
    let mut ends = Ends::open(directory, pair).await?;
    for (end, other) in ends.both() {
        let (to, from) = match silent {
            true => (&mut end.orders.silent, &mut end.orders.cut),
            false => (&mut end.orders.cut, &mut end.orders.silent),
        };
        from.remove(&other);
        to.insert(other);
    }
    ends.tell().await?;
    ends.show(shell, &format!("{} and {} are cut off from each other", pair.a, pair.b))
}

/// Undoes a cut, and removes the shape.
pub(super) async fn heal(shell: &Shell, directory: &Path, pair: &Pair) -> Result<Verdict, Failure> {
    let mut ends = Ends::open(directory, pair).await?;
    for (end, other) in ends.both() {
        if end.orders.only.as_ref().is_some_and(|only| !only.contains(&other)) {
            return Err(Failure::new(
                format!("this lab's topology has no link between {} and {}", pair.a, pair.b),
                "start the lab with another --topology",
            ));
        }
        end.orders.cut.remove(&other);
        end.orders.silent.remove(&other);
        end.orders.shape.remove(&other);
    }
    ends.tell().await?;
    ends.show(shell, &format!("{} and {} may link again", pair.a, pair.b))
}

/// Changes the shape of a link; without changes, shows it.
pub(super) async fn shape(shell: &Shell, directory: &Path, pair: &Pair, change: Change) -> Result<Verdict, Failure> {
    let mut ends = Ends::open(directory, pair).await?;
    let Change { delay, jitter, loss, rate, price, off } = change;
    if !off && delay.is_none() && jitter.is_none() && loss.is_none() && rate.is_none() && price.is_none() {
        return ends.show(shell, "");
    }
    for (end, other) in ends.both() {
        let mut shape = end.orders.shape.remove(&other).unwrap_or_default();
        shape.delay = delay.or(shape.delay);
        shape.jitter = jitter.or(shape.jitter);
        shape.loss = loss.or(shape.loss);
        shape.rate = rate.or(shape.rate).filter(|rate| *rate > 0);
        shape.price = price.or(shape.price);
        let checked = lab::Shape::try_from(shape)
            .map_err(|error| Failure::split(error, "`m2mesh lab shape --help` tells what there is"))?;
        if !off && !checked.is_plain() {
            end.orders.shape.insert(other, checked.into());
        }
    }
    ends.tell().await?;
    ends.show(shell, "")
}

/// Both ends of a link, with their orders.
struct Ends {
    a: End,
    b: End,
    /// Held until both ends have their orders.
    _lock: File,
}

struct End {
    entry: Entry,
    orders: Lab,
}

impl Ends {
    async fn open(directory: &Path, pair: &Pair) -> Result<Self, Failure> {
        if pair.a == pair.b {
            return Err(Failure::new(
                format!("{} has no link with itself", pair.a),
                "name two nodes, as node-1 node-2",
            ));
        }
        let lab = record::running(directory)?;
        let (a, b) = (lab.find(&pair.a)?.clone(), lab.find(&pair.b)?.clone());
        let path = directory.join(LOCK);
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(|error| Failure::file("lock", &path, &error))?;
        Ok(Self { a: End::open(a).await?, b: End::open(b).await?, _lock: lock })
    }

    /// Each end with the name of the other.
    fn both(&mut self) -> [(&mut End, String); 2] {
        let (a, b) = (self.a.entry.name.clone(), self.b.entry.name.clone());
        [(&mut self.a, b), (&mut self.b, a)]
    }

    async fn tell(&self) -> Result<(), Failure> {
        self.a.tell().await?;
        self.b.tell().await?;
        if self.a.orders.shape.contains_key(&self.b.entry.name) {
            // This end has measured the round trip before the other end was changed.
            self.a.tell().await?;
        }
        Ok(())
    }

    /// Shows how the two are linked, or prints `done` if it is not empty.
    fn show(&self, shell: &Shell, done: &str) -> Result<Verdict, Failure> {
        let directions = [(&self.a, &self.b), (&self.b, &self.a)];
        let shape = |from: &End, to: &End| from.orders.shape.get(&to.entry.name).copied();
        let silent = directions.iter().any(|(from, to)| from.orders.silent.contains(&to.entry.name));
        let cut = silent || directions.iter().any(|(from, to)| from.orders.cut.contains(&to.entry.name));
        if shell.json {
            let shapes: Vec<_> = directions
                .iter()
                .filter_map(|(from, to)| Some((from, to, shape(from, to)?)))
                .map(|(from, to, shape)| json!({ "from": from.entry.name, "to": to.entry.name, "shape": shape }))
                .collect();
            let nodes = [&self.a.entry.name, &self.b.entry.name];
            shell.object(&json!({ "nodes": nodes, "cut": cut, "silent": silent, "shapes": shapes }))?;
            return Ok(Verdict::Done);
        }
        if !done.is_empty() {
            shell.line(done)?;
            return Ok(Verdict::Done);
        }
        let row = |(from, to): (&End, &End)| {
            let [delay, loss, rate, price] = written::cells(&shape(from, to).unwrap_or_else(Shape::default));
            vec![from.entry.name.clone(), to.entry.name.clone(), delay, loss, rate, price]
        };
        shell.table(&["FROM", "TO", "DELAY", "LOSS", "RATE", "PRICE"], directions.into_iter().map(row).collect())?;
        if cut {
            shell.note("they are cut off from each other");
        }
        Ok(Verdict::Done)
    }
}

impl End {
    async fn open(entry: Entry) -> Result<Self, Failure> {
        let orders = match Client::new(&entry.directory).get::<Lab>(ROUTE, &()).await {
            Err(ClientError::NotRunning(_)) => {
                let kept = config::lab::load(&entry.directory);
                kept.map_err(|error| Failure::split(error, "start the lab again"))?.unwrap_or_default()
            }
            answer => answer?,
        };
        Ok(Self { entry, orders })
    }

    async fn tell(&self) -> Result<(), Failure> {
        let Entry { directory, .. } = &self.entry;
        match Client::new(directory).put::<Lab>(ROUTE, &self.orders).await {
            Err(ClientError::NotRunning(_)) => config::lab::save(directory, &self.orders)
                .map_err(|error| Failure::file("write", &directory.join(config::lab::FILE), &error)),
            answer => answer.map(drop).map_err(Failure::from),
        }
    }
}

/// The route for reading and replacing a node's orders.
const ROUTE: &str = "/v1/lab";
/// Name of the file in the lab's directory that is locked while links are changed.
const LOCK: &str = "links.lock";
