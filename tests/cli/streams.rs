//! `fanctl map -` in a pipe: lines in, lines out, and no more memory for more of them; and what happens when the reader
//! has closed the pipe.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Child, Stdio};
use std::thread;

use crate::program::{command, fanctl};

const MAP: [&str; 4] = ["map", "250", "172.30.0.0/16", "-"];

fn started() -> Child {
    command(MAP)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

#[track_caller]
fn ends_well(mut child: Child) {
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!((child.wait().expect("an end").code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn blank_lines_and_blanks_around_addresses_mean_nothing() {
    let plain = fanctl("map 250 172.30.0.0/16 172.30.0.28 250.0.27.3").succeeds().stdout;
    for input in ["172.30.0.28\n250.0.27.3\n", "172.30.0.28\n250.0.27.3", "\n  172.30.0.28 \n\n\t250.0.27.3\r\n\n"] {
        fanctl("map 250 172.30.0.0/16 -").reading(input).succeeds().prints(&plain);
    }
    fanctl("map 250 172.30.0.0/16 172.30.0.28 -").reading("250.0.27.3\n").succeeds().prints(&plain);
}

#[test]
fn an_empty_input_is_answered_by_nothing() {
    fanctl("map 250 172.30.0.0/16 -").succeeds().prints("");
    fanctl("map 250 172.30.0.0/16 - --json").succeeds().prints("[]\n");
}

#[test]
fn a_wrong_line_is_told_by_its_number() {
    fanctl("map 250 172.30.0.0/16 -")
        .reading("172.30.0.28\n\n8.8.8.8\n172.30.0.27\n")
        .misused()
        .saying(&["standard input, line 3: address '8.8.8.8' is neither"])
        .prints_all_of(&["fan-250-0-28"]);
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    fanctl("map 250 172.30.0.0/16 -").reading("x".repeat(10_000_000)).misused().saying(&["standard input, line 1"]);
}

#[test]
fn an_answer_comes_before_the_next_question() {
    let mut child = started();
    let mut questions = child.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || answers.next().expect("an answer").expect("text");
    questions.write_all(b"172.30.0.28\n").expect("fanctl reads");
    assert!(next().starts_with("Address "));
    assert!(next().starts_with("172.30.0.28 "));
    questions.write_all(b"250.0.27.3\n").expect("fanctl reads");
    assert!(next().contains(" 172.30.0.27 "));
    drop(questions);
    ends_well(child);
}

/// The most memory that a process ever held, in KiB.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_million_lines_take_no_more_memory_than_ten_thousand() {
    let mut child = started();
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut questions = child.stdin.take().expect("a pipe");
    let asker = thread::spawn(move || {
        let mut batch = BufWriter::with_capacity(1 << 16, &mut questions);
        for number in 0..1_000_000_u32 {
            let [_, a, b, c] = number.to_be_bytes();
            writeln!(batch, "250.{a}.{b}.{c}").expect("fanctl reads");
        }
        batch.flush().expect("fanctl reads");
        drop(batch);
        questions
    });
    let mut line = String::new();
    let mut early = 0;
    for number in 0..=1_000_000 {
        line.clear();
        answers.read_line(&mut line).expect("text");
        if number == 10_000 {
            early = peak(&child);
        }
    }
    // The last question is number 999999, 0x0f423f.
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["250.15.66.63", "overlay", "250.15.66.0/24", "172.30.15.66", "250.15.66.1", "fan-250-15-66"]
    );
    // It has answered all and waits for more: its input is still open.
    let late = peak(&child);
    drop(asker.join().expect("the asker ends"));
    ends_well(child);
    assert!(late < early + 1024, "{early} KiB after ten thousand lines, {late} KiB after a million");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let mut child = started();
    let mut questions = child.stdin.take().expect("a pipe");
    let asker = thread::spawn(move || while questions.write_all(b"172.30.0.28\n").is_ok() {});
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
    answers.read_line(&mut String::new()).expect("text");
    drop(answers);
    ends_well(child);
    asker.join().expect("the asker ends with its reader");
}

#[test]
fn nobody_listening_on_standard_error_changes_nothing_else() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let status = command(["frobnicate"]).stderr(writer).status().expect("the program starts");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").expect("Linux");
    let output = command(["map", "250", "172.30.0.0/16", "172.30.0.28"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("fanctl: standard output: No space left"), "{stderr}");
}
