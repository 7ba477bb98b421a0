//! Who is answered now, who waits, who is turned away: levels with so many seats each, and within a level flows that
//! are served in turns. No clock, no I/O: tickets stand for the requests that wait.
//!
//! A level may use its nominal seats always, and seats that other levels lend and do not use. Since a lender gets
//! its seats back at once, not when the borrower is done, more may be taken for a moment than there are.
use std::collections::{HashMap, VecDeque};

/// What one priority level is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allotment {
    /// Never waits and is never turned away.
    pub exempt: bool,
    pub nominal: u32,
    /// Of the nominal seats, those that others may use while this level doesn't.
    pub lendable: u32,
    /// Seats of others that it may use.
    pub borrowable: u32,
    /// Requests of one flow that may wait, and of all; 0: none does.
    pub waiting_of_flow: usize,
    pub waiting: usize,
}

/// What becomes of a request that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Seated,
    Waits,
    TurnedAway,
}

struct Level<T> {
    allotted: Allotment,
    seated: u32,
    /// Flows with somebody waiting, the next one first.
    turns: VecDeque<u64>,
    queues: HashMap<u64, VecDeque<T>>,
    waiting: usize,
}

/// All levels.
pub struct Seats<T> {
    levels: Vec<Level<T>>,
}

impl<T> Default for Seats<T> {
    fn default() -> Self {
        Self { levels: Vec::new() }
    }
}

impl<T> Seats<T> {
    /// Gives a level its seats, making it if there is none of this number yet.
    pub fn allot(&mut self, level: usize, allotted: Allotment) {
        while self.levels.len() <= level {
            self.levels.push(Level {
                allotted: Allotment::default(),
                seated: 0,
                turns: VecDeque::new(),
                queues: HashMap::new(),
                waiting: 0,
            });
        }
        self.levels[level].allotted = allotted;
    }

    /// How many levels have been made.
    pub fn count(&self) -> usize {
        self.levels.len()
    }

    /// A level is there no more: who waits for it has its turn, and it lends nothing.
    pub fn retire(&mut self, level: usize) {
        self.levels[level].allotted.lendable = 0;
    }

    /// A request has come. If it waits, it has left a ticket.
    pub fn arrive(&mut self, level: usize, flow: u64, ticket: impl FnOnce() -> T) -> Arrival {
        // Nobody overtakes those who wait.
        if self.levels[level].waiting == 0 && self.may_seat(level) {
            self.levels[level].seated += 1;
            return Arrival::Seated;
        }
        let level = &mut self.levels[level];
        let queued = level.queues.get(&flow).map_or(0, VecDeque::len);
        if queued >= level.allotted.waiting_of_flow || level.waiting >= level.allotted.waiting {
            return Arrival::TurnedAway;
        }
        if queued == 0 {
            level.turns.push_back(flow);
        }
        level.queues.entry(flow).or_default().push_back(ticket());
        level.waiting += 1;
        Arrival::Waits
    }

    /// A seat has become free.
    pub fn leave(&mut self, level: usize) {
        let level = &mut self.levels[level];
        level.seated = level.seated.saturating_sub(1);
    }

    /// The next ticket that may be seated, and is by this, with its level.
    pub fn next(&mut self) -> Option<(usize, T)> {
        let level = (0..self.levels.len()).find(|at| self.levels[*at].waiting > 0 && self.may_seat(*at))?;
        let waiting = &mut self.levels[level];
        let flow = waiting.turns.pop_front()?;
        let queue = waiting.queues.get_mut(&flow)?;
        let ticket = queue.pop_front()?;
        if queue.is_empty() {
            waiting.queues.remove(&flow);
        } else {
            waiting.turns.push_back(flow);
        }
        waiting.waiting -= 1;
        waiting.seated += 1;
        Some((level, ticket))
    }

    /// Takes those tickets of a flow away whose requests have given up.
    pub fn forget(&mut self, level: usize, flow: u64, gone: impl Fn(&T) -> bool) {
        let level = &mut self.levels[level];
        let Some(queue) = level.queues.get_mut(&flow) else {
            return;
        };
        let before = queue.len();
        queue.retain(|ticket| !gone(ticket));
        level.waiting -= before - queue.len();
        if queue.is_empty() {
            level.queues.remove(&flow);
            level.turns.retain(|turn| *turn != flow);
        }
    }

    /// Seated and waiting requests of a level.
    pub fn counts(&self, level: usize) -> (u32, usize) {
        self.levels
            .get(level)
            .map_or((0, 0), |level| (level.seated, level.waiting))
    }

    fn may_seat(&self, level: usize) -> bool {
        let Level { allotted, seated, .. } = &self.levels[level];
        if allotted.exempt || *seated < allotted.nominal {
            return true;
        }
        if seated - allotted.nominal >= allotted.borrowable {
            return false;
        }
        let lent = |level: &Level<T>| {
            let unused = level.allotted.nominal.saturating_sub(level.seated);
            u64::from(unused.min(level.allotted.lendable))
        };
        let borrowed = |level: &Level<T>| u64::from(level.seated.saturating_sub(level.allotted.nominal));
        let limited = || self.levels.iter().filter(|level| !level.allotted.exempt);
        limited().map(borrowed).sum::<u64>() < limited().map(lent).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(nominal: u32, lendable: u32, waiting: usize) -> Allotment {
        Allotment {
            nominal,
            lendable,
            borrowable: u32::MAX,
            waiting_of_flow: waiting,
            waiting: waiting * 2,
            ..Allotment::default()
        }
    }

    fn seats(levels: &[Allotment]) -> Seats<&'static str> {
        let mut seats = Seats::default();
        for (at, allotted) in levels.iter().enumerate() {
            seats.allot(at, *allotted);
        }
        seats
    }

    #[test]
    fn flows_are_served_in_turns_however_much_one_asks() {
        let mut seats = seats(&[level(1, 0, 3)]);
        assert_eq!(seats.arrive(0, 1, || "a0"), Arrival::Seated);
        for ticket in ["a1", "a2", "a3"] {
            assert_eq!(seats.arrive(0, 1, || ticket), Arrival::Waits);
        }
        assert_eq!(seats.arrive(0, 1, || "a4"), Arrival::TurnedAway);
        assert_eq!(seats.arrive(0, 2, || "b1"), Arrival::Waits);
        assert_eq!(seats.next(), None);
        let mut served = Vec::new();
        for _ in 0..4 {
            seats.leave(0);
            served.push(seats.next().unwrap().1);
            assert_eq!(seats.next(), None);
        }
        assert_eq!(served, ["a1", "b1", "a2", "a3"]);
        assert_eq!(seats.counts(0), (1, 0));
    }

    #[test]
    fn a_level_lends_what_it_does_not_use_and_has_it_back_at_once() {
        let mut seats = seats(&[level(2, 0, 1), level(4, 2, 1)]);
        for _ in 0..4 {
            assert_eq!(seats.arrive(0, 1, || "x"), Arrival::Seated);
        }
        assert_eq!(seats.arrive(0, 1, || "x"), Arrival::Waits);
        for _ in 0..4 {
            assert_eq!(seats.arrive(1, 1, || "y"), Arrival::Seated);
        }
        assert_eq!(seats.arrive(1, 1, || "y"), Arrival::Waits);
        // The lender is full: the borrower gives back before it seats anybody.
        seats.leave(0);
        assert_eq!(seats.next(), None);
        seats.leave(1);
        assert_eq!(seats.next(), Some((1, "y")));
    }

    #[test]
    fn a_level_that_is_gone_lends_nothing_and_lets_those_who_wait_in() {
        let mut seats = seats(&[level(1, 0, 1), level(4, 2, 1)]);
        assert_eq!(seats.arrive(0, 1, || "x"), Arrival::Seated);
        assert_eq!(seats.arrive(0, 1, || "x"), Arrival::Seated);
        seats.retire(1);
        assert_eq!(seats.arrive(0, 1, || "y"), Arrival::Waits);
        for _ in 0..4 {
            assert_eq!(seats.arrive(1, 1, || "z"), Arrival::Seated);
        }
        assert_eq!(seats.arrive(1, 1, || "z"), Arrival::Waits);
        seats.leave(1);
        assert_eq!(seats.next(), Some((1, "z")));
        // One that is given more seats has them at once.
        seats.allot(0, level(3, 0, 1));
        assert_eq!(seats.next(), Some((0, "y")));
    }

    #[test]
    fn an_exempt_level_never_waits_and_those_who_give_up_make_room() {
        let exempt = Allotment {
            exempt: true,
            ..Allotment::default()
        };
        let mut seats = seats(&[exempt, level(1, 0, 1)]);
        for _ in 0..100 {
            assert_eq!(seats.arrive(0, 1, || "x"), Arrival::Seated);
        }
        assert_eq!(seats.arrive(1, 1, || "a"), Arrival::Seated);
        assert_eq!(seats.arrive(1, 1, || "b"), Arrival::Waits);
        assert_eq!(seats.arrive(1, 1, || "c"), Arrival::TurnedAway);
        seats.forget(1, 1, |ticket| *ticket == "b");
        assert_eq!(seats.counts(1), (1, 0));
        assert_eq!(seats.arrive(1, 1, || "c"), Arrival::Waits);
        seats.leave(1);
        assert_eq!(seats.next(), Some((1, "c")));
    }
}
