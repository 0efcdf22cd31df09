//! What the bridge asks of asyncio: which loop runs here, of what kind it is, what it is called.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// What the bridge needs of Python's modules, looked up once.
pub(super) struct Modules {
    get_running_loop: Py<PyAny>,
    /// The names in asyncio.
    names: Py<PyDict>,
    /// Loop's id → its port, weakly: the loop itself keeps its port.
    pub(super) ports: Py<PyAny>,
}

static MODULES: PyOnceLock<Modules> = PyOnceLock::new();

pub(super) fn modules(py: Python<'_>) -> PyResult<&Modules> {
    MODULES.get_or_try_init(py, || {
        let asyncio = py.import("asyncio")?;
        Ok(Modules {
            get_running_loop: asyncio.getattr("_get_running_loop")?.unbind(),
            names: asyncio.dict().unbind(),
            ports: py
                .import("weakref")?
                .getattr("WeakValueDictionary")?
                .call0()?
                .unbind(),
        })
    })
}

pub(super) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    modules(py)?.get_running_loop.bind(py).call0()
}

/// Two loops of a kind look alike, so the address is named too.
pub(super) fn name_of_loop(event_loop: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(format!(
        "{} at {:p}",
        event_loop.repr()?,
        event_loop.as_ptr()
    ))
}

/// Whether asyncio has been patched to run loops inside loops, as notebooks do.
pub(super) fn may_nest(py: Python<'_>) -> PyResult<bool> {
    modules(py)?
        .names
        .bind(py)
        .contains(intern!(py, "_nest_patched"))
}

/// Whether this is a loop of asyncio or uvloop: one that refuses to run inside itself.
pub(super) fn is_known(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module = event_loop.get_type().module()?;
    let package = module.to_string();
    let package = package.split('.').next().unwrap_or_default();
    Ok(matches!(package, "asyncio" | "uvloop" | "winloop"))
}

thread_local! {
    static PLACE: u8 = const { 0 };
}

/// A thread, for as long as it lives: where its own variables are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Thread(usize);

impl Thread {
    pub(super) fn here() -> Self {
        PLACE.with(|place| Self(std::ptr::from_ref(place).addr()))
    }
}
