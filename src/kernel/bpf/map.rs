//! Maps: what the programs of the fast path remember between packets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::{Attributes, BpfCommand, ProgInfo, address, bpf, bpf_fd, fd_by_id, object_name, read_info};

/// The arguments of `BPF_MAP_GET_FD_BY_ID`.
#[repr(C)]
struct MapFdById {
    map_id: u32,
    next_id: u32,
    open_flags: u32,
}

// SAFETY: laid out as in linux/bpf.h, and without pointers.
unsafe impl Attributes for MapFdById {
    const COMMAND: BpfCommand = BpfCommand::MapGetFdById;
}

/// The arguments of `BPF_MAP_CREATE`. Every later field of the kernel's structure is zero.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

// SAFETY: laid out as in linux/bpf.h, and without pointers.
unsafe impl Attributes for MapCreate {
    const COMMAND: BpfCommand = BpfCommand::MapCreate;
}

/// The arguments of `BPF_MAP_LOOKUP_ELEM`.
#[repr(C)]
struct MapLookup {
    map_fd: RawFd,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

// SAFETY: laid out as in linux/bpf.h; `Map::sum` fills the pointers from buffers that it holds across the call.
unsafe impl Attributes for MapLookup {
    const COMMAND: BpfCommand = BpfCommand::MapLookupElem;
}

/// The arguments of `BPF_MAP_UPDATE_ELEM`, which has those of the other.
#[repr(transparent)]
struct MapUpdate(MapLookup);

// SAFETY: laid out as in linux/bpf.h; `Map::update` fills the pointers from slices that it holds across the call.
unsafe impl Attributes for MapUpdate {
    const COMMAND: BpfCommand = BpfCommand::MapUpdateElem;
}

/// The beginning of `struct bpf_map_info` (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
}

/// A map, which lives as long as this, or a program that refers to it.
#[derive(Debug)]
pub struct Map(OwnedFd);

/// The kinds of maps that our programs have.
#[derive(Clone, Copy, Debug)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    ArrayForEachProcessor = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`
    LruHash = 9,
}

/// The most processors that a kernel can have (`NR_CPUS_RANGE_END`, arch/x86/Kconfig at v6.12).
const MOST_PROCESSORS: usize = 8192;

impl Map {
    /// Makes a map of so many entries, with keys and values of these sizes in bytes.
    ///
    /// # Errors
    /// What bpf(2) returned.
    pub fn create(name: &str, kind: MapKind, (key, value): (u32, u32), entries: u32) -> io::Result<Self> {
        let fd = bpf_fd(&mut MapCreate {
            map_type: kind as u32,
            key_size: key,
            value_size: value,
            max_entries: entries,
            map_flags: 0,
            inner_map_fd: 0,
            numa_node: 0,
            map_name: object_name(name),
        })?;
        Ok(Self(fd))
    }

    /// Writes an entry of a map that has one value for each key.
    ///
    /// # Errors
    /// What bpf(2) returned; `EINVAL` where key or value has another size than the map's.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let MapInfo { key_size, value_size, .. } = self.info()?;
        if (key.len(), value.len()) != (key_size as usize, value_size as usize) {
            return Err(Errno::EINVAL.into());
        }
        let (key, value) = (address(key), address(value));
        bpf(&mut MapUpdate(MapLookup { map_fd: self.0.as_raw_fd(), padding: 0, key, value, flags: 0 }))?;
        Ok(())
    }

    /// The sum of an entry's numbers of eight bytes, one for each processor.
    ///
    /// # Errors
    /// What bpf(2) returned; `EINVAL` where the map holds no such numbers.
    pub fn sum(&self, entry: u32) -> io::Result<u64> {
        let MapInfo { map_type, key_size, value_size, .. } = self.info()?;
        if (map_type, key_size, value_size) != (MapKind::ArrayForEachProcessor as u32, 4, 8) {
            return Err(Errno::EINVAL.into());
        }
        let (key, mut numbers) = ([entry], vec![0_u64; MOST_PROCESSORS]);
        let value = numbers.as_mut_ptr() as u64;
        bpf(&mut MapLookup { map_fd: self.0.as_raw_fd(), padding: 0, key: address(&key), value, flags: 0 })?;
        Ok(numbers.iter().sum())
    }

    /// The maps of a loaded program, by its number; of more than 8 the first.
    ///
    /// # Errors
    /// `ENOENT` if there is none, `EPERM` without `CAP_SYS_ADMIN`.
    pub fn of_program(id: u32) -> io::Result<Vec<Self>> {
        let mut numbers = [0_u32; 8];
        let mut info = ProgInfo { nr_map_ids: 8, map_ids: numbers.as_mut_ptr() as u64, ..ProgInfo::default() };
        read_info(fd_by_id(id)?, &mut info)?;
        let count = usize::try_from(info.nr_map_ids).unwrap_or(usize::MAX).min(numbers.len());
        let open = |map_id| Ok(Self(bpf_fd(&mut MapFdById { map_id, next_id: 0, open_flags: 0 })?));
        numbers[..count].iter().copied().map(open).collect()
    }

    fn info(&self) -> io::Result<MapInfo> {
        let mut info = MapInfo::default();
        read_info(&self.0, &mut info)?;
        Ok(info)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
