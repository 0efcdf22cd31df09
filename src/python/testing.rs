//! What tests ask of a broker beside MQTT: the native halves of `rmqtt.testing`.

mod clock;

pub(crate) use clock::NativeClock;
