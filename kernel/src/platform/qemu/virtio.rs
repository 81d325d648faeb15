//! Finding the network device: on `-M microvm` among the slots for virtio devices in memory, on `-M q35` on the PCI bus.
//!
//! ```text
//! microvm,acpi=off   each slot is on the command line:  virtio_mmio.device=512@0xfeb00e00:12    (bytes @ address : line)
//! microvm            24 slots of 512 bytes from 0xfeb00000; slot n is line 24 + n, or 16 + n without a second I/O APIC
//! q35                PCI; the firmware has placed the registers and written the line into the device's configuration
//! ```
//! A slot that holds no device says so in its type.

#![expect(
    unsafe_code,
    reason = "devices' registers lie at addresses, and the driver's memory is shared with the device"
)]

use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, HeaderType, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};
use virtio_drivers::transport::{DeviceStatus, DeviceType, SomeTransport, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use super::apic::Line;
use super::cpu::{self, Port};
use super::machine::pages;

/// Where microvm with ACPI has its slots.
const SLOTS: u64 = 0xfeb0_0000;
const SLOT_BYTES: usize = 512;
const SLOT_COUNT: u32 = 24;

/// A network device that is there, and the line it interrupts with.
pub(super) struct Found {
    pub(super) transport: SomeTransport<'static>,
    pub(super) line: Line,
}

/// The first network device of the machine whose boot parameters are `args`.
pub(super) fn find_network(args: &str) -> Option<Found> {
    let named = args.split_ascii_whitespace().filter_map(named_slot);
    let first_line = if Line::beyond_24() { 24 } else { 16 };
    let scanned = (0..SLOT_COUNT).map(|slot| (SLOTS + u64::from(slot) * SLOT_BYTES as u64, first_line + slot));
    named.chain(scanned).find_map(|(address, line)| in_slot(address, line)).or_else(on_pci)
}

/// Agrees with the device on what is used: its address, and the layout of virtio 1.0 where it has that, which is the answer.
/// Nothing that would change frames on their way.
pub(super) fn negotiate(transport: &mut SomeTransport<'static>) -> bool {
    const MAC: u64 = 1 << 5;
    const VERSION_1: u64 = 1 << 32;
    let begun = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(DeviceStatus::empty());
    transport.set_status(begun);
    let features = transport.read_device_features() & (MAC | VERSION_1);
    transport.write_driver_features(features);
    transport.set_status(begun | DeviceStatus::FEATURES_OK);
    const PAGE_BYTES: u32 = 4096;
    transport.set_guest_page_size(PAGE_BYTES);
    features & VERSION_1 != 0
}

/// The address and line in `virtio_mmio.device=512@0xfeb00e00:12`.
fn named_slot(word: &str) -> Option<(u64, u32)> {
    let (_, place) = word.strip_prefix("virtio_mmio.device=")?.split_once('@')?;
    let (address, line) = place.split_once(':')?;
    let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
    // Slots lie in the hole below 4 GiB that no machine of QEMU has RAM in: a parameter cannot point us at memory.
    let in_hole = (0xfe00_0000..0xfec0_0000).contains(&address) && address.is_multiple_of(SLOT_BYTES as u64);
    Some((address, line.parse().ok()?)).filter(|_| in_hole)
}

fn in_slot(address: u64, line: u32) -> Option<Found> {
    let header = NonNull::new(address as *mut VirtIOHeader)?;
    // SAFETY: the address lies in the hole for devices (see `named_slot` and SLOTS), is mapped, and a slot is 512 bytes
    // long. Where no slot is, the machine answers reads all the same, and the driver checks the signature.
    let transport = unsafe { MmioTransport::new(header, SLOT_BYTES) }.ok()?;
    let found = transport.device_type() == DeviceType::Network;
    Some(Found { transport: transport.into(), line: Line::of_gsi(line)? }).filter(|_| found)
}

/// Searches the buses that can be reached from bus 0 over bridges.
fn on_pci() -> Option<Found> {
    let mut root = PciRoot::new(ConfigurationPorts);
    let mut buses = Vec::from([0u8]);
    let mut next = 0;
    while let Some(&bus) = buses.get(next) {
        next += 1;
        for (function, info) in root.enumerate_bus(bus).collect::<Vec<_>>() {
            if info.header_type == HeaderType::PciPciBridge {
                let behind = ConfigurationPorts.read_word(function, 0x18).to_le_bytes()[1];
                // The firmware numbers buses upwards; anything else would lead in circles.
                if behind > bus {
                    buses.push(behind);
                }
            } else if virtio_device_type(&info) == Some(DeviceType::Network) {
                root.set_command(function, Command::MEMORY_SPACE | Command::BUS_MASTER);
                let transport = PciTransport::new::<Sharing, _>(&mut root, function).ok()?;
                // The firmware's word for the line of the PICs; QEMU gives it to the first I/O APIC as well.
                let line = u32::from(ConfigurationPorts.read_word(function, 0x3c).to_le_bytes()[0]);
                return Some(Found { transport: transport.into(), line: Line::of_gsi(line)? });
            }
        }
    }
    None
}

/// PCI configuration through the two ports that every PC has: one says which word, the other is the word.
struct ConfigurationPorts;

impl ConfigurationPorts {
    const ADDRESS: Port = Port::new(0xcf8);
    const DATA: Port = Port::new(0xcfc);

    fn select(function: DeviceFunction, register: u8) {
        let DeviceFunction { bus, device, function } = function;
        let place = u32::from(bus) << 16 | u32::from(device) << 11 | u32::from(function) << 8;
        Self::ADDRESS.write_u32(0x8000_0000 | place | u32::from(register & !3));
    }
}

impl ConfigurationAccess for ConfigurationPorts {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        cpu::without_interrupts(|| {
            Self::select(function, register);
            Self::DATA.read_u32()
        })
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, word: u32) {
        cpu::without_interrupts(|| {
            Self::select(function, register);
            Self::DATA.write_u32(word);
        });
    }

    unsafe fn unsafe_clone(&self) -> Self {
        ConfigurationPorts
    }
}

/// How the driver's memory reaches the device: as it is, since addresses are physical ones and the device sees all RAM.
pub(super) struct Sharing;

// SAFETY: `dma_alloc` gives whole pages of the allocator, zeroed, which nobody else has until they are given back. Every
// mapped address is its own physical address (see `pages`), so a device's registers are valid pointers once they are
// mapped, and the address of a buffer is the one that the device uses.
unsafe impl Hal for Sharing {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the driver asks for one page at least.
        let memory = pages_layout(pages).and_then(|layout| NonNull::new(unsafe { alloc_zeroed(layout) }));
        // Address 0 tells the driver that there is no memory.
        memory.map_or((0, NonNull::dangling()), |memory| (memory.addr().get() as u64, memory))
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        match pages_layout(pages) {
            Some(layout) => {
                // SAFETY: the caller promises that `dma_alloc` gave this memory for as many pages.
                unsafe { dealloc(memory.as_ptr(), layout) };
                0
            }
            None => -1,
        }
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, len_bytes: usize) -> NonNull<u8> {
        let mapped = pages::map_device(address, len_bytes as u64);
        assert!(mapped, "the registers of the network device, at {address:#x}, cannot be mapped");
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().addr().get() as u64
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

fn pages_layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok()
}
