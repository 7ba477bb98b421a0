use super::*;
use crate::resources;

fn object(created: bool) -> Object {
    let resource = resources::find("", "v1", "configmaps").unwrap();
    let stored =
        br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","namespace":"d"},"data":{"a":"b"}}"#;
    Object::from_stored(resource, "d/c".into(), stored, 7, created).unwrap()
}

/// Every object of a cluster pays for each byte of this.
#[test]
fn an_object_takes_little_beyond_its_bytes() {
    assert!(size_of::<Object>() <= 120, "{}", size_of::<Object>());
}

#[test]
fn one_buffer_serves_get_list_and_watch() {
    let object = object(true);
    let json = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"c","namespace":"d"},"data":{"a":"b"}}"#;
    assert_eq!(object.json(), json);
    assert_eq!(object.pieces(), 1);
    assert_eq!(
        std::str::from_utf8(object.piece(0, false)).unwrap(),
        r#""metadata":{"resourceVersion":"7","name":"c","namespace":"d"},"data":{"a":"b"}}"#
    );
    let [line, rest] = object.event(object.line(), ADDED);
    assert_eq!(line, format!("{{\"type\":\"ADDED\",\"object\":{json}}}\n"));
    assert!(rest.is_empty());
    let [kind, rest] = object.event(object.line(), DELETED);
    assert_eq!(
        [kind, rest].concat(),
        format!("{{\"type\":\"DELETED\",\"object\":{json}}}\n").as_bytes()
    );
}

#[test]
fn a_stored_new_line_ends_no_line_of_a_watch() {
    let resource = resources::find("", "v1", "configmaps").unwrap();
    let stored = b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"c\"}}\n";
    let object = Object::from_stored(resource, "c".into(), stored, 7, true).unwrap();
    let line = object.line();
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert!(object.piece(0, false).ends_with(b"}}"));
}

#[test]
fn a_service_that_is_older_than_families_has_those_of_its_addresses() {
    let resource = resources::find("", "v1", "services").unwrap();
    let service = serde_json::json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "namespace": "d"}, "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7"}});
    let stored = protobuf::encode(&service).unwrap();
    let object = Object::from_stored(resource, "d/s".into(), &stored, 7, true).unwrap();
    let read = object.value();
    let spec = &read["spec"];
    assert_eq!(spec["clusterIPs"], serde_json::json!(["10.96.0.7"]));
    assert_eq!(spec["ipFamilies"], serde_json::json!(["IPv4"]));
    assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
}

#[test]
fn who_owns_which_fields_is_kept_once_for_all_objects_of_a_template() {
    let resource = resources::find("", "v1", "configmaps").unwrap();
    let fields = |name: &str| {
        format!(
            r#"{{"f:data":{{{}}}}}"#,
            format!(r#""f:{name}":{{}},"#).repeat(20).trim_end_matches(',')
        )
    };
    let (one, two) = (fields("one"), fields("two"));
    let stored = |name: &str| {
        let entry =
            |fields: &str| format!(r#"{{"fieldsType":"FieldsV1","fieldsV1":{fields},"manager":"m"}}"#);
        let owners = [entry(&one), entry("{}"), entry(&two)].join(",");
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"managedFields":[{owners}],"name":"{name}"}},"data":{{"a":"b"}}}}"#
        )
    };
    let read =
        |name: &str| Object::from_stored(resource, name.into(), stored(name).as_bytes(), 7, false).unwrap();
    let [a, b] = ["a", "b"].map(read);
    assert_eq!(a.pieces(), 5);
    for (piece, text) in [(1, &one), (3, &two)] {
        assert_eq!(a.piece(piece, false), text.as_bytes());
        assert!(std::ptr::eq(a.piece(piece, true), b.piece(piece, false)));
    }
    assert_eq!(a.size(), b.size() + one.len() + two.len(), "who was the first");
    assert!(b.size() < b.json().len());
    for (object, revision) in [(&a, 7), (&a.at_revision(12345), 12345)] {
        let version = format!(r#""metadata":{{"resourceVersion":"{revision}","#);
        let json = stored("a").replace(r#""metadata":{"#, &version);
        assert_eq!(object.json(), json);
        assert_eq!(object.value(), serde_json::from_str::<Value>(&json).unwrap());
        assert_eq!(
            object.line(),
            format!("{{\"type\":\"MODIFIED\",\"object\":{json}}}\n")
        );
        for named in [true, false] {
            let pieces = (0..object.pieces()).map(|piece| object.piece(piece, named));
            let item = pieces.collect::<Vec<_>>().concat();
            assert_eq!(item.len(), object.item_len(named));
            assert!(json.as_bytes().ends_with(&item));
        }
        assert!(object.is_stored_as(stored("a").as_bytes()));
        assert!(!object.is_stored_as(stored("b").as_bytes()));
        let again = object.read_again(resource).unwrap();
        assert_eq!((again.json(), again.pieces()), (object.json(), 5));
        assert_eq!(object.at(["/metadata/name"]), [Some("a".into())]);
        assert!(object.may_name(r#""a":"b""#) && !object.may_name("f:one"));
    }
}

/// Another program may have written it.
#[test]
fn what_is_no_list_of_owners_in_any_order_reads_as_it_is_stored() {
    let resource = resources::find("", "v1", "configmaps").unwrap();
    let owner = |name: &str| format!(r#"{{"fieldsV1":{{"f:{}":{{}}}}}}"#, name.repeat(150));
    let stored = format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"managedFields":{{"1":{},"0":{}}},"name":"c"}}}}"#,
        owner("x"),
        owner("y")
    );
    let object = Object::from_stored(resource, "d/c".into(), stored.as_bytes(), 7, false).unwrap();
    assert!(object.is_stored_as(stored.as_bytes()));
    assert_eq!(
        object.value()["metadata"]["managedFields"]["0"]["fieldsV1"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_deletion_shows_the_last_state_at_its_own_revision() {
    let deleted = object(false).at_revision(12);
    assert_eq!(deleted.value()["metadata"]["resourceVersion"], "12");
    assert_eq!(deleted.value()["data"]["a"], "b");
}

#[test]
fn what_manages_fields_is_put_back_where_it_was() {
    let resource = resources::find("", "v1", "configmaps").unwrap();
    let stored = br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"labels":{"a":"b"},"managedFields":[{"manager":"m"}],"name":"c","namespace":"d"},"data":{"managedFields":"x"}}"#;
    let managed_object = Object::from_stored(resource, "d/c".into(), stored, 7, false).unwrap();
    let (value, managed) = managed_object.value_and_managed();
    assert_eq!(value["metadata"]["managedFields"], Value::Null);
    assert_eq!(value["metadata"]["labels"]["a"], "b");
    let managed = managed.unwrap();
    assert_eq!(managed, r#"[{"manager":"m"}]"#);
    let whole = encode::stored_managed(&encode::head(resource), &value, Some(&managed[..]));
    assert_eq!(whole, stored.as_slice());
    assert!(managed_object.is_stored_as(&whole));
    assert_eq!(object(true).value_and_managed().1, None);
}

#[test]
fn equal_bytes_are_no_change() {
    let resource = resources::find("", "v1", "configmaps").unwrap();
    let object = object(false);
    let same = encode::stored(resource, &object.value());
    assert!(object.is_stored_as(&same));
    let mut other = object.value();
    other["data"]["a"] = "c".into();
    assert!(!object.is_stored_as(&encode::stored(resource, &other)));
}
