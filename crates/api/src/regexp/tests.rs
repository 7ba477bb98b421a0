use super::*;

/// Room for any pattern here.
const ROOM: usize = 1 << 20;

fn pattern(source: &str) -> Pattern {
    Pattern::new(source, ROOM).unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[test]
fn a_pattern_means_what_it_means_upstream() {
    for (source, yes, no) in [
        (r"^\w+$", "a_1", "é"),
        (r"^\d$", "7", "٧"),
        (r"^\D$", "٧", "7"),
        (r"^\s$", "\t", "\u{a0}"),
        (r"^\s$", " ", "\u{b}"),
        (r"^[\w.]+$", "a.b", "a.é"),
        (r"^[^\w.]$", "é", "_"),
        (r"^[\W]$", "é", "_"),
        (r"^\w\b", "aé", "ab"),
        (r"^[^[]+$", "a]", "[a"),
        (r"^[a-z&&[^b]]$", "b]", "c"),
        (r"^[]a]+$", "]a", "b"),
        (r"^[a\-z]$", "-", "b"),
        (r"^a{,2}$", "a{,2}", "aa"),
        (r"^a{$", "a{", "a"),
        (r"^a{2}$", "aa", "aaa"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        (r"^\<a\>$", "<a>", "a"),
        (r"^(?P<n>a)(?<m>b)$", "ab", "a"),
        (r"^(?i)k$", "K", "c"),
        (r"^\101\x42\x{43}$", "ABC", "abc"),
        (r"^\p{Greek}\pN$", "α1", "a1"),
        (r"^\P{^Greek}$", "α", "a"),
        (r"^[[:alpha:]\p{Nd}]+$", "a٧", "é"),
        ("^a # b$", "a # b", "a"),
        (r"^[\x{d7ff}-\x{e000}]$", "\u{e000}", "a"),
        (r"^a\x{d800}?$", "a", "b"),
        (r"^a(?i)*b$", "aaB", "Aab"),
        (r"^[[:]]$", ":]", "a"),
        (r"^[[:]$", "[", "]"),
        (r"^\p{Uppercase_Letter}\p{lowercase letter}$", "Aa", "aA"),
        (r"^a*\Q\E*$", "aa", "b"),
        (r"^((a{1000}){0}){2}b$", "b", "ab"),
        (r"^a{2}(?s)?$", "", "a"),
        (r"^(ab){2}(?s)?$", "abab", "ab"),
        (r"^(a(?i)b|c)d$", "Cd", "cD"),
        (r"^(a|b)*?c$", "abc", "abd"),
    ] {
        let pattern = pattern(source);
        assert!(pattern.is_match(yes), "{source} on {yes:?}");
        assert!(!pattern.is_match(no), "{source} on {no:?}");
        assert_eq!(pattern.to_string(), source);
    }
}

#[test]
fn what_is_no_pattern_says_why() {
    for (source, why) in [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Nothing}", r"invalid character class range: `\p{Nothing}`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|+?", "missing argument to repetition operator: `+?`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}b", "invalid nested repetition operator: `{2}{3}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?", "invalid or unsupported Perl syntax: `(?`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
        ("\\", "trailing backslash at end of expression: ``"),
        (r"\y", r"invalid escape sequence: `\y`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
        (r"\C", r"invalid escape sequence: `\C`"),
    ] {
        let error = Pattern::new(source, ROOM).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("error parsing regexp: {why}"),
            "{source}"
        );
    }
}

#[test]
fn a_pattern_that_takes_too_much_room_is_said_to_be_large() {
    let source = r"\pL{1000}";
    assert!(matches!(
        Pattern::new(source, ROOM),
        Err(PatternError::TooLarge(_))
    ));
    assert!(pattern(r"^\w{1,63}$").is_match("a"));
}

#[test]
fn groups_in_each_other_end_before_the_stack_does() {
    const STACK: usize = 2 << 20;
    let source = |depth: usize| format!("{}b{}", "(?:a".repeat(depth), ")*".repeat(depth));
    let small_stack = std::thread::Builder::new().stack_size(STACK);
    let read = small_stack.spawn(move || {
        let deepest = (50..300).take_while(|depth| Pattern::new(&source(*depth), ROOM).is_ok());
        assert!(deepest.count() > 0, "fifty are few");
        for depth in [1_000, 100_000] {
            let error = Pattern::new(&source(depth), ROOM).unwrap_err().to_string();
            let start = error.get(..70).unwrap_or(&error);
            assert!(
                start.starts_with("error parsing regexp: expression nests too deeply: `(?:a"),
                "{start}"
            );
        }
    });
    read.unwrap().join().unwrap();
}
