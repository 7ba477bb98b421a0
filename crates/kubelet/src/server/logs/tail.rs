//! Where the last lines of a log begin, searched from the file's end. Parts of one line count as one.
use super::line::Line;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes read at once, going backwards.
const BLOCK: u64 = 64 * 1024;
/// Time, stream and tag of a line come within these.
const HEAD: u64 = 64;

/// Offset at which the last `lines` lines begin; 0 if there are no more than that.
pub fn offset(file: &File, lines: usize) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let (mut at, mut found) = (length, 0);
    // Where a line begins whose predecessor is not known yet: if that is a part, it is no beginning.
    let mut candidate = None;
    while at > 0 {
        let from = at.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(at - from).unwrap_or_default()];
        file.read_exact_at(&mut block, from)?;
        for index in (0..block.len()).rev() {
            let begin = from + index as u64 + 1;
            // The newline that ends the file begins no line.
            if block[index] != b'\n' || begin == length {
                continue;
            }
            if let Some(candidate) = candidate
                && !is_part(file, begin, length)?
            {
                found += 1;
                if found == lines {
                    return Ok(candidate);
                }
            }
            candidate = Some(begin);
        }
        at = from;
    }
    match candidate {
        Some(candidate) if found + 1 == lines && !is_part(file, 0, length)? => Ok(candidate),
        _ => Ok(0),
    }
}

fn is_part(file: &File, begin: u64, length: u64) -> io::Result<bool> {
    let mut head = vec![0; usize::try_from(HEAD.min(length - begin)).unwrap_or_default()];
    file.read_exact_at(&mut head, begin)?;
    Ok(Line::parse(&head).is_some_and(|line| line.partial))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(content: &str, lines: usize) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let at = offset(&File::open(file.path()).unwrap(), lines).unwrap();
        content[usize::try_from(at).unwrap()..].to_owned()
    }

    fn line(tag: &str, text: &str) -> String {
        format!("2026-01-02T03:04:05.0Z stdout {tag} {text}\n")
    }

    #[test]
    fn n09_last_lines_are_found_from_the_end() {
        let (a, b, c) = (line("F", "a"), line("F", "b"), line("F", "c"));
        let all = format!("{a}{b}{c}");
        assert_eq!(tail(&all, 0), "");
        assert_eq!(tail(&all, 1), c);
        assert_eq!(tail(&all, 2), format!("{b}{c}"));
        assert_eq!(tail(&all, 3), all);
        assert_eq!(tail(&all, 4), all);
        assert_eq!(tail("", 4), "");
    }

    #[test]
    fn n09_parts_count_with_the_line_they_belong_to() {
        let long = format!("{}{}{}", line("P", "x"), line("P", "y"), line("F", "z"));
        let all = format!("{}{long}", line("F", "a"));
        assert_eq!(tail(&all, 1), long);
        assert_eq!(tail(&all, 2), all);
        assert_eq!(tail(&long, 1), long);
    }

    #[test]
    fn lines_that_span_blocks_are_found() {
        let long = line("F", &"x".repeat(200_000));
        let all = format!("{}{long}{}", line("F", "a"), line("F", "b"));
        assert_eq!(tail(&all, 2), format!("{long}{}", line("F", "b")));
        let many: String = (0..20_000).map(|n| line("F", &format!("{n:05}"))).collect();
        assert_eq!(tail(&many, 10_000), many[many.len() / 2..]);
    }
}
