//! Completions: what the parser knows, and for bash also the names of bridges and interfaces that are there.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Cli;

/// Writes the completions of a shell.
///
/// # Errors
/// What `out` returned.
pub(crate) fn write(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fanctl", &mut script);
    if shell == Shell::Bash {
        let script =
            String::from_utf8_lossy(&script).replace("complete -F _fanctl ", "complete -F _fanctl_with_names ");
        out.write_all(WITH_NAMES.as_bytes())?;
        return out.write_all(script.as_bytes());
    }
    out.write_all(&script)
}

/// Names come from the kernel, and whoever makes an interface chooses its name: those that a shell could take for more than a
/// word are not offered.
const WITH_NAMES: &str = r#"_fanctl_with_names() {
    local path name label= wanted=
    _fanctl "$@"
    case "${COMP_WORDS[1]} $3" in
        "up --dev" | "down --dev") COMPREPLY=() wanted=any ;;
        *" -"*) ;;
        "up "*) [[ $COMP_CWORD -ge 3 ]] && wanted=any ;;
        "show "* | "doctor "* | "export "* | "down "*) wanted=fan ;;
    esac
    [[ -n $wanted && $2 != -* ]] || return 0
    for path in /sys/class/net/*; do
        name=${path##*/}
        [[ $name == "$2"* && $name != *[!A-Za-z0-9_.-]* ]] || continue
        if [[ $wanted == fan ]]; then
            [[ -d $path/bridge ]] && read -r label 2>/dev/null <"$path/ifalias" && [[ $label == "fan "* ]] || continue
        fi
        COMPREPLY+=("$name")
    done
}

"#;
