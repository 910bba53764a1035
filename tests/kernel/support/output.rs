//! What a program said and how it ended, with assertions that show all of it when they fail.

use std::process::Child;
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::DEADLINE;

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    command: String,
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Waits for a program to end; one that does not is killed and fails the test.
    #[track_caller]
    pub fn of(command: String, child: Child) -> Self {
        let pid = Pid::from_raw(child.id().cast_signed());
        let (done, result) = mpsc::channel();
        thread::spawn(move || {
            let _ = done.send(child.wait_with_output());
        });
        let Ok(output) = result.recv_timeout(DEADLINE) else {
            let _ = kill(pid, Signal::SIGKILL);
            panic!("{command}: did not end within {DEADLINE:?}");
        };
        let output = output.expect("its output");
        Self {
            command,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It failed, with one line that says why.
    #[track_caller]
    pub fn failed(self) -> Self {
        self.exits(1).one_line()
    }

    /// It refused while planning, with one line that says why.
    #[track_caller]
    pub fn refused(self) -> Self {
        self.exits(3).one_line()
    }

    /// It ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "wrong exit code\n{self}");
        self
    }

    /// Its error is exactly one line, and the line is not a panic's.
    #[track_caller]
    fn one_line(self) -> Self {
        assert_eq!(self.stderr.lines().count(), 1, "an error is one line\n{self}");
        assert!(!self.stderr.contains("panicked"), "a panic is no error message\n{self}");
        self
    }

    /// Its error holds all these words.
    #[track_caller]
    pub fn stderr_has(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no '{word}' on standard error\n{self}");
        }
        self
    }

    /// Its output holds all these words.
    #[track_caller]
    pub fn stdout_has(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "no '{word}' on standard output\n{self}");
        }
        self
    }

    /// It said nothing.
    #[track_caller]
    pub fn silently(self) -> Self {
        assert!(self.stdout.is_empty() && self.stderr.is_empty(), "not silent\n{self}");
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{self}"))
    }

    /// Its output as JSON, if it succeeded.
    pub fn json_if_ok(&self) -> Option<Value> {
        (self.code == Some(0)).then(|| self.json())
    }

    /// Its output as JSON; iproute2 prints nothing at all for some empty lists.
    #[track_caller]
    pub fn json_or_empty(&self) -> Value {
        if self.stdout.trim().is_empty() { Value::Array(Vec::new()) } else { self.json() }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or("a signal".to_string(), |code| code.to_string());
        writeln!(f, "$ {}", self.command)?;
        writeln!(f, "{}{}(exit {code})", self.stdout, self.stderr)
    }
}
