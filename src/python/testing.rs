//! What tests ask of a broker beside MQTT: the native halves of `rmqtt.testing`.

mod certificates;
mod clock;
mod faults;
mod wire;

pub(crate) use certificates::make_certificates;
pub(crate) use clock::NativeClock;
pub(crate) use faults::NativeFaults;
pub(crate) use wire::{NativeWire, summary};
