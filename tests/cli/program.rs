//! The program under test, so that a test reads as a sentence.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

/// `fanctl` with these words, which blanks separate.
pub fn fanctl(words: &str) -> Run {
    with(words.split_whitespace())
}

/// `fanctl` with these arguments, which may hold any characters.
pub fn with<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    Run { arguments: arguments.into_iter().map(String::from).collect(), input: String::new() }
}

/// The command, not yet started.
pub fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanctl"));
    command.args(words).env_remove("RUST_BACKTRACE").env("COLUMNS", "100");
    command
}

/// A call of `fanctl` that is still to come.
#[must_use]
pub struct Run {
    arguments: Vec<String>,
    input: String,
}

impl Run {
    /// With this on standard input.
    pub fn reading(self, input: impl Into<String>) -> Self {
        let input = input.into();
        Self { input, ..self }
    }

    /// Exit status 0, and nothing on standard error.
    #[track_caller]
    pub fn succeeds(self) -> Output {
        self.ends(0).complains("")
    }

    /// Exit status 1.
    #[track_caller]
    pub fn fails(self) -> Output {
        self.ends(1).complains_in_one_line()
    }

    /// Exit status 2, and one line that says why.
    #[track_caller]
    pub fn misused(self) -> Output {
        self.ends(2).complains_in_one_line()
    }

    /// Exit status 3, and one line that says why.
    #[track_caller]
    pub fn refuses(self) -> Output {
        self.ends(3).complains_in_one_line()
    }

    /// Exit status 2, and a line for each fault of a file.
    #[track_caller]
    pub fn finds_faults(self) -> Output {
        self.ends(2)
    }

    #[track_caller]
    fn ends(self, status: i32) -> Output {
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut child = command(words.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = self.input;
        // The program need not read its standard input.
        let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("the program ends");
        writer.join().expect("the writer ends");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let output = Output {
            call: format!("fanctl {}", words.join(" ")),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            status: output.status.code(),
        };
        assert_eq!(output.status, Some(status), "{output:#?}");
        output
    }
}

/// How a call ended.
#[derive(Debug)]
pub struct Output {
    #[expect(dead_code, reason = "for the message of an assertion that fails")]
    call: String,
    pub stdout: String,
    pub stderr: String,
    status: Option<i32>,
}

impl Output {
    #[track_caller]
    pub fn prints(self, expected: &str) -> Self {
        assert_eq!(self.stdout, expected, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn prints_all_of(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "'{part}' is missing in {self:#?}");
        }
        self
    }

    /// All of standard error.
    #[track_caller]
    pub fn complains(self, expected: &str) -> Self {
        assert_eq!(self.stderr, expected, "{self:#?}");
        self
    }

    /// Parts of the one line on standard error.
    #[track_caller]
    pub fn saying(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "'{part}' is missing in {self:#?}");
        }
        self
    }

    #[track_caller]
    fn complains_in_one_line(self) -> Self {
        let line = self.stderr.strip_suffix('\n').unwrap_or_default();
        assert!(line.starts_with("fanctl: ") && !line.contains('\n'), "{self:#?}");
        self
    }
}
