//! What the standards demand of a server, shown on a socket byte for byte, in both versions where both demand it.

mod connect;
mod delivery;
mod features;
mod keep_alive;
mod qos;
mod reasons;
mod retain;
mod session;
mod shared;
mod subscribe;
mod will;
mod words;
