//! Which faults come in which order, and whom they hit (pure): the same for the same seed.
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;

/// What is done to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A machine loses its power and gets it back.
    Kill(String),
    /// A program of a machine dies.
    KillProgram { machine: String, program: &'static str },
    /// A master and the other masters don't hear each other; clients reach both.
    Part(String),
    /// Nobody reaches a machine.
    CutOff(String),
    /// The process that leads etcd stops where it is.
    FreezeLeader,
    /// Of etcd so many members freeze that nobody leads: there is no API, for long enough that everybody has noticed.
    LoseQuorum,
    /// All machines lose their power at once.
    KillAll,
    /// etcd is full.
    FillQuota,
    /// Clocks of a master's parts are wrong.
    SkewClock(String),
    /// A master is brought to a version that does not work.
    BrokenUpgrade(String),
}

impl Fault {
    /// What it is called here, without its victim.
    fn name(&self) -> String {
        let text = format!("{self:?}");
        let end = text.find(|c: char| !c.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    }
}

/// Every fault once, in an order and with victims that depend on the seed.
pub fn every(seed: u64, masters: &[&str], workers: &[&str]) -> Vec<Fault> {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut one = |of: &[&str]| of.choose(random).copied().unwrap_or_default().to_owned();
    let program = |machine: String, program| Fault::KillProgram { machine, program };
    let mut faults = vec![
        Fault::Kill(one(masters)),
        Fault::Kill(one(workers)),
        program(one(masters), "etcd"),
        program(one(masters), "kube-apiserver"),
        program(one(masters), "kube-controller-manager"),
        Fault::Part(one(masters)),
        Fault::CutOff(one(masters)),
        Fault::CutOff(one(workers)),
        Fault::FreezeLeader,
        Fault::LoseQuorum,
        Fault::KillAll,
        Fault::FillQuota,
        Fault::SkewClock(one(masters)),
        Fault::BrokenUpgrade(one(masters)),
    ];
    faults.shuffle(random);
    faults
}

/// Of all faults those that are named by what they are called here, separated by commas, in that order.
///
/// # Errors
/// A name that no fault has.
pub fn named(names: &str, seed: u64, masters: &[&str], workers: &[&str]) -> Result<Vec<Fault>, String> {
    let all = every(seed, masters, workers);
    let mut chosen = Vec::new();
    for name in names.split(',') {
        let before = chosen.len();
        chosen.extend(all.iter().filter(|fault| fault.name() == name).cloned());
        if chosen.len() == before {
            let known: BTreeSet<String> = all.iter().map(Fault::name).collect();
            return Err(format!("there is no fault {name:?}, only {known:?}"));
        }
    }
    Ok(chosen)
}

/// Few of them, for every run of the tests: one that etcd notices, and a master without power.
pub fn few(seed: u64, masters: &[&str]) -> Vec<Fault> {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut one = || masters.choose(random).copied().unwrap_or_default().to_owned();
    let (parted, killed) = (one(), one());
    let first = match random.random_range(0..4) {
        0 => Fault::Part(parted),
        1 => Fault::FreezeLeader,
        2 => Fault::LoseQuorum,
        _ => Fault::KillProgram {
            machine: parted,
            program: "etcd",
        },
    };
    vec![first, Fault::Kill(killed)]
}

const MASTERS: [&str; 3] = ["m1", "m2", "m3"];

#[test]
fn a_seed_gives_the_same_faults_again_and_another_gives_others() {
    let of = |seed| every(seed, &MASTERS, &["w1", "w2"]);
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
    assert_eq!(of(7).len(), 14);
    assert_eq!(few(3, &MASTERS), few(3, &MASTERS));
}

#[test]
fn seeds_reach_every_victim_and_every_first_fault() {
    let all: Vec<Vec<Fault>> = (0..100).map(|seed| few(seed, &MASTERS)).collect();
    for master in MASTERS {
        assert!(
            all.iter()
                .any(|faults| faults[0] == Fault::Part(master.to_owned()))
        );
        assert!(
            all.iter()
                .any(|faults| faults[1] == Fault::Kill(master.to_owned()))
        );
    }
    for fault in [Fault::FreezeLeader, Fault::LoseQuorum] {
        assert!(all.iter().any(|faults| faults[0] == fault), "{fault:?}");
    }
}

#[test]
fn faults_are_chosen_by_their_names() {
    let of = |names| named(names, 1, &MASTERS, &["w1"]);
    assert_eq!(
        of("KillAll,FreezeLeader"),
        Ok(vec![Fault::KillAll, Fault::FreezeLeader])
    );
    let cut_off = of("CutOff").unwrap();
    assert!(
        cut_off.len() == 2 && cut_off.contains(&Fault::CutOff("w1".to_owned())),
        "{cut_off:?}"
    );
    let error = of("Cut").unwrap_err();
    assert!(error.contains("\"CutOff\""), "{error}");
}
