//! Completions: what the parser knows, and for bash, zsh and fish also the names of bridges and interfaces that are there.

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
    let script = String::from_utf8_lossy(&script);
    out.write_all(with_names(shell, &script).as_bytes())
}

/// A script that offers names too, where that is known of the shell.
fn with_names(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => {
            format!("{BASH}{}", script.replace("complete -F _fanctl ", "complete -F _fanctl_with_names "))
        }
        Shell::Zsh => {
            let (head, body) = script.split_once("_fanctl() {").unwrap_or((script, ""));
            let mut verb = "";
            let lines = body.lines().map(|line| {
                if let Some(name) = line.strip_prefix('(').and_then(|line| line.strip_suffix(')')) {
                    verb = name;
                }
                let action = match line {
                    line if line.starts_with("'::fan -- ") => "_fanctl_fans",
                    line if line.starts_with("'*::positional -- ") && verb == "down" => "_fanctl_fans",
                    line if line.starts_with("'*::positional -- ") => "_fanctl_links",
                    line if line.contains(":INTERFACE:_default") || line.contains(":UNDERLAY:_default") => {
                        "_fanctl_links"
                    }
                    _ => "_default",
                };
                line.replace(":_default'", &format!(":{action}'")) + "\n"
            });
            format!("{head}{ZSH}_fanctl() {{{}", lines.collect::<String>())
        }
        Shell::Fish => format!("{script}{FISH}"),
        _ => script.to_string(),
    }
}

/// Names come from the kernel, and whoever makes an interface chooses its name: those that a shell could take for more than a
/// word are not offered.
const BASH: &str = r#"_fanctl_with_names() {
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

const ZSH: &str = r#"_fanctl_links() {
    local -a names
    names=(/sys/class/net/*(N:t))
    names=(${names:#*[^A-Za-z0-9_.-]*})
    compadd -a names
}

_fanctl_fans() {
    local name label
    local -a names
    for name in /sys/class/net/*(N:t); do
        [[ $name != *[^A-Za-z0-9_.-]* && -d /sys/class/net/$name/bridge ]] || continue
        label=
        read -r label 2>/dev/null </sys/class/net/$name/ifalias
        [[ $label == "fan "* ]] && names+=($name)
    done
    compadd -a names
}

"#;

const FISH: &str = r#"
function __fanctl_links
    for path in /sys/class/net/*
        string match -r '^[A-Za-z0-9_.-]+$' -- (string replace /sys/class/net/ '' -- $path)
    end
end

function __fanctl_fans
    for name in (__fanctl_links)
        test -d /sys/class/net/$name/bridge
        and string match -q 'fan *' -- (cat /sys/class/net/$name/ifalias 2>/dev/null)
        and echo $name
    end
end

for verb in show doctor export down
    complete -c fanctl -n "__fish_fanctl_using_subcommand $verb" -f -a "(__fanctl_fans)"
end
complete -c fanctl -n "__fish_fanctl_using_subcommand up" -f -a "(__fanctl_links)"
complete -c fanctl -n "__fish_fanctl_using_subcommand up" -s u -l underlay -x -a "(__fanctl_links)"
for verb in up down
    complete -c fanctl -n "__fish_fanctl_using_subcommand $verb" -l dev -x -a "(__fanctl_links)"
end
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn script(shell: Shell) -> String {
        let mut script = Vec::new();
        write(shell, &mut script).unwrap();
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn zsh_and_fish_ask_for_names_where_bridges_and_interfaces_are_meant() {
        let zsh = script(Shell::Zsh);
        let ends = |end: &str| zsh.lines().filter(|line| line.contains(end)).count();
        // show, doctor and export have FAN, down its words.
        assert!(ends(":_fanctl_fans'") == 4, "{zsh}");
        // The words of up, and --dev and --underlay of up and down.
        assert!(ends(":_fanctl_links'") == 1 + 2 + 4, "{zsh}");
        assert!(zsh.starts_with("#compdef fanctl\n") && zsh.contains("\n_fanctl() {\n"), "{zsh}");
        let fish = script(Shell::Fish);
        assert!(fish.ends_with(FISH), "{fish}");
    }
}
