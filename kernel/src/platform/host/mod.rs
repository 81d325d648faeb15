//! The guest as an ordinary process: one thread is its CPU, other threads are its devices.

pub mod boot;
pub mod clock;
pub mod console;
pub mod cpu;
mod ending;
mod fault;
mod forward;
mod frames;
mod gateway;
pub mod idle;
mod link;
pub mod memory;
pub mod net;
pub mod power;
pub(crate) mod services;
mod trace;
