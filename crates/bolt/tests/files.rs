//! What is written is read back the same, and what is damaged is an error at worst.
#![allow(clippy::unwrap_used)]
use orlop_bolt::{BoltFile, BucketPlan, Plan, PlanError, ReadError, WriteError};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;

type Bucket = BTreeMap<Vec<u8>, Vec<u8>>;
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn write(buckets: &BTreeMap<&str, Bucket>) -> Vec<u8> {
    let plans = buckets
        .iter()
        .map(|(name, entries)| {
            let mut plan = BucketPlan::new(name);
            for (key, value) in entries {
                plan.add(key, value.len()).unwrap();
            }
            plan
        })
        .collect();
    let plan = Plan::new(plans).unwrap();
    let bytes = plan.bytes();
    let mut writer = plan.write(Vec::new()).unwrap();
    for (key, value) in buckets.values().flatten() {
        writer.put(key, value).unwrap();
    }
    let file = writer.finish().unwrap();
    assert_eq!(file.len() as u64, bytes);
    file
}

fn read(file: &[u8], bucket: &str) -> Result<Option<Entries>, ReadError> {
    let mut found = Vec::new();
    let there = BoltFile::open(file)?.for_each(bucket, |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok::<_, ReadError>(())
    })?;
    Ok(there.then_some(found))
}

/// Many keys, so that there are branches over branches, and values of several pages.
fn large() -> Bucket {
    (0..30_000u32)
        .map(|number| {
            let len = if number % 1000 == 7 {
                9000
            } else {
                (number % 90) as usize
            };
            let key = format!("key-{number:08}-with-some-length-to-it").into_bytes();
            (key, vec![number as u8; len])
        })
        .collect()
}

#[test]
fn everything_is_read_back() {
    let small: Bucket = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())].into();
    let buckets = BTreeMap::from([("empty", Bucket::new()), ("large", large()), ("small", small)]);
    let file = write(&buckets);
    assert_eq!(file.len() % 4096, 0);
    for (name, entries) in &buckets {
        let found = read(&file, name).unwrap().unwrap();
        assert!(found.into_iter().eq(entries.clone()), "{name}");
    }
    assert_eq!(read(&file, "other").unwrap(), None);
    let names = BoltFile::open(file.as_slice()).unwrap().buckets().unwrap();
    assert_eq!(names, [&b"empty"[..], b"large", b"small"]);
}

#[test]
fn the_later_sound_description_counts() {
    let mut file = write(&BTreeMap::from([("one", large())]));
    file[16 + 30] ^= 1;
    assert_eq!(read(&file, "one").unwrap().unwrap().len(), 30_000);
    file[4096 + 16 + 30] ^= 1;
    assert!(matches!(read(&file, "one"), Err(ReadError::NoMeta)));
    assert!(matches!(read(b"", "one"), Err(ReadError::NoMeta)));
}

#[test]
fn only_what_was_planned_is_written() {
    let mut plan = BucketPlan::new("a");
    plan.add(b"b", 3).unwrap();
    assert_eq!(plan.add(b"b", 3), Err(PlanError::Order));
    assert_eq!(plan.add(b"a", 3), Err(PlanError::Order));
    let mut writer = Plan::new(vec![plan]).unwrap().write(Vec::new()).unwrap();
    assert!(matches!(writer.put(b"c", b"123"), Err(WriteError::NotAsPlanned)));
    assert!(matches!(writer.put(b"b", b"1234"), Err(WriteError::NotAsPlanned)));
    assert!(matches!(writer.finish(), Err(WriteError::NotAsPlanned)));
}

static SOME: LazyLock<Vec<u8>> =
    LazyLock::new(|| write(&BTreeMap::from([("b", large().into_iter().take(2000).collect())])));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_keys_and_values_are_read_back(
        entries in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..40),
            proptest::collection::vec(0u8..3, 0..6000),
            0..30,
        )
    ) {
        let file = write(&BTreeMap::from([("b", entries.clone())]));
        prop_assert!(read(&file, "b").unwrap().unwrap().into_iter().eq(entries));
    }

    #[test]
    fn a_damaged_file_is_an_error_at_worst(
        flips in proptest::collection::vec((0usize..60 * 4096, 0u8..8), 1..20),
        cut in 0usize..4096 * 60,
    ) {
        let mut file = SOME.clone();
        for (at, bit) in flips {
            let at = at % file.len();
            file[at] ^= 1 << bit;
        }
        let _ = read(&file, "b");
        file.truncate(cut);
        let _ = read(&file, "b");
    }
}
