//! The native half of `rmqtt.testing.Clock`.

use crate::clock::Clock;
use crate::python::bridge::{
    ForkSafe, Op, Running, block_on, on_a_thread, rouse_all, running_port, spawn,
};
use crate::python::errors::Failure;
use crate::python::options::duration;
use crate::python::outcome::Outcome;
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::future::Future;
use std::time::Duration;

/// A clock that is moved by hand.
#[pyclass(frozen, weakref, module = "rmqtt._rmqtt")]
pub(crate) struct NativeClock {
    clock: ForkSafe<Clock>,
    jumping: Mutex<Option<Running>>,
}

impl NativeClock {
    pub(crate) fn clock(&self) -> PyResult<Clock> {
        self.clock.get().cloned()
    }

    /// Moving blocks a thread: not one of the network's.
    fn advanced(
        &self,
        seconds: f64,
    ) -> PyResult<impl Future<Output = Result<(), Failure>> + use<>> {
        let by = duration("the time to advance by", seconds)?;
        let clock = self.clock()?;
        rouse_all();
        Ok(async move {
            match on_a_thread(move || clock.advance(by)).await {
                Some(Err(restless)) => Err(Failure::Restless(restless.to_string())),
                // `None`: the process ends.
                Some(Ok(())) | None => Ok(()),
            }
        })
    }
}

#[pymethods]
impl NativeClock {
    #[new]
    fn new() -> Self {
        Self {
            clock: ForkSafe::new(Clock::manual()),
            jumping: Mutex::default(),
        }
    }

    /// Seconds since it was made.
    #[getter]
    fn now(&self) -> PyResult<f64> {
        Ok(self.clock.get()?.passed().as_secs_f64())
    }

    /// Moves it, and waits here.
    fn advance_blocking(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let advanced = self.advanced(seconds)?;
        let outcome = block_on(py, None, advanced)?.unwrap_or(Ok(()));
        outcome.map_err(|failure| failure.into_py(py))
    }

    /// Moves it, and waits in the event loop.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<Py<Op>> {
        let advanced = self.advanced(seconds)?;
        Op::spawn_to_the_end(py, running_port(py)?, async move {
            Outcome::from(advanced.await)
        })
    }

    /// From now on moves it whenever nothing was runnable for so long; `None`: not any more.
    #[pyo3(signature = (patience))]
    fn autojump(&self, patience: Option<f64>) -> PyResult<()> {
        let jumping = match patience {
            Some(patience) => {
                let patience = duration("patience", patience)?.max(Duration::from_millis(1));
                let clock = self.clock()?;
                Some(spawn(async move { clock.jump_along(patience).await })?)
            }
            None => None,
        };
        let previous = std::mem::replace(&mut *self.jumping.lock(), jumping);
        drop(previous);
        Ok(())
    }
}
