//! Compiles the sandbox's program, a static binary without libc, with the compiler that builds the crate: the image it
//! goes into then needs nothing but the binary.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/pause/pause.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let program = PathBuf::from(variable("OUT_DIR")).join("pause");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .arg(SOURCE)
        .args(["--crate-name", "pause", "--crate-type", "bin"])
        .args(["--edition", "2024", "--target", &variable("TARGET")])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"])
        .args(["-C", "relocation-model=static"])
        .args(["-C", "target-feature=+crt-static"])
        .args(["-C", "link-arg=-nostdlib", "-C", "link-arg=-nostartfiles"])
        .args(["-C", "link-arg=-static", "-C", "link-arg=-no-pie"])
        // Without these the linker writes pages of padding and an identifier that differs between machines.
        .args(["-C", "link-arg=-Wl,--build-id=none,-z,noseparate-code"])
        .arg("-o")
        .arg(&program);
    let linker = variable("RUSTC_LINKER");
    if !linker.is_empty() {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let outcome = rustc.status();
    assert!(
        outcome.as_ref().is_ok_and(std::process::ExitStatus::success),
        "compiling {SOURCE} failed ({outcome:?}): the sandbox program needs a C linker (`cc`); on Debian: apt-get install gcc"
    );
}
