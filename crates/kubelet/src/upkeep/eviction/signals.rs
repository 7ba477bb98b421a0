//! What the node can run short of, and when it counts as short (contract, node agent §18.2). Pure.
use crate::config::{GoDuration, KubeletConfiguration};
use orlop_api::quantity::{Amount, parse};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is measured; in the order in which shortages are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    Memory,
    /// Of the cgroup of all pods.
    AllocatableMemory,
    NodeFs,
    NodeFsInodes,
    ImageFs,
    ImageFsInodes,
    Pids,
}

/// What a node condition tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pressure {
    Memory,
    Disk,
    Pids,
}

impl Pressure {
    /// The node condition's type.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pids => "PIDPressure",
        }
    }
}

impl Signal {
    /// By its name in the configuration.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "memory.available" => Self::Memory,
            "allocatableMemory.available" => Self::AllocatableMemory,
            "nodefs.available" => Self::NodeFs,
            "nodefs.inodesFree" => Self::NodeFsInodes,
            // One file system holds layers and images, or both are images' as far as room goes.
            "imagefs.available" | "containerfs.available" => Self::ImageFs,
            "imagefs.inodesFree" | "containerfs.inodesFree" => Self::ImageFsInodes,
            "pid.available" => Self::Pids,
            _ => return None,
        })
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::AllocatableMemory => "allocatableMemory.available",
            Self::NodeFs => "nodefs.available",
            Self::NodeFsInodes => "nodefs.inodesFree",
            Self::ImageFs => "imagefs.available",
            Self::ImageFsInodes => "imagefs.inodesFree",
            Self::Pids => "pid.available",
        }
    }

    /// What is short, in messages.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory | Self::AllocatableMemory => "memory",
            Self::NodeFs | Self::ImageFs => "ephemeral-storage",
            Self::NodeFsInodes | Self::ImageFsInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// The node condition that tells of it.
    pub fn pressure(self) -> Pressure {
        match self {
            Self::Memory | Self::AllocatableMemory => Pressure::Memory,
            Self::Pids => Pressure::Pids,
            _ => Pressure::Disk,
        }
    }

    /// About the file system where images and containers' layers are.
    pub fn is_of_images(self) -> bool {
        matches!(self, Self::ImageFs | Self::ImageFsInodes)
    }

    /// Counted in pieces, not bytes.
    pub fn is_count(self) -> bool {
        matches!(self, Self::NodeFsInodes | Self::ImageFsInodes | Self::Pids)
    }
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    pub available: i64,
    pub capacity: i64,
}

/// An amount, or a part of the whole.
#[derive(Clone, Debug, PartialEq)]
enum Level {
    Amount(i64),
    Part(f64),
}

impl Level {
    /// `None` for what is no level, and for 0 % and 100 %, which turn a threshold off.
    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => {
                let part: f64 = percent.parse().ok()?;
                (part > 0.0 && part < 100.0).then_some(Self::Part(part / 100.0))
            }
            None => Some(Self::Amount(parse(text).ok()?.value())),
        }
    }

    /// Whether it is a level, be it one that turns a threshold off.
    fn is_one(text: &str) -> bool {
        match text.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .is_ok_and(|part: f64| (0.0..=100.0).contains(&part)),
            None => parse(text).is_ok_and(|amount| !amount.is_negative()),
        }
    }

    fn of(&self, capacity: i64) -> i64 {
        match self {
            Self::Amount(amount) => *amount,
            Self::Part(part) => (capacity as f64 * part) as i64,
        }
    }
}

/// A threshold of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub signal: Signal,
    level: Level,
    /// How long it must hold; `None`: it is hard, and acts at once.
    pub grace: Option<Duration>,
    /// Beyond the level, this much must be free before it is over.
    reclaim: Option<Level>,
}

impl Rule {
    /// Less is there than the rule wants; `again`: it was short before, and must get well clear of it.
    fn is_met(&self, seen: Observed, again: bool) -> bool {
        let reclaim = self.reclaim.as_ref().filter(|_| again);
        let more = reclaim.map_or(0, |level| level.of(seen.capacity));
        seen.available < self.level.of(seen.capacity).saturating_add(more)
    }

    /// The level in the API's form.
    pub fn quantity(&self, capacity: i64) -> String {
        quantity(self.signal, self.level.of(capacity))
    }
}

/// A number of a signal's unit in the API's form.
pub fn quantity(signal: Signal, value: i64) -> String {
    let amount = if signal.is_count() {
        Amount::from_units(value)
    } else {
        Amount::from_bytes(value)
    };
    amount.to_quantity().0
}

/// What is wrong with the thresholds of a configuration: a misspelt one would never act.
pub fn check(configuration: &KubeletConfiguration) -> Result<(), String> {
    let levels = [
        ("evictionHard", &configuration.eviction_hard),
        ("evictionSoft", &configuration.eviction_soft),
        ("evictionMinimumReclaim", &configuration.eviction_minimum_reclaim),
    ];
    let unknown = |field: &str, name: &str| {
        Err(format!(
            "{field}: {name:?} is no signal such as memory.available, nodefs.available, nodefs.inodesFree, \
             imagefs.available, imagefs.inodesFree or pid.available"
        ))
    };
    for (field, levels) in levels {
        for (name, text) in levels {
            if Signal::parse(name).is_none() {
                return unknown(field, name);
            }
            if !Level::is_one(text) {
                return Err(format!(
                    "{field}: {name}: {text:?} is neither a quantity such as 100Mi nor a part such as 10%"
                ));
            }
        }
    }
    let mut graces = configuration.eviction_soft_grace_period.keys();
    match graces.find(|name| Signal::parse(name).is_none()) {
        Some(name) => unknown("evictionSoftGracePeriod", name),
        None => Ok(()),
    }
}

/// The rules of a configuration, in the order of their signals; hard ones first.
pub fn rules(configuration: &KubeletConfiguration) -> Vec<Rule> {
    let reclaim = |name: &str| {
        let text = configuration.eviction_minimum_reclaim.get(name)?;
        Level::parse(text)
    };
    let rule = |name: &str, text: &str, grace: Option<Duration>| {
        Some(Rule {
            signal: Signal::parse(name)?,
            level: Level::parse(text)?,
            grace,
            reclaim: reclaim(name),
        })
    };
    let hard = configuration.eviction_hard.iter();
    let mut rules: Vec<Rule> = hard.filter_map(|(name, text)| rule(name, text, None)).collect();
    // What pods may use together is short when their cgroup is nearly full, whatever the rest of the machine has.
    let pods = configuration
        .enforce_node_allocatable
        .iter()
        .any(|what| what == "pods");
    let of_node = rules.iter().find(|rule| rule.signal == Signal::Memory);
    let of_pods = of_node.filter(|_| pods).map(|rule| Rule {
        signal: Signal::AllocatableMemory,
        ..rule.clone()
    });
    rules.extend(of_pods);
    let soft = configuration.eviction_soft.iter();
    rules.extend(soft.filter_map(|(name, text)| {
        let GoDuration(grace) = *configuration.eviction_soft_grace_period.get(name)?;
        rule(name, text, Some(grace))
    }));
    rules.sort_by_key(|rule| (rule.signal, rule.grace));
    rules
}

/// What is remembered from one look to the next. Times are since the agent began.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Rules that are met, and since when; by index.
    met: BTreeMap<usize, Duration>,
    /// When a pressure was last seen.
    pressed: BTreeMap<Pressure, Duration>,
}

/// What a look has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Conditions that hold, those that ended lately included.
    pub pressures: Vec<Pressure>,
    /// Rules to act on, by index.
    pub due: Vec<usize>,
}

/// Looks at the measurements. `transition`: how long a condition stays after the shortage.
pub fn look(
    rules: &[Rule],
    seen: &BTreeMap<Signal, Observed>,
    memory: &mut Memory,
    now: Duration,
    transition: Duration,
) -> Found {
    let mut met = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let Some(seen) = seen.get(&rule.signal) else {
            continue;
        };
        let before = memory.met.get(&index).copied();
        if rule.is_met(*seen, before.is_some()) {
            met.insert(index, before.unwrap_or(now));
            memory.pressed.insert(rule.signal.pressure(), now);
        }
    }
    let due = met.iter().filter(|(index, since)| {
        let grace = rules[**index].grace.unwrap_or_default();
        now.saturating_sub(**since) >= grace
    });
    let due = due.map(|(index, _)| *index).collect();
    memory.met = met;
    memory
        .pressed
        .retain(|_, last| *last == now || now.saturating_sub(*last) < transition);
    Found {
        pressures: memory.pressed.keys().copied().collect(),
        due,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn configuration(hard: &[(&str, &str)], soft: &[(&str, &str, u64)]) -> KubeletConfiguration {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        KubeletConfiguration {
            eviction_hard: map(hard),
            eviction_soft: soft
                .iter()
                .map(|(key, value, _)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            eviction_soft_grace_period: soft
                .iter()
                .map(|(key, _, grace)| ((*key).to_owned(), GoDuration(seconds(*grace))))
                .collect(),
            enforce_node_allocatable: Vec::new(),
            ..KubeletConfiguration::default()
        }
    }

    fn memory(available: i64) -> BTreeMap<Signal, Observed> {
        let observed = Observed {
            available,
            capacity: 1000,
        };
        [(Signal::Memory, observed)].into()
    }

    #[test]
    fn g01_hard_threshold_acts_at_once_and_its_condition_stays_for_the_transition() {
        let rules = rules(&configuration(&[("memory.available", "100")], &[]));
        let mut state = Memory::default();
        let mut at =
            |now, available| look(&rules, &memory(available), &mut state, seconds(now), seconds(300));
        assert_eq!(at(0, 100), Found::default());
        let short = at(10, 99);
        assert_eq!((short.due, short.pressures), (vec![0], vec![Pressure::Memory]));
        let relieved = at(20, 500);
        assert_eq!(
            (relieved.due, relieved.pressures),
            (vec![], vec![Pressure::Memory])
        );
        assert_eq!(at(309, 500).pressures, [Pressure::Memory]);
        assert_eq!(at(310, 500).pressures, []);
    }

    /// G04: a lack of inodes is one of the disk.
    #[test]
    fn g04_lack_of_inodes_is_pressure_on_the_disk_and_acted_on() {
        for (name, signal) in [
            ("nodefs.inodesFree", Signal::NodeFsInodes),
            ("imagefs.inodesFree", Signal::ImageFsInodes),
        ] {
            let rules = rules(&configuration(&[(name, "5%")], &[]));
            let found = |available| {
                let observed = Observed {
                    available,
                    capacity: 1000,
                };
                let seen = [(signal, observed)].into();
                look(&rules, &seen, &mut Memory::default(), seconds(0), seconds(300))
            };
            assert_eq!(found(50), Found::default(), "{name}");
            let short = found(49);
            assert_eq!(
                (short.due, short.pressures),
                (vec![0], vec![Pressure::Disk]),
                "{name}"
            );
        }
    }

    #[test]
    fn soft_threshold_must_hold_for_its_grace() {
        let rules = rules(&configuration(&[], &[("memory.available", "10%", 30)]));
        let mut state = Memory::default();
        let mut due = |now, available| {
            let found = look(&rules, &memory(available), &mut state, seconds(now), seconds(300));
            found.due.len()
        };
        assert_eq!((due(0, 90), due(20, 90), due(30, 90)), (0, 0, 1));
        assert_eq!(
            (due(40, 100), due(50, 90), due(70, 90)),
            (0, 0, 0),
            "it begins anew"
        );
    }

    #[test]
    fn minimum_reclaim_keeps_a_threshold_met() {
        let mut given = configuration(&[("memory.available", "100")], &[]);
        let reclaim = ("memory.available".to_owned(), "50".to_owned());
        given.eviction_minimum_reclaim = [reclaim].into();
        let rules = rules(&given);
        let mut state = Memory::default();
        let mut due = |now, available| {
            let found = look(&rules, &memory(available), &mut state, seconds(now), seconds(300));
            found.due.len()
        };
        assert_eq!(
            (due(0, 120), due(1, 90), due(2, 149), due(3, 150), due(4, 120)),
            (0, 1, 1, 0, 0)
        );
    }

    #[test]
    fn what_pods_may_use_together_has_the_threshold_of_the_node_minimum_reclaim_included() {
        let mut given = configuration(&[("memory.available", "100")], &[]);
        given.eviction_minimum_reclaim = [("memory.available".to_owned(), "50".to_owned())].into();
        given.enforce_node_allocatable = vec!["pods".to_owned()];
        let rules = rules(&given);
        let signals: Vec<Signal> = rules.iter().map(|rule| rule.signal).collect();
        assert_eq!(signals, [Signal::Memory, Signal::AllocatableMemory]);
        assert_eq!(rules[0].level, rules[1].level);
        assert_eq!(rules[1].reclaim, Some(Level::Amount(50)));
    }

    #[test]
    fn zero_and_hundred_percent_turn_a_threshold_off_and_memory_comes_first() {
        let given = [
            ("nodefs.available", "10%"),
            ("memory.available", "100Mi"),
            ("imagefs.available", "0%"),
            ("pid.available", "100%"),
            ("colour.available", "5%"),
        ];
        let rules = rules(&configuration(&given, &[]));
        let signals: Vec<Signal> = rules.iter().map(|rule| rule.signal).collect();
        assert_eq!(signals, [Signal::Memory, Signal::NodeFs]);
        assert_eq!(rules[0].quantity(0), "100Mi");
    }
}
