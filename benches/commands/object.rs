//! A program as the object file that `tc` takes, as a compiler would have made it: what a script loads in place of what
//! `fanctl` makes up (System V ABI, ELF-64; section names as libbpf knows them).

use fanctl::bpf::program::Program;

/// The section with the program, which `tc` is told.
pub const SECTION: &str = "classifier";

const HEADER_LEN: usize = 64;
const SYMBOL_LEN: usize = 24;
/// No section, the names, the program, its licence, the symbols.
const SECTIONS: u16 = 5;
const MACHINE_BPF: u16 = 247;

/// An ELF file with one program.
pub fn of(program: &Program) -> Vec<u8> {
    let names = b"\0names\0classifier\0license\0symbols\0program\0";
    let name = |name: &str| place(names, name);
    let code = program.encode();
    let licence = b"Dual MIT/GPL\0";
    let mut symbols = vec![0; SYMBOL_LEN];
    symbols.extend(name("program").to_le_bytes());
    symbols.extend([0x12, 0]); // STB_GLOBAL, STT_FUNC
    symbols.extend(2_u16.to_le_bytes());
    symbols.extend(0_u64.to_le_bytes());
    symbols.extend((code.len() as u64).to_le_bytes());

    let mut file = vec![0; HEADER_LEN];
    let mut headers = vec![0; HEADER_LEN];
    // Type, flags, the section that it refers to, what that means, size of an entry.
    for (title, content, [kind, flags, link, info, entry]) in [
        ("names", &names[..], [3, 0, 0, 0, 0]),
        (SECTION, &code[..], [1, 6, 0, 0, 0]),
        ("license", &licence[..], [1, 3, 0, 0, 0]),
        ("symbols", &symbols[..], [2, 0, 1, 1, SYMBOL_LEN as u64]),
    ] {
        file.resize(file.len().next_multiple_of(8), 0);
        let (start, len) = (file.len() as u64, content.len() as u64);
        file.extend(content);
        headers.extend(name(title).to_le_bytes());
        headers.extend(u32::try_from(kind).unwrap_or_default().to_le_bytes());
        for number in [flags, 0, start, len] {
            headers.extend(number.to_le_bytes());
        }
        for number in [link, info] {
            headers.extend(u32::try_from(number).unwrap_or_default().to_le_bytes());
        }
        headers.extend(8_u64.to_le_bytes());
        headers.extend(entry.to_le_bytes());
    }
    file.resize(file.len().next_multiple_of(8), 0);
    let header = header(file.len() as u64);
    file[..HEADER_LEN].copy_from_slice(&header);
    file.extend(headers);
    file
}

/// The header of the file, whose sections' headers are at a place.
fn header(sections: u64) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let mut put = |place: usize, bytes: &[u8]| header[place..place + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01"); // 64 bits, little-endian
    put(16, &1_u16.to_le_bytes()); // ET_REL
    put(18, &MACHINE_BPF.to_le_bytes());
    put(20, &1_u32.to_le_bytes());
    put(40, &sections.to_le_bytes());
    put(52, &64_u16.to_le_bytes());
    put(58, &64_u16.to_le_bytes());
    put(60, &SECTIONS.to_le_bytes());
    put(62, &1_u16.to_le_bytes());
    header
}

/// Where a name stands.
fn place(names: &[u8], name: &str) -> u32 {
    let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
    let found = names.windows(wanted.len()).position(|window| window == wanted);
    u32::try_from(found.expect("a name") + 1).expect("few names")
}
