//! Kernel settings under /proc/sys.

use std::fs;
use std::io;
use std::str::FromStr;

use super::file::{self, KERNEL_LIMIT};
use crate::fan::name::InterfaceName;

/// The global switch that lets packets pass from one interface to any other.
pub(crate) const IP_FORWARD: &str = "net/ipv4/ip_forward";

/// The first port that a process without capabilities can have.
pub(crate) const UNPRIVILEGED_PORTS: &str = "net/ipv4/ip_unprivileged_port_start";

/// The name of an interface's own IPv4 setting. Slashes, not dots: an interface's name may hold dots.
#[must_use]
pub(crate) fn of_interface(link: &InterfaceName, setting: &str) -> String {
    format!("net/ipv4/conf/{link}/{setting}")
}

/// Reads a switch: on is anything but zero, as the kernel takes it.
///
/// # Errors
/// When there is none of that name, or it is no number.
pub fn read(name: &str) -> io::Result<bool> {
    number::<i64>(name).map(|number| number != 0)
}

/// Reads a number.
///
/// # Errors
/// When there is none of that name, or it is no such number.
pub fn number<T: FromStr>(name: &str) -> io::Result<T> {
    let text = file::read_text(format!("/proc/sys/{name}"), KERNEL_LIMIT)?;
    let number = text.trim().parse();
    number.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{name} is '{}'", text.trim())))
}

/// Switches a setting on or off, where it is not so already: /proc/sys may be mounted for reading only.
///
/// # Errors
/// When there is none of that name, or it may not be written: then what to set.
pub(crate) fn ensure(name: &str, on: bool) -> io::Result<()> {
    if read(name).is_ok_and(|found| found == on) { Ok(()) } else { ensure_number(name, on.into()) }
}

/// Sets a number, where it is not so already.
///
/// # Errors
/// When there is none of that name, or it may not be written: then what to set.
pub(crate) fn ensure_number(name: &str, value: u8) -> io::Result<()> {
    if number::<u8>(name).is_ok_and(|found| found == value) {
        return Ok(());
    }
    write_text(name, &value.to_string()).map_err(|error| {
        let advice = match name.split('/').collect::<Vec<_>>()[..] {
            // What a new interface starts with.
            ["net", family, "conf", _, setting] => format!("net.{family}.conf.default.{setting}"),
            _ => name.replace('/', "."),
        };
        let sentence = format!("{error}; set it from where /proc/sys can be written: sysctl -w {advice}={value}");
        io::Error::new(error.kind(), sentence)
    })
}

/// Writes a setting.
///
/// # Errors
/// When there is none of that name, or it may not be written.
pub(crate) fn write_text(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{name}"), value)
        .map_err(|error| io::Error::new(error.kind(), format!("/proc/sys/{name}: {error}")))
}
