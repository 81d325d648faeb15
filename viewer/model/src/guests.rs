//! Several guests in one trace: whose a number is.
//!
//! Callsites, names, tasks, objects and vCPUs are numbered by each guest for itself. The model numbers them all: a guest's own
//! number, and above it the guest's. Invariant: the numbers of guest 0 are its own, so that a trace of one guest knows nothing
//! of this.
//!
//! ```
//! use fata_model::guests::GuestId;
//! let second = GuestId::new(1);
//! assert_eq!((second.callsite(9), GuestId::of_callsite(second.callsite(9))), (4096 + 9, second));
//! assert_eq!(GuestId::default().callsite(9), 9);
//! ```

use fata_wire::event::MAX_CALLSITES;
use fata_wire::metadata::MAX_GUESTS;

use crate::time::Nanos;
use crate::trace::Trace;

/// The bits of a callsite's own number, of a name's, and of a vCPU's.
const CALLSITE_BITS: u32 = MAX_CALLSITES.trailing_zeros();
const NAME_BITS: u32 = 16;
const CPU_BITS: u32 = 24;
/// Tasks and synchronisation objects have numbers of 15 bits.
const NUMBER_BITS: u32 = 15;
/// The facts in which a collector says how far a guest's clock may be off, and how that is known.
const CLOCK_ERROR: &str = "clock.error_ns";
const CLOCK_KNOWN_FROM: &str = "clock.known_from";

/// Which guest of a trace. Holding one proves that its number is below [`MAX_GUESTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestId(u8);

impl GuestId {
    /// The guest of this number; beyond the last, the last.
    #[must_use]
    pub fn new(number: u16) -> Self {
        GuestId(u8::try_from(number.min(MAX_GUESTS - 1)).unwrap_or(0))
    }

    /// Its number.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// A callsite of its own number, which is below 4096.
    #[must_use]
    #[inline]
    pub const fn callsite(self, own: u16) -> u16 {
        (self.0 as u16) << CALLSITE_BITS | own
    }

    /// Whose callsite it is.
    #[must_use]
    pub const fn of_callsite(callsite: u16) -> Self {
        GuestId((callsite >> CALLSITE_BITS).to_le_bytes()[0])
    }

    /// A name.
    #[must_use]
    pub const fn name(self, own: u16) -> u32 {
        (self.0 as u32) << NAME_BITS | own as u32
    }

    /// Whose name it is, and its number there.
    pub(crate) fn of_name(name: u32) -> (Self, u16) {
        let [low, high, guest, _] = name.to_le_bytes();
        (GuestId::new(guest.into()), u16::from_le_bytes([low, high]))
    }

    /// A vCPU; of more than fit, the last.
    #[must_use]
    pub fn cpu(self, own: u32) -> u32 {
        u32::from(self.0) << CPU_BITS | own.min((1 << CPU_BITS) - 1)
    }

    /// Whose vCPU it is.
    #[must_use]
    pub const fn of_cpu(cpu: u32) -> Self {
        GuestId((cpu >> CPU_BITS).to_le_bytes()[0])
    }

    /// A vCPU's number in its guest.
    #[must_use]
    pub const fn own_cpu(cpu: u32) -> u32 {
        cpu & ((1 << CPU_BITS) - 1)
    }

    /// The place of a task's or object's number in a table of all guests'.
    pub(crate) const fn place(self, number: u16) -> usize {
        (self.0 as usize) << NUMBER_BITS | number as usize
    }

    /// The places of all its numbers.
    pub(crate) const fn places(self) -> std::ops::Range<usize> {
        self.place(0)..self.place(1 << NUMBER_BITS)
    }
}

impl Trace {
    /// The guests of the trace, in the order of their numbers; those that recorded nothing too.
    pub fn guests(&self) -> impl Iterator<Item = GuestId> {
        (0..self.description.guests()).map(GuestId::new)
    }

    /// Whether there is more than one.
    #[must_use]
    pub fn has_several_guests(&self) -> bool {
        self.description.guests() > 1
    }

    /// What a guest is called.
    #[must_use]
    pub fn guest_name(&self, guest: GuestId) -> String {
        let name = self.description.env(guest).find(|(key, _)| *key == "guest").map(|(_, name)| name);
        let alike =
            |other: GuestId| self.description.env(other).any(|(key, value)| key == "guest" && Some(value) == name);
        match name {
            // Lives of one guest, or guests of one name.
            Some(name) if self.guests().filter(|&other| alike(other)).count() > 1 => {
                let nth = self.guests().take_while(|&other| other <= guest).filter(|&other| alike(other)).count();
                format!("{name}:{nth}")
            }
            Some(name) => name.to_owned(),
            None => format!("guest {}", guest.0),
        }
    }

    /// A text that is a guest's, with the guest's name before it where there are several.
    pub(crate) fn of_guest(&self, guest: GuestId, text: String) -> String {
        if self.has_several_guests() { format!("{}/{text}", self.guest_name(guest)) } else { text }
    }

    /// A vCPU as people call it.
    #[must_use]
    pub fn cpu_label(&self, cpu: u32) -> String {
        self.of_guest(GuestId::of_cpu(cpu), format!("vCPU {}", GuestId::own_cpu(cpu)))
    }

    /// How far a guest's times may be from those of the trace's axis, either way; `None` where nobody has measured that.
    #[must_use]
    pub fn clock_error(&self, guest: GuestId) -> Option<Nanos> {
        self.fact(guest, CLOCK_ERROR)?.parse().ok().filter(|&nanos| nanos >= 0)
    }

    /// How it is known how a guest's clock lies on the axis.
    #[must_use]
    pub fn clock_known_from(&self, guest: GuestId) -> Option<&str> {
        self.fact(guest, CLOCK_KNOWN_FROM)
    }

    /// What the collector says of a guest: its facts come before the guest's own.
    fn fact(&self, guest: GuestId, wanted: &str) -> Option<&str> {
        self.description.env(guest).find(|(key, _)| *key == wanted).map(|(_, value)| value)
    }
}
