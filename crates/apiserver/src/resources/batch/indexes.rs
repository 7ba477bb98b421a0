//! Lists of completion indexes, such as `1,3-5`.

/// How many indexes `text` lists, all of them below `completions`; what is wrong with it.
pub fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut before) = (0, None::<i64>);
    for part in text.split(',') {
        let (first, last) = interval(part, completions)?;
        if let Some(before) = before.filter(|before| *before >= first) {
            return Err(not_increasing(before, first));
        }
        total += last - first + 1;
        before = Some(last);
    }
    Ok(total)
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let ends: Vec<&str> = part.split('-').collect();
    if ends.len() > 2 {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let index = |text: &str| -> Result<i64, String> {
        let problem = |what: &str| format!("{what}: {text:?}");
        let index: i64 = text
            .parse()
            .map_err(|_| problem("cannot convert string to integer for index"))?;
        if index >= completions {
            return Err(problem("too large index"));
        }
        Ok(index)
    };
    let first = index(ends[0])?;
    let [_, last] = ends[..] else {
        return Ok((first, first));
    };
    let last = index(last)?;
    if first >= last {
        return Err(not_increasing(first, last));
    }
    Ok((first, last))
}

fn not_increasing(previous: i64, current: i64) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_indexes_grow_and_end_below_the_completions() {
        for (text, count) in [("", 0), ("0", 1), ("1,3-5,7", 5), ("3-4", 2)] {
            assert_eq!(count_indexes(text, 8), Ok(count), "{text}");
        }
        for (text, why) in [
            ("8", "too large index: \"8\""),
            ("a", "cannot convert string to integer for index: \"a\""),
            ("2,1", "non-increasing order, previous: 2, current: 1"),
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts \
                 separated by '-'",
            ),
        ] {
            assert_eq!(count_indexes(text, 8), Err(why.to_owned()), "{text}");
        }
    }
}
