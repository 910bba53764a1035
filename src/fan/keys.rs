//! Keys that are computed: from one secret that all hosts have, each host's WireGuard key and the preshared key.
//!
//! ```text
//! prk         = HKDF-Extract(salt "fanctl/1", secret)                                       RFC 5869, SHA-256
//! context     = 04, overlay (4 bytes), its length (1), underlay (4), its length (1), epoch (4)
//! private key = HKDF-Expand(prk, "fanctl/1 host" 00 context address (4), 32)                clamped where it is used
//! preshared   = HKDF-Expand(prk, "fanctl/1 psk" 00 context, 32)                             the same for all pairs of hosts
//! fingerprint = HKDF-Expand(prk, "fanctl/1 fingerprint" 00 epoch (4), 8)                    shown to people
//! ```
//!
//! A host may have been *issued* its own private key and the preshared key instead, and be given the public keys of all hosts in a
//! [table](table::Table): it can be no other host. Who issues has the secret, and no host needs it.
//!
//! Numbers are in network byte order, and 04 stands for IPv4. Any 32 uniform bytes are a private key of X25519 (RFC 7748,
//! section 5), and what HKDF expands for one host tells nothing of the secret or of another's (RFC 5869, section 3.2). All
//! else is WireGuard's own: nothing here is used as a key for packets.

pub mod file;
pub mod table;

use std::fmt;
use std::net::Ipv4Addr;

use base64ct::{Base64, Encoding};
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::fan::mapping::Mapping;

/// Thirty-two bytes that nobody else may know. They are wiped when they are dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// These bytes.
    #[must_use]
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Where bytes are to be put.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }

    /// A private key as X25519 uses it (RFC 7748, section 5), which is how the kernel keeps it
    /// (`wg_noise_set_static_identity_private_key`, drivers/net/wireguard/noise.c).
    #[must_use]
    pub(crate) fn clamped(&self) -> Self {
        let mut key = self.clone();
        key.0[0] &= 0b1111_1000;
        key.0[31] = (key.0[31] & 0b0111_1111) | 0b0100_0000;
        key
    }

    /// The public key of a private one.
    #[must_use]
    pub(crate) fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&StaticSecret::from(*self.bytes())).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The public key of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What people compare to see whether hosts have the same secret: eight bytes that follow from it and tell nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fingerprint(pub [u8; 8]);

/// As people read it: `9f3a 61c2 07de 4b58`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.0.chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect();
        f.pad(&groups.join(" "))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A secret that all hosts of a fan have, and the number of its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// From 1: each secret that takes another's place has the next number.
    pub(crate) epoch: u32,
    secret: SecretKey,
}

const SALT: &[u8] = b"fanctl/1";

impl Secret {
    /// A secret of an epoch, which begin at 1.
    #[must_use]
    pub(crate) fn new(epoch: u32, secret: SecretKey) -> Self {
        Self { epoch, secret }
    }

    fn expand(&self, label: &str, context: &[u8], bytes: &mut [u8]) {
        let info = [label.as_bytes(), &[0], context].concat();
        let hkdf = Hkdf::<Sha256>::new(Some(SALT), self.secret.bytes());
        hkdf.expand(&info, bytes).expect("shorter than 255 hashes");
    }

    /// What people compare.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut bytes = [0; 8];
        self.expand("fanctl/1 fingerprint", &self.epoch.to_be_bytes(), &mut bytes);
        Fingerprint(bytes)
    }

    /// The private key of a host of a mapping.
    #[must_use]
    pub(crate) fn private(&self, mapping: Mapping, host: Ipv4Addr) -> SecretKey {
        let context = [&self.context(mapping)[..], &host.octets()].concat();
        self.key("fanctl/1 host", &context)
    }

    /// The preshared key of all pairs of hosts of a mapping.
    #[must_use]
    pub(crate) fn preshared(&self, mapping: Mapping) -> SecretKey {
        self.key("fanctl/1 psk", &self.context(mapping))
    }

    fn key(&self, label: &str, context: &[u8]) -> SecretKey {
        let mut key = SecretKey::new([0; 32]);
        self.expand(label, context, key.bytes_mut());
        key
    }

    fn context(&self, mapping: Mapping) -> Vec<u8> {
        let mut context = vec![4];
        for network in [mapping.overlay().network(), mapping.underlay().network()] {
            context.extend(network.network().octets());
            context.push(network.prefix());
        }
        context.extend(self.epoch.to_be_bytes());
        context
    }

    /// What one host of a mapping gets that is not to have the secret.
    #[must_use]
    pub(crate) fn issue(&self, mapping: Mapping, host: Ipv4Addr) -> Issued {
        Issued {
            epoch: self.epoch,
            mapping,
            host,
            private: self.private(mapping, host),
            preshared: self.preshared(mapping),
            fingerprint: self.fingerprint(),
        }
    }
}

/// The keys of one host, which follow from a secret that it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    /// That of the secret.
    pub(crate) epoch: u32,
    /// The networks that the keys are for.
    pub(crate) mapping: Mapping,
    /// The host.
    pub(crate) host: Ipv4Addr,
    /// Its private key.
    pub(crate) private: SecretKey,
    /// The key that all pairs of hosts have.
    pub(crate) preshared: SecretKey,
    /// What people compare, of the secret.
    pub(crate) fingerprint: Fingerprint,
}

/// What a host has of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The secret, from which the keys of all hosts follow.
    Shared(Secret),
    /// Its own keys.
    Issued(Issued),
}

impl Key {
    /// The number of its turn, from 1.
    #[must_use]
    pub(crate) fn epoch(&self) -> u32 {
        match self {
            Self::Shared(secret) => secret.epoch,
            Self::Issued(issued) => issued.epoch,
        }
    }

    /// What people compare.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Shared(secret) => secret.fingerprint(),
            Self::Issued(issued) => issued.fingerprint,
        }
    }

    /// The networks and the host that issued keys are for; none of a secret, which is for all.
    #[must_use]
    pub(crate) fn holder(&self) -> Option<(Mapping, Ipv4Addr)> {
        match self {
            Self::Shared(_) => None,
            Self::Issued(issued) => Some((issued.mapping, issued.host)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fan::mapping::Underlay;
    use crate::fan::mapping::tests::any_mapping;

    /// The secret of the vectors: the bytes 00 to 1f.
    pub(crate) fn counting(epoch: u32) -> Secret {
        Secret::new(epoch, SecretKey::new(std::array::from_fn(|index| u8::try_from(index).unwrap())))
    }

    fn mapping(overlay: &str, host: Ipv4Addr, len: u8) -> Mapping {
        Mapping::new(overlay.parse().unwrap(), Underlay::containing(host, len).unwrap()).unwrap()
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = counting(1);
        let printed = format!("{secret:?} {:?}", secret.preshared(mapping("250", [172, 30, 0, 28].into(), 16)));
        assert_eq!(printed, "Secret { epoch: 1, secret: (secret) } (secret)");
    }

    /// Checked against `openssl kdf`, Python's hashlib and `wg pubkey`.
    #[test]
    fn the_vectors_hold() {
        let vectors = [
            (
                ("250.0.0.0/8", [172, 30, 0, 28], 16, 1),
                "f8cad2303266fe52cd04f44a93154f4bbef787e46fb8934ef4ca2ce26b35e45a",
                "wsF5R2iw90DxfxGubLFOKY6SCgIciaOT2FDlHddmO2I=",
                "71aa507e73544256298e5d99a2c813d3fb5a44badddea96c9065b8a155da2dc3",
                "4d21 4241 b161 7ee2",
            ),
            (
                ("250.0.0.0/8", [172, 30, 0, 28], 16, 2),
                "6196ea304e7f8a63dc605b5ac38194a8ebb8c2470da90f359b5e2da9f6b038df",
                "bN+BAabYSfYkDvAFAC9CuRCIUOCmV1r03fa8Y6c4nW8=",
                "74ab18cfbd5eee80370c50799528f526654575f9557c6075e82fabb0c8adb4a6",
                "a6ea 90c2 9f55 219f",
            ),
            (
                ("10.64.0.0/10", [192, 168, 7, 254], 24, u32::MAX),
                "6fa07a0a963438ac3723dfb29ab6f08d28aceb5429e72ee2244055343652bb06",
                "4Rds1aFSE2Bm6DpDiDegNmRXgsEgVpg1V+XNNJCV8hM=",
                "3d92b911e2cf697b47d5aae65dd8cd8b8f53175c7895044b1bd971c6dd3ed7d4",
                "1837 fa26 d1b0 649f",
            ),
        ];
        for ((overlay, host, len, epoch), private, public, preshared, fingerprint) in vectors {
            let (secret, mapping) = (counting(epoch), mapping(overlay, host.into(), len));
            let own = secret.private(mapping, host.into());
            assert_eq!(hexadecimal(own.bytes()), private);
            assert_eq!(own.public().to_string(), public);
            assert_eq!(own.clamped().public(), own.public());
            assert_eq!(hexadecimal(secret.preshared(mapping).bytes()), preshared);
            assert_eq!(secret.fingerprint().to_string(), fingerprint);
        }
    }

    proptest! {
        #[test]
        fn another_epoch_network_or_host_has_another_key(
            one in any_mapping(), two in any_mapping(), bits: u32, others: u32, epoch in 1_u32.., next in 1_u32..
        ) {
            let key = |mapping, host: u32, epoch| counting(epoch).private(mapping, host.into());
            let own = key(one, bits, epoch);
            prop_assert_eq!(one == two, own == key(two, bits, epoch));
            prop_assert_eq!(bits == others, own == key(one, others, epoch));
            prop_assert_eq!(epoch == next, own == key(one, bits, next));
            prop_assert_ne!(own, counting(epoch).preshared(one));
        }
    }
}
