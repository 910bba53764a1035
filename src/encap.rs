//! The two ways a packet travels between hosts.

use std::fmt;
use std::str::FromStr;

/// What a packet for another slice is wrapped in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// IP in IP (RFC 2003): 20 bytes, layer 3, one shared device.
    Ipip,
    /// VXLAN (RFC 7348): 50 bytes, layer 2, a device for each fan.
    Vxlan,
}

impl Encapsulation {
    /// The word of configuration files and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Vxlan => "vxlan",
        }
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Encapsulation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Ipip, Self::Vxlan]
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| format!("encapsulation '{text}' is not known; it is 'ipip' or 'vxlan'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_round_trip_and_others_are_refused_by_name() {
        for encapsulation in [Encapsulation::Ipip, Encapsulation::Vxlan] {
            let word = encapsulation.to_string();
            assert_eq!(word.parse(), Ok(encapsulation));
            assert_eq!(serde_json::to_string(&encapsulation).unwrap(), format!("\"{word}\""));
        }
        let error = "GRE".parse::<Encapsulation>().unwrap_err();
        assert_eq!(error, "encapsulation 'GRE' is not known; it is 'ipip' or 'vxlan'");
    }
}
