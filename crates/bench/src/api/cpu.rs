//! Processor time that the server and this client spend on a load. The machine is shared with other work, so that
//! rates alone say little; what a request costs does.
use anyhow::{Context, Result};
use std::time::Duration;

/// Fields of `/proc/PID/stat` after the program's name, which may hold blanks: user and system time.
const TIME_FIELDS: [usize; 2] = [11, 12];
/// The unit of these, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Time spent until now.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    server: Option<Duration>,
    client: Duration,
}

/// Time spent on one request.
#[derive(Clone, Copy, Debug)]
pub struct PerRequest {
    /// Unknown where the server isn't ours.
    pub server: Option<Duration>,
    pub client: Duration,
}

impl Spent {
    /// By a server's process and by this one.
    pub fn now(server: Option<u32>) -> Result<Self> {
        Ok(Self {
            server: server.map(|id| of_process(&id.to_string())).transpose()?,
            client: of_process("self")?,
        })
    }

    /// Since `before`, for each of so many requests.
    pub fn since(self, before: Self, requests: usize) -> PerRequest {
        let each =
            |now: Duration, before: Duration| now.saturating_sub(before).div_f64(requests.max(1) as f64);
        PerRequest {
            server: self
                .server
                .zip(before.server)
                .map(|(now, before)| each(now, before)),
            client: each(self.client, before.client),
        }
    }
}

impl PerRequest {
    /// Requests per second if server and client had two processors for themselves and were never idle.
    pub fn rate_of_two_processors(&self) -> Option<f64> {
        Some(2.0 / (self.server? + self.client).as_secs_f64())
    }
}

/// By a process until now.
pub fn of_process(id: &str) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("no name in stat")?
        .1
        .split_whitespace()
        .collect();
    let mut ticks = 0;
    for field in TIME_FIELDS {
        ticks += fields.get(field).context("no times in stat")?.parse::<u32>()?;
    }
    Ok(TICK * ticks)
}
