//! The fuzz targets over their corpora and over seeded mutations of them: the part of fuzzing that fits into every test
//! run. `ORLOP_FUZZ_CASES` runs more mutations than a few hundred of each; a failure names the seed and writes the input,
//! and `ORLOP_SEED=n` runs that one alone.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What parsers stumble over.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ":",
    ",",
    "null",
    "-",
    "- ",
    "\n",
    "\t",
    "\0",
    "\\",
    "\\ud800",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "---\n",
    "0x",
    "1e999",
    "-0",
    ".5",
    "18446744073709551616",
    "-9223372036854775809",
    "$patch",
    "\n===\n",
    "~1",
    "/-",
    "k8s\0",
    "\u{feff}",
    "\u{2028}",
    "é",
    "(",
    ")",
    "&&",
    "!",
    "?",
    "in",
    "Ki",
    "E",
    "n",
    "{\"a\":",
    "[[[[",
];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}

/// A small generator that is the same everywhere and for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

fn mutated(random: &mut Random, inputs: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let length = random.below(16);
        let end = (at + length).min(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let run = bytes[at..end].to_vec();
                bytes.splice(at..at, run);
            }
            3 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            4 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            5 => {
                // The rest of another.
                let other = &inputs[random.below(inputs.len())].1;
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let token = TOKENS[random.below(TOKENS.len())].bytes();
                bytes.splice(at..at, token);
            }
        }
    }
    bytes
}

fn run(name: &str, target: fn(&[u8]), input: &[u8], what: &str) {
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let text = cause
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| cause.downcast_ref::<&str>().copied());
        let path = std::env::temp_dir().join(format!("orlop-fuzz-{name}-{}", std::process::id()));
        std::fs::write(&path, input).unwrap();
        panic!(
            "{name}, {what}: {}; the input is in {}",
            text.unwrap_or("a panic"),
            path.display()
        );
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// A stack as deep as a server's thread has it, so that recursion without end shows.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let builder = std::thread::Builder::new().stack_size(2 << 20);
    if let Err(panic) = builder.spawn(work).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_target_stands_its_corpus_and_mutations_of_it() {
    let seeds = match number("ORLOP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ORLOP_FUZZ_CASES").unwrap_or(300),
    };
    on_a_small_stack(move || {
        for (name, target) in targets::TARGETS {
            let inputs = corpus(name);
            for (path, input) in &inputs {
                run(name, *target, input, &path.display().to_string());
            }
            for seed in seeds.clone() {
                let mut hasher = DefaultHasher::new();
                (name, seed).hash(&mut hasher);
                let input = mutated(&mut Random(hasher.finish()), &inputs);
                run(name, *target, &input, &format!("seed {seed}"));
            }
        }
    });
}

/// `fuzz/` lists the same targets as here, each with its program.
#[test]
fn every_target_has_a_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, _) in targets::TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
        assert!(
            fuzz.join(format!("fuzz_targets/{name}.rs")).is_file(),
            "{name} has no program"
        );
    }
}
