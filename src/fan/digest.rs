//! A short name for a long text, by which a program or a rule is known again in the kernel.

/// 64-bit FNV-1a (RFC 9923) of some bytes, as 16 hexadecimal digits: the same on every machine and in every build.
/// It guards against confusion, not against an adversary: only root can write these labels.
#[must_use]
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_vectors_hold() {
        assert_eq!(super::digest(b""), "cbf29ce484222325");
        assert_eq!(super::digest(b"a"), "af63dc4c8601ec8c");
        assert_eq!(super::digest(b"foobar"), "85944171f73967e8");
    }
}
