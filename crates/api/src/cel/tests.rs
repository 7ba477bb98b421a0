//! Expressions and what comes of them.
use super::*;
use serde_json::{Value as Json, json};

fn declarations() -> Declarations {
    Declarations::default()
        .with("self", Type::Dyn)
        .with("x", Type::Int)
        .with("s", Type::String)
}

fn evaluate(text: &str, object: &Json) -> Result<Json, String> {
    let program = Program::compile(text, &declarations()).map_err(|error| error.to_string())?;
    let names = Activation::default()
        .with("self", Value::of(object, None))
        .with("x", Value::Int(7))
        .with("s", Value::string("text"));
    let mut context = Context {
        budget: Budget::new(REQUEST_MAX),
        authorizer: None,
    };
    let value = program
        .eval(&names, &mut context)
        .and_then(|value| value.to_json());
    value.map_err(|error| error.to_string())
}

fn subject() -> Json {
    json!({"replicas": 3, "ratio": 0.5, "name": "web-1", "on": true, "none": null,
        "list": [3, 1, 2], "words": ["a", "b", "a"], "map": {"k": 1, "l": 2},
        "items": [{"name": "x", "size": 1}, {"name": "y", "size": 5}]})
}

#[test]
fn expressions_have_the_values_of_the_language() {
    for (text, expected) in [
        // Arithmetic and logic.
        ("1 + 2 * 3 - 4 / 2 % 3", json!(5)),
        ("-x + 1", json!(-6)),
        ("!(x > 3) || x >= 7 && x != 8", json!(true)),
        ("1.5 * 2.0 == 3.0 ? 'yes' : 'no'", json!("yes")),
        ("self.replicas > 2.5", json!(true)),
        ("dyn(1) == 1.0", json!(true)),
        ("1u + 2u == 3u", json!(true)),
        ("-9223372036854775808 < 0", json!(true)),
        ("false && 1 / 0 > 0", json!(false)),
        ("1 / 0 > 0 || true", json!(true)),
        ("'a' + \"b\" + r'\\c'", json!("ab\\c")),
        (
            "'b' in ['a', 'b'] && 'k' in self.map && !('z' in self.map)",
            json!(true),
        ),
        ("[1, 2] + [3]", json!([1, 2, 3])),
        ("{'a': 1}.a + {'b': 2}['b']", json!(3)),
        ("self.list[1]", json!(1)),
        (
            "has(self.map.k) && !has(self.map.z) && !has(self.gone)",
            json!(true),
        ),
        (
            "type(1) == int && type('') == string && type([]) == list",
            json!(true),
        ),
        // Macros.
        ("self.list.all(i, i > 0)", json!(true)),
        ("self.list.exists(i, i == 2)", json!(true)),
        ("self.list.exists_one(i, i > 2)", json!(true)),
        ("self.list.map(i, i * 2)", json!([6, 2, 4])),
        ("self.list.map(i, i > 1, i * 2)", json!([6, 4])),
        ("self.items.filter(i, i.size > 1).map(i, i.name)", json!(["y"])),
        ("self.map.all(k, self.map[k] > 0)", json!(true)),
        ("self.list.all(i, v, v >= i)", json!(true)),
        ("self.list.transformList(i, v, i * 10 + v)", json!([3, 11, 22])),
        ("self.map.transformMap(k, v, v + 1)", json!({"k": 2, "l": 3})),
        (
            "self.map.transformMapEntry(k, v, {k + '!': v})",
            json!({"k!": 1, "l!": 2}),
        ),
        ("[1, 2].exists(i, i / 0 > 1 || i == 2)", json!(true)),
        // Text.
        (
            "self.name.startsWith('web') && self.name.endsWith('1') && self.name.contains('b-')",
            json!(true),
        ),
        ("self.name.matches('^[a-z]+-[0-9]+$')", json!(true)),
        (
            "'a1b22'.find('[0-9]+') + 'a1b22'.findAll('[0-9]+').join(',')",
            json!("11,22"),
        ),
        ("'a1b22c3'.findAll('[0-9]+', 2)", json!(["1", "22"])),
        ("'tacocat'.indexOf('c') + 'tacocat'.lastIndexOf('c')", json!(6)),
        ("'tacocat'.substring(1, 4) + 'abc'.charAt(1)", json!("acob")),
        (
            "'aBc'.lowerAscii() + 'aBc'.upperAscii() + ' x '.trim()",
            json!("abcABCx"),
        ),
        (
            r#"strings.quote('a\u0301\u0001\v\\"')"#,
            json!("\"a\u{301}\u{1}\\v\\\\\\\"\""),
        ),
        ("'a-b-c'.split('-')", json!(["a", "b", "c"])),
        ("'a-b-c'.split('-', 2)", json!(["a", "b-c"])),
        (
            "'a-b-c'.replace('-', '') + 'aaa'.replace('a', 'b', 1)",
            json!("abcbaa"),
        ),
        (
            "'%s has %d of %.2f, %s'.format(['x', 3, 1.5, [1, 2]])",
            json!("x has 3 of 1.50, [1, 2]"),
        ),
        ("size('é') + 'abc'.size() + size([1]) + {'a': 1}.size()", json!(6)),
        (
            "string(1) + string(true) + string(duration('90s'))",
            json!("1true90s"),
        ),
        ("int('12') + int(2.9)", json!(14)),
        // Lists.
        ("self.list.sum() + self.list.min() * self.list.max()", json!(9)),
        ("[1, 2, 2].isSorted() && !self.list.isSorted()", json!(true)),
        ("self.words.indexOf('a') + self.words.lastIndexOf('a')", json!(2)),
        ("[1, 2, 3, 4].slice(1, 3)", json!([2, 3])),
        ("self.list.sort() + [1, 1].distinct()", json!([1, 2, 3, 1])),
        (
            "sets.contains(self.list, [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 2], [2, 1, 1])",
            json!(true),
        ),
        ("[3, 1, 2].sortBy(x, -x)", json!([3, 2, 1])),
        (
            "[[1], [2, 3]].flatten() + [[[4]]].flatten(2)",
            json!([1, 2, 3, 4]),
        ),
        ("[optional.of(1), optional.none()].unwrapOpt()", json!([1])),
        ("sign(quantity('-1k')) + int(duration('1ns'))", json!(0)),
        ("{'a': 1, 'a': 2}", json!({"a": 2})),
        (
            "'%e %s'.format([1234.5, [{'a': [true, null]}, 'b', 1.0]])",
            json!("1.234500×10⁰³ [{\"a\":[true, null]}, \"b\", 1.000000]"),
        ),
        (
            "string(1234567.0) + string('abc'.indexOf('c', 5))",
            json!("1.234567e+06-1"),
        ),
        (
            "url('mailto:a@b').getScheme() + url('http://a/b c').getEscapedPath()",
            json!("mailto/b%20c"),
        ),
        // Optionals.
        ("self.?gone.?deeper.orValue('default')", json!("default")),
        ("self.?replicas.orValue(0) + self.list[?9].orValue(4)", json!(7)),
        (
            "optional.of(1).hasValue() && !optional.none().hasValue()",
            json!(true),
        ),
        ("self.?name.optMap(n, n + '!').value()", json!("web-1!")),
        ("[?self.?gone, ?self.?replicas, 1]", json!([3, 1])),
        ("{?'a': self.?gone, 'b': 1}", json!({"b": 1})),
        ("self.?gone.or(optional.of(2)).value()", json!(2)),
        // Times.
        (
            "timestamp('2026-01-02T03:04:05Z').getFullYear() + timestamp('2026-01-02T03:04:05Z').getMonth()",
            json!(2026),
        ),
        (
            "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
            json!(true),
        ),
        (
            "(timestamp('2026-01-02T00:00:00Z') + duration('1h')).getHours()",
            json!(1),
        ),
        (
            "string(timestamp('9999-12-31T23:59:59Z')) + string(timestamp(253402300799) - duration('1s'))",
            json!("9999-12-31T23:59:59Z9999-12-31T23:59:58Z"),
        ),
        (
            "timestamp('9999-12-31T23:59:59Z').getFullYear('+01:00')",
            json!(10_000),
        ),
        (
            "int(timestamp('0001-01-01T00:00:00Z'))",
            json!(-62_135_596_800_i64),
        ),
        (
            "type(timestamp(0)) == google.protobuf.Timestamp && type(type(1)) == type",
            json!(true),
        ),
        (
            "type(duration('1s')) == google.protobuf.Duration && type(1) != google.protobuf.Duration",
            json!(true),
        ),
        // Kubernetes' own.
        (
            "url('https://example.com:80/a?b=c').getHost() + url('https://example.com:80/a?b=c').getPort()",
            json!("example.com:8080"),
        ),
        ("isURL('nothing')", json!(false)),
        ("url('http://h/p?x=1&x=2').getQuery()['x']", json!(["1", "2"])),
        ("ip('10.0.0.1').family() + ip('::1').family()", json!(10)),
        ("isIP('10.0.0.256') || ip('127.0.0.1').isLoopback()", json!(true)),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
            json!(true),
        ),
        ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", json!(true)),
        (
            "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('50k').add(20).asInteger() == 50020",
            json!(true),
        ),
        ("isQuantity('1x') || quantity('1500m').isInteger()", json!(false)),
        (
            "semver('1.2.3').isLessThan(semver('1.10.0')) && !semver('1.0.0-rc1').isGreaterThan(semver('1.0.0'))",
            json!(true),
        ),
        ("isSemver('v1') || isSemver('v1', true)", json!(true)),
        (
            "isSemver('1.0-alpha', true) || isSemver('v1+b', true)",
            json!(false),
        ),
        ("semver('v01.0.007-a', true) == semver('1.0.7-a')", json!(true)),
        (
            "isURL('http://%E4%B8%96.example/') && isURL('http://[fe80::1%25eth0]/')",
            json!(true),
        ),
        ("isURL('http://a%41/') || isURL('http://a/%+F')", json!(false)),
        ("quantity('-9223372036854775807').isInteger()", json!(false)),
        (
            "format.dns1123Label().validate('Up').hasValue() && !format.named('uuid').value().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()",
            json!(true),
        ),
    ] {
        assert_eq!(evaluate(text, &subject()), Ok(expected), "{text}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (text, why) in [
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("self.gone", "no such key: gone"),
        ("self.list[5]", "index out of bounds: 5"),
        ("self.replicas + self.name", "no such overload"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("optional.none().value()", "optional.none() dereference"),
        (
            "'a'.matches('(')",
            "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^",
        ),
        ("'a'.find('(')", "error parsing regexp: missing closing ): `(`"),
        (
            "timestamp('9999-12-31T23:59:59Z') + duration('1s')",
            "timestamp overflow",
        ),
        ("timestamp(253402300800)", "timestamp out of range"),
        (
            "timestamp('2026-01-02 03:04:05Z')",
            "ERROR: <input>:1:11: invalid timestamp argument\n | timestamp('2026-01-02 03:04:05Z')\n | ..........^",
        ),
        ("dyn([1]).a", "unsupported index type 'string' in list"),
        ("dyn(1).all(x, true)", "got 'types.Int', expected iterable type"),
        (
            "[1, 2].slice(2, 1)",
            "cannot slice(2, 1), start index must be less than or equal to end index",
        ),
        (
            "semver('1.02.3')",
            "Minor number must not contain leading zeroes \"02\"",
        ),
        (
            "url('http://a/%zz')",
            "URL parse error during conversion from string: parse \"http://a/%zz\": invalid URL escape \"%zz\"",
        ),
        (
            "quantity('9999999999999999999G').asInteger()",
            "cannot convert value to integer",
        ),
    ] {
        assert_eq!(evaluate(text, &subject()), Err(why.to_owned()), "{text}");
    }
}

#[test]
fn what_cannot_have_a_value_is_refused_where_it_stands() {
    for (text, why) in [
        (
            "x +",
            "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | x +\n | ...^",
        ),
        (
            "x + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | x + 'a'\n | ..^",
        ),
        (
            "y > 1",
            "ERROR: <input>:1:1: undeclared reference to 'y' (in container '')\n | y > 1\n | ^",
        ),
        (
            "s.nope()",
            "ERROR: <input>:1:7: undeclared reference to 'nope' (in container '')\n | s.nope()\n | ......^",
        ),
        (
            "s.contains(1)",
            "ERROR: <input>:1:11: found no matching overload for 'contains' applied to 'string.(int)'\n | s.contains(1)\n | ..........^",
        ),
        (
            "[1, 'a']",
            "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^",
        ),
        (
            "x && true",
            "ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | x && true\n | ^",
        ),
        (
            "x.all(i, i)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | x.all(i, i)\n | ^",
        ),
        (
            "s.field",
            "ERROR: <input>:1:2: type 'string' does not support field selection\n | s.field\n | .^",
        ),
        (
            "Object{a: 1}",
            "ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')\n | Object{a: 1}\n | ......^",
        ),
        (
            "has(x)",
            "ERROR: <input>:1:5: invalid argument to has() macro\n | has(x)\n | ....^",
        ),
        (
            "z == y || s.nope(z)",
            "ERROR: <input>:1:1: undeclared reference to 'z' (in container '')\n | z == y || s.nope(z)\n | ^\n\
             ERROR: <input>:1:6: undeclared reference to 'y' (in container '')\n | z == y || s.nope(z)\n | .....^\n\
             ERROR: <input>:1:17: undeclared reference to 'nope' (in container '')\n | z == y || s.nope(z)\n | ................^\n\
             ERROR: <input>:1:18: undeclared reference to 'z' (in container '')\n | z == y || s.nope(z)\n | .................^",
        ),
        (
            "{1: 'a', 'b': 2}",
            "ERROR: <input>:1:10: expected type 'int' but found 'string'\n | {1: 'a', 'b': 2}\n | .........^\n\
             ERROR: <input>:1:15: expected type 'string' but found 'int'\n | {1: 'a', 'b': 2}\n | ..............^",
        ),
        (
            "'%d'.format(['a'])",
            "ERROR: <input>:1:14: error during formatting: decimal clause can only be used on integers, was given string\n | \
             '%d'.format(['a'])\n | .............^",
        ),
        (
            "'é' + y",
            "ERROR: <input>:1:7: undeclared reference to 'y' (in container '')\n | 'é' + y\n | .．....^",
        ),
        (
            "1 1",
            "ERROR: <input>:1:3: Syntax error: extraneous input '1' expecting <EOF>\n | 1 1\n | ..^",
        ),
        (
            "(1",
            "ERROR: <input>:1:3: Syntax error: missing ')' at '<EOF>'\n | (1\n | ..^",
        ),
        (
            "type(x) + 1",
            "ERROR: <input>:1:9: found no matching overload for '_+_' applied to '(type(int), int)'\n | type(x) + 1\n | ........^",
        ),
        (
            "list + google.protobuf.Timestamp",
            "ERROR: <input>:1:6: found no matching overload for '_+_' applied to '(type(list(dyn)), type(timestamp))'\n | list + google.protobuf.Timestamp\n | .....^",
        ),
        (
            "[[1]].isSorted()",
            "ERROR: <input>:1:15: found no matching overload for 'isSorted' applied to 'list(list(int)).()'\n | [[1]].isSorted()\n | ..............^",
        ),
    ] {
        assert_eq!(evaluate(text, &subject()), Err(why.to_owned()), "{text}");
    }
}

/// A rule that would run for ever, or nests without end, costs a bounded amount.
#[test]
fn evaluation_and_nesting_are_bounded() {
    let many: Vec<i64> = (0..2000).collect();
    let object = json!({"list": many});
    assert_eq!(
        evaluate(
            "self.list.all(a, self.list.all(b, self.list.all(c, a + b + c >= 0)))",
            &object
        ),
        Err("operation cancelled: actual cost limit exceeded".to_owned())
    );
    let doubling = format!("['a']{}", ".map(x, x + x)".repeat(60));
    assert!(evaluate(&doubling, &object).is_err());
    for text in [
        format!("{}1{}", "(".repeat(500), ")".repeat(500)),
        format!("{}true", "!".repeat(5000)),
        "1".to_owned() + &"+1".repeat(5000),
        "[".repeat(20_000),
        "self".to_owned() + &".a".repeat(5000),
    ] {
        let error = evaluate(&text, &object).unwrap_err();
        assert!(error.contains("recursion limit exceeded"), "{error}");
    }
    let long = format!("{}true", "true && ".repeat(2000));
    assert_eq!(evaluate(&long, &object), Ok(json!(true)));
}

/// What takes long costs, however it is written.
#[test]
fn large_values_cost_what_looking_at_them_takes() {
    let object = json!({"list": (0..2000).collect::<Vec<i64>>(), "few": (0..50).collect::<Vec<i64>>(), "text": "é".repeat(500_000),
        "map": (0..20_000).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>()});
    let began = std::time::Instant::now();
    for text in [
        "self.list.all(a, self.list.all(b, size(self.text) > 0))",
        "self.list.all(a, self.list.all(b, self.text.charAt(499999) == 'é'))",
        "[self.text + 'x'].all(made, self.list.all(a, self.list.all(b, made != self.text)))",
    ] {
        assert_eq!(
            evaluate(text, &object),
            Err("operation cancelled: actual cost limit exceeded".to_owned()),
            "{text}"
        );
    }
    // These look at little.
    for text in [
        "self.list.all(a, self.few.all(b, self.map != null))",
        "self.list.all(a, self.few.all(b, self.map.exists(k, true)))",
    ] {
        assert_eq!(evaluate(text, &object), Ok(json!(true)), "{text}");
    }
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}

/// The most usual rule of all, about a set of many.
#[test]
fn sets_are_the_same_in_any_order() {
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}});
    let schema = json!({"type": "object", "properties": {"set": set}});
    let schema = crate::structural::compile(&schema, "s").unwrap();
    let set = &schema.properties["set"];
    let types = Declarations::default()
        .with("self", Type::list(Type::Int))
        .with("oldSelf", Type::list(Type::Int));
    let program = Program::compile("self == oldSelf", &types).unwrap();
    let same = |one: &Json, other: &Json| {
        let names = Activation::default()
            .with("self", Value::of(one, Some(set)))
            .with("oldSelf", Value::of(other, Some(set)));
        let mut context = Context {
            budget: Budget::new(REQUEST_MAX),
            authorizer: None,
        };
        matches!(program.eval(&names, &mut context), Ok(Value::Bool(true)))
    };
    let many: Vec<i64> = (0..200_000).collect();
    let (one, other): (Json, Json) = (json!(many), json!(many.iter().rev().collect::<Vec<_>>()));
    assert!(same(&one, &one) && same(&one, &other));
    assert!(same(&json!([1, 2]), &json!([2, 1])) && !same(&json!([1, 2]), &json!([1, 3])));
}

#[test]
fn variables_are_evaluated_once_and_may_use_earlier_ones() {
    let object = json!({"n": 4});
    let types = Declarations::default()
        .with("object", Type::Dyn)
        .with("variables", Type::Dyn);
    let compile = |text: &str| Program::compile(text, &types).unwrap();
    let (double, again) = (compile("object.n * 2"), compile("variables.double + 1"));
    let check = compile("variables.again == 9 && has(variables.double) && !has(variables.other)");
    let mut names = Activation::default().with("object", Value::of(&object, None));
    names.define("double", &double);
    names.define("again", &again);
    let mut context = Context {
        budget: Budget::new(REQUEST_MAX),
        authorizer: None,
    };
    assert!(matches!(check.eval(&names, &mut context), Ok(Value::Bool(true))));
}

/// The authorizer is asked what was said, and nothing else.
#[test]
fn the_authorizer_is_asked_what_the_expression_says() {
    struct OnlyDeployments;
    impl Authorizer for OnlyDeployments {
        fn decide(&self, check: &Check, verb: &str) -> Decision {
            let wanted = Check {
                group: "apps".to_owned(),
                resource: "deployments".to_owned(),
                namespace: "n".to_owned(),
                ..Check::default()
            };
            Decision {
                allowed: *check == wanted && verb == "create",
                reason: "because".to_owned(),
                error: None,
            }
        }

        fn request_resource(&self) -> Check {
            Check {
                group: "apps".to_owned(),
                resource: "deployments".to_owned(),
                namespace: "n".to_owned(),
                ..Check::default()
            }
        }
    }
    let types = Declarations::default().with("authorizer", Type::Opaque(AUTHORIZER));
    for (text, allowed) in [
        (
            "authorizer.group('apps').resource('deployments').namespace('n').check('create').allowed()",
            true,
        ),
        (
            "authorizer.group('apps').resource('pods').namespace('n').check('create').allowed()",
            false,
        ),
        ("authorizer.requestResource.check('create').allowed()", true),
        (
            "authorizer.path('/healthz').check('get').reason() == 'because'",
            true,
        ),
    ] {
        let program = Program::compile(text, &types).unwrap();
        let authorizer = Opaque::Authorizer(std::sync::Arc::default());
        let names = Activation::default().with("authorizer", Value::Opaque(authorizer));
        let mut context = Context {
            budget: Budget::new(REQUEST_MAX),
            authorizer: Some(&OnlyDeployments),
        };
        let value = program.eval(&names, &mut context).unwrap();
        assert!(matches!(value, Value::Bool(got) if got == allowed), "{text}");
    }
}

#[test]
fn objects_and_patches_are_made_where_they_are_allowed() {
    let types = Declarations::default().making_objects();
    let program = Program::compile(
        "[JSONPatch{op: 'add', path: '/a', value: Object.spec{replicas: 3, x__dash__y: ['z']}}]",
        &types,
    )
    .unwrap();
    let mut context = Context {
        budget: Budget::new(REQUEST_MAX),
        authorizer: None,
    };
    let value = program.eval(&Activation::default(), &mut context).unwrap();
    assert_eq!(
        value.to_json().unwrap(),
        json!([{"op": "add", "path": "/a", "value": {"replicas": 3, "x-y": ["z"]}}])
    );
}
