//! What several test files share: the examples' programs, and where the real input lies.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The environment variable that names the folder of the real input.
const DATA_VARIABLE: &str = "XAEROFLUX_TEST_DATA";

/// The program of an example, up to date. `cargo test` builds the examples, `cargo test --test NAME` does not, so cargo
/// is asked: where nothing changed it has nothing to do.
pub fn example(name: &str) -> Command {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let test = env::current_exe().expect("a test has a path");
        // target/PROFILE/deps/TEST
        let profile = test.ancestors().nth(2).expect("a test lies in its profile's folder");
        let target = profile.parent().expect("a profile lies in the target folder");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--examples", "--locked", "--target-dir"]).arg(target);
        cargo.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let status = cargo.stdin(Stdio::null()).status().expect("cargo runs");
        assert!(status.success(), "the examples do not build");
        profile.join("examples")
    });
    let mut program = Command::new(programs.join(format!("{name}{}", env::consts::EXE_SUFFIX)));
    program.stdin(Stdio::null()).env_remove("XAEROFLUX_DATA_DIR");
    program
}

/// A file of the real input; `None`, and a clear word, where it is absent.
pub fn real_input(file: &str) -> Option<PathBuf> {
    let folder = env::var_os(DATA_VARIABLE)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = folder.join(file);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: there is no {}; {DATA_VARIABLE} names the folder with the real input", path.display());
    None
}

/// A file that is part of the tests.
pub fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}
