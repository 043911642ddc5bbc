//! No test waits for ever: a process that has not ended, or said what it is to say, in time is killed, and the test fails
//! with what it waited for.

use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Far longer than anything that is waited for takes, on a busy machine too.
pub const LIMIT: Duration = Duration::from_secs(180);

/// While it lasts, a process is killed once its time is over.
pub struct Limit {
    over: Arc<AtomicBool>,
    /// Gone, there is nothing to watch any more.
    _watched: SyncSender<()>,
}

impl Limit {
    pub fn on(child: &Child) -> Self {
        Self::of(child, LIMIT)
    }

    pub fn of(child: &Child, limit: Duration) -> Self {
        // Nothing is ever sent.
        let (watched, gone) = sync_channel::<()>(0);
        let over = Arc::new(AtomicBool::new(false));
        let (id, told) = (child.id().to_string(), over.clone());
        std::thread::spawn(move || {
            if gone.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                told.store(true, Ordering::Release);
                // It may have ended in this moment.
                let _ = Command::new("kill").args(["-KILL", &id]).status();
            }
        });
        Self { over, _watched: watched }
    }

    /// Whether the process had to be killed.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// Its exit code, once it has ended.
#[track_caller]
pub fn wait(child: &mut Child, what: &str) -> Option<i32> {
    let limit = Limit::on(child);
    let status = child.wait().expect("it is ours");
    assert!(!limit.is_over(), "{what} had not ended after {LIMIT:?} and was killed");
    status.code()
}

/// What it printed, once it has ended.
#[track_caller]
pub fn output(child: Child, what: &str) -> Output {
    let limit = Limit::on(&child);
    let output = child.wait_with_output().expect("it is ours");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!limit.is_over(), "{what} had not ended after {LIMIT:?} and was killed; it said: {said}");
    output
}
