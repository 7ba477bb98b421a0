//! Which pings are too many. Pure.
use crate::frames::Head;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Pings that come too soon and are let by.
const STRIKES_MAX: u32 = 2;
/// What a client without a call under way has to leave between its pings: nothing is at stake then.
const INTERVAL_WITHOUT_CALLS: Duration = Duration::from_secs(2 * 60 * 60);

/// Kinds of frames, and their flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;

/// What a connection's client has done, as far as it matters here.
#[derive(Debug)]
pub struct Policy {
    interval_min: Duration,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Something was answered since the last ping: clients may well ask after that.
    has_answered: bool,
    /// Calls under way.
    calls: HashSet<u32>,
    newest_call: u32,
}

impl Policy {
    /// While calls are under way, pings have to lie so far apart.
    pub fn new(interval_min: Duration) -> Self {
        Self {
            interval_min,
            last_ping: None,
            strikes: 0,
            has_answered: false,
            calls: HashSet::new(),
            newest_call: 0,
        }
    }

    /// The newest call that has come.
    pub fn newest_call(&self) -> u32 {
        self.newest_call
    }

    /// Takes in what the client sends; whether it is one ping too many.
    pub fn received(&mut self, head: Head, now: Instant) -> bool {
        match head.kind {
            PING if head.flags & ACK == 0 => return self.pinged(now),
            HEADERS if head.stream > self.newest_call => {
                self.newest_call = head.stream;
                self.calls.insert(head.stream);
            }
            RST_STREAM => {
                self.calls.remove(&head.stream);
            }
            _ => {}
        }
        false
    }

    /// Takes in what the server sends.
    pub fn sent(&mut self, head: Head) {
        match head.kind {
            DATA | HEADERS => {
                self.has_answered = true;
                if head.flags & END_STREAM != 0 {
                    self.calls.remove(&head.stream);
                }
            }
            RST_STREAM => {
                self.calls.remove(&head.stream);
            }
            _ => {}
        }
    }

    fn pinged(&mut self, now: Instant) -> bool {
        let last = self.last_ping.replace(now);
        if std::mem::take(&mut self.has_answered) {
            self.strikes = 0;
            return false;
        }
        let interval = match self.calls.is_empty() {
            true => INTERVAL_WITHOUT_CALLS,
            false => self.interval_min,
        };
        let is_too_soon = last.is_some_and(|last| now.saturating_duration_since(last) < interval);
        self.strikes += u32::from(is_too_soon);
        self.strikes > STRIKES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens on a connection, and after how many seconds.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Call,
        Ping(u64),
        Answer,
        End,
        Reset,
    }

    #[test]
    fn pings_that_come_too_soon_are_counted_until_something_is_answered() {
        use Step::*;
        let head = |kind, flags| Head {
            length: 0,
            kind,
            flags,
            stream: 1,
        };
        let cases: [(&[Step], Option<usize>); 7] = [
            // Of a client that has no call under way.
            (&[Ping(0), Ping(0), Ping(0), Ping(0)], Some(3)),
            (&[Ping(0), Ping(3600), Ping(3600), Ping(3600)], Some(3)),
            (&[Ping(0), Ping(7200), Ping(7200), Ping(7200), Ping(7200)], None),
            // And of one that has.
            (&[Call, Ping(0), Ping(5), Ping(5), Ping(5), Ping(5)], None),
            (&[Call, Ping(0), Ping(4), Ping(4), Ping(4)], Some(4)),
            (
                &[
                    Call,
                    Ping(0),
                    Ping(1),
                    Ping(1),
                    Answer,
                    Ping(1),
                    Ping(1),
                    Ping(1),
                    Ping(1),
                ],
                Some(8),
            ),
            (
                &[Call, Ping(0), Answer, Ping(9), Reset, Ping(9), Call, Ping(9), End],
                None,
            ),
        ];
        for (steps, expected) in cases {
            let mut policy = Policy::new(Duration::from_secs(5));
            let mut now = Instant::now();
            let too_many = steps.iter().position(|step| match step {
                Call => policy.received(head(HEADERS, 4), now),
                Ping(seconds) => {
                    now += Duration::from_secs(*seconds);
                    // The answer to one of the server's own is none.
                    assert!(!policy.received(head(PING, ACK), now));
                    policy.received(head(PING, 0), now)
                }
                Reset => policy.received(head(RST_STREAM, 0), now),
                Answer => {
                    policy.sent(head(DATA, 0));
                    false
                }
                End => {
                    policy.sent(head(HEADERS, END_STREAM | 4));
                    false
                }
            });
            assert_eq!(too_many, expected, "{steps:?}");
        }
    }

    #[test]
    fn a_call_that_has_ended_is_not_under_way() {
        let mut policy = Policy::new(Duration::from_secs(5));
        let now = Instant::now();
        let of = |stream, kind, flags| Head {
            length: 0,
            kind,
            flags,
            stream,
        };
        for stream in [1, 3, 5] {
            policy.received(of(stream, HEADERS, 4), now);
            // What ends a request is no call of its own.
            policy.received(of(stream, HEADERS, END_STREAM | 4), now);
        }
        policy.sent(of(1, HEADERS, 4));
        assert_eq!(policy.calls.len(), 3);
        policy.sent(of(1, DATA, END_STREAM));
        policy.sent(of(3, RST_STREAM, 0));
        policy.received(of(5, RST_STREAM, 0), now);
        assert_eq!((policy.calls.len(), policy.newest_call()), (0, 5));
    }
}
