//! A fan that was brought up by hand, written into /etc/fan.toml: as its table, with all else in the file left as it stands.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::convert;
use crate::fan::mapping::Overlay;
use crate::fan::options::{KEYS, ReadBack};
use crate::fan::request::Request;

/// The text of a file with this fan: in the table of its overlay, or in one more at the end.
///
/// # Errors
/// A sentence: the file cannot be read, or has its fans in another form.
pub(crate) fn with(there: &str, config: &Request) -> Result<String, String> {
    let mut document: DocumentMut = there.parse().map_err(|_| "is no TOML; see: fanctl config check".to_string())?;
    let Some(fans) = document.get_mut("fan") else {
        let gap = if there.is_empty() || there.ends_with("\n\n") { "" } else { "\n" };
        let end = if there.is_empty() || there.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{there}{end}{gap}{}", convert::table(config)));
    };
    let fans = fans.as_array_of_tables_mut().ok_or("has fans that are no [[fan]] tables; write it there by hand")?;
    match table_of(fans, config.overlay) {
        Some(table) => change(table, config)?,
        None => fans.push(new(config)?),
    }
    Ok(document.to_string())
}

/// The table of an overlay.
fn table_of(fans: &mut ArrayOfTables, overlay: Overlay) -> Option<&mut Table> {
    let is_of =
        |table: &Table| table.get("overlay").and_then(Item::as_str).and_then(|text| text.parse().ok()) == Some(overlay);
    fans.iter_mut().find(|table| is_of(table))
}

/// A table of its own, after an empty line.
fn new(config: &Request) -> Result<Table, String> {
    let mut table = parsed(config)?;
    table.decor_mut().set_prefix("\n");
    // Behind all others, wherever these stand.
    table.set_position(None);
    Ok(table)
}

/// The table as `config convert` writes it.
fn parsed(config: &Request) -> Result<Table, String> {
    let document: DocumentMut = convert::table(config).parse().map_err(|_| "cannot hold this fan".to_string())?;
    let table = document.get("fan").and_then(Item::as_array_of_tables).and_then(|fans| fans.get(0).cloned());
    table.ok_or_else(|| "cannot hold this fan".to_string())
}

/// Gives a table the values of a fan. What is about the file alone, such as `follow`, and comments stay.
fn change(table: &mut Table, config: &Request) -> Result<(), String> {
    let wanted = parsed(config)?;
    for key in KEYS.iter().filter(|key| key.name != "overlay") {
        let stays = key.read_back == ReadBack::FileOnly && key.name != "enabled";
        match (wanted.get(key.name).and_then(Item::as_value), table.get_mut(key.name)) {
            (Some(new), Some(Item::Value(old))) if plain(old) != plain(new) => {
                let decor = old.decor().clone();
                *old = new.clone();
                *old.decor_mut() = decor;
            }
            (Some(new), None) => drop(table.insert(key.name, value(new.clone()))),
            (None, Some(_)) if !stays => drop(table.remove(key.name)),
            _ => {}
        }
    }
    Ok(())
}

/// A value without the comments and blanks around it.
fn plain(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Configuration, Source};
    use crate::fan::request::Follow;

    fn fan(words: &[&str]) -> Request {
        let mut config = Request::new("250".parse().unwrap(), "eth0/16".parse().unwrap());
        config.apply_words(words).unwrap();
        config
    }

    /// The file is one that can be read, and its fan of this overlay is that fan.
    fn has(text: &str, config: &Request) {
        let read = Configuration::read(&[Source::new("fan.toml", text)]);
        assert_eq!(read.faults, [], "{text}");
        let found = read.entries.iter().find(|entry| entry.config.overlay == config.overlay).expect("the fan");
        assert!(found.config.agrees_with(config), "{text}");
    }

    #[test]
    fn a_fan_is_added_behind_what_is_there() {
        let plain = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\n";
        assert_eq!(with("", &fan(&[])).unwrap(), plain);
        assert_eq!(with("# mine", &fan(&[])).unwrap(), format!("# mine\n\n{plain}"));
        let other = "# one\n[[fan]] # two\noverlay = \"251\" # three\nunderlay = \"eth1/16\"\n# end\n";
        let text = with(other, &fan(&["dhcp"])).unwrap();
        has(&text, &fan(&["dhcp"]));
        for comment in ["# one", "# two", "# three", "# end"] {
            assert!(text.contains(comment), "{text}");
        }
        assert!(with("fan = 3\n", &fan(&[])).unwrap_err().contains("[[fan]]"));
        assert!(with("fan = [\n", &fan(&[])).unwrap_err().contains("config check"));
    }

    #[test]
    fn a_fan_that_is_there_becomes_as_asked_for_and_keeps_its_comments() {
        let there = "[[fan]]\noverlay = \"250\" # ours\nunderlay = \"eth0/16\"\nmtu = 1400 # narrow\nfollow = true\nenabled = false\n\n\
                     [[fan]]\noverlay = \"251\"\nunderlay = \"eth1/16\"\n";
        let text = with(there, &fan(&["host-reserve", "4"])).unwrap();
        let wanted = "[[fan]]\noverlay = \"250\" # ours\nunderlay = \"eth0/16\"\nfollow = true\nhost-reserve = 4\n\n\
                      [[fan]]\noverlay = \"251\"\nunderlay = \"eth1/16\"\n";
        assert_eq!(text, wanted);
        assert_eq!(with(&text, &fan(&["host-reserve", "4"])).unwrap(), text, "nothing to do");
        let mut kept = fan(&["bridge", "fan0"]);
        let named = with(&text, &kept).unwrap();
        kept.options.follow = Follow::Yes;
        has(&named, &kept);
        assert_eq!(with(&text, &fan(&["host-reserve", "5"])).unwrap(), text.replace("= 4", "= 5"));
    }
}
