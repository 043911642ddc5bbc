//! The output of a lab: on a terminal, a table that is redrawn each second; elsewhere, a line for each change of state,
//! and one when every node has all its peers.

use super::nodes::{Event, Node, Nodes, State};
use crate::cli::failure::Failure;
use crate::cli::shell::{self, Shell};
use crate::counter::Counter;
use crate::gateway::dto::Status;
use crate::node::system::resident;
use console::Term;
use std::io::Write as _;
use std::time::Duration;

/// The output of a lab.
pub(super) struct View {
    shell: Shell,
    terminal: Option<Term>,
    /// Widths of the lines on the terminal when they were drawn.
    drawn: Vec<usize>,
    /// Time from the start until every node had all its peers; `None` until then.
    ready: Option<Duration>,
}

impl View {
    pub(super) fn new(shell: &Shell) -> Self {
        let terminal = shell.terminal.then(Term::stdout);
        Self { shell: shell.clone(), terminal, drawn: Vec::new(), ready: None }
    }

    /// How often to refresh.
    pub(super) fn interval(&self) -> Duration {
        if self.terminal.is_some() { Duration::from_secs(1) } else { Duration::from_millis(200) }
    }

    /// Whether a refresh shows anything from the status of the nodes.
    pub(super) fn wants_counts(&self) -> bool {
        self.terminal.is_some() || self.ready.is_none()
    }

    /// Shows a change of state.
    pub(super) fn event(&mut self, nodes: &Nodes, event: &Event) -> Result<(), Failure> {
        let (Event::Ready { index } | Event::Killed { index } | Event::Ended { index, .. }) = event;
        let node = &nodes.all[*index];
        if self.terminal.is_some() {
            return self.draw(nodes);
        }
        if self.shell.json {
            return self.shell.object(&row(node));
        }
        let address = node.listen.first().map(String::as_str).unwrap_or_default();
        self.shell.line(format_args!("{} {} (pid {}, {address})", node.name, word(&node.state), node.pid))
    }

    /// Shows what has changed since the last refresh, `elapsed` after the start.
    pub(super) fn refresh(&mut self, nodes: &Nodes, elapsed: Duration) -> Result<(), Failure> {
        let linked = |node: &Node| node.status.as_ref().is_some_and(|status| status.gauges.links >= node.links as u64);
        let complete = nodes.all.iter().all(linked);
        if self.ready.is_none() && complete {
            self.ready = Some(elapsed);
            if self.shell.json {
                let seconds = elapsed.as_secs_f64();
                self.shell.object(&serde_json::json!({
                    "ready": true, "nodes": nodes.all.len(), "peers": peers(nodes), "links": links(nodes),
                    "seconds": seconds,
                }))?;
            } else if self.terminal.is_none() {
                self.shell.line(ready(nodes, elapsed))?;
            }
        }
        self.draw(nodes)
    }

    /// Shows that the nodes are about to be stopped.
    pub(super) fn stopping(&mut self, nodes: &Nodes) -> Result<(), Failure> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        terminal.write_line(&format!("stopping {} nodes …", nodes.running())).map_err(|error| Failure::output(&error))
    }

    fn draw(&mut self, nodes: &Nodes) -> Result<(), Failure> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let mut text = shell::render(&HEADER, nodes.all.iter().map(cells).collect(), true);
        text.push_str("\n\n");
        text.push_str(&match self.ready {
            Some(took) => ready(nodes, took),
            None => "starting …".to_owned(),
        });
        text.push_str("   Ctrl-C stops all\n");
        text.push_str("Try in another terminal:  m2mesh lab exec node-1 -- send node-2 hello");
        let (height, width) = terminal.size();
        let (height, width) = (usize::from(height), usize::from(width));
        // One line less than there is room for: lines that have scrolled out of sight cannot be redrawn.
        let shown = text.lines().take(height.saturating_sub(1).max(1));
        let lines: Vec<_> = shown.map(|line| console::truncate_str(line, width, "…").into_owned()).collect();
        let draw = || {
            terminal.clear_last_lines(rows(&self.drawn, width).min(height.saturating_sub(1)))?;
            // A terminal that was made narrower may have cut lines that it could not fold.
            write!(&*terminal, "\x1b[J")?;
            for line in &lines {
                terminal.write_line(line)?;
            }
            terminal.flush()
        };
        draw().map_err(|error| Failure::output(&error))?;
        self.drawn = lines.iter().map(|line| console::measure_text_width(line)).collect();
        Ok(())
    }
}

/// Number of rows that lines of these widths take on the terminal at its present width, which folds lines that are too
/// long.
fn rows(lines: &[usize], width: usize) -> usize {
    lines.iter().map(|line| line.div_ceil(width.max(1)).max(1)).sum()
}

fn ready(nodes: &Nodes, took: Duration) -> String {
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let linked = match peers(nodes) {
        Some(peers) => format!("each with {}", many(peers, "peer")),
        None => many(links(nodes), "link"),
    };
    format!("READY {}, {linked}, in {:.1} s", many(nodes.all.len(), "node"), took.as_secs_f64())
}

/// Number of peers that each node is to have, if it is the same for all.
fn peers(nodes: &Nodes) -> Option<usize> {
    let peers = nodes.all.first()?.links;
    nodes.all.iter().all(|node| node.links == peers).then_some(peers)
}

/// Number of links that there are to be.
fn links(nodes: &Nodes) -> usize {
    nodes.all.iter().map(|node| node.links).sum::<usize>() / 2
}

fn word(state: &State) -> String {
    match state {
        State::Starting => "starting".to_owned(),
        State::Up => "up".to_owned(),
        State::Killed => "killed".to_owned(),
        State::Ended(how) => format!("ended, {}", shell::visible(how.as_bytes())),
    }
}

/// Titles of the table's columns.
pub(super) const HEADER: [&str; 9] =
    ["NODE", "PID", "STATE", "LINKS", "INBOX", "OUTGOING", "DROPPED", "MEMORY", "ADDRESS"];

/// The cells of a node in the table.
pub(super) fn cells(node: &Node) -> Vec<String> {
    let of = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let status = node.status.as_ref();
    vec![
        node.name.clone(),
        node.pid.to_string(),
        word(&node.state),
        of(status.map(|status| status.gauges.links.to_string())),
        of(status.map(|status| status.gauges.inbox.to_string())),
        of(status.map(|status| status.gauges.outgoing.to_string())),
        of(status.map(|status| dropped(status).to_string())),
        of(resident(node.pid).filter(|_| matches!(node.state, State::Starting | State::Up)).map(shell::bytes)),
        node.listen.first().cloned().unwrap_or_default(),
    ]
}

/// Everything that a node has dropped or refused, without the connections that the lab itself prevents.
fn dropped(status: &Status) -> u64 {
    status.counters.iter().filter(|(name, _)| *name != Counter::ConnectionsCut.name()).map(|(_, count)| count).sum()
}

/// A node as JSON.
pub(super) fn row(node: &Node) -> serde_json::Value {
    let (state, reason) = match &node.state {
        State::Starting => ("starting", None),
        State::Up => ("up", None),
        State::Killed => ("killed", None),
        State::Ended(how) => ("ended", Some(how)),
    };
    let mut row = serde_json::json!({
        "node": node.name,
        "pid": node.pid,
        "state": state,
        "directory": node.directory,
        "listen": node.listen,
    });
    if let Some(reason) = reason {
        row["reason"] = serde_json::json!(reason);
    }
    if let Some(status) = &node.status {
        row["status"] = serde_json::json!(status);
        row["memory"] = serde_json::json!(resident(node.pid));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn lines_that_a_narrower_terminal_folds_take_more_rows() {
        assert_eq!(rows(&[80, 0, 10], 80), 3);
        assert_eq!(rows(&[80, 0, 10], 40), 4);
        assert_eq!(rows(&[80, 0, 10], 30), 5);
        assert_eq!(rows(&[80, 0, 10], 200), 3);
        assert_eq!(rows(&[], 0), 0);
    }
}
