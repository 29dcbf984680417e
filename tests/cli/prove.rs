//! `prove` and `check-proof`: a proof made on one machine is checked on another that has nothing but the public key.

use std::{fs, path::PathBuf};

use crate::support::{Machine, run};

/// A machine with some events by two authors, and the files that leave it: a proof, and the key of its author.
struct Made {
    machine: Machine,
    elsewhere: Machine,
    proof: PathBuf,
    key: PathBuf,
}

impl Made {
    fn new() -> Self {
        let (machine, elsewhere) = (Machine::new(), Machine::new());
        for name in ["alice", "bob"] {
            machine.ok(&format!("id --new {name}"), "");
        }
        let lines = |who: &str, n: usize| (0..n).map(|n| format!("{who} {n}\n")).collect::<String>();
        machine.ok("publish tags --as alice", lines("alice", 70));
        machine.ok("publish tags --as bob", lines("bob", 10));
        machine.ok("publish other --as alice", lines("alice", 5));
        let (proof, key) = (elsewhere.tmp().join("proof"), elsewhere.tmp().join("alice.pub"));
        let made = Self { machine, elsewhere, proof, key };
        fs::write(&made.proof, made.prove("tags alice 42")).unwrap();
        fs::write(&made.key, made.public("alice")).unwrap();
        made
    }

    fn prove(&self, what: &str) -> Vec<u8> {
        let args = ["prove"].into_iter().chain(what.split(' '));
        let output = self.machine.command(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn public(&self, name: &str) -> Vec<u8> {
        self.machine.command(["id", "--export-public", name]).output().unwrap().stdout
    }

    /// The exit code of the check elsewhere, and what it prints.
    fn check(&self) -> crate::support::Done {
        let args = ["check-proof".as_ref(), self.proof.as_os_str(), "--key".as_ref(), self.key.as_os_str()];
        run(&mut self.elsewhere.command(args), "")
    }
}

#[test]
fn a_proof_is_checked_where_there_is_no_data_directory_and_none_is_made() {
    let made = Made::new();
    let done = made.check();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let printed = &done.json()[0];
    let receipts = made.machine.ok("replay tags", "");
    let event = receipts.iter().find(|event| event["payload"] == "alice 41").unwrap();
    for field in ["author", "seq", "type"] {
        assert_eq!(printed[field], event[field], "{field}");
    }
    assert_eq!((printed["valid"].as_bool(), printed["log_length"].as_u64()), (Some(true), Some(70)));
    assert_eq!(printed["payload_hash"].as_str().unwrap(), blake3::hash(b"alice 41").to_hex().as_str());
    assert!(!made.elsewhere.data_dir().exists());
}

#[test]
fn no_altered_bit_of_a_proof_or_a_key_passes() {
    let made = Made::new();
    let (proof, key) = (fs::read(&made.proof).unwrap(), fs::read(&made.key).unwrap());
    // Each run is a process: the library's own tests flip every bit.
    for (path, good, step) in [(&made.proof, &proof, 131), (&made.key, &key, 97)] {
        for at in (0..good.len()).step_by(step).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(path, bad).unwrap();
            assert_eq!(made.check().code, 8, "byte {at}");
        }
        for bad in
            [[good.as_slice(), b"\n"].concat(), [good.as_slice(), b" "].concat(), good[..good.len() - 1].to_vec()]
        {
            fs::write(path, bad).unwrap();
            assert_eq!(made.check().code, 8);
        }
        fs::write(path, []).unwrap();
        assert_eq!(made.check().code, 8);
        fs::write(path, good).unwrap();
    }
    fs::write(&made.key, key.to_ascii_uppercase()).unwrap();
    assert_eq!(made.check().code, 8);
    fs::write(&made.key, key).unwrap();
    assert_eq!(made.check().code, 0);
}

#[test]
fn a_proof_by_another_author_is_refused_and_names_both() {
    let made = Made::new();
    fs::write(&made.proof, made.prove("tags bob 3")).unwrap();
    let done = made.check();
    assert_eq!(done.code, 8);
    assert!(done.stderr.contains("not by author"), "{}", done.stderr);
    fs::write(&made.key, made.public("bob")).unwrap();
    assert_eq!(made.check().code, 0);
}

#[test]
fn a_proof_of_something_else_than_was_asked_for_is_refused_and_says_what() {
    let made = Made::new();
    let check = |asked: &[&str]| {
        let args = ["check-proof".as_ref(), made.proof.as_os_str(), "--key".as_ref(), made.key.as_os_str()];
        let asked = asked.iter().map(|arg| std::ffi::OsStr::new(*arg));
        run(&mut made.elsewhere.command(args.into_iter().chain(asked)), "")
    };
    assert_eq!(check(&["--subject", "tags", "--seq", "42"]).code, 0);
    for (asked, says) in [
        (["--subject", "other"], "not about subject"),
        (["--seq", "41"], "about event 42 of the author, not about event 41"),
    ] {
        let done = check(&asked);
        assert_eq!(done.code, 8);
        assert!(done.stderr.contains(says) && done.stdout.is_empty(), "{}", done.stderr);
    }
    assert_eq!(check(&["--subject", ""]).code, 2);
}

#[test]
fn the_author_is_a_local_name_or_the_hexadecimal_of_the_receipts() {
    let made = Made::new();
    let ids = made.machine.ok("id", "");
    let alice = ids.iter().find(|line| line["name"] == "alice").unwrap()["id"].as_str().unwrap();
    fs::write(&made.proof, made.prove(&format!("tags {alice} 42"))).unwrap();
    assert_eq!(made.check().code, 0);
    for (what, code) in [
        (format!("tags {} 42", alice.to_uppercase()), 5),
        ("tags nobody 42".to_owned(), 5),
        ("tags alice 0".to_owned(), 2),
        ("tags alice 71".to_owned(), 2),
        ("other bob 1".to_owned(), 2),
        ("nothing alice 1".to_owned(), 2),
    ] {
        let args = ["prove"].into_iter().chain(what.split(' '));
        let output = made.machine.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_proof_that_is_put_together_from_several_is_refused_and_says_why() {
    let made = Made::new();
    let good = fs::read(&made.proof).unwrap();
    // The signed head and the path of one proof behind the event of another.
    let head = |proof: &[u8]| proof.windows(4).position(|window| window == b"XHED").unwrap();
    for (other, says) in [
        ("other alice 3", "this is about subject"),
        ("tags bob 3", "not by author"),
        ("tags alice 43", "the path does not lead to the signed root"),
    ] {
        let other = made.prove(other);
        fs::write(&made.proof, [&good[..head(&good)], &other[head(&other)..]].concat()).unwrap();
        let done = made.check();
        assert!(done.code == 8 && done.stderr.contains(says), "{}", done.stderr);
        assert!(done.stdout.is_empty());
    }
    // The head of a longer log behind the event and before the path of the shorter one.
    made.machine.ok("publish tags --as alice", (0..80).map(|n| format!("more {n}\n")).collect::<String>());
    let longer = made.prove("tags alice 42");
    fs::write(&made.proof, [&good[..head(&good)], &longer[head(&longer)..longer.len() - 32]].concat()).unwrap();
    let done = made.check();
    assert!(done.code == 8 && done.stderr.contains("is cut short"), "{}", done.stderr);
    // What its owner would never have signed: the other encoding of the scheme.
    let mut encoding = good.clone();
    let length = 666_u16.to_le_bytes();
    let at = head(&good) + good[head(&good)..].windows(3).position(|w| w == [length[0], length[1], 0x39]).unwrap();
    encoding[at + 2] = 0x59;
    fs::write(&made.proof, encoding).unwrap();
    let done = made.check();
    assert!(done.code == 8 && done.stderr.contains("not in the padded encoding"), "{}", done.stderr);
    fs::write(&made.proof, good).unwrap();
    assert_eq!(made.check().code, 0);
}
