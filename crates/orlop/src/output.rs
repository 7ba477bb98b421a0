//! What this process prints. Its own `println!` and the like, which stand in the place of the standard library's, don't
//! end it where nobody reads any more (`orlop why … | head`): what a command does is done to its end, and its exit code
//! tells that somebody has not seen all of it.
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// What shells say of a program that SIGPIPE ended.
const NO_READER: u8 = 128 + 13;

/// Why something was not printed, the first time. After that nothing is.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// As the standard library's, for all of this program.
macro_rules! println {
    () => {{
        $crate::output::print(format_args!("\n"));
    }};
    ($($words:tt)*) => {{
        $crate::output::print_line(format_args!($($words)*));
    }};
}

/// As the standard library's, for all of this program.
macro_rules! print {
    ($($words:tt)*) => {{
        $crate::output::print(format_args!($($words)*));
    }};
}

/// As the standard library's, for all of this program.
macro_rules! eprintln {
    ($($words:tt)*) => {{
        $crate::output::tell(format_args!($($words)*));
    }};
}

pub fn print(text: Arguments<'_>) {
    note(&LOST, || io::stdout().lock().write_fmt(text));
}

pub fn print_line(text: Arguments<'_>) {
    note(&LOST, || writeln!(io::stdout().lock(), "{text}"));
}

/// Says it to the person, if there is one.
pub fn tell(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes, unless an earlier write failed.
fn note(lost: &OnceLock<io::Error>, write: impl FnOnce() -> io::Result<()>) {
    if lost.get().is_none()
        && let Err(error) = write()
    {
        let _ = lost.set(error);
    }
}

/// How a command ends that did what it was told.
pub fn outcome() -> ExitCode {
    note(&LOST, || io::stdout().flush());
    match LOST.get() {
        None => ExitCode::SUCCESS,
        Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(NO_READER),
        Some(error) => {
            crate::logging::tell_failure(&format!("the output cannot be written: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_more_is_written_to_a_pipe_that_nobody_reads() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lost = OnceLock::new();
        note(&lost, || writer.write_all(b"read"));
        assert!(lost.get().is_none());
        drop(reader);
        note(&lost, || writer.write_all(b"unread"));
        assert_eq!(lost.get().unwrap().kind(), ErrorKind::BrokenPipe);
        note(&lost, || panic!("it was tried again"));
    }
}
