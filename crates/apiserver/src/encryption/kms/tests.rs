use super::*;

const PLACE: &[u8] = b"/registry/secrets/default/s";

fn kms() -> Arc<Kms> {
    Kms::new("vault", "/nowhere", Duration::from_secs(1))
}

fn trust(kms: &Kms, key_id: &str, until: Instant) {
    let seed = Seed::new();
    let object = EncryptedObject {
        key_id: key_id.to_owned(),
        source: b"sealed".to_vec(),
        source_type: SourceType::Seed as i32,
        ..EncryptedObject::default()
    };
    kms.remember(digest(&object), seed.clone());
    *kms.current.write() = Some(Arc::new(Current {
        seed,
        source: object.source,
        key_id: object.key_id,
        annotations: BTreeMap::new(),
        until,
    }));
}

#[tokio::test(start_paused = true)]
async fn values_are_sealed_while_the_plugin_is_relied_on_and_opened_for_ever() {
    let kms = kms();
    assert_eq!(kms.seal(b"v", PLACE), None);
    trust(&kms, "1", Instant::now() + TRUST_TIME);
    let sealed = kms.seal(b"v", PLACE).unwrap();
    let stored = sealed.strip_prefix(b"k8s:enc:kms:v2:vault:").unwrap().to_vec();
    assert_eq!(kms.open(&stored, PLACE), Ok((b"v".to_vec(), false)));
    tokio::time::advance(TRUST_TIME).await;
    assert_eq!(kms.seal(b"v", PLACE), None);
    assert_eq!(kms.open(&stored, PLACE), Ok((b"v".to_vec(), false)));
    // Another key is used from now on: what the one before sealed is to be written again.
    trust(&kms, "2", Instant::now() + TRUST_TIME);
    assert_eq!(kms.open(&stored, PLACE), Ok((b"v".to_vec(), true)));
    assert_eq!(kms.open(b"nonsense", PLACE), Err(Unopened::Key("kms")));
}

#[test]
fn one_of_the_same_plugin_goes_on_with_what_is_known() {
    let (before, after) = (kms(), kms());
    trust(&before, "1", Instant::now() + TRUST_TIME);
    let sealed = before.seal(b"v", PLACE).unwrap();
    assert!(after.is_same(&before) && !after.is_well());
    after.succeed(&before);
    assert!(after.is_well());
    let stored = sealed.strip_prefix(after.prefix().as_bytes()).unwrap();
    assert_eq!(after.open(stored, PLACE), Ok((b"v".to_vec(), false)));
    assert!(!Kms::new("vault", "/elsewhere", Duration::from_secs(1)).is_same(&before));
}
