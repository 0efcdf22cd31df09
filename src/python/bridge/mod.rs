//! Between tokio and asyncio: one runtime for the process, one port for each event loop, one object for each operation.
//!
//! The rule that everything here serves: **a tokio thread never attaches to Python.** It never takes the interpreter's
//! lock, makes no exception, and neither copies nor drops a reference to a Python object; it may move one, and read the
//! atomics of a frozen class. So a busy interpreter cannot stall a connection, and a finishing one cannot be touched from
//! behind. What happened over there is pushed into the port of the loop that waits for it, and one byte written to a
//! descriptor makes that loop come and fetch.
//!
//! [`runtime`] owns the tokio threads and what a fork does to them; [`wake`] the descriptor; [`port`] the meeting place;
//! [`op`] the awaitable, [`finished`] its twin for what needs no wait; [`stream`] the side of a subscription
//! that waits; [`rouser`] when the network hears of what was put in; [`asker`] questions the other way, [`questions`] those that may
//! take their time; [`journal`] what is told to a log. [`blocking`] waits
//! without any loop. Nothing here knows MQTT.

mod asker;
mod blocking;
mod finished;
mod journal;
mod loops;
mod op;
mod port;
mod questions;
mod rouser;
mod runtime;
mod stream;
mod wake;

pub(crate) use asker::{Answer, Answered, Asker, Raised};
pub(crate) use blocking::{Bell, Deadline, block_on, block_to_the_end};
pub(crate) use finished::{Finished, thrown};
pub(crate) use journal::Journal;
pub(crate) use op::{Op, Remote};
pub(crate) use port::{LoopPort, bind_module, running_port};
pub(crate) use questions::{Asking, Questions};
pub(crate) use rouser::{Rouser, rouse_all};
pub(crate) use runtime::{
    EventQueue, ForkSafe, Running, after_fork, on_a_thread, reply, rest_of, runtime, spawn, within,
};
pub(crate) use stream::{Run, Waiters};
