//! From the bytes of a log file to what a reader asked for. No I/O.
use super::line::Line;
use super::options::Options;

/// A line longer than this is no log line of a runtime (they split at 16 KiB): it is left out, so
/// that a broken file cannot fill memory.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Takes blocks of the file in order, gives what the reader sees of them.
pub struct Selector {
    options: Options,
    /// Of a line whose end has not come yet.
    rest: Vec<u8>,
    /// The rest was too long and has been dropped; so is the remainder of that line.
    skipping: bool,
    /// The next text begins a line.
    begins: bool,
    left: usize,
}

impl Selector {
    pub fn new(options: Options) -> Self {
        let left = options.limit_bytes.unwrap_or(usize::MAX);
        Self {
            options,
            rest: Vec::new(),
            skipping: false,
            begins: true,
            left,
        }
    }

    /// All that was asked for has been given.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// What there is to see of the next block.
    pub fn take(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut parts = block.split(|byte| *byte == b'\n');
        // What follows the last newline is a line to come.
        let tail = parts.next_back().unwrap_or_default();
        for part in parts {
            if self.rest.is_empty() && !self.skipping {
                self.line(part, &mut out);
            } else {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(part);
                if !std::mem::take(&mut self.skipping) {
                    self.line(&line, &mut out);
                }
            }
        }
        if !self.skipping {
            self.rest.extend_from_slice(tail);
        }
        if self.rest.len() > LINE_BYTES_MAX {
            self.rest = Vec::new();
            self.skipping = true;
        }
        self.limit(out)
    }

    /// The file ends here, or goes on as another one: a line without its newline is whole.
    pub fn end(&mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.rest);
        self.skipping = false;
        let mut out = Vec::new();
        self.line(&line, &mut out);
        self.limit(out)
    }

    fn line(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let line = Line::parse(bytes).filter(|line| line.is_since(self.options.since));
        let Some(line) = line else { return };
        line.write(self.options.timestamps, self.begins, out);
        self.begins = !line.partial;
    }

    fn limit(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        out.truncate(self.left);
        self.left -= out.len();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, text: &str) -> String {
        format!("2026-01-02T03:04:{second:02}.0Z stdout F {text}\n")
    }

    /// Whatever the blocks, the answer is the same.
    fn selected(content: &str, query: &str) -> String {
        let answers: Vec<String> = [1, 7, 64, usize::MAX]
            .map(|size| {
                let mut selector = Selector::new(Options::parse(query).unwrap());
                let mut out = Vec::new();
                for block in content.as_bytes().chunks(size.min(content.len().max(1))) {
                    out.extend(selector.take(block));
                }
                out.extend(selector.end());
                String::from_utf8(out).unwrap()
            })
            .into();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        answers[0].clone()
    }

    #[test]
    fn n09_since_limit_and_timestamps() {
        let content: String = (0..4).map(|n| line(n, &format!("l{n}"))).collect();
        assert_eq!(selected(&content, ""), "l0\nl1\nl2\nl3\n");
        assert_eq!(selected(&content, "sinceTime=2026-01-02T03:04:02Z"), "l2\nl3\n");
        assert_eq!(selected(&content, "limitBytes=4"), "l0\nl");
        assert_eq!(
            selected(&line(1, "x"), "timestamps=true"),
            "2026-01-02T03:04:01.000000000Z x\n"
        );
    }

    #[test]
    fn last_line_without_newline_and_garbage() {
        let content = format!("garbage\n{}{}", line(1, "a"), line(2, "b").trim_end());
        assert_eq!(selected(&content, ""), "a\nb\n");
    }

    #[test]
    fn endless_line_is_left_out_and_the_next_one_read() {
        let mut selector = Selector::new(Options::default());
        for _ in 0..40 {
            assert!(selector.take(&[b'x'; 64 * 1024]).is_empty());
            assert!(selector.rest.len() <= LINE_BYTES_MAX);
        }
        assert_eq!(selector.take(format!("\n{}", line(1, "a")).as_bytes()), b"a\n");
    }
}
