//! Raw TCP: the baseline of the comparison.

use super::pack::{self, Splitter};
use super::part::{Counted, RoundTrips, Task};
use std::io;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Listens, passes its address to `ready`, then counts or echoes records until the other end closes.
pub(super) async fn receive(echo: bool, ready: impl FnOnce(String)) -> io::Result<Counted> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready(listener.local_addr()?.to_string());
    let (mut stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let (mut counted, mut splitter, mut buffer) = (Counted::new(), Splitter::default(), vec![0; pack::CHUNK]);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(counted);
        }
        if echo {
            stream.write_all(&buffer[..read]).await?;
        }
        counted.add(splitter.count(&buffer[..read]));
    }
}

/// Sends as fast as possible, then closes.
pub(super) async fn send(to: &str, task: Task) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (payload, mut chunk, until) =
        (vec![7; task.size], Vec::with_capacity(pack::CHUNK), Instant::now() + task.period);
    while Instant::now() < until {
        pack::fill(&mut chunk, &payload);
        stream.write_all(&chunk).await?;
    }
    stream.shutdown().await
}

/// Sends one message at a time and waits for its echo, repeatedly.
pub(super) async fn ping(to: &str, task: Task) -> io::Result<RoundTrips> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (mut record, mut trips, until) = (Vec::new(), RoundTrips::new(), Instant::now() + task.period);
    pack::put(&mut record, &vec![7; task.size]);
    let mut back = vec![0; record.len()];
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(&record).await?;
        stream.read_exact(&mut back).await?;
        trips.add(began.elapsed());
    }
    Ok(trips)
}
