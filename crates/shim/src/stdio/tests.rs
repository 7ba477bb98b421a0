use super::*;
use std::fs::File;
use std::io::{Read, Write};
use tokio::task::LocalSet;

fn fifos(names: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        let path = directory.path().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    directory
}

fn name(directory: &tempfile::TempDir, name: &str) -> String {
    directory.path().join(name).display().to_string()
}

/// Runs a program on the streams; what its output's reader got. Reader and writer are containerd's part.
async fn run(directory: &tempfile::TempDir, script: &str, input: impl FnOnce(&Streams) + 'static) -> String {
    let names = Names {
        stdin: name(directory, "in"),
        stdout: name(directory, "out"),
        ..Names::default()
    };
    let out = directory.path().join("out");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        File::open(out).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let (streams, ends) = Streams::pipes(&names, Owner::default()).unwrap();
    let Ends::Pipes([stdin, stdout, stderr]) = ends else {
        panic!("pipes")
    };
    let mut child = {
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", script])
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        command.spawn().unwrap()
    };
    input(&streams);
    streams.finish().await;
    child.wait().unwrap();
    tokio::task::spawn_blocking(|| reader.join().unwrap())
        .await
        .unwrap()
}

#[test]
fn names_say_where_streams_lead() {
    for (name, place) in [
        ("", Place::Nowhere),
        ("/run/x", Place::Fifo(Path::new("/run/x"))),
        ("fifo:///run/x", Place::Fifo(Path::new("/run/x"))),
        ("file:///var/log/x", Place::File(Path::new("/var/log/x"))),
        ("binary:///bin/log?x=y", Place::Unsupported),
    ] {
        assert_eq!(Place::of(name), place, "{name}");
    }
}

#[tokio::test]
async fn everything_written_gets_through_and_then_the_reader_sees_the_end() {
    let directory = fifos(&["in", "out"]);
    let out = LocalSet::new()
        .run_until(run(&directory, "seq 1 40000", |_| {}))
        .await;
    assert_eq!(out.lines().count(), 40000);
    assert!(out.ends_with("\n40000\n"));
}

#[tokio::test]
async fn input_ends_when_it_is_closed_and_not_when_its_writer_goes() {
    let directory = fifos(&["in", "out"]);
    let fifo = directory.path().join("in");
    let write = move |text: &str| {
        let mut writer = File::options().write(true).open(&fifo).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    };
    let out = LocalSet::new()
        .run_until(run(&directory, "cat; echo end", move |streams| {
            // Two writers after each other: containerd before and after a restart.
            write("one\n");
            write("two\n");
            streams.close_input();
        }))
        .await;
    assert_eq!(out, "one\ntwo\nend\n");
}

#[tokio::test]
async fn output_of_a_process_that_ended_waits_for_a_reader_that_is_away() {
    let directory = fifos(&["out"]);
    let names = Names {
        stdout: name(&directory, "out"),
        ..Names::default()
    };
    let out = directory.path().join("out");
    LocalSet::new()
        .run_until(async {
            let (streams, ends) = Streams::pipes(&names, Owner::default()).unwrap();
            let Ends::Pipes([stdin, stdout, stderr]) = ends else {
                panic!("pipes")
            };
            let status = {
                let mut command = std::process::Command::new("echo");
                command
                    .arg("last words")
                    .stdin(stdin)
                    .stdout(stdout)
                    .stderr(stderr);
                command.status().unwrap()
            };
            assert!(status.success());
            tokio::task::yield_now().await;
            let reader = tokio::task::spawn_blocking(|| std::fs::read_to_string(out).unwrap());
            streams.finish().await;
            assert_eq!(reader.await.unwrap(), "last words\n");
        })
        .await;
}
